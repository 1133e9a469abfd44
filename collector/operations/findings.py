"""What people decide of findings: accept, estimate, edit, read again; one by one or by filter.

It brings together the queue, estimation and commands; it must not judge a read, nor compute an
estimate itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.findings import (
    Decision,
    FindingFilter,
    ManualIndex,
    NewDecision,
    StoredFinding,
)
from collector.ledger.idempotency import Once
from collector.operations.deciding import DecidedAt, DecideReport, Deciding
from collector.operations.replacing import Replacing, installed
from collector.operations.rereading import ReRead, re_reads, send_re_reads
from contract.limits import ENERGY_MAX
from contract.registers import BY_OBIS

# In a hot June a tenth of a district's meters may be over a limit at once, for both references.
BULK_MAX = 5_000

REASON_CHARS_MAX = 500

# What a person may decide; the rest only a run says.
BY_PEOPLE = (Decision.ACCEPT, Decision.ESTIMATE, Decision.EDIT, Decision.RE_READ)

# Reads this far around a finding are shown with it.
SHOWN_AROUND = timedelta(days=2)
SHOWN_MAX = 500

_IDS_MAX = 500

_Planned = list[tuple[StoredFinding, list[ManualIndex]]]


def decide(
    ledger: Ledger,
    wanted: FindingFilter,
    deciding: Deciding,
    place: DecidedAt,
    *,
    dry_run: bool = False,
) -> DecideReport:
    """Decide all findings that `wanted` says; those that cannot be are listed with the reason.

    Raises InvalidRequest for a decision that cannot be, NotFound for an id that there is not,
    Conflict where `expected` is another number, and what `send_command` raises: nothing is decided
    then that was not sent.
    """
    _check(wanted, deciding)
    if wanted.ids is not None:
        # Whoever names a finding is told that it is decided, not that there is none.
        wanted = replace(wanted, open=None)
    report = DecideReport(written=not dry_run)
    with ledger.read() as uow:
        earlier = None if place.once is None else uow.idempotency.find(place.once, place.now)
        if earlier is not None:
            return _decided_then(uow, deciding.actor, earlier)
        planned = _plan(uow, _chosen(uow, wanted), deciding, place, report)
    if place.expected is not None and place.expected != len(planned):
        raise Conflict(
            f"{len(planned)} findings could be decided now, not {place.expected}",
            hint="count them again with a dry run, and look at what has changed",
            code="count_changed",
        )
    if dry_run:
        report.decided = [stored.id for stored, _ in planned]
        report.indices = [one for _, indices in planned for one in indices]
        return report
    commands: Mapping[str, str] = {}
    if deciding.decision is Decision.RE_READ:
        planned, commands = _send(ledger, planned, deciding, place, report)
    try:
        with ledger.begin() as uow:
            numbers = _write(uow, planned, deciding, place.now, (report, commands))
            _claim(uow, place, numbers)
    except _DoneBeforeError as before:
        with ledger.read() as uow:
            return _decided_then(uow, deciding.actor, before.subject)
    return report


def _claim(uow: UnitOfWork, place: DecidedAt, numbers: tuple[int, int]) -> None:
    """Note what the request made. Raises _DoneBeforeError where it was made by another one."""
    if place.once is not None:
        subject = f"{numbers[0]} {numbers[1]}"
        earlier = uow.idempotency.claim(place.once, subject, place.now)
        if earlier is not None:
            raise _DoneBeforeError(earlier)


def _send(
    ledger: Ledger, planned: _Planned, deciding: Deciding, place: DecidedAt, report: DecideReport
) -> tuple[_Planned, Mapping[str, str]]:
    """What was sent for, and the command of each meter; the rest goes to the report."""
    meters = {stored.finding.meter for stored, _ in planned}
    commands = send_re_reads(ledger, place.sender, meters, deciding.actor, place.now)
    report.commands = list(dict.fromkeys(commands.values()))
    report.refused += [
        (stored.id, "no gateway took the command to read this meter")
        for stored, _ in planned
        if stored.finding.meter not in commands
    ]
    return [pair for pair in planned if pair[0].finding.meter in commands], commands


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """A finding with all that was decided of it and what it rests on.

    `reads` are the meter's index reads around it, oldest first: (instant, register, value, slot).
    """

    stored: StoredFinding
    history: Sequence[NewDecision]
    reads: Sequence[tuple[datetime, str, int, datetime]]
    indices: Sequence[tuple[int, ManualIndex]]
    re_reads: Sequence[ReRead]


def show_finding(ledger: Ledger, number: int, now: datetime) -> ShownFinding:
    """One finding with its reads and its history. Raises NotFound."""
    with ledger.read() as uow:
        (stored,) = _chosen(uow, FindingFilter(ids=[number], open=None))
        finding = stored.finding
        history = uow.findings.history(number)
        # Of a finding about weeks what matters is where it ends.
        since = max(finding.from_at, finding.to_at - SHOWN_AROUND) - SHOWN_AROUND
        until = finding.to_at + SHOWN_AROUND
        reads = [
            (one.at, one.register, one.value, one.slot)
            for one in uow.index_reads.of_meter(finding.meter, since, until)
            if finding.register in {"", one.register}
        ]
        sent = [one.command for one in history if one.command is not None]
        return ShownFinding(
            stored,
            history,
            reads[-SHOWN_MAX:],
            uow.manual_indices.of_meter(finding.meter, since, until),
            re_reads(uow, sent, finding.meter, now),
        )


def _decided_then(uow: UnitOfWork, actor: str, subject: str) -> DecideReport:
    """What an earlier request decided."""
    first, last = map(int, subject.split())
    found = uow.findings.decided(actor, first, last)
    report = DecideReport(written=True, again=True)
    report.decided = [one.finding for one in found]
    report.commands = list(dict.fromkeys(one.command for one in found if one.command is not None))
    numbers = [one.manual_index for one in found if one.manual_index is not None]
    indices = [uow.manual_indices.get(number) for number in numbers]
    report.indices = [one for one in indices if one is not None]
    return report


def enter_index(ledger: Ledger, new: ManualIndex, now: datetime, once: Once | None = None) -> int:
    """Record an index that a person read from a display, with name, time and photo reference.

    It is a read beside the others: it stands for a day where it is the nearest. Its id. Raises
    InvalidRequest for what cannot be, NotFound where no such meter was installed then.
    """
    register = BY_OBIS.get(new.register)
    if register is None or not register.billing:
        raise InvalidRequest(
            f"{new.register!r} is no register that is billed", hint="give its OBIS code"
        )
    if new.value is not None and not 0 <= new.value <= ENERGY_MAX:
        raise InvalidRequest(f"{new.value} is no index", hint="give it in Wh, from zero on")
    if new.at > now or new.at.microsecond % 1000:
        raise InvalidRequest(
            "an index is read in the past, to the millisecond", hint="give the instant of reading"
        )
    _check_reason(new.reason)
    try:
        with ledger.begin() as uow:
            return _enter(uow, new, now, once)
    except _DoneBeforeError as before:
        return int(before.subject)


class _DoneBeforeError(Exception):
    """An earlier request did the same; what this one wrote is rolled back."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self.subject = subject


