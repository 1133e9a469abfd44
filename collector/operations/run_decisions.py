"""Decisions on a billing run's exceptions, singly or in bulk, and what readers found at points.

It records who decided what; which lines are exceptions is `collector.billing.gates`.
"""

from collections import Counter
from enum import StrEnum

from collector.billing.gates import (
    MARKS,
    UNACCEPTABLE,
    ZERO_MARKS,
    Cause,
    ExceptionFilter,
    RunException,
)
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.billing_runs import Act, ActKind
from collector.operations.billing_lines import BilledBy
from collector.operations.run_facts import (
    Acting,
    answered,
    exceptions_of,
    latest_version,
    refuse_exported,
    run_head,
    undecided,
)
from contract.registers import IMPORT_ACTIVE


class Verdict(StrEnum):
    """What is decided of exceptions: that they are right, or that their points are left out."""

    ACCEPT = "accept"
    HOLD = "hold"


def run_exceptions(ledger: Ledger, run: str, by: BilledBy) -> list[RunException]:
    """What somebody must look at in the run's latest version. Raises NotFound."""
    with ledger.read() as uow:
        head = run_head(uow, run)
        version = latest_version(uow, run)
        return exceptions_of(uow, head, uow.billing_runs.lines(run, version.version), by)


def open_exceptions(ledger: Ledger, run: str, by: BilledBy) -> list[RunException]:
    """Those that block the latest version and that nobody has answered for. Raises NotFound."""
    return exceptions_now(ledger, run, by)[1]


def exceptions_now(
    ledger: Ledger, run: str, by: BilledBy
) -> tuple[list[RunException], list[RunException]]:
    """All exceptions of the latest version, and of these the undecided. Raises NotFound."""
    with ledger.read() as uow:
        head = run_head(uow, run)
        version = latest_version(uow, run)
        found = exceptions_of(uow, head, uow.billing_runs.lines(run, version.version), by)
        return found, undecided(uow, found, version)


def accept_exceptions(ledger: Ledger, run: str, cause: Cause, by_whom: Acting) -> None:
    """Answer for all exceptions of one cause in the latest version; another version asks again."""
    actor, now, reason = answered(by_whom)
    if cause in UNACCEPTABLE:
        raise _unacceptable(cause)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = run_head(uow, run)
        refuse_exported(uow, head)
        version = latest_version(uow, run)
        act = Act(run, version.version, ActKind.ACCEPT, actor, now, cause.value, reason)
        uow.billing_runs.add_act(act)
        detail = {"cause": cause.value, "version": version.version, "reason": reason}
        uow.audit.add(AuditEntry(now, actor, "billing.accept", run, detail))


def decide_exceptions(
    ledger: Ledger,
    run: str,
    by: BilledBy,
    wanted: ExceptionFilter,
    verdict: Verdict,
    by_whom: Acting,
) -> int:
    """Decide the undecided exceptions of the latest version that a filter takes; how many.

    Accepted are those of now: what comes up later is asked about. Points that are held count from
    the next version on. Raises NotFound, Conflict for an exported run, and InvalidRequest without
    a reason or where the filter takes one that nobody can accept.
    """
    actor, now, reason = answered(by_whom)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = run_head(uow, run)
        refuse_exported(uow, head)
        version = latest_version(uow, run)
        found = exceptions_of(uow, head, uow.billing_runs.lines(run, version.version), by)
        taken = [one for one in undecided(uow, found, version) if wanted.takes(one)]
        if not taken:
            return 0
        points = sorted({one.point for one in taken})
        if verdict is Verdict.ACCEPT:
            for one in taken:
                if one.cause in UNACCEPTABLE:
                    raise _unacceptable(one.cause)
            act = Act(run, version.version, ActKind.DECIDE, actor, now, str(len(taken)), reason)
            uow.billing_runs.add_act(act)
            uow.billing_runs.add_accepted(run, version.version, [one.key for one in taken])
        else:
            points = sorted({name for point in points for name in family_of(uow, point)})
            for point in points:
                act = Act(run, version.version, ActKind.EXCLUDE, actor, now, point, reason)
                uow.billing_runs.add_act(act)
        causes = Counter(one.cause.value for one in taken)
        detail = {
            "verdict": verdict.value,
            "causes": dict(sorted(causes.items())),
            "points": len(points),
            "version": version.version,
            "reason": reason,
        }
        uow.audit.add(AuditEntry(now, actor, "billing.decide", run, detail))
    return len(taken)


def mark_point(ledger: Ledger, run: str, point: str, mark: str, by_whom: Acting) -> None:
    """Say what the reader found at a point (a letter of TTR_MOI); an empty mark takes it back.

    Raises NotFound, InvalidRequest for an unknown letter, and Conflict where a mark that forces
    zero (U V M L X D) is set on a point that consumed something in the latest version.
    """
    actor, now, reason = answered(by_whom)
    if mark and mark not in MARKS:
        raise InvalidRequest(
            f"{mark!r} is no mark of a reading", hint=f"one of {' '.join(sorted(MARKS))}, or none"
        )
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = run_head(uow, run)
        refuse_exported(uow, head)
        version = latest_version(uow, run)
        lines = [
            line for line in uow.billing_runs.lines(run, version.version) if line.point == point
        ]
        if not lines:
            raise NotFound(f"the run has no point {point!r}", hint="see its lines for the names")
        used = sum(line.billed or 0 for line in lines if line.register == IMPORT_ACTIVE)
        if mark in ZERO_MARKS and used > 0:
            raise Conflict(
                f"mark {mark} says that {point} used nothing, and it used {used} Wh",
                hint="correct the mark, or the index",
                code="mark_refused",
            )
        uow.billing_runs.add_mark(run, point, mark, actor, now, reason)
        detail = {"point": point, "mark": mark, "reason": reason}
        uow.audit.add(AuditEntry(now, actor, "billing.mark", run, detail))


def family_of(uow: UnitOfWork, point: str) -> set[str]:
    """A point with the meters it is behind and those behind them.

    They are billed together or not at all: one's energy is taken from the other's.
    """
    points = uow.registry.load(None).points
    behind: dict[str, list[str]] = {}
    for name, one in points.items():
        if one.parent is not None:
            behind.setdefault(one.parent, []).append(name)
    root = point
    while (above := points.get(root)) is not None and above.parent is not None:
        root = above.parent
    found, left = set(), [root]
    while left:
        name = left.pop()
        found.add(name)
        left += behind.get(name, ())
    return found | {point}


def _unacceptable(cause: Cause) -> InvalidRequest:
    if cause is Cause.ZERO_MARK:
        return InvalidRequest(
            "a mark that says that nothing was used stands against what the meter counted",
            hint="correct the mark (songlo collector billing mark), or the index",
        )
    return InvalidRequest(
        "what has no consumption cannot be billed, whoever answers for it",
        hint="estimate or edit the index (songlo collector vee decide), or exclude the point",
    )
