"""What the API answers, as pydantic models: the shapes that OpenAPI documents.

They are made from the operations' values by name; it must not compute or look anything up.
"""

from datetime import date, datetime
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from collector.balance.causes import Kind
from collector.balance.energy import Doubt
from collector.balance.losses import Band, Standing
from collector.balance.transformer import TechnicalNote
from collector.civil import format_instant
from collector.web.parameters import Instant
from contract.limits import COMMAND_LIFETIME_MAX_S, NAME_CHARS_MAX

At = Annotated[datetime, PlainSerializer(format_instant, when_used="json")]


Ratio = Annotated[
    Fraction,
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["1", "40", "1/3"]}),
]
"""A multiplier as `n` or `n/d`."""


class View(BaseModel):
    """Base of all answers: made from attributes, never changed."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class SnapshotRequest(BaseModel):
    """What to freeze: the period [from_at, to_at) of one station, or of the whole registry."""

    model_config = ConfigDict(extra="forbid")

    station: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)] | None = Field(
        default=None, description="null: the whole registry"
    )
    from_at: Instant = Field(examples=["2026-01-01T00:00:00+07:00"])
    to_at: Instant = Field(examples=["2026-02-01T00:00:00+07:00"])


class SnapshotView(View):
    """The head of a snapshot. `sha256` is the hash of its canonical JSON."""

    id: str
    station: str | None
    from_at: At
    to_at: At
    created_at: At
    created_by: str
    line_count: int
    sha256: str


class SnapshotList(View):
    """The newest snapshots first; `next` is the `after` of the next page, null at the end.

    `truncated` says the same in a word: there are more than were asked for.
    """

    snapshots: list[SnapshotView]
    truncated: bool
    next: str | None


class StationView(View):
    """A station and its counts of points; `heads` of the `points` measure what it receives."""

    station: str
    name: str
    commune: str | None
    capacity_kva: int | None
    heads: int
    points: int


class StationList(View):
    """Stations by code; `next` is the `after` of the next page, null at the end."""

    stations: list[StationView]
    next: str | None


class PointView(View):
    """A point and the meter that is installed there at `at`, null where there is none."""

    point: str
    station: str
    role: str
    name: str
    meter: str | None
    installed_at: At | None
    multiplier: Ratio


class PointList(View):
    """Points by code, as of the instant `at`."""

    at: At
    points: list[PointView]
    next: str | None


class InstallationView(View):
    """Where a meter is or was: from `installed_at` up to, not including, `removed_at`."""

    point: str
    installed_at: At
    removed_at: At | None


class MeterView(View):
    """A meter. `roll_over_wh`: where its registers start again at zero; null: never."""

    meter: str
    model: str
    resolution_wh: int
    roll_over_wh: int | None
    installations: list[InstallationView]


class MeterList(View):
    """Meters by serial."""

    meters: list[MeterView]
    next: str | None


class ReadingView(View):
    """What one meter showed at one instant: values by OBIS code, integers for energies.

    `quality` names the facts that hold of it, as `clock_unsynced`; empty: an ordinary read.
    """

    at: At
    quality: list[str]
    values: dict[str, int | float]


class ReadingList(View):
    """Readings of [from_at, to_at), oldest first; `next_from_at` is where the next page begins.

    `units` has the unit of every register that occurs.
    """

    meter: str
    from_at: At
    to_at: At
    units: dict[str, str]
    readings: list[ReadingView]
    next_from_at: At | None


class HealthPart(View):
    """One part that the collector leans on."""

    status: Literal["ok", "failing"]
    detail: str = ""


class Health(View):
    """`ok`; `degraded` while something fails that billing does not need; else `failing`."""

    status: Literal["ok", "degraded", "failing"]
    version: str
    parts: dict[str, HealthPart]


class BalanceView(View):
    """What a station received, passed on and lost in [from_at, to_at), in Wh.

    Where the head is unknown its figures and the loss are null. `complete` says that every point
    was read near enough to both instants; `lacking` names the points that were not.
    `loss_percent` is of `received_wh`, as text with four decimals.
    """

    station: str
    from_at: At
    to_at: At
    head_wh: int | None
    customers_wh: int
    received_wh: int | None
    loss_wh: int | None
    loss_percent: str | None
    complete: bool
    lacking: list[str]
    unknown: list[str] = Field(default=[], description="of `lacking`: without any energy")
    points: int = Field(default=0, description="points that are part of it, heads counted")
    points_complete: int = 0
    error_max_wh: int | None = Field(
        default=0, description="what far reads can make wrong; null: nothing bounds it"
    )


class DayBalanceView(BalanceView):
    """The balance of one civil day."""

    day: date


class DayBalanceList(View):
    """Balances by day, the first day first; days begin in `zone`."""

    station: str
    zone: str
    days: list[DayBalanceView]


class NoteView(View):
    """One doubtful index. `off_s`: how far its read was from the instant, before it below zero."""

    point: str
    meter: str
    obis: str
    at: At
    doubt: Doubt
    off_s: int | None
    error_max_wh: int | None


class CauseView(View):
    """A cause to check; `likely`: a fact speaks for it. `title_vi` says it in Vietnamese."""

    kind: Kind
    likely: bool
    points: tuple[str, ...]
    stations: tuple[str, ...]
    energy_wh: int | None
    title: str
    title_vi: str


class LossView(View):
    """A station's loss in [from_at, to_at), in Wh; what is not known is null.

    `technical_wh` is its transformers' part, `unexplained_wh` the rest; `sudden` says that the loss
    differs from the period before by the threshold or more.
    """

    station: str
    name: str
    commune: str | None
    unit: str | None
    from_at: At
    to_at: At
    received_wh: int | None
    sold_wh: int
    loss_wh: int | None
    loss_percent: str | None
    technical_wh: int | None
    technical_note: TechnicalNote
    unexplained_wh: int | None
    unexplained_percent: str | None
    points: int
    points_complete: int
    complete: bool
    error_max_wh: int | None
    lacking: list[str]
    standing: Standing
    band: Band
    previous_loss_wh: int | None
    previous_loss_percent: str | None
    sudden: bool
    notes: list[NoteView]
    causes: list[CauseView]


class LossList(View):
    """Stations, the largest unexplained loss first, then those that are not compared, by code.

    `next` is the `after` of the next page, null at the end.
    """

    from_at: At
    to_at: At
    stations: list[LossView]
    next: str | None


class BoundaryLossView(View):
    """A unit against its boundary meters, in Wh. `mv_wh`: lost before the stations' heads."""

    points: tuple[str, ...]
    received_wh: int | None
    sold_wh: int
    loss_wh: int | None
    loss_percent: str | None
    mv_wh: int | None
    complete: bool
    lacking: tuple[str, ...]