def _enter(uow: UnitOfWork, new: ManualIndex, now: datetime, once: Once | None) -> int:
    row = installed(uow.registry.load_point(new.point), new.point, new.meter, new.at)
    if row is None:
        raise NotFound(
            f"meter {new.meter!r} was not installed at point {new.point!r} then",
            hint="see installations.csv",
        )
    number = uow.manual_indices.add(new)
    earlier = None if once is None else uow.idempotency.claim(once, str(number), now)
    if earlier is not None:
        raise _DoneBeforeError(earlier)
    detail = {
        "kind": new.kind.value,
        "register": new.register,
        "value": new.value,
        "photo": new.photo,
        "reason": new.reason,
    }
    uow.audit.add(AuditEntry(now, new.author, "index.enter", f"{new.point} {new.meter}", detail))
    return number


def _check(wanted: FindingFilter, deciding: Deciding) -> None:
    if deciding.decision not in BY_PEOPLE:
        names = ", ".join(one.value for one in BY_PEOPLE)
        raise InvalidRequest(f"{deciding.decision} is no decision of a person", hint=f"use {names}")
    _check_reason(deciding.reason)
    editing = deciding.decision is Decision.EDIT
    if editing != (deciding.value is not None):
        raise InvalidRequest(
            "an edit needs the index, and no other decision takes one", hint="see --value"
        )
    if editing and (wanted.ids is None or len(wanted.ids) != 1):
        raise InvalidRequest(
            "an edit is made of one finding at a time", hint="name the finding by its number"
        )
    if deciding.value is not None and not 0 <= deciding.value <= ENERGY_MAX:
        raise InvalidRequest(f"{deciding.value} is no index", hint="give it in Wh, from zero on")
    if deciding.method is not None and deciding.decision is not Decision.ESTIMATE:
        raise InvalidRequest("only an estimate has a method", hint="leave it out")
    if deciding.method == "E5":
        raise InvalidRequest("an index that is agreed on is an edit", hint="decide edit, with it")


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise InvalidRequest(
            f"a reason has 1 to {REASON_CHARS_MAX} characters", hint="say why, in a sentence"
        )


