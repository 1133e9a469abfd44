"""What people decide of findings: accept, estimate, edit, read again; one by one or by filter.

It brings together the queue, estimation and commands; it must not judge a read, nor compute an
estimate itself.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from collector.civil import civil_day, days
from collector.errors import CollectorError, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.findings import (
    Decision,
    FindingFilter,
    ManualIndex,
    ManualKind,
    NewDecision,
    StoredFinding,
)
from collector.operations.commands import Sender, send_command
from collector.operations.commands import Wanted as WantedCommand
from collector.operations.daily import DAY, MeterDays, meter_days
from collector.registry.values import Installation, Registry
from collector.vee.estimation.estimate import (
    APPROVED,
    Estimate,
    Method,
    NotEstimable,
    estimate,
)
from collector.vee.estimation.wanted import Anchor, DayEnergy, Wanted
from collector.vee.limits import LimitsBook
from collector.vee.reads import DailyIndex, Origin
from collector.vee.values import Energy
from contract.commands import CommandKind
from contract.limits import ENERGY_MAX
from contract.registers import BY_OBIS, Unit

# In a hot June a tenth of a district's meters may be over a limit at once, for both references.
BULK_MAX = 5_000

REASON_CHARS_MAX = 500

# How far around a day indices are looked for: the longest gap that any method bridges, and a month.
_AROUND_DAYS = 66

# What the last period is for an estimate.
_PERIOD_DAYS = 30

# What a person may decide; the rest only a run says.
BY_PEOPLE = (Decision.ACCEPT, Decision.ESTIMATE, Decision.EDIT, Decision.RE_READ)

# Rules whose finding is about the index of one day's start, which `to_at` is.
ABOUT_A_DAY = frozenset({"V01", "V05", "V11"})

# How long a gateway may take to read again, in seconds.
RE_READ_LIFETIME_S = 900

_METERS_MAX = 500


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
    """What became of each finding: decided, or refused and why. `written`: not a dry run."""

    written: bool
    decided: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    indices: list[ManualIndex] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DecidedAt:
    """By what is decided: limits, the utility's zone, the time; `sender` for reading again."""

    book: LimitsBook
    zone: str
    now: datetime
    sender: Sender | None = None


def decide(
    ledger: Ledger,
    wanted: FindingFilter,
    deciding: Deciding,
    place: DecidedAt,
    *,
    dry_run: bool = False,
) -> DecideReport:
    """Decide all findings that `wanted` says; those that cannot be are listed with the reason.

    Raises InvalidRequest for a decision that cannot be, NotFound for an id that there is not, and
    what `send_command` raises: nothing is decided then that was not sent.
    """
    _check(wanted, deciding)
    if wanted.ids is not None:
        # Whoever names a finding is told that it is decided, not that there is none.
        wanted = replace(wanted, open=None)
    report = DecideReport(written=not dry_run)
    with ledger.read() as uow:
        chosen = _chosen(uow, wanted)
        planned = _plan(uow, chosen, deciding, place, report)
    if deciding.decision is Decision.RE_READ and not dry_run:
        planned = _send(ledger, planned, deciding, place, report)
    if dry_run:
        report.decided = [stored.id for stored, _ in planned]
        report.indices = [one for _, indices in planned for one in indices]
        return report
    with ledger.begin() as uow:
        _write(uow, planned, deciding, place.now, report)
    return report


def enter_index(ledger: Ledger, new: ManualIndex, now: datetime) -> int:
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
    with ledger.begin() as uow:
        row = _installed(uow.registry.load_installed(), new.point, new.meter, new.at)
        if row is None:
            raise NotFound(
                f"meter {new.meter!r} was not installed at point {new.point!r} then",
                hint="see installations.csv",
            )
        number = uow.manual_indices.add(new)
        detail = {
            "kind": new.kind.value,
            "register": new.register,
            "value": new.value,
            "photo": new.photo,
            "reason": new.reason,
        }
        uow.audit.add(
            AuditEntry(now, new.author, "index.enter", f"{new.point} {new.meter}", detail)
        )
    return number


_Planned = list[tuple[StoredFinding, list[ManualIndex]]]


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
    registry: Registry | None = None
    for stored in chosen:
        if not stored.open:
            report.refused.append((stored.id, f"it was decided already: {stored.decision}"))
            continue
        if deciding.decision in {Decision.ACCEPT, Decision.RE_READ}:
            planned.append((stored, []))
            continue
        registry = registry or uow.registry.load()
        indices = _indices(uow, registry, stored, deciding, place)
        if isinstance(indices, str):
            report.refused.append((stored.id, indices))
        else:
            planned.append((stored, indices))
    return planned