class AreaLossView(View):
    """A commune's or a unit's stations together: those whose loss is `known`, in Wh."""

    name: str
    stations: int
    known: int
    complete: int
    received_wh: int
    sold_wh: int
    loss_wh: int
    loss_percent: str | None
    technical_wh: int
    technical_lacking: int
    unexplained_wh: int
    unexplained_percent: str | None
    boundary: BoundaryLossView | None


class MasterLossView(View):
    """A wholesale master against its station and against what is metered behind it, in Wh."""

    point: str
    station: str
    import_wh: int | None
    export_wh: int | None
    share_percent: str | None
    points_behind: int
    points_known: int
    behind_wh: int | None
    loss_wh: int | None
    loss_percent: str | None


class AreaLossList(View):
    """All levels above stations of one period."""

    from_at: At
    to_at: At
    communes: list[AreaLossView]
    units: list[AreaLossView]
    masters: list[MasterLossView]


class WithoutIndexView(View):
    """A meter that lacks an index; `last_read_at`: its last index of all, null: never."""

    meter: str
    point: str
    station: str
    last_read_at: At | None


class WithoutIndexList(View):
    """Meters that lack the index of the first instant of `day`; `count` is of all pages."""

    day: date
    count: int
    meters: list[WithoutIndexView]
    next: str | None


class UnassignedView(View):
    """A serial that sends index reads and is installed nowhere."""

    meter: str
    first_read_at: At
    last_read_at: At


class UnassignedList(View):
    """Serials that the registry has never installed; `count` is of all pages."""

    count: int
    meters: list[UnassignedView]
    next: str | None


