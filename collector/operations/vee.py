"""Validation over a period, the queue of findings, and what people decide of them.

It fetches facts, asks the rules and keeps what they find; it must not judge a read itself.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction

from collector.civil import civil_day, day_start
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.findings import (
    Decision,
    FindingFilter,
    NewDecision,
    StoredFinding,
    identity,
)
from collector.operations.daily import DAY, MeterDays, end_indices, meter_days
from collector.operations.registry import unknown_station
from collector.registry.values import Installation, Registry, Role
from collector.vee.limits import LimitsBook
from collector.vee.reads import Read
from collector.vee.validate import Verdict, validate
from collector.vee.values import Conflict, Energy, Interval, Span, Subject
from contract.registers import IMPORT_ACTIVE

# A billing period and a half of days: more is run month by month.
DAYS_MAX = 62

# How long a meter that was removed is still looked at: it may go on counting.
REMOVED_WATCHED = timedelta(days=62)

LIST_MAX = 1_000

# Who decides that a finding is gone, or back: nobody did.
RUN = "vee"

_YEAR = 365

# How long after a day's end the read of its last slot may come.
_LATE = timedelta(hours=1)


@dataclass(slots=True)
class VeeReport:
    """What a run found: by rule, how many findings and how many of them are new.

    `applied` counts the meters that a rule could be applied to. `gone` are open findings of the
    period that are not found any more, `reopened` those that are found again.
    """

    first_day: date
    last_day: date
    written: bool
    meters: int = 0
    days_due: int = 0
    days_missing: int = 0
    found: Counter[str] = field(default_factory=Counter)
    new: int = 0
    gone: int = 0
    reopened: int = 0
    applied: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class VeeRun:
    """What is to be run: days of the utility's zone, of one station or of all (None)."""

    first_day: date
    last_day: date
    zone: str
    book: LimitsBook
    station: str | None = None

    @property
    def period(self) -> tuple[date, date, str]:
        """First day, last day, zone."""
        return self.first_day, self.last_day, self.zone


def run_vee(
    ledger: Ledger, run: VeeRun, *, actor: str, now: datetime, dry_run: bool = False
) -> VeeReport:
    """Ask all rules about all meters of the period, station by station, and keep what they find.

    Running again changes nothing unless reads, registry or limits have changed: what is found again
    is the same finding, what is not found any more is closed. Raises InvalidRequest for the period,
    NotFound for the station.
    """
    _check_days(run, now)
    with ledger.read() as uow:
        stations = [row.station for row in uow.registry.stations(run.station)]
    if run.station is not None and not stations:
        raise unknown_station(run.station)
    report = VeeReport(run.first_day, run.last_day, written=not dry_run)
    for station in stations:
        # One transaction a station: others write in between, and memory holds one at a time.
        with ledger.read() as uow:
            verdicts = _judge(uow, run, station, report)
            known = _known(uow, run, verdicts)
        if dry_run:
            _compare(report, verdicts, known, now)
            continue
        with ledger.begin() as uow:
            new = uow.findings.add(
                [one for verdict in verdicts for one in verdict[1].findings], now
            )
            uow.findings.decide(_compare(report, verdicts, known, now))
            report.new += new
    if not dry_run:
        with ledger.begin() as uow:
            detail = {
                "last_day": run.last_day.isoformat(),
                "station": run.station,
                "found": report.found.total(),
                "new": report.new,
                "gone": report.gone,
            }
            entry = AuditEntry(now, actor, "vee.run", run.first_day.isoformat(), detail)
            uow.audit.add(entry)
    return report


def list_findings(
    ledger: Ledger, wanted: FindingFilter, *, limit: int = 100, after_id: int = 0
) -> list[StoredFinding]:
    """Findings in the order in which they were found, at most `limit` (up to 1,000)."""
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(
            f"limit {limit} is not from 1 to {LIST_MAX}", hint=f"ask for {LIST_MAX} at most"
        )
    with ledger.read() as uow:
        return uow.findings.find(wanted, limit, after_id=after_id)