def _indices(
    uow: UnitOfWork,
    registry: Registry,
    stored: StoredFinding,
    deciding: Deciding,
    place: DecidedAt,
) -> list[ManualIndex] | str:
    """What an estimate or an edit puts in for a finding; a sentence if it cannot."""
    finding = stored.finding
    if finding.rule not in ABOUT_A_DAY or finding.variant:
        return f"{finding.rule} is not about the index of one day: enter an index, or accept"
    row = _installed(registry, finding.point, finding.meter, finding.to_at)
    if row is None:
        return "the meter is not installed there any more, as far as the registry says"
    day = civil_day(finding.to_at, place.zone)
    last = min(day + _AROUND_DAYS * DAY, civil_day(place.now, place.zone))
    period = (day - _AROUND_DAYS * DAY, max(last, day), place.zone)
    (of_meter,) = meter_days(uow, registry, [row], period, place.book)
    registers = [finding.register] if finding.register else _lacking(finding.facts)
    found: list[ManualIndex] = []
    for register in registers:
        if deciding.decision is Decision.EDIT:
            if len(registers) > 1:
                return "several registers lack an index: enter each by itself"
            edit = _edit(of_meter, register, stored, deciding, place.now)
            if isinstance(edit, str):
                return edit
            found.append(edit)
            continue
        answer = _estimate(of_meter, registry, register, stored, deciding, place)
        if isinstance(answer, NotEstimable):
            reasons = ", ".join(f"{name} {why}".strip() for name, why in answer.reasons.items())
            return f"{register} cannot be estimated: {reasons}"
        found.append(_of_estimate(answer, stored, deciding, place.now))
    return found


def _lacking(facts: object) -> list[str]:
    assert isinstance(facts, dict), "facts are stored as an object"
    return [name for name in str(facts.get("registers", "")).split() if name in BY_OBIS]


def _edit(
    of_meter: MeterDays, register: str, stored: StoredFinding, deciding: Deciding, now: datetime
) -> ManualIndex | str:
    """An index by hand for the day's start; one that makes the index fall is refused."""
    assert deciding.value is not None, "an edit has a value: checked"
    at = stored.finding.to_at
    before, after = _anchors(of_meter, register, at)
    if before is not None and deciding.value < before.value:
        return f"the index before it is {before.value}: {deciding.value} would be a fall"
    if after is not None and deciding.value > after.value:
        return f"the index after it is {after.value}: {deciding.value} would make it fall"
    original = _index_at(of_meter, register, at)
    return ManualIndex(
        ManualKind.EDIT,
        stored.finding.point,
        stored.finding.meter,
        register,
        at,
        deciding.value,
        deciding.actor,
        now,
        deciding.reason,
        original_value=None if original is None else original.value,
        original_read_at=None if original is None else original.read_at,
        photo=deciding.photo,
    )


def _estimate(
    of_meter: MeterDays,
    registry: Registry,
    register: str,
    stored: StoredFinding,
    deciding: Deciding,
    place: DecidedAt,
) -> Estimate | NotEstimable:
    at = stored.finding.to_at
    row = of_meter.installation
    before, after = _anchors(of_meter, register, at)
    history = _history(of_meter, register, at, place.zone)
    active = BY_OBIS[register].unit is Unit.WH
    wanted = Wanted(
        register=register,
        at=at,
        installed_at=row.installed_at,
        removed_at=row.removed_at,
        before=before,
        after=after,
        days_before=_days(before.at if before else at, at, place.zone),
        days_after=_days(at, after.at if after else at, place.zone),
        history=history,
        last_period=_last_period(of_meter, register, before),
        roll_over_wh=registry.meters[row.meter].roll_over_wh if active else None,
        original=_index_at(of_meter, register, at),
    )
    limits = of_meter.limits.estimation
    if deciding.method is not None:
        return estimate(wanted, limits, (deciding.method,))
    # What somebody must answer for is asked for by name.
    return estimate(wanted, limits, [name for name in limits.chain if name not in APPROVED])


def _of_estimate(
    answer: Estimate, stored: StoredFinding, deciding: Deciding, now: datetime
) -> ManualIndex:
    return ManualIndex(
        ManualKind.ESTIMATE,
        stored.finding.point,
        stored.finding.meter,
        answer.register,
        answer.at,
        answer.value,
        deciding.actor,
        now,
        deciding.reason,
        method=answer.method,
        inputs=answer.inputs,
        original_value=None if answer.original is None else answer.original.value,
        original_read_at=None if answer.original is None else answer.original.read_at,
        photo=deciding.photo,
    )


def _index_at(of_meter: MeterDays, register: str, at: datetime) -> DailyIndex | None:
    for one in of_meter.indices.get(register, ()):
        if one is not None and one.at == at:
            return one
    return None


def _good(of_meter: MeterDays, register: str) -> list[DailyIndex]:
    """Indices that a register showed, or that a person answers for: never a computed one."""
    return [
        one
        for one in of_meter.indices.get(register, ())
        if one is not None and one.origin is not Origin.ESTIMATE
    ]


