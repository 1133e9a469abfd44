"""What the API answers of billing runs and bills, as pydantic models for OpenAPI.

They are made from the operations' values; it must not compute or look anything up.
"""

from datetime import date
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from collector.api.models import At, Ratio, View
from collector.billing.bill_gate import BillCause
from collector.billing.bill_values import BillSetState
from collector.billing.gates import Cause, Reference
from collector.billing.run_values import LineKind, RunState
from collector.billing.values import LineQuality
from collector.operations.run_decisions import Verdict
from collector.operations.run_facts import REASON_CHARS_MAX
from collector.web.parameters import Day
from contract.limits import NAME_CHARS_MAX

# Names in one filter; a body has at most 64 kB.
FILTER_MAX = 500
AMOUNT_MAX = 10**15

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
Reason = Annotated[
    str, Field(min_length=1, max_length=REASON_CHARS_MAX, description="why; kept for ever")
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="the hash that was seen")]
Amount = Annotated[int, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunRequest(_Request):
    """A period from one billing day up to the next: of a book, a station, or all (neither)."""

    book: Name | None = None
    station: Name | None = None
    from_day: Day = Field(examples=["2026-10-20"])
    to_day: Day = Field(examples=["2026-11-20"])


class PeriodView(View):
    """A period of a reading book, as `POST /v1/billing/runs` takes it; which of its month it is."""

    book: str
    number: int
    from_day: date
    to_day: date


class PeriodList(View):
    """The periods of a book that end in a month, in their order; none where it is not read then."""

    periods: list[PeriodView]


class ReasonRequest(_Request):
    """Why something is done."""

    reason: Reason


class PointRequest(_Request):
    """A point, and why it is left out or taken in again."""

    point: Name
    reason: Reason


class MarkRequest(_Request):
    """What the reader found at a point: a letter of TTR_MOI, or null to take it back."""

    point: Name
    mark: Annotated[str, Field(pattern=r"^[A-Z]$")] | None
    reason: Reason


class ApprovalRequest(_Request):
    """The hash that the approver has seen."""

    sha256: Sha256
    reason: Reason = "seen and found right"


class DecisionRequest(_Request):
    """Which undecided exceptions are meant (all that fit everything that is given), and what of
    them."""

    verdict: Verdict
    reason: Reason
    causes: Annotated[list[Cause], Field(max_length=FILTER_MAX)] = Field(default=[])
    points: Annotated[list[Name], Field(max_length=FILTER_MAX)] = Field(default=[])
    billed_max_wh: Amount | None = None
    percent_max: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="of a day's use in the period that it was compared with"
    )


class AcceptanceRequest(_Request):
    """Which exceptions of bills are right: all that fit everything that is given."""

    reason: Reason
    causes: Annotated[list[BillCause], Field(max_length=FILTER_MAX)] = Field(default=[])
    contracts: Annotated[list[Name], Field(max_length=FILTER_MAX)] = Field(default=[])
    amount_max_vnd: Amount | None = None


class VersionView(View):
    """One version of a run's lines; `sha256` is what is approved."""

    version: int
    made_at: At
    made_by: str
    reason: str
    line_count: int
    sha256: str
    previous_sha256: str | None
    basis_sha256: str


class ActView(View):
    """What a person did: accept, decide, exclude, include, approve."""

    version: int
    act: str
    actor: str
    at: At
    subject: str
    reason: str


class ExportView(View):
    """Which version was exported, when and by whom."""

    version: int
    sha256: str
    exported_at: At
    exported_by: str


class RunView(View):
    """A billing run as it stands."""

    run: str
    station: str | None
    book: str | None
    from_at: At
    to_at: At
    opened_at: At
    opened_by: str
    state: RunState
    versions: list[VersionView]
    acts: list[ActView]
    export: ExportView | None
    held_points: list[str]


class RunList(View):
    """The newest runs first; `next` is the `after` of the next page, null at the end."""

    runs: list[RunView]
    next: str | None


class VersionMade(View):
    """A version, whether it is a new one, and how many points and registers it changed."""

    version: VersionView
    is_new: bool
    changed_count: int


