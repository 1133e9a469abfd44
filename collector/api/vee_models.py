"""What the API takes and answers of findings, indices and collection, as pydantic models.

It must not compute or look anything up.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from collector.api.models import At, View
from collector.operations.findings import REASON_CHARS_MAX
from collector.vee.values import Severity
from collector.web.parameters import Day, Instant
from contract.limits import ENERGY_MAX, NAME_CHARS_MAX
from contract.registers import IMPORT_ACTIVE

PHOTO_CHARS_MAX = 500

# What an INTEGER of both databases can count to.
ID_MAX = 2**63 - 1

# No control characters: PostgreSQL keeps no NUL, and a clerk's list shows one line.
_PRINTED = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=_PRINTED)]
Reason = Annotated[str, Field(min_length=1, max_length=REASON_CHARS_MAX, pattern=_PRINTED)]
Photo = Annotated[str, Field(min_length=1, max_length=PHOTO_CHARS_MAX, pattern=_PRINTED)]
Rule = Annotated[str, Field(pattern="^V[0-9]{2}$")]
Index = Annotated[int, Field(ge=0, le=ENERGY_MAX)]
DecisionName = Literal["accept", "estimate", "edit", "re_read"]
MethodName = Literal["E1", "E2", "E3", "E4", "E6"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FilterRequest(_Request):
    """Which open findings; what is null does not matter, and one at least must be given."""

    rule: Rule | None = None
    severity: Severity | None = None
    station: Name | None = None
    point: Name | None = None
    meter: Name | None = None
    first_day: Day | None = None
    last_day: Day | None = None


class DecisionRequest(_Request):
    """What is decided of one finding. `value` is the index of an edit, in the register's unit."""

    decision: DecisionName
    reason: Reason
    value: Index | None = None
    photo: Photo | None = None
    method: MethodName | None = None


class BulkRequest(_Request):
    """What is decided of all that the filter says: first counted, then done with that count."""

    filter: FilterRequest
    decision: Literal["accept", "estimate", "re_read"]
    reason: Reason
    method: MethodName | None = None
    expected: int | None = Field(
        default=None, ge=0, le=ID_MAX, description="what the count answered; null: only count"
    )


class ValidationRequest(_Request):
    """Which days are validated, both included, at most 62; of a station, or of all if null."""

    first_day: Day
    last_day: Day
    station: Name | None = None
    voltages: bool = Field(default=False, description="look at phase voltages too (V16)")
    dry_run: bool = Field(default=False, description="only count")


class IndexRequest(_Request):
    """What somebody read from a meter's display."""

    point: Name
    meter: Name
    of_register: Name = Field(default=IMPORT_ACTIVE, alias="register", description="OBIS code")
    at: Instant
    value: Index
    reason: Reason
    photo: Photo | None = None


class RuleCount(View):
    """How many findings of a rule there are, and to how many meters it could be applied."""

    rule: str
    found: int
    meters: int


class ValidationView(View):
    """What a validation counted; `written` false: a dry run. Daily indices are of import (A+).

    `new` findings were not in the queue before, `gone` are not found any more, `reopened` are found
    again. `again`: the same request had it done before; `rules` is null then.
    """

    written: bool
    again: bool
    meters: int
    days_due: int
    days_missing: int
    found: int
    new: int
    gone: int
    reopened: int
    rules: list[RuleCount] | None


class RefusalView(View):
    """A finding that could not be decided, and why."""

    finding: int
    why: str


class ManualIndexView(View):
    """An index that a person put in or had computed; `original_*` are what stood there."""

    id: int | None = None
    kind: str
    point: str
    meter: str
    of_register: str = Field(alias="register")
    at: At
    value: int | None
    author: str
    entered_at: At
    reason: str
    method: str | None
    original_value: int | None
    original_read_at: At | None
    photo: str | None


class DecidedView(View):
    """What was decided, or would be (`written` false). `again`: by the same request before."""

    written: bool
    again: bool
    count: int
    decided: list[int]
    refused: list[RefusalView]
    indices: list[ManualIndexView]
    commands: list[str]


class FindingView(View):
    """A finding; `open` while it waits for somebody. `text` and `check_next` are for people."""

    id: int
    rule: str
    title: str
    severity: str
    point: str
    meter: str
    of_register: str = Field(alias="register")
    from_at: At
    to_at: At
    found_at: At
    facts: dict[str, int | str]
    text: str
    check_next: str
    open: bool
    decision: str | None
    author: str | None
    decided_at: At | None
    reason: str | None


class FindingList(View):
    """Findings in the order in which they were found; `next` is the `after` of the next page."""

    findings: list[FindingView]
    next: int | None


class DecisionView(View):
    """One decision; `command` was sent for a re-read, `manual_index` was put in."""

    decision: str
    author: str
    at: At
    reason: str
    manual_index: int | None
    command: str | None


class ReadView(View):
    """An index read, and the slot that it was read for."""

    at: At
    of_register: str = Field(alias="register")
    value: int
    slot: At


class ReReadView(View):
    """What became of a command to read again. `had` null: nobody knows yet."""

    command: str
    gateway: str
    state: str
    issued_at: At
    answered_at: At | None
    had: bool | None
    why: str | None


class FindingDetail(View):
    """A finding with what it rests on and all that was decided of it, oldest first."""

    finding: FindingView
    decisions: list[DecisionView]
    reads: list[ReadView]
    indices: list[ManualIndexView]
    re_reads: list[ReReadView]


class DayIndexView(View):
    """The index of a register for a day's start. `origin` null: there is none."""

    point: str
    meter: str
    of_register: str = Field(alias="register")
    day: date
    value: int | None
    read_at: At | None
    distance_s: int | None = Field(description="after the day's start; negative: before")
    window_min: int | None = Field(description="the window that it was found in")
    origin: str | None
    manual: ManualIndexView | None


class DayIndexList(View):
    """Indices by point, day, meter, register; `next` is the `after` of the next page of points."""

    indices: list[DayIndexView]
    next: str | None


class RateView(View):
    """Daily indices of a group that were due, and what became of them; ratios are text.

    All counts are of points times days: 100 points over 31 days are 3,100.
    """

    station: str | None
    commune: str | None
    point_class: str | None
    day: date | None
    due: int
    had: int
    late: int
    by_hand: int
    estimated: int
    missing: int
    registered: int
    on_system: int
    exploited_percent: str | None
    collected_percent: str | None


class RateList(View):
    """Rates of all groups."""

    rates: list[RateView]