class AccountingView(View):
    """Meter reads of slots in [from_at, to_at): `due` is `had`, `missing` and `gaps` together.

    `missing` is what a scan could not read, `gaps` what slots without a scan cost, by reason.
    `batches_lost` will never come; `duplicates` came again, since ever.
    """

    name: str
    gateways: list[str]
    from_at: At
    to_at: At
    slots: int
    due: int
    had: int
    missing: dict[str, int]
    gaps: dict[str, int]
    batches_lost: int
    duplicates: int


class MeterTroubleView(View):
    """A meter that its gateway cannot count on: `degraded` or `offline`, for how long, why."""

    meter: str
    state: str
    for_s: int
    reason: str


class LineView(View):
    """One line, as its gateway's last status says; `answered` of its `meters` in the last scan.

    `degraded` and `offline` count meters; `troubled` names them, where there are many not all.
    """

    line: str
    state: str
    meters: int
    answered: int
    degraded: int
    offline: int
    troubled: list[MeterTroubleView]


class EpochHolesView(View):
    """Batches of one epoch that were announced and are not here: on their way, or lost.

    Everything to `upto` is settled, `highest` was heard of; `holes` are ranges between, inclusive.
    """

    epoch: str
    upto: int
    highest: int
    missing: int
    holes: list[tuple[int, int]]


class ConfigRefusalView(View):
    """A signed configuration that is not in force, and why."""

    version: int
    code: str
    text: str


class ConfigView(View):
    """Which station file a gateway runs: `version` 0 is its own; `trial` awaits confirmation."""

    version: int
    trial: bool
    highest: int
    refused: ConfigRefusalView | None


class GatewayView(View):
    """One gateway: what the ledger has of it and what it said last.

    `silent_s`: seconds since anything came of it. `waiting` batches and `used_bytes` of
    `limit_bytes` are its own word in the status of `status_at`, null before the first; so is
    `held`: scans that wait for it to learn the time.
    `quarantined` counts since ever, `quarantine_open` what still waits for a person; `lost`
    batches will never come.
    """

    gateway: str
    station: str | None
    online: bool
    generation: int
    first_seen_at: At
    last_seen_at: At
    silent_s: int
    status_at: At | None
    clock: str | None
    version: str | None
    waiting: int | None
    used_bytes: int | None
    limit_bytes: int | None
    held: int | None
    lines: list[LineView]
    config: ConfigView | None
    batches: int
    reads: int
    duplicates: int
    quarantined: int
    quarantine_open: int
    lost: int
    holes: list[EpochHolesView]


class GatewayList(View):
    """Gateways by name."""

    gateways: list[GatewayView]
    next: str | None


class EventView(View):
    """Something that a gateway reported."""

    at: At
    type: str
    line: str | None
    meter: str | None
    detail: str


class EventList(View):
    """The newest events first."""

    events: list[EventView]


class CommandRequest(BaseModel):
    """What a gateway is to do, once. `meters` null: all of them."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["ping", "read", "set_clock", "reload"]
    meters: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]],
            Field(min_length=1, max_length=2_000),
        ]
        | None
    ) = None
    lifetime_s: Annotated[int, Field(ge=1, le=COMMAND_LIFETIME_MAX_S)] | None = Field(
        default=None, description="after so long it is not carried out any more"
    )


class CommandResultView(View):
    """What a gateway answered. `detail` is as in the contract's result message."""

    ok: bool
    code: str
    text: str
    detail: dict[str, Any]
    answered_at: At


class CommandView(View):
    """A command and what is known of it; `event` is the gateway's record, once it has come."""

    id: str
    gateway: str
    kind: str
    meters: list[str] | None
    issuer: str
    issued_at: At
    expires_at: At
    state: Literal["issued", "sent", "answered", "expired"]
    result: CommandResultView | None
    event: EventView | None


class CommandList(View):
    """The newest commands first; `next` is the `after` of the next page, null at the end."""

    commands: list[CommandView]
    next: str | None


class AuditRowView(View):
    """One action: who did what to what. `detail` has what is needed to understand it later."""

    sequence: int
    at: At
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditList(View):
    """The newest rows first; `next` is the `before` of the next page, null at the end."""

    rows: list[AuditRowView]
    next: int | None


class AuditHeadView(View):
    """The last row of the audit trail: its number, and the hash that all rows before are in."""

    sequence: int
    sha256: str