def subjects(uow: UnitOfWork, run: VeeRun, station: str) -> Iterator[tuple[Subject, MeterDays]]:
    """The facts about each installation of a station within the period."""
    registry = uow.registry.load(station)
    start, end = day_start(run.first_day, run.zone), day_start(run.last_day + DAY, run.zone)
    rows = [
        row
        for row in registry.installations
        if row.installed_at <= end
        and (row.removed_at is None or start - REMOVED_WATCHED <= row.removed_at)
    ]
    found = meter_days(uow, registry, rows, run.period, run.book)
    refused: dict[str, list[Conflict]] = {}
    meters = {row.meter for row in rows}
    for one in uow.daily_reads.refused(meters, start, end):
        refused.setdefault(one.meter, []).append(
            Conflict(one.register, one.at, one.value_kept, one.value_refused)
        )
    ratios = _Ratios(registry)
    references = _references(uow, registry, run, ratios)
    energies = _energies(found, ratios)
    last = {row.point: row for row in rows}  # by point, then by instant: the last one stays
    for of_meter in found:
        row = of_meter.installation
        meter = registry.meters[row.meter]
        point = registry.points[row.point]
        counted = row == last[row.point]
        then = references.get(row.point, (None, None))
        intervals = _intervals(uow, of_meter, point.role)
        inactive = _inactive(registry, row)
        yield (
            Subject(
                point=row.point,
                meter=row.meter,
                starts=of_meter.starts,
                installed_at=row.installed_at,
                removed_at=row.removed_at,
                price_group=point.role.value,
                model=meter.model,
                registers=of_meter.registers,
                indices=of_meter.indices,
                reads=_reads(of_meter, inactive),
                resolution_wh=meter.resolution_wh,
                roll_over_wh=meter.roll_over_wh,
                multiplier=ratios.at(row.point, of_meter.starts[-1]),
                rating=of_meter.limits.rating,
                energy=energies.get(row.point) if counted else None,
                last_period=then[0] if counted else None,
                last_year=then[1] if counted else None,
                conflicts=refused.get(row.meter, []),
                inactive=inactive,
                interval_counts=_counts(intervals, of_meter.starts),
                intervals=_steps(intervals),
            ),
            of_meter,
        )


class _Ratios:
    """Multipliers by point and instant."""

    def __init__(self, registry: Registry) -> None:
        self._rows: dict[str, list[tuple[datetime, Fraction]]] = {}
        for row in registry.multipliers:
            self._rows.setdefault(row.point, []).append((row.from_at, row.ratio))

    def at(self, point: str, at: datetime) -> Fraction:
        """The multiplier that holds at an instant; 1 before the first."""
        ratio = Fraction(1)
        for from_at, value in self._rows.get(point, ()):
            if from_at <= at:
                ratio = value
        return ratio


def _check_days(run: VeeRun, now: datetime) -> None:
    if run.last_day < run.first_day:
        raise InvalidRequest(
            f"{run.last_day} is before {run.first_day}", hint="give the first day first"
        )
    if (run.last_day - run.first_day).days >= DAYS_MAX:
        raise InvalidRequest(f"more than {DAYS_MAX} days at once", hint="run it month by month")
    if run.last_day > civil_day(now, run.zone):
        raise InvalidRequest(
            f"{run.last_day} is in the future", hint="give a last day that has begun"
        )


def _judge(
    uow: UnitOfWork, run: VeeRun, station: str, report: VeeReport
) -> list[tuple[Subject, Verdict]]:
    verdicts = []
    for subject, of_meter in subjects(uow, run, station):
        verdict = validate(subject, of_meter.limits)
        verdicts.append((subject, verdict))
        report.meters += 1
        report.applied.update(verdict.applied)
        report.found.update(one.rule for one in verdict.findings)
        of_import = of_meter.indices.get(IMPORT_ACTIVE, ())
        for start, index in zip(of_meter.starts, of_import, strict=True):
            if subject.due(start):
                report.days_due += 1
                report.days_missing += index is None
    return verdicts


def _known(
    uow: UnitOfWork, run: VeeRun, verdicts: Sequence[tuple[Subject, Verdict]]
) -> list[StoredFinding]:
    """What is in the queue of the period for these points."""
    if not verdicts:
        return []
    starts = verdicts[0][0].starts
    return uow.findings.of_points({one.point for one, _ in verdicts}, starts[0], starts[-1])


def _compare(
    report: VeeReport,
    verdicts: Sequence[tuple[Subject, Verdict]],
    known: Iterable[StoredFinding],
    now: datetime,
) -> list[NewDecision]:
    """What the run says of findings that were known: gone, or back."""
    found = {identity(one) for _, verdict in verdicts for one in verdict.findings}
    applied = {(subject.point, subject.meter): verdict.applied for subject, verdict in verdicts}
    decisions = []
    for stored in known:
        of_rules = applied.get((stored.finding.point, stored.finding.meter), frozenset())
        again = identity(stored.finding) in found
        if again and stored.decision is Decision.GONE:
            report.reopened += 1
            decisions.append(_by_run(stored, Decision.REOPENED, "found again", now))
        elif not again and stored.open and stored.finding.rule in of_rules:
            report.gone += 1
            decisions.append(_by_run(stored, Decision.GONE, "not found any more", now))
    return decisions


def _by_run(stored: StoredFinding, decision: Decision, reason: str, now: datetime) -> NewDecision:
    return NewDecision(stored.id, decision, RUN, now, reason)


