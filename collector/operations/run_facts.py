"""What is known of a billing run when somebody does something with it; and what forbids it.

`billing_runs.py` and `run_decisions.py` change runs, `bills.py` makes bills of them; here they ask.
"""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from collector.billing.gates import UNACCEPTABLE, Cause, RunException, exceptions
from collector.billing.run_values import LineKind, RunHead, RunLine, VersionHead
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import UnitOfWork
from collector.ledger.billing_runs import ActKind
from collector.ledger.findings import StoredFinding
from collector.operations import registry_changes, registry_import
from collector.operations.billing_lines import BilledBy, points_of, put_in
from collector.operations.registry_writing import heard, heard_ahead
from collector.operations.run_references import since_installed
from collector.operations.validated import not_validated
from collector.operations.without_bill import without_bill
from collector.vee.values import Severity

REASON_CHARS_MAX = 500

# What says how somebody acted, and not who: an account's commands, and in old rows the API's keys.
_WAYS = ("command:", "key:")

_REGISTRY_ACTIONS = (registry_changes.ACTION, registry_import.ACTION)

# A year before, give or take: billing days move, and a read may be a day off.
_YEAR = timedelta(days=365)
_YEAR_OFF = timedelta(days=15)


@dataclass(frozen=True, slots=True)
class Acting:
    """Who does something, why, and when. The reason has 1 to 500 characters."""

    actor: str
    now: datetime
    reason: str = ""


def answered(by_whom: Acting) -> tuple[str, datetime, str]:
    """Who, when and why; raises InvalidRequest without a reason."""
    reason = by_whom.reason
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise InvalidRequest(
            f"a reason has 1 to {REASON_CHARS_MAX} characters",
            hint="say why, for whoever asks in ten years",
        )
    return by_whom.actor, by_whom.now, reason


def person(actor: str) -> str:
    """Who an actor is, whether a command or a request was given: the account, or the key's name.

    Nobody may approve with a key what was done by commands of the account of that name.
    """
    for way in _WAYS:
        actor = actor.removeprefix(way)
    return actor.casefold()


def had_a_hand(actor: str, editors: Iterable[str]) -> bool:
    """Whether one of those who made or changed something is the same person."""
    return person(actor) in {person(editor) for editor in editors}


def registry_editors(
    uow: UnitOfWork, points: Set[str], since: datetime, until: datetime
) -> set[str]:
    """Who wrote into the registry, from `since` on, what of these points counts in the period.

    So does who wrote before `since` what begins or ends in the period. An exchange has two indices,
    a multiplier is a factor of every kWh, terms are of every đồng. Where a change touched more
    points than are named, it counts as one of them.
    """
    found = set()
    for entry in uow.audit.mentioning(_REGISTRY_ACTIONS, "ahead"):
        for one in heard_ahead(entry.detail):
            if (
                one.from_at < until
                and one.to_at >= since
                and (one.point_count > len(one.points) or not points.isdisjoint(one.points))
            ):
                found.add(entry.actor)
    for entry in uow.audit.since(_REGISTRY_ACTIONS, since):
        follows = heard(entry.detail.get("touched"))
        if (
            follows is not None
            and follows.from_at < until
            and (follows.to_at is None or follows.to_at > since)
            and (follows.point_count > len(follows.points) or not points.isdisjoint(follows.points))
        ):
            found.add(entry.actor)
    return found


def refuse_left_out(
    excluded: Iterable[str], lines: Iterable[RunLine], version: VersionHead
) -> None:
    """Raises Conflict where points were left out, or taken in, since a version was made."""
    out = set(excluded)
    held: set[str] = set()
    billed: set[str] = set()
    for line in lines:
        (held if line.kind is LineKind.HELD else billed).add(line.point)
    differ = sorted((billed & out) | (held - out))
    if differ:
        raise Conflict(
            f"{len(differ)} points were left out or taken in since version {version.version} was"
            f" made, {differ[0]} among them",
            hint=f"songlo collector billing make {version.run}",
            code="changed_meanwhile",
        )


def run_head(uow: UnitOfWork, run: str) -> RunHead:
    """A run. Raises NotFound."""
    head = uow.billing_runs.get(run)
    if head is None:
        raise NotFound(f"there is no run {run!r}", hint="songlo collector billing list")
    return head


