"""What a billing run bills with what the ledger holds now, fetched and put together.

It joins registry, reads and what was exported; it must not decide what a line says
(`collector.billing.chain`), nor who may do what with it (`billing_runs.py`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from collector.billing.chain import (
    DEFAULT_STEPS,
    Chain,
    Standing,
    Steps,
    chain_of,
    corrections,
    ordered,
    run_lines,
)
from collector.billing.gates import DEFAULT_LIMITS, Cause, GateLimits, RunException
from collector.billing.run_values import LineKind, RunHead, RunLine
from collector.billing.snapshot import Boundary, Stretch, inner_boundaries, stretches
from collector.billing.values import LineQuality
from collector.civil import civil_day, day_start, format_instant
from collector.errors import Conflict, InvalidRequest
from collector.ledger import UnitOfWork
from collector.ledger.findings import ManualKind
from collector.operations.daily import DAY, gives_way, meter_days
from collector.operations.indices import BILLING_WINDOW
from collector.registry.asking import just_before, points_at_station, points_of_book
from collector.registry.values import Installation, Registry
from collector.vee.limits import LimitsBook
from collector.vee.reads import Origin, Read
from contract.registers import IMPORT_ACTIVE

# How far back exported periods are compared with what is known today.
CORRECTED_BACK = timedelta(days=400)

# Names that are told of many.
_TOLD = 5

_QUALITY = {
    Origin.SLOT: LineQuality.ACTUAL,
    Origin.SPOT: LineQuality.ACTUAL,
    Origin.HAND: LineQuality.ACTUAL,
    Origin.NEAREST: LineQuality.SUBSTITUTED,
    Origin.EDIT: LineQuality.SUBSTITUTED,
    Origin.ESTIMATE: LineQuality.ESTIMATED,
}


@dataclass(frozen=True, slots=True)
class BilledBy:
    """By what is billed: VEE's limits, the utility's zone, billed steps and the gate's limits."""

    book: LimitsBook
    zone: str
    steps: Steps = DEFAULT_STEPS
    gate: GateLimits = DEFAULT_LIMITS


def billed_lines(
    uow: UnitOfWork, head: RunHead, excluded: Collection[str], by: BilledBy
) -> tuple[list[RunLine], Chain]:
    """The run's lines as of now, and the chain that they go on from.

    Raises Conflict where points are billed that far already, InvalidRequest where none is left.
    """
    registry = uow.registry.load(head.station)
    scope = points_of(uow, head)
    chain = chain_now(uow, head)
    starts = chain.starts()
    ahead = sorted(
        {point for (point, _), one in chain.closings.items() if one.at >= head.to_at}
        - set(excluded)
    )
    if ahead:
        raise Conflict(
            f"{len(ahead)} points are billed up to {format_instant(head.to_at)} or later, "
            f"{', '.join(ahead[:_TOLD])} among them",
            hint="open a run for a later period, or exclude them",
            code="already_billed",
        )
    wanted = [
        row
        for row in registry.installations
        if row.point not in excluded and (scope is None or row.point in scope)
    ]
    parts = _parts(registry, wanted, starts, head)
    if not parts:
        raise InvalidRequest(
            "no meter was installed in the period, or all points are excluded",
            hint="check the period, and installations.csv",
            code="empty_registry",
        )
    since = head.to_at - CORRECTED_BACK
    billed_as = uow.billing_runs.billed_as(scope, since)
    changed = _changed(registry, billed_as)
    # An index on the spot may have been wrong where one meter was there all the time.
    corrected = uow.replaced_rows.names_since(("installations", "multipliers"), since)
    changed |= corrected & billed_as.keys()
    chain.exported += [
        one
        for one in uow.billing_runs.exported(changed - set(excluded), since)
        if one.line.kind is not LineKind.CORRECTION
    ]
    periods = _exported_periods(chain)
    earlier = {
        run: stretches(_of(registry, wanted, points), begin, end)
        for run, (begin, end, points) in periods.items()
    }
    standings = _Standings(uow, registry, by)
    ends = [end for part in parts for end in _ends(part, starts)]
    ends += _other_ends(chain, earlier, periods)
    standings.take(ends, [*parts, *(part for of_run in earlier.values() for part in of_run)])
    lines = run_lines(registry, parts, standings.found, chain, by.steps)
    unclear = {line.point for line in lines if line.billed is None} | changed
    again = [part for part in parts if part.installation.point in unclear]
    if again:
        # What stands today for the index that they go on from.
        standings.take([(part.installation, part.from_at) for part in again], [])
        clear = [line for line in lines if line.point not in unclear]
        lines = ordered([*clear, *run_lines(registry, again, standings.found, chain, by.steps)])
    later = corrections(registry, earlier, standings.found, chain, by.steps)
    left_out = {point for point in excluded if scope is None or point in scope}
    return [*lines, *later, *_held(registry, left_out, starts, head)], chain


