"""What pages take from addresses and forms: empty fields are as if they were not there.

Checks form only; it must not know what exists.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from collector.billing.gates import Cause
from collector.operations.run_decisions import Verdict
from collector.operations.run_facts import REASON_CHARS_MAX
from collector.vee.values import Severity
from collector.web.parameters import Day
from contract.limits import NAME_CHARS_MAX

ID_MAX = 2**63 - 1
KWH_MAX = 10**15
TOKEN_CHARS_MAX = 200

# One line and no NUL, which PostgreSQL does not keep; a reason may have several lines.
_LINE = r"^[^\x00-\x1f\x7f]*$"
_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Name = Annotated[str, Field(max_length=NAME_CHARS_MAX, pattern=_LINE)]
Reason = Annotated[str, Field(max_length=REASON_CHARS_MAX, pattern=_LINES)]
Token = Annotated[str, Field(max_length=TOKEN_CHARS_MAX, pattern=_LINE)]
Count = Annotated[int, Field(ge=0, le=ID_MAX)]


class Fields(BaseModel):
    """Fields of a page; what was left empty is not there."""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:  # noqa: ANN401  whatever was sent
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value not in ("", [""])}


class FindingFields(Fields):
    """Which findings a page shows."""

    station: Name | None = None
    point: Name | None = None
    meter: Name | None = None
    rule: Annotated[str, Field(pattern="^V[0-9]{2}$")] | None = None
    severity: Severity | None = None
    first_day: Day | None = None
    last_day: Day | None = None
    state: Literal["open", "decided", "all"] = "open"


class FindingListFields(FindingFields):
    """Which page of them."""

    after: Count = 0


class DecideFields(Fields):
    """What is decided of one finding; `value_kwh` is as the display shows it."""

    form_token: Token = ""
    once: Token = ""
    decision: Literal["accept", "estimate", "edit", "re_read"]
    reason: Reason = ""
    value_kwh: Annotated[str, Field(max_length=30, pattern=_LINE)] | None = None
    photo: Annotated[str, Field(max_length=500, pattern=_LINE)] | None = None
    method: Literal["E1", "E2", "E3", "E4", "E6"] | None = None


class BulkFields(FindingFields):
    """What is decided of all that are shown; `expected` is the count that was seen."""

    form_token: Token = ""
    once: Token = ""
    decision: Literal["accept", "estimate", "re_read"]
    reason: Reason = ""
    method: Literal["E1", "E2", "E3", "E4", "E6"] | None = None
    expected: Count | None = None


class OpenFields(Fields):
    """The run that is opened."""

    form_token: Token = ""
    once: Token = ""
    book: Name | None = None
    station: Name | None = None
    from_day: Day
    to_day: Day


class ReasonFields(Fields):
    """Why something is done."""

    form_token: Token = ""
    reason: Reason = ""


class PointFields(ReasonFields):
    """A point that is left out, or taken in again."""

    point: Name = ""


class ExceptionFields(ReasonFields):
    """Which undecided exceptions are meant, and what of them; nothing given: all of them."""

    verdict: Verdict
    cause: Cause | None = None
    point: Name | None = None
    billed_max_kwh: Annotated[int, Field(ge=0, le=KWH_MAX)] | None = None
    percent_max: Annotated[int, Field(ge=0, le=10**9)] | None = None


class ApprovalFields(ReasonFields):
    """The hash that was seen."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ActFields(Fields):
    """A form with nothing to fill in."""

    form_token: Token = ""


class ExportFields(ActFields):
    """That somebody means it."""

    sure: Literal["yes"]