class ValidatedView(View):
    """What the rules found in days of the utility's zone, both included."""

    first_day: date
    last_day: date
    meters: int
    days_due: int
    days_missing: int
    found_count: int
    new_count: int
    gone_count: int


class Validated(View):
    """What was asked of a run's days: its period, then days beyond it that its lines rest on."""

    validated: list[ValidatedView]


class ChangeView(View):
    """What a version says otherwise of a point and register (Wh or varh); null: nothing."""

    point: str
    register_: str = Field(validation_alias="register", serialization_alias="register")
    billed_before: int | None
    billed_after: int | None


class ChangeList(View):
    """What a version changed of the one before it, and why; `next` as in every list."""

    version: int
    reason: str
    changes: list[ChangeView]
    next: int | None


class RunLineView(View):
    """One register of one meter at one point, for one stretch (Wh or varh)."""

    point: str
    meter: str
    register_: str = Field(validation_alias="register", serialization_alias="register")
    kind: LineKind
    from_at: At
    to_at: At
    index_from: int | None
    index_to: int | None
    read_from_at: At | None
    read_to_at: At | None
    multiplier: Ratio
    billed: int | None
    quality: LineQuality
    cites: str | None


class RunLineList(View):
    """A version's lines in their order; `next` as in every list."""

    lines: list[RunLineView]
    next: int | None


class ExceptionView(View):
    """A point and register that somebody must look at; what it was compared with, if with any."""

    point: str
    register_: str = Field(validation_alias="register", serialization_alias="register")
    cause: Cause
    blocks: bool
    billed: int | None
    before: int | None
    reference: Reference | None
    detail: str


class ExceptionList(View):
    """The exceptions of the latest version; `next` as in every list."""

    exceptions: list[ExceptionView]
    next: int | None


class Decided(View):
    """How many exceptions were decided."""

    decided_count: int


class BillActView(View):
    """What a person did with a set: accept, approve."""

    act: str
    actor: str
    at: At
    subject: str
    reason: str


class BillExportView(View):
    """That a set was handed over."""

    sha256: str
    exported_at: At
    exported_by: str


class BillSetView(View):
    """The bill previews of a version of a run; whole đồng, `sha256` is what is approved."""

    bill_set: str
    run: str
    version: int
    run_sha256: str
    number: int
    made_at: At
    made_by: str
    reason: str
    split: str
    bill_count: int
    refused_count: int
    energy_kwh: int
    amount_vnd: int
    vat_vnd: int
    adjustments_vnd: int
    total_vnd: int
    sha256: str
    state: BillSetState
    acts: list[BillActView]
    export: BillExportView | None


class BillSetList(View):
    """The newest sets first; `next` is the `after` of the next page, null at the end."""

    bill_sets: list[BillSetView]
    next: str | None


class BillRowView(View):
    """One bill; `bill` is its contract."""

    bill: str
    point: str
    root: str
    from_day: date
    to_day: date
    energy_kwh: int
    amount_vnd: int
    vat_vnd: int
    adjustments_vnd: int
    total_vnd: int
    sha256: str


class BillRowList(View):
    """A set's bills in the order of reading; `next` as in every list."""

    bills: list[BillRowView]
    next: int | None


class RefusalView(View):
    """Who has no preview, or a difference that is on none, and what to do."""

    point: str
    contract: str | None
    code: str
    reason: str
    hint: str


class RefusalList(View):
    """In the order of reading; `next` as in every list."""

    refusals: list[RefusalView]
    next: int | None


class BillExceptionView(View):
    """A bill that somebody must look at."""

    bill: str
    point: str
    cause: BillCause
    blocks: bool
    amount_vnd: int | None
    before_vnd: int | None
    reference: Reference | None
    detail: str


class BillExceptionList(View):
    """The exceptions of a set; `next` as in every list."""

    exceptions: list[BillExceptionView]
    next: int | None


class WhatIfView(View):
    """What a run's bills come to, and under another price table; whole đồng."""

    table: str
    bill_count: int
    refused_count: int
    total_vnd: int
    what_if_total_vnd: int
    dearer_count: int
    cheaper_count: int


class Verification(View):
    """What is wrong with stored runs and bills; empty where all is as it was made."""

    faults: list[str]
