"""What a billing run bills with what the ledger holds now, fetched and put together.

It joins registry, reads and what was exported; it must not decide what a line says
(`collector.billing.chain`), nor who may do what with it (`billing_runs.py`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collector.billing.chain import (
    DEFAULT_STEPS,
    Boundary,
    Chain,
    Standing,
    Steps,
    chain_of,
    corrections,
    run_lines,
)
from collector.billing.gates import DEFAULT_LIMITS, GateLimits
from collector.billing.run_values import LineKind, RunHead, RunLine
from collector.billing.snapshot import Stretch, inner_boundaries, stretches
from collector.billing.values import LineQuality
from collector.civil import civil_day, day_start, format_instant
from collector.errors import Conflict, InvalidRequest
from collector.ledger import UnitOfWork
from collector.operations.daily import DAY, meter_days
from collector.operations.indices import BILLING_WINDOW
from collector.registry.values import Installation, Registry
from collector.vee.limits import LimitsBook
from collector.vee.reads import Origin

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
    wanted = [row for row in registry.installations if row.point not in excluded]
    parts = _parts(registry, wanted, starts, head)
    if not parts:
        raise InvalidRequest(
            "no meter was installed in the period, or all points are excluded",
            hint="check the period, and installations.csv",
            code="empty_registry",
        )
    periods = _exported_periods(chain, excluded)
    earlier = {
        run: stretches(_of(registry, wanted, points), begin, end)
        for run, (begin, end, points) in periods.items()
    }
    needed = [*parts, *(part for of_run in earlier.values() for part in of_run)]
    standings = _standings(uow, registry, needed, parts, by)
    lines = run_lines(registry, parts, standings, chain, by.steps)
    return [*lines, *corrections(registry, earlier, standings, chain, by.steps)], chain


def chain_now(uow: UnitOfWork, head: RunHead) -> Chain:
    """What has been exported by now of the run's points."""
    points = None
    if head.station is not None:
        points = {row.point for row in uow.registry.points(head.station)}
    chain = chain_of(uow.billing_runs.closings(points))
    chain.exported = uow.billing_runs.exported(points, head.to_at - CORRECTED_BACK)
    return chain


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


def _exported_periods(
    chain: Chain, excluded: Collection[str]
) -> dict[str, tuple[datetime, datetime, set[str]]]:
    """Of each exported run that is looked at again: from when to when, and its points."""
    found: dict[str, tuple[datetime, datetime, set[str]]] = {}
    for one in chain.exported:
        line = one.line
        if line.kind is LineKind.CORRECTION or line.point in excluded:
            continue
        begin, end, points = found.get(one.run, (line.from_at, line.to_at, set()))
        points.add(line.point)
        found[one.run] = min(begin, line.from_at), max(end, line.to_at), points
    return found


def _standings(
    uow: UnitOfWork,
    registry: Registry,
    needed: Iterable[Stretch],
    parts: Sequence[Stretch],
    by: BilledBy,
) -> dict[Boundary, dict[str, Standing]]:
    """The index that stands today for each end of a stretch."""
    found: dict[Boundary, dict[str, Standing]] = {}
    ends: dict[datetime, dict[tuple[str, datetime], Installation]] = {}
    for part in parts:
        row = part.installation
        for at in (part.from_at, part.to_at):
            if at != row.installed_at and at != row.removed_at:
                ends.setdefault(at, {})[row.point, row.installed_at] = row
    for at, rows in ends.items():
        day = civil_day(at, by.zone)
        if day_start(day, by.zone) == at:
            _take_daily(uow, registry, found, (at, list(rows.values())), by)
    inner: dict[tuple[str, datetime, datetime], Installation] = {}
    far = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    for row, at in inner_boundaries(needed, *far):
        key = (row.point, row.installed_at, at)
        if key not in found and (
            at in {row.installed_at, row.removed_at} or _is_multiplier_change(registry, row, at)
        ):
            inner[key] = row
    for (point, installed_at, at), row in inner.items():
        _take_nearest(uow, found, (point, installed_at, at), row)
    return found


def _is_multiplier_change(registry: Registry, row: Installation, at: datetime) -> bool:
    return any(one.point == row.point and one.from_at == at for one in registry.multipliers)


def _take_daily(
    uow: UnitOfWork,
    registry: Registry,
    found: dict[Boundary, dict[str, Standing]],
    wanted: tuple[datetime, list[Installation]],
    by: BilledBy,
) -> None:
    at, rows = wanted
    day = civil_day(at, by.zone)
    for of_meter in meter_days(uow, registry, rows, (day - DAY, day - DAY, by.zone), by.book):
        row = of_meter.installation
        place = list(of_meter.starts).index(at)
        of_boundary = found.setdefault((row.point, row.installed_at, at), {})
        for register, indices in of_meter.indices.items():
            index = indices[place]
            if index is not None:
                of_boundary[register] = Standing(index.value, index.read_at, _QUALITY[index.origin])


def _take_nearest(
    uow: UnitOfWork,
    found: dict[Boundary, dict[str, Standing]],
    boundary: Boundary,
    row: Installation,
) -> None:
    point, installed_at, at = boundary
    of_boundary = found.setdefault(boundary, {})
    for read in uow.index_reads.nearest(at, BILLING_WINDOW, meter=row.meter):
        if (read.point, read.installed_at) == (point, installed_at):
            quality = LineQuality.ACTUAL if read.actual else LineQuality.SUBSTITUTED
            of_boundary[read.register] = Standing(read.value, read.at, quality)
    for one in uow.manual_indices.standing([row.meter], at, at):
        if one.value is not None:
            quality = _QUALITY[Origin(one.kind.value)]
            of_boundary[one.register] = Standing(one.value, at, quality)
