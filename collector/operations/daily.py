"""The daily indices of a station's meters over a period, fetched from the ledger.

It joins registry and reads; which read stands for a day is `collector.vee.daily_index`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from collector.civil import day_start, days
from collector.ledger import UnitOfWork
from collector.ledger.findings import ManualIndex, ManualKind
from collector.registry.asking import belongs
from collector.registry.values import Installation, Registry
from collector.vee.daily_index import WIDE_MAX, ZERO_LOOKBACK, daily_indices
from collector.vee.limits import Limits, LimitsBook
from collector.vee.reads import DailyIndex, Origin, Read

DAY = timedelta(days=1)

# What is fetched around a day that lacks its own read: all that its windows reach, and what shows
# whether a zero there is believed.
_BEFORE = WIDE_MAX + ZERO_LOOKBACK
_AFTER = WIDE_MAX

_BY_HAND = frozenset({Origin.SPOT, Origin.HAND})

_KIND_ORIGIN = {
    ManualKind.HAND: Origin.HAND,
    ManualKind.EDIT: Origin.EDIT,
    ManualKind.ESTIMATE: Origin.ESTIMATE,
}


@dataclass(slots=True)
class MeterDays:
    """One installation over successive days: its daily indices and the reads behind them.

    `starts` are the starts of the days, and the end of the last one. `outside` are reads that the
    meter sent while it was at no point.
    """

    installation: Installation
    limits: Limits
    starts: Sequence[datetime]
    price_group: str | None = None
    registers: tuple[str, ...] = ()
    indices: dict[str, list[DailyIndex | None]] = field(default_factory=dict)
    reads: dict[str, list[Read]] = field(default_factory=dict)
    outside: dict[str, list[Read]] = field(default_factory=dict)


def starts_of(first_day: date, last_day: date, zone: str) -> list[datetime]:
    """The starts of the days, and the end of the last one."""
    return [day_start(day, zone) for day in days(first_day, last_day + DAY)]


def meter_days(
    uow: UnitOfWork,
    registry: Registry,
    installations: Sequence[Installation],
    period: tuple[date, date, str],
    book: LimitsBook,
    *,
    around_neighbours: bool = True,
) -> list[MeterDays]:
    """The daily indices of these installations from the first day to the last, in a zone.

    The indices are the same without `around_neighbours`; the reads around a day beside the period
    are then left out where all days of the period have their own.
    """
    first_day, last_day, zone = period
    # A day on either side: what is chosen for a day depends on its neighbours.
    context = starts_of(first_day - DAY, last_day + DAY, zone)
    meters = {row.meter for row in installations}
    fetched = _by_meter(uow.daily_reads.for_slots(meters, context))
    manual = _manual(uow, meters, context)
    points = {row.point for row in installations}
    # Contracts are looked at where they make a difference; the group is that of the last day.
    groups = (
        groups_at(uow, registry, points, context[-3])
        if book.knows_groups
        else _roles(registry, points)
    )
    found = []
    for row in installations:
        meter = registry.meters.get(row.meter)
        limits = book.of(groups.get(row.point), None if meter is None else meter.model)
        of_meter = MeterDays(row, limits, context[1:-1], groups.get(row.point))
        fixed = manual.get(row.meter, [])
        reads = fetched.get(row.meter, {})
        spans = _lacking(row, limits, reads, context)
        if not around_neighbours and not any(
            span[0] + _BEFORE <= start <= span[1] - _AFTER
            for span in spans
            for start in context[1:-1]
        ):
            spans = []
        if spans:
            reads = _merged(reads, _by_meter(uow.daily_reads.around(row.meter, spans)), row.meter)
        _choose(of_meter, reads, fixed, context)
        found.append(of_meter)
    return found


def groups_at(
    uow: UnitOfWork, registry: Registry, points: Collection[str], at: datetime
) -> dict[str, str]:
    """The price group of points at an instant, by the contract in force; else the point's role."""
    found = _roles(registry, points)
    for name, spans in uow.vee_facts.price_groups(points).items():
        for span in spans:
            if span.from_at <= at and (span.to_at is None or at < span.to_at):
                found[name] = span.price_group
    return found


def _roles(registry: Registry, points: Collection[str]) -> dict[str, str]:
    return {name: registry.points[name].role.value for name in points if name in registry.points}


def end_indices(
    uow: UnitOfWork, meters: Iterable[str], starts: Sequence[datetime]
) -> dict[tuple[str, str, datetime], int]:
    """What the scans due at `starts` read: by meter, register and instant. For comparisons only."""
    found: dict[tuple[str, str, datetime], int] = {}
    for meter, register, read in uow.daily_reads.for_slots(set(meters), starts):
        if not read.unsure:
            found.setdefault((meter, register, read.slot), read.value)
    return found