def _anchors(
    of_meter: MeterDays, register: str, at: datetime
) -> tuple[Anchor | None, Anchor | None]:
    """The last good index before a day's start and the first after it, as they were read."""
    before = after = None
    for one in _good(of_meter, register):
        if one.at < at and one.read_at < at:
            before = Anchor(one.read_at, one.value)
        elif one.at > at and one.read_at > at and after is None:
            after = Anchor(one.read_at, one.value)
    return before, after


def _history(of_meter: MeterDays, register: str, at: datetime, zone: str) -> list[DayEnergy]:
    """The whole days before `at` between two indices that were read for their day."""
    by_start = {one.at: one for one in _good(of_meter, register) if one.window_min is None}
    found = []
    for start, end in zip(of_meter.starts, of_meter.starts[1:], strict=False):
        first, last = by_start.get(start), by_start.get(end)
        if end <= at and first is not None and last is not None and last.value >= first.value:
            energy = last.value - first.value
            found.append(DayEnergy(civil_day(start, zone), start, end, energy))
    return found


def _last_period(of_meter: MeterDays, register: str, before: Anchor | None) -> Energy | None:
    """What the register moved by in thirty days up to the anchor; None where that is unknown."""
    if before is None:
        return None
    good = _good(of_meter, register)
    ends = {one.at: one for one in good}
    last = max((one for one in good if one.read_at == before.at), default=None)
    if last is None:
        return None
    first = ends.get(last.at - timedelta(days=_PERIOD_DAYS))
    if first is None or last.value < first.value:
        return None
    return Energy(last.value - first.value, _PERIOD_DAYS)


def _days(from_at: datetime, to_at: datetime, zone: str) -> list[date]:
    """The civil days that begin in between, by their starts to the nearest day."""
    first, last = civil_day(from_at + DAY / 2, zone), civil_day(to_at + DAY / 2, zone)
    return list(days(first, last - DAY))


def _installed(registry: Registry, point: str, meter: str, at: datetime) -> Installation | None:
    for row in registry.installations:
        there = row.installed_at <= at and (row.removed_at is None or at <= row.removed_at)
        if there and (row.point, row.meter) == (point, meter):
            return row
    return None


def _send(
    ledger: Ledger,
    planned: _Planned,
    deciding: Deciding,
    place: DecidedAt,
    report: DecideReport,
) -> _Planned:
    """Have gateways read the meters again; what no gateway can read is refused."""
    sender, now = place.sender, place.now
    if sender is None:
        raise InvalidRequest(
            "there is nothing here that sends commands", hint="decide it where the broker is known"
        )
    meters = {stored.finding.meter for stored, _ in planned}
    with ledger.read() as uow:
        gateways = {meter: uow.daily_reads.last_gateway(meter) for meter in sorted(meters)}
    by_gateway: dict[str, list[str]] = {}
    for meter, gateway in gateways.items():
        if gateway is not None:
            by_gateway.setdefault(gateway, []).append(meter)
    for gateway, serials in by_gateway.items():
        for part in _parts(serials):
            command = WantedCommand(
                gateway, CommandKind.READ.value, part, deciding.actor, RE_READ_LIFETIME_S
            )
            try:
                sent = send_command(ledger, sender, command, now)
            except CollectorError:
                if not report.commands:
                    raise
                # Some were sent: what was not stays open, and is said.
                for meter in part:
                    gateways[meter] = None
            else:
                report.commands.append(sent.command.id)
    sent_for = [pair for pair in planned if gateways[pair[0].finding.meter] is not None]
    report.refused += [
        (stored.id, "no gateway took the command to read this meter")
        for stored, _ in planned
        if gateways[stored.finding.meter] is None
    ]
    return sent_for


def _parts(serials: Sequence[str]) -> Iterable[Sequence[str]]:
    for first in range(0, len(serials), _METERS_MAX):
        yield serials[first : first + _METERS_MAX]


def _write(
    uow: UnitOfWork,
    planned: _Planned,
    deciding: Deciding,
    now: datetime,
    report: DecideReport,
) -> None:
    """Put in indices and decisions, of findings that nobody has decided meanwhile."""
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
            NewDecision(stored.id, deciding.decision, deciding.actor, now, deciding.reason, number)
        )
    uow.findings.decide(decisions)
    if decisions:
        detail = {
            "findings": len(decisions),
            "first": decisions[0].finding,
            "last": decisions[-1].finding,
            "reason": deciding.reason,
            "indices": len(report.indices),
        }
        action = f"vee.{deciding.decision.value}"
        subject = f"{decisions[0].finding}" if len(decisions) == 1 else "several"
        uow.audit.add(AuditEntry(now, deciding.actor, action, subject, detail))


def _still_open(uow: UnitOfWork, ids: Collection[int]) -> set[int]:
    ordered = sorted(ids)
    found: set[int] = set()
    for first in range(0, len(ordered), _METERS_MAX):
        part = ordered[first : first + _METERS_MAX]
        found |= {one.id for one in uow.findings.find(FindingFilter(ids=part), len(part))}
    return found
