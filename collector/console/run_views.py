"""What the pages of billing runs show: the list, one run, its exceptions, what a version changed.

Gathered from the operations that the API uses too; it must not know HTTP or templates.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import urlencode

from collector.billing.bill_values import BillSetState
from collector.billing.gates import UNACCEPTABLE, Cause, RunException
from collector.billing.run_values import RunState, VersionHead
from collector.civil import civil_day, day_start
from collector.errors import NotFound
from collector.operations import billing_runs, bills
from collector.operations.bills import BillSetView
from collector.operations.registry_history import book_periods
from collector.operations.run_decisions import exceptions_now
from collector.web.context import Context

RUNS_PER_PAGE = 50
ROWS_PER_PAGE = 100
SETS_SHOWN = 50

STATE_BADGES = {RunState.DRAFT: "warn", RunState.APPROVED: "good", RunState.EXPORTED: ""}


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run; its period is [from_day, to_day)."""

    view: billing_runs.RunView
    from_day: date
    to_day: date
    latest: VersionHead | None

    @property
    def badge(self) -> str:
        """How the state is coloured."""
        return STATE_BADGES[self.view.state]


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, and where the next ones are; an empty address: nowhere."""

    rows: Sequence[RunRow]
    is_first: bool
    next_url: str


@dataclass(frozen=True, slots=True)
class Period:
    """A period of a reading book, as a run is opened with."""

    number: int
    from_day: date
    to_day: date


@dataclass(frozen=True, slots=True)
class CauseRow:
    """How many exceptions of a cause there are, and how many wait to be decided."""

    cause: Cause
    count: int
    undecided: int
    acceptable: bool


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """An exception, and whether it waits to be decided; `finding` is what it is about."""

    one: RunException
    undecided: bool
    finding: int | None


@dataclass(frozen=True, slots=True)
class ExceptionPage:
    """Some exceptions of the latest version, and the sums over all."""

    causes: Sequence[CauseRow]
    rows: Sequence[ExceptionRow]
    total: int
    undecided_total: int
    first: int
    previous_url: str
    next_url: str


@dataclass(frozen=True, slots=True)
class ChangePage:
    """What a version says otherwise than the one before it."""

    row: RunRow
    version: VersionHead
    changes: Sequence[billing_runs.LineChange]
    total: int
    first: int
    previous_url: str
    next_url: str


def run_page(context: Context, after: str | None) -> RunPage:
    """The runs opened last, newest first, after one of them. Raises NotFound."""
    found = billing_runs.list_runs(context.ledger, RUNS_PER_PAGE + 1, after)
    shown = found[:RUNS_PER_PAGE]
    more = len(found) > RUNS_PER_PAGE
    next_url = f"/runs?{urlencode({'after': shown[-1].head.run})}" if more else ""
    return RunPage([_row(context, view) for view in shown], after is None, next_url)


def run_row(context: Context, run: str) -> RunRow:
    """One run as it stands. Raises NotFound."""
    return _row(context, billing_runs.view_run(context.ledger, run))


def sets_of(context: Context, run: str) -> list[tuple[BillSetView, bool]]:
    """The sets of bills of a run, newest first, and whether each was handed over."""
    found = bills.list_bills(context.ledger, SETS_SHOWN, run=run)
    return [(one, one.state is BillSetState.EXPORTED) for one in found]


def periods(context: Context, book: str, month: date) -> list[Period]:
    """The periods of a book that end in a month. Raises NotFound."""
    return [
        Period(one.number, civil_day(one.from_at, context.zone), civil_day(one.to_at, context.zone))
        for one in book_periods(context.ledger, book, month, context.zone)
    ]


def start_of(context: Context, day: date) -> datetime:
    """The first instant of a day."""
    return day_start(day, context.zone)


def exception_page(
    context: Context, run: str, cause: Cause | None, first: int, *, undecided_only: bool
) -> ExceptionPage:
    """Exceptions of the latest version from the `first`-th on. Raises NotFound, Conflict."""
    found, undecided = exceptions_now(context.ledger, run, context.rules.billed)
    waiting = {one.key for one in undecided}
    counts = Counter(one.cause for one in found)
    waits = Counter(one.cause for one in undecided)
    chosen = [
        one
        for one in found
        if (cause is None or one.cause is cause) and (not undecided_only or one.key in waiting)
    ]
    shown = chosen[first : first + ROWS_PER_PAGE]
    query = {"undecided": str(undecided_only).lower()} | ({"cause": cause.value} if cause else {})
    previous_url, next_url = _around(f"/runs/{run}", query, first, len(chosen))
    return ExceptionPage(
        causes=[
            CauseRow(one, count, waits[one], one not in UNACCEPTABLE)
            for one, count in sorted(counts.items(), key=lambda pair: (-waits[pair[0]], pair[0]))
        ],
        rows=[ExceptionRow(one, one.key in waiting, _finding(one)) for one in shown],
        total=len(chosen),
        undecided_total=len(undecided),
        first=first + 1 if shown else 0,
        previous_url=previous_url,
        next_url=next_url,
    )


def change_page(context: Context, run: str, number: int, first: int) -> ChangePage:
    """What a version changed, from the `first`-th change on. Raises NotFound, Conflict."""
    changes = billing_runs.version_changes(context.ledger, run, number)
    row = run_row(context, run)
    if not 1 <= number <= len(row.view.versions):
        raise NotFound(f"run {run} has no version {number}", hint="see the run for its versions")
    path = f"/runs/{run}/versions/{number}"
    previous_url, next_url = _around(path, {}, first, len(changes))
    shown = changes[first : first + ROWS_PER_PAGE]
    version = row.view.versions[number - 1]
    start = first + 1 if shown else 0
    return ChangePage(row, version, shown, len(changes), start, previous_url, next_url)


def _row(context: Context, view: billing_runs.RunView) -> RunRow:
    head = view.head
    return RunRow(
        view,
        civil_day(head.from_at, context.zone),
        civil_day(head.to_at, context.zone),
        view.versions[-1] if view.versions else None,
    )


def _finding(one: RunException) -> int | None:
    number = one.detail.rpartition(" ")[2]
    return int(number) if one.cause is Cause.FINDING and number.isdecimal() else None


def _around(path: str, query: dict[str, str], first: int, total: int) -> tuple[str, str]:
    def at(start: int) -> str:
        return f"{path}?{urlencode(query | {'first': str(start)})}"

    before = at(max(0, first - ROWS_PER_PAGE)) if first else ""
    return before, at(first + ROWS_PER_PAGE) if first + ROWS_PER_PAGE < total else ""