def latest_version(uow: UnitOfWork, run: str) -> VersionHead:
    """A run's latest version. Raises Conflict where it has none."""
    versions = uow.billing_runs.versions(run)
    if not versions:
        raise Conflict(
            f"run {run} has no version yet",
            hint=f"songlo collector billing make {run}",
            code="no_version",
        )
    return versions[-1]


def refuse_exported(uow: UnitOfWork, head: RunHead) -> None:
    """Raises Conflict where a run is exported."""
    if uow.billing_runs.export_of(head.run) is not None:
        raise Conflict(
            f"run {head.run} is exported and stays as it is",
            hint="what has changed since becomes a line of the next run",
            code="run_exported",
        )


def exceptions_of(
    uow: UnitOfWork, head: RunHead, lines: Sequence[RunLine], by: BilledBy
) -> list[RunException]:
    """What somebody must look at in a version's lines."""
    points = {line.point for line in lines if line.kind is not LineKind.HELD}
    closings = uow.billing_runs.closings(points_of(uow, head))
    last = {(one.run, one.line.point) for one in closings}
    before = [
        line
        for run in sorted({one.run for one in closings})
        if (export := uow.billing_runs.export_of(run)) is not None
        for line in uow.billing_runs.lines(run, export.version)
        if (run, line.point) in last
    ]
    a_year_ago = head.to_at - _YEAR
    year = uow.billing_runs.ended_between(points, a_year_ago - _YEAR_OFF, a_year_ago + _YEAR_OFF)
    installed = since_installed(uow, lines, before)
    found = exceptions(lines, before, by.gate, year, uow.billing_runs.marks(head.run), installed)
    found += put_in(uow, lines)
    found += not_validated(uow, lines, head, by.zone)
    found += without_bill(uow, lines, head, by.zone)
    for stored in blocking_findings(uow, head, lines):
        of_read = stored.finding
        if stored.open:
            found.append(
                RunException(
                    of_read.point,
                    of_read.register,
                    Cause.FINDING,
                    blocks=True,
                    detail=f"{of_read.rule} {stored.id}",
                )
            )
    return found


def blocking_findings(
    uow: UnitOfWork, head: RunHead, lines: Sequence[RunLine]
) -> list[StoredFinding]:
    """The findings of severity *block* of the reads that lines rest on, decided or not."""
    # What was found of a point that is left out holds nobody back: nothing of it is billed.
    points = {line.point for line in lines if line.kind is not LineKind.HELD}
    since = min((line.from_at for line in lines), default=head.from_at)
    # A closing index is read some time after its instant: what was found of that read counts too.
    last_read: dict[str, datetime] = {}
    for line in lines:
        read_at = max(line.read_to_at or head.to_at, head.to_at)
        last_read[line.point] = max(last_read.get(line.point, head.to_at), read_at)
    until = max(last_read.values(), default=head.to_at)
    return [
        stored
        for stored in uow.findings.of_points(points, since, until)
        if stored.finding.severity is Severity.BLOCK
        and stored.finding.to_at <= last_read[stored.finding.point]
    ]


def undecided(
    uow: UnitOfWork, found: Iterable[RunException], version: VersionHead
) -> list[RunException]:
    """Those that block and that nobody has answered for in this version."""
    causes = {
        Cause(act.subject)
        for act in uow.billing_runs.acts(version.run)
        if act.act is ActKind.ACCEPT and act.version == version.version
    }
    accepted = uow.billing_runs.accepted(version.run, version.version)
    return [
        one
        for one in found
        if one.blocks
        and (one.cause in UNACCEPTABLE or (one.cause not in causes and one.key not in accepted))
    ]


def refuse_open(uow: UnitOfWork, found: Iterable[RunException], version: VersionHead) -> None:
    """Raises Conflict while exceptions are undecided."""
    blocking = Counter(one.cause for one in undecided(uow, found, version))
    if blocking:
        counts = ", ".join(f"{cause.value} {count}" for cause, count in sorted(blocking.items()))
        raise Conflict(
            f"exceptions that nobody has answered for: {counts}",
            hint="songlo collector billing exceptions; then accept a cause, decide the findings, "
            "or exclude the points",
            code="exceptions_open",
        )