def _chosen(uow: UnitOfWork, wanted: FindingFilter) -> list[StoredFinding]:
    found = uow.findings.find(wanted, BULK_MAX + 1)
    if len(found) > BULK_MAX:
        raise InvalidRequest(
            f"more than {BULK_MAX} findings at once", hint="narrow the filter: a rule, a station"
        )
    if wanted.ids is not None:
        lacking = sorted(set(wanted.ids) - {stored.id for stored in found})
        if lacking:
            numbers = ", ".join(str(number) for number in lacking[:10])
            raise NotFound(f"no such findings: {numbers}", hint="see `songlo collector vee list`")
    return found


def _plan(
    uow: UnitOfWork,
    chosen: Sequence[StoredFinding],
    deciding: Deciding,
    place: DecidedAt,
    report: DecideReport,
) -> _Planned:
    """Each finding with the indices that are put in for it; what cannot be goes to the report."""
    planned: _Planned = []
    replacing = Replacing(uow, deciding, place)
    for stored in chosen:
        if not stored.open:
            report.refused.append((stored.id, f"it was decided already: {stored.decision}"))
            continue
        if deciding.decision in {Decision.ACCEPT, Decision.RE_READ}:
            planned.append((stored, []))
            continue
        indices = replacing.indices(stored)
        if isinstance(indices, str):
            report.refused.append((stored.id, indices))
        else:
            planned.append((stored, indices))
    return planned


def _write(
    uow: UnitOfWork,
    planned: _Planned,
    deciding: Deciding,
    now: datetime,
    told: tuple[DecideReport, Mapping[str, str]],
) -> tuple[int, int]:
    """Put in indices and decisions, of findings that nobody has decided meanwhile."""
    report, commands = told
    still = _still_open(uow, [stored.id for stored, _ in planned])
    decisions = []
    for stored, indices in planned:
        if stored.id not in still:
            report.refused.append((stored.id, "it was decided meanwhile"))
            continue
        number = None
        for one in indices:
            number = uow.manual_indices.add(one)
        report.indices += indices
        report.decided.append(stored.id)
        decisions.append(
            NewDecision(
                stored.id,
                deciding.decision,
                deciding.actor,
                now,
                deciding.reason,
                number,
                commands.get(stored.finding.meter),
            )
        )
    numbers = uow.findings.decide(decisions)
    if decisions:
        detail = {
            "findings": len(decisions),
            "first": decisions[0].finding,
            "last": decisions[-1].finding,
            "reason": deciding.reason,
            "indices": len(report.indices),
            "refused": len(report.refused),
            "commands": report.commands,
        }
        action = f"vee.{deciding.decision.value}"
        subject = f"{decisions[0].finding}" if len(decisions) == 1 else "several"
        uow.audit.add(AuditEntry(now, deciding.actor, action, subject, detail))
    return numbers


def _still_open(uow: UnitOfWork, ids: Collection[int]) -> set[int]:
    ordered = sorted(ids)
    found: set[int] = set()
    for first in range(0, len(ordered), _IDS_MAX):
        part = ordered[first : first + _IDS_MAX]
        found |= {one.id for one in uow.findings.find(FindingFilter(ids=part), len(part))}
    return found
