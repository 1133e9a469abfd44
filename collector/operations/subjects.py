"""The facts about each installation that rules are asked about, fetched from the ledger.

It joins registry, reads, contracts, commands, events, what was billed and the reading store; it
must not judge any of them.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction

from collector.billing.chain import DEFAULT_STEPS
from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from collector.civil import day_start
from collector.ledger import UnitOfWork
from collector.operations.daily import DAY, MeterDays, end_indices, meter_days
from collector.readings.port import ReadingStore, StoreUnavailable
from collector.registry.asking import just_before, points_at_station
from collector.registry.values import Installation, Registry, Role
from collector.vee.limits import LimitsBook
from collector.vee.reads import Origin, Read
from collector.vee.values import (
    Conflict,
    Drift,
    Energy,
    Interval,
    LateRead,
    Rating,
    Span,
    Subject,
    Voltage,
)
from contract.messages import OTHER_METER
from contract.registers import IMPORT_ACTIVE

# How long a meter that was removed is still looked at: it may go on counting.
REMOVED_WATCHED = timedelta(days=62)

# How far back exported periods are looked at, for those that ended in an estimate.
BILLED_BACK = timedelta(days=130)

_YEAR = 365

# How long after a day's end the read of its last slot may come.
_LATE = timedelta(hours=1)

# What gateways report of a meter in whose place another one answered.
_TROUBLES = frozenset({"meter_offline", "meter_degraded"})

_VOLTAGES = {"1-0:32.7.0": 1, "1-0:52.7.0": 2, "1-0:72.7.0": 3}

_QUALITY = {
    Origin.SLOT: "A",
    Origin.SPOT: "A",
    Origin.HAND: "A",
    Origin.NEAREST: "S",
    Origin.EDIT: "S",
    Origin.ESTIMATE: "E",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which days of the utility's zone, by which limits; `store`, if any, has voltages."""

    first_day: date
    last_day: date
    zone: str
    book: LimitsBook
    store: ReadingStore | None = None