def _reads(of_meter: MeterDays, inactive: Sequence[Span]) -> Mapping[str, Sequence[Read]]:
    """The reads from the day before the first on; of a meter that was removed until it is back."""
    first = of_meter.starts[0] - DAY
    until = inactive[0].to_at if inactive else None
    found = {}
    for register, reads in of_meter.reads.items():
        outside = of_meter.outside.get(register, ())
        still_out = [read for read in outside if until is None or read.at < until]
        found[register] = [read for read in (*reads, *still_out) if read.at >= first]
    return found


def _inactive(registry: Registry, row: Installation) -> list[Span]:
    """From a removal until the meter is installed again."""
    if row.removed_at is None:
        return []
    later = [
        other.installed_at
        for other in registry.installations
        if other.meter == row.meter and other.installed_at >= row.removed_at
    ]
    return [Span(row.removed_at, min(later, default=None))]


def _energies(found: Iterable[MeterDays], ratios: _Ratios) -> dict[str, Energy]:
    """The import energy of each point over all of the days, where all of it is known.

    Over an exchange the segments are added, each from and to the index on the spot.
    """
    totals: dict[str, Fraction | None] = {}
    covered: dict[str, timedelta] = {}
    whole = days = None
    for of_meter in found:
        starts, row = of_meter.starts, of_meter.installation
        whole, days = starts[-1] - starts[0], len(starts) - 1
        values = [
            (one.at, one.value)
            for one in of_meter.indices.get(IMPORT_ACTIVE, ())
            if one is not None
        ]
        for at, spot in (
            (row.installed_at, row.install_indices),
            (row.removed_at, row.removal_indices),
        ):
            if at is not None and starts[0] <= at <= starts[-1] and IMPORT_ACTIVE in spot:
                values.append((at, spot[IMPORT_ACTIVE]))
        values.sort()
        if len(values) < 2:
            continue
        energy = sum(
            (
                (after - before) * ratios.at(row.point, at)
                for (at, before), (_, after) in itertools.pairwise(values)
            ),
            Fraction(),
        )
        totals[row.point] = (totals.get(row.point) or Fraction()) + energy
        covered[row.point] = covered.get(row.point, timedelta()) + values[-1][0] - values[0][0]
    return {
        point: Energy(max(int(total), 0), days or 0)
        for point, total in totals.items()
        if total is not None and covered[point] == whole
    }


def _references(
    uow: UnitOfWork, registry: Registry, run: VeeRun, ratios: _Ratios
) -> dict[str, tuple[Energy | None, Energy | None]]:
    """Each point's import energy in as many days before, and in the same days a year ago.

    Only where one meter was there for all of them and both ends were read for their slot.
    """
    days = (run.last_day - run.first_day).days + 1
    pairs = [
        (run.first_day - days * DAY, run.first_day),
        (run.first_day - _YEAR * DAY, run.last_day + DAY - _YEAR * DAY),
    ]
    ends = [(day_start(first, run.zone), day_start(end, run.zone)) for first, end in pairs]
    instants = sorted({at for pair in ends for at in pair})
    meters = {row.meter for row in registry.installations}
    values = end_indices(uow, meters, instants)
    found: dict[str, list[Energy | None]] = {}
    for row in registry.installations:
        of_point = found.setdefault(row.point, [None, None])
        for place, (start, end) in enumerate(ends):
            there = row.installed_at <= start and (row.removed_at is None or end <= row.removed_at)
            first = values.get((row.meter, IMPORT_ACTIVE, start))
            last = values.get((row.meter, IMPORT_ACTIVE, end))
            if there and first is not None and last is not None and last >= first:
                energy = (last - first) * ratios.at(row.point, start)
                of_point[place] = Energy(int(energy), days)
    return {point: (one[0], one[1]) for point, one in found.items()}


def _intervals(uow: UnitOfWork, of_meter: MeterDays, role: Role) -> list[Read]:
    """The cadence of a head meter; others are not read at one that is judged."""
    if role is not Role.HEAD:
        return []
    meter = of_meter.installation.meter
    return uow.daily_reads.intervals(meter, of_meter.starts[0], of_meter.starts[-1] + _LATE)


def _counts(reads: Sequence[Read], starts: Sequence[datetime]) -> list[int] | None:
    """How many slots of each day were read."""
    if not reads:
        return None
    slots = sorted({read.slot for read in reads})
    return [
        sum(1 for slot in slots if start <= slot < end) for start, end in itertools.pairwise(starts)
    ]


def _steps(reads: Sequence[Read]) -> list[Interval] | None:
    """What the register moved by from read to read; nothing across a fall."""
    if not reads:
        return None
    return [
        Interval(one.at, two.at, two.value - one.value)
        for one, two in itertools.pairwise(reads)
        if two.value >= one.value
    ]
