"""What is decided of findings, by what, and what became of it: values.

They hold what was said; it must not know how a decision is carried out.
"""

from dataclasses import dataclass, field
from datetime import datetime

from collector.ledger.findings import Decision, ManualIndex
from collector.ledger.idempotency import Once
from collector.operations.commands import Sender
from collector.vee.estimation.estimate import Method
from collector.vee.limits import LimitsBook


@dataclass(frozen=True, slots=True)
class Deciding:
    """What is decided, by whom and why. `value`: the index of an edit, in the register's unit.

    `method` has one method of estimation used and no other; those that somebody must answer for
    (E5, E6) are used in no other way.
    """

    decision: Decision
    actor: str
    reason: str
    value: int | None = None
    photo: str | None = None
    method: Method | None = None


@dataclass(slots=True)
class DecideReport:
    """What became of each finding: decided, or refused and why. `written`: not a dry run.

    `again`: the request was done before, and this is what was decided then; what was refused then
    is not said again.
    """

    written: bool
    decided: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    indices: list[ManualIndex] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    again: bool = False


@dataclass(frozen=True, slots=True)
class DecidedAt:
    """By what is decided: limits, the utility's zone, the time; `sender` for reading again.

    `expected` is how many a dry run has counted: where it is another number now, nothing is done.
    A request that is to be done `once` and was done before answers with what was decided then.
    """

    book: LimitsBook
    zone: str
    now: datetime
    sender: Sender | None = None
    expected: int | None = None
    once: Once | None = None