def subjects(uow: UnitOfWork, run: Asked, station: str) -> Iterator[tuple[Subject, MeterDays]]:
    """The facts about each installation of the points that are at a station as the days end."""
    registry = uow.registry.load(station)
    start, end = day_start(run.first_day, run.zone), day_start(run.last_day + DAY, run.zone)
    here = points_at_station(
        registry.points.values(), registry.transfers, station, just_before(end)
    )
    rows = [
        row
        for row in registry.installations
        if row.point in here
        and row.installed_at <= end
        and (row.removed_at is None or start - REMOVED_WATCHED <= row.removed_at)
    ]
    period = (run.first_day, run.last_day, run.zone)
    found = meter_days(uow, registry, rows, period, run.book)
    refused: dict[str, list[Conflict]] = {}
    meters = {row.meter for row in rows}
    # The read that ends the last day comes some time after it.
    for one in uow.daily_reads.refused(meters, start, end + _LATE):
        refused.setdefault(one.meter, []).append(
            Conflict(one.register, one.at, one.value_kept, one.value_refused)
        )
    ratios = _Ratios(registry)
    references = _references(uow, registry, run, ratios)
    energies = _energies(found, ratios)
    last = {row.point: row for row in rows}  # by point, then by instant: the last one stays
    more = _more(uow, here, start, end)
    for of_meter in found:
        row = of_meter.installation
        meter = registry.meters[row.meter]
        point = registry.points[row.point]
        counted = row == last[row.point]
        then = references.get(row.point, (None, None))
        intervals = _intervals(uow, of_meter, point.role)
        removed = _inactive(registry, row)
        lengths = _lengths(intervals)
        yield (
            Subject(
                point=row.point,
                meter=row.meter,
                starts=of_meter.starts,
                installed_at=row.installed_at,
                removed_at=row.removed_at,
                price_group=of_meter.price_group,
                model=meter.model,
                registers=of_meter.registers,
                indices=of_meter.indices,
                reads=_reads(of_meter, removed),
                resolution_wh=meter.resolution_wh,
                roll_over_wh=meter.roll_over_wh,
                multiplier=ratios.at(row.point, of_meter.starts[-1]),
                rating=of_meter.limits.rating,
                energy=energies.get(row.point) if counted else None,
                last_period=then[0] if counted else None,
                last_year=then[1] if counted else None,
                conflicts=refused.get(row.meter, []),
                inactive=[*removed, *(more.unserved.get(row.point, ()) if counted else ())],
                interval_counts=_counts(intervals, of_meter.starts),
                intervals=_steps(intervals),
                interval_lengths_s=lengths,
                interval_expected_s=_usual(lengths),
                drifts=more.drifts.get(row.meter),
                serial_read=more.strangers.get(row.meter),
                cycles_estimated=_cycles(more.billed.get(row.point), end) if counted else None,
                voltages=_voltages(run.store, of_meter, point.role),
                late=_late_reads(more.billed.get(row.point), of_meter),
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
    uow: UnitOfWork, registry: Registry, run: Asked, ratios: _Ratios
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


@dataclass(slots=True)
class _More:
    """What other tables say of a station's meters and points."""

    drifts: Mapping[str, Sequence[Drift]] = field(default_factory=dict)
    strangers: Mapping[str, str] = field(default_factory=dict)
    unserved: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    billed: dict[str, list[RunLine]] = field(default_factory=dict)


def _more(uow: UnitOfWork, points: Collection[str], start: datetime, end: datetime) -> _More:
    facts = uow.vee_facts
    found = _More(
        drifts=facts.drifts(start, end),
        strangers={
            meter: name
            for meter, detail in facts.told(_TROUBLES, start, end).items()
            if (name := _other_meter(detail)) is not None
        },
        unserved=facts.without_contract(points),
    )
    for one in uow.billing_runs.exported(points, start - BILLED_BACK):
        line = one.line
        if line.kind in {LineKind.CONSUMPTION, LineKind.RETURN} and line.index_to is not None:
            found.billed.setdefault(line.point, []).append(line)
    return found


def _other_meter(detail: str) -> str | None:
    """What a meter said it is, by a gateway's word of it; None where it says no such thing."""
    _, said, rest = detail.partition(OTHER_METER)
    return rest.partition(";")[0].strip() or None if said else None


def _lengths(reads: Sequence[Read]) -> list[int]:
    """From slot to slot, in seconds: what lies between reads themselves is the line's patience."""
    slots = sorted({read.slot for read in reads})
    return [int((two - one).total_seconds()) for one, two in itertools.pairwise(slots)]


def _usual(lengths: Sequence[int]) -> int | None:
    """The length that most intervals have, of two of the same number the shorter."""
    counts = Counter(length for length in lengths if length > 0)
    return min(counts, key=lambda length: (-counts[length], length)) if counts else None


def _ended_estimated(line: RunLine) -> bool:
    # What was estimated stands for its instant exactly; a read comes some time after it.
    return line.quality is LineQuality.ESTIMATED and line.read_to_at == line.to_at


def _cycles(billed: Sequence[RunLine] | None, until: datetime) -> int | None:
    """How many exported periods in a row, up to an instant, ended in an estimate."""
    ends = {
        line.to_at: _ended_estimated(line)
        for line in billed or ()
        if line.register == IMPORT_ACTIVE and line.to_at <= until
    }
    if not ends:
        return None
    newest_first = (ends[at] for at in sorted(ends, reverse=True))
    return sum(1 for _ in itertools.takewhile(bool, newest_first))


def _late_reads(billed: Sequence[RunLine] | None, of_meter: MeterDays) -> list[LateRead] | None:
    """Exported closing indices of the days beside those that stand for them today."""
    places = {at: place for place, at in enumerate(of_meter.starts)}
    lines = [
        line
        for line in billed or ()
        if line.to_at in places and line.meter == of_meter.installation.meter
    ]
    if not lines:
        return None
    found = []
    for line in lines:
        indices = of_meter.indices.get(line.register)
        today = None if indices is None else indices[places[line.to_at]]
        step = DEFAULT_STEPS.of(line.multiplier)
        if today is None or line.index_to is None or today.value // step * step == line.index_to:
            continue
        final = line.quality.value
        if line.quality is LineQuality.ESTIMATED and not _ended_estimated(line):
            final = LineQuality.SUBSTITUTED.value
        consumption = line.index_to - (line.index_from or 0)
        found.append(
            LateRead(
                line.register,
                line.to_at,
                line.index_to,
                final,
                today.value,
                _QUALITY[today.origin],
                consumption,
            )
        )
    return found


def _voltages(store: ReadingStore | None, of_meter: MeterDays, role: Role) -> list[Voltage] | None:
    """The phase voltages of a head meter whose model's rating is known."""
    rating: Rating | None = of_meter.limits.rating
    if store is None or rating is None or role is not Role.HEAD:
        return None
    starts = of_meter.starts
    try:
        reads = list(store.readings(of_meter.installation.meter, starts[0], starts[-1]))
    except StoreUnavailable:
        # The other rules do without; that this one did not apply is in the report.
        return None
    return [
        Voltage(read.at, phase, round(read.values[register] * 1000))
        for read in reads
        for register, phase in _VOLTAGES.items()
        if register in read.values and phase <= rating.phases
    ]