def _held(
    registry: Registry, points: Collection[str], starts: Mapping[str, datetime], head: RunHead
) -> list[RunLine]:
    """A line for each point that is left out, so that a later run knows from when it is owed."""
    found: dict[str, RunLine] = {}
    for row in sorted(registry.installations, key=lambda row: row.installed_at):
        from_at = starts.get(row.point, max(row.installed_at, head.from_at))
        is_there = row.installed_at < head.to_at and (
            row.removed_at is None or row.removed_at > from_at
        )
        if row.point in points and is_there and from_at < head.to_at and row.point not in found:
            found[row.point] = RunLine(
                point=row.point,
                meter=row.meter,
                register=IMPORT_ACTIVE,
                kind=LineKind.HELD,
                from_at=from_at,
                to_at=head.to_at,
                index_from=None,
                index_to=None,
                read_from_at=None,
                read_to_at=None,
                multiplier=Fraction(1),
                billed=None,
                quality=LineQuality.NONE,
            )
    return [found[point] for point in sorted(found)]


def put_in(uow: UnitOfWork, lines: Sequence[RunLine]) -> list[RunException]:
    """The edits and estimates that lines rest on, by name: a run's trace of what people put in."""
    if not lines:
        return []
    since, until = min(line.from_at for line in lines), max(line.to_at for line in lines)
    standing = uow.manual_indices.standing_ids({line.meter for line in lines}, since, until)
    found = []
    for line in lines:
        # A line says when its ends were read: what is put in stands for its instant exactly.
        ends = {at for at in (line.read_from_at, line.read_to_at) if at is not None}
        for at in sorted(ends):
            number, one = standing.get((line.meter, line.register, at), (0, None))
            if one is not None and line.kind is not LineKind.CORRECTION:
                detail = f"{one.kind.value} {number} by {one.author}: {one.reason}"
                found.append(
                    RunException(
                        line.point, line.register, Cause.PUT_IN, blocks=False, detail=detail
                    )
                )
    return found


def chain_now(uow: UnitOfWork, head: RunHead) -> Chain:
    """What a version of the run rests on: the last closings of its points, and corrections."""
    points = points_of(uow, head)
    chain = chain_of(uow.billing_runs.closings(points))
    chain.begun = uow.billing_runs.unclosed(points)
    chain.exported = uow.billing_runs.corrections(points)
    return chain


def points_of(uow: UnitOfWork, head: RunHead) -> set[str] | None:
    """Who is billed by the run: who is at the station, or in the book, when the period ends.

    None: everybody.
    """
    last = just_before(head.to_at)
    if head.book is not None:
        members = points_of_book(uow.contracts.memberships(), head.book, last)
        return {row.point for row in members}
    if head.station is None:
        return None
    registry = uow.registry.load(head.station)
    return points_at_station(registry.points.values(), registry.transfers, head.station, last)


def _changed(
    registry: Registry, billed_as: Mapping[str, Collection[tuple[str, Fraction]]]
) -> set[str]:
    """Points that were not always billed by one meter and multiplier that are theirs today."""
    rows = Counter(row.point for row in registry.installations)
    meters = {row.point: row.meter for row in registry.installations}
    removed = {row.point for row in registry.installations if row.removed_at is not None}
    ratios: dict[str, list[Fraction]] = {}
    for one in registry.multipliers:
        ratios.setdefault(one.point, []).append(one.ratio)
    return {
        point
        for point, ways in billed_as.items()
        if rows[point] != 1
        or point in removed
        or len(ratios.get(point, ())) > 1
        or set(ways) != {(meters[point], ratios.get(point, [Fraction(1)])[0])}
    }


def _ends(part: Stretch, starts: Mapping[str, datetime]) -> Iterator[tuple[Installation, datetime]]:
    """The instants of a stretch that an index is wanted for, but where its chain goes on."""
    if starts.get(part.installation.point) != part.from_at:
        yield part.installation, part.from_at
    yield part.installation, part.to_at


def _parts(
    registry: Registry,
    wanted: Sequence[Installation],
    starts: Mapping[str, datetime],
    head: RunHead,
) -> list[Stretch]:
    """The stretches of each point from where its chain goes on, point by point."""
    by_start: dict[datetime, list[Installation]] = {}
    for row in wanted:
        by_start.setdefault(starts.get(row.point, head.from_at), []).append(row)
    found: list[Stretch] = []
    for start, rows in by_start.items():
        part = Registry(installations=tuple(rows), multipliers=registry.multipliers)
        found += stretches(part, start, head.to_at)
    return found