def _choose(
    of_meter: MeterDays,
    reads: Mapping[str, Sequence[Read]],
    manual: Sequence[ManualIndex],
    context: Sequence[datetime],
) -> None:
    """Fill in what is chosen of the reads, with what people have put in."""
    row = of_meter.installation
    written = [
        (indices, at)
        for indices, at in (
            (row.install_indices, row.installed_at),
            (row.removal_indices, row.removed_at),
        )
        if at is not None
    ]
    seen = {*reads, *(one.register for one in manual if belongs(row, one.at))}
    for indices, at in written:
        if context[0] <= at <= context[-1]:
            seen |= indices.keys()
    of_meter.registers = tuple(sorted({*of_meter.limits.registers, *seen}))
    for register in of_meter.registers:
        inside, outside = _split(row, reads.get(register, ()))
        for indices, at in written:
            if register in indices:
                inside = [one for one in inside if one.at != at]
                inside.append(Read(at, indices[register], at, origin=Origin.SPOT))
        fixed: dict[datetime, DailyIndex] = {}
        # What a person read at the very instant is a read that an estimate may give way to.
        for one in sorted(manual, key=lambda one: one.kind is not ManualKind.HAND):
            if one.register != register or one.value is None or not belongs(row, one.at):
                continue
            if one.kind is ManualKind.HAND:
                inside = [read for read in inside if read.at != one.at]
                inside.append(Read(one.at, one.value, one.at, origin=Origin.HAND))
            elif not gives_way(one, inside):
                fixed[one.at] = DailyIndex(one.at, one.value, one.at, _KIND_ORIGIN[one.kind])
        of_meter.reads[register] = sorted(inside)
        of_meter.outside[register] = sorted(outside)
        of_meter.indices[register] = daily_indices(
            inside, context, of_meter.limits.windows_min, fixed
        )


def gives_way(one: ManualIndex, reads: Iterable[Read]) -> bool:
    """Whether an index was estimated because none had come, and the read of then is here by now.

    That is the read due at that instant, or what a person read or wrote down then: of a person a
    zero is believed too. An estimate stands for what nobody read; where it was put in place of a
    read that was not believed (`original_value`), and where a person edited, what people decided
    stands.
    """
    return (
        one.kind is ManualKind.ESTIMATE
        and one.original_value is None
        and any(
            read.slot == one.at and not read.unsure and (read.value > 0 or read.origin in _BY_HAND)
            for read in reads
        )
    )


def _lacking(
    row: Installation,
    limits: Limits,
    reads: Mapping[str, Sequence[Read]],
    context: Sequence[datetime],
) -> list[tuple[datetime, datetime]]:
    """Around which days more reads must be looked at; spans that touch are one."""
    spans: list[tuple[datetime, datetime]] = []
    registers = {*limits.registers, *reads}
    sure = {
        register: {one.slot: one.value for one in reads.get(register, ()) if not one.unsure}
        for register in registers
    }
    counted = {register: any(values.values()) for register, values in sure.items()}
    for start in context:
        if not belongs(row, start):
            continue
        # A zero of a register that counts may be a fault: then another read stands for the day.
        enough = all(
            start in sure[register] and (sure[register][start] > 0 or not counted[register])
            for register in registers
        )
        if enough:
            continue
        span = (start - _BEFORE, start + _AFTER)
        if spans and span[0] <= spans[-1][1]:
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)
    return spans


def _split(row: Installation, reads: Iterable[Read]) -> tuple[list[Read], list[Read]]:
    """Reads that belong to the installation by their slot, and those after its removal."""
    inside, outside = [], []
    for read in reads:
        if belongs(row, read.slot):
            inside.append(read)
        elif row.removed_at is not None and read.slot > row.removed_at:
            outside.append(read)
    return inside, outside


def _by_meter(rows: Iterable[tuple[str, str, Read]]) -> dict[str, dict[str, list[Read]]]:
    found: dict[str, dict[str, list[Read]]] = {}
    for meter, register, read in rows:
        found.setdefault(meter, {}).setdefault(register, []).append(read)
    return found


def _merged(
    some: Mapping[str, Sequence[Read]],
    others: Mapping[str, Mapping[str, Sequence[Read]]],
    meter: str,
) -> dict[str, list[Read]]:
    """Both together, each read once."""
    more = others.get(meter, {})
    return {
        register: list({read.at: read for read in _both(some, more, register)}.values())
        for register in {*some, *more}
    }


def _both(
    some: Mapping[str, Sequence[Read]], more: Mapping[str, Sequence[Read]], register: str
) -> Iterator[Read]:
    yield from some.get(register, ())
    yield from more.get(register, ())


def _manual(
    uow: UnitOfWork, meters: Iterable[str], context: Sequence[datetime]
) -> dict[str, list[ManualIndex]]:
    found: dict[str, list[ManualIndex]] = {}
    for one in uow.manual_indices.standing(set(meters), context[0] - DAY, context[-1] + DAY):
        found.setdefault(one.meter, []).append(one)
    return found