def _of(registry: Registry, wanted: Sequence[Installation], points: Collection[str]) -> Registry:
    rows = tuple(row for row in wanted if row.point in points)
    return Registry(installations=rows, multipliers=registry.multipliers)


def _exported_periods(chain: Chain) -> dict[str, tuple[datetime, datetime, set[str]]]:
    """Of each exported run that is looked at again: from when to when, and its points."""
    found: dict[str, tuple[datetime, datetime, set[str]]] = {}
    for one in chain.exported:
        line = one.line
        if line.kind is LineKind.CORRECTION:
            continue
        begin, end, points = found.get(one.run, (line.from_at, line.to_at, set()))
        points.add(line.point)
        found[one.run] = min(begin, line.from_at), max(end, line.to_at), points
    return found


def _other_ends(
    chain: Chain,
    earlier: Mapping[str, Sequence[Stretch]],
    periods: Mapping[str, tuple[datetime, datetime, set[str]]],
) -> Iterator[tuple[Installation, datetime]]:
    """The ends of exported periods at which another meter was there than the one billed by.

    Nothing was exported of it there: its index is the one of that day.
    """
    billed = {
        (one.line.point, one.line.meter, at)
        for one in chain.exported
        for at in (one.line.from_at, one.line.to_at)
        if one.line.kind is not LineKind.CORRECTION
    }
    for run, parts in earlier.items():
        for part in parts:
            row = part.installation
            for at in {part.from_at, part.to_at} & set(periods[run][:2]):
                is_exchange = at in {row.installed_at, row.removed_at}
                if not is_exchange and (row.point, row.meter, at) not in billed:
                    yield row, at


class _Standings:
    """The indices that stand today for the ends of stretches, as they are asked for."""

    def __init__(self, uow: UnitOfWork, registry: Registry, by: BilledBy) -> None:
        self._uow = uow
        self._registry = registry
        self._by = by
        self._changes = {(row.point, row.from_at) for row in registry.multipliers}
        self.found: dict[Boundary, dict[str, Standing]] = {}

    def take(
        self, ends: Iterable[tuple[Installation, datetime]], needed: Iterable[Stretch]
    ) -> None:
        """Fetch what stands for these ends, and for exchanges and changes within `needed`."""
        by_instant: dict[datetime, dict[tuple[str, datetime], Installation]] = {}
        for row, at in ends:
            if (row.point, row.installed_at, at) not in self.found:
                by_instant.setdefault(at, {})[row.point, row.installed_at] = row
        for at, rows in by_instant.items():
            if day_start(civil_day(at, self._by.zone), self._by.zone) == at:
                self._take_daily(at, list(rows.values()))
        far = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
        for row, at in inner_boundaries(needed, *far):
            boundary = (row.point, row.installed_at, at)
            if boundary not in self.found and (
                at in {row.installed_at, row.removed_at} or (row.point, at) in self._changes
            ):
                self._take_nearest(boundary, row)

    def _take_daily(self, at: datetime, rows: Sequence[Installation]) -> None:
        zone = self._by.zone
        period = (civil_day(at, zone) - DAY, civil_day(at, zone) - DAY, zone)
        found = meter_days(
            self._uow, self._registry, rows, period, self._by.book, around_neighbours=False
        )
        for of_meter in found:
            row = of_meter.installation
            place = list(of_meter.starts).index(at)
            of_boundary = self.found.setdefault((row.point, row.installed_at, at), {})
            for register, indices in of_meter.indices.items():
                index = indices[place]
                if index is not None:
                    of_boundary[register] = Standing(
                        index.value, index.read_at, _QUALITY[index.origin]
                    )

    def _take_nearest(self, boundary: Boundary, row: Installation) -> None:
        point, installed_at, at = boundary
        of_boundary = self.found.setdefault(boundary, {})
        then: dict[str, list[Read]] = {}
        for read in self._uow.index_reads.nearest(at, BILLING_WINDOW, meter=row.meter):
            if (read.point, read.installed_at) == (point, installed_at):
                quality = LineQuality.ACTUAL if read.actual else LineQuality.SUBSTITUTED
                of_boundary[read.register] = Standing(read.value, read.at, quality)
                if read.actual:
                    then.setdefault(read.register, []).append(Read(read.at, read.value, at))
        entered = self._uow.manual_indices.standing([row.meter], at, at)
        # What a person read there goes before an estimate, whichever was put in first.
        for one in sorted(entered, key=lambda one: one.kind is not ManualKind.HAND):
            if one.value is not None and not gives_way(one, then.get(one.register, ())):
                if one.kind is ManualKind.HAND:
                    by_hand = Read(at, one.value, at, origin=Origin.HAND)
                    then.setdefault(one.register, []).append(by_hand)
                quality = _QUALITY[Origin(one.kind.value)]
                of_boundary[one.register] = Standing(one.value, at, quality)
