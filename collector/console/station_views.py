"""What the page of one station shows: figures, day, balance by day, points.

Gathered from the operations that the API uses too; it must not know HTTP, templates or languages.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from collector.balance.station import Balance
from collector.civil import day_bounds
from collector.console.dayplot import (
    LOOK_AROUND,
    REGISTERS,
    STEP_DEFAULT,
    PlotMeter,
    plot_day,
    step_of,
)
from collector.console.views import GatewayState, gateway_states, installed
from collector.operations import balances, collection, fleet, registry
from collector.registry.values import Role
from collector.web.context import Context

BALANCE_DAYS = 31
COLLECTION_DAYS = 7

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Figures:
    """One station's figures: today's index, and the last days' reads by what became of them."""

    due: int
    missing: int
    expected: int
    had: int
    rate: Decimal | None
    reasons: Sequence[tuple[str, int]]
    gateway_count: int
    gateways_online: int
    silent_s: float | None


@dataclass(frozen=True, slots=True)
class PointRow:
    """One point with its last index; `has_index` says whether today's is there."""

    point: str
    role: str
    meter: str | None
    multiplier: str
    index_wh: int | None
    read_at: datetime | None
    age_s: float | None
    has_index: bool


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day of the balance; a loss is told only of a day that every point was read for."""

    day: date
    head_wh: int | None
    customers_wh: int
    loss_wh: int | None
    loss_percent: str | None
    lacking: int

    @property
    def is_known(self) -> bool:
        """Whether anything was read for this day."""
        return self.head_wh is not None or self.customers_wh != 0


@dataclass(frozen=True, slots=True)
class DayData:
    """The plot of one station's day, with the day's own bounds."""

    from_at: datetime
    to_at: datetime
    step_s: int
    starts_at: list[datetime]
    power_w: list[float | None]
    received_wh: list[int | None]
    sold_wh: list[int | None]
    complete: list[bool]
    measured: list[bool]
    points: int
    silent_points: list[str]


def figures(context: Context, station: str) -> Figures:
    """A station's figures. Raises NotFound."""
    now = context.now()
    lacking = collection.meters_without_index(
        context.ledger, day=context.today(), zone=context.zone, station=station
    )
    expected = had = 0
    reasons: Counter[str] = Counter()
    state = gateway_states(fleet.gateways(context.ledger, now)).get(station, GatewayState())
    if state.gateway_count:
        counts = collection.accounting(
            context.ledger,
            gateway_or_station=station,
            from_at=now - timedelta(days=COLLECTION_DAYS),
            to_at=now,
        ).counts
        expected, had = counts.due, counts.had
        reasons = Counter(counts.missing) + Counter(counts.gaps)
    return Figures(
        due=installed(context, station),
        missing=len(lacking),
        expected=expected,
        had=had,
        rate=Decimal(100 * had) / expected if expected else None,
        reasons=reasons.most_common(3),
        gateway_count=state.gateway_count,
        gateways_online=state.gateways_online,
        silent_s=state.silent_s,
    )


def point_rows(context: Context, station: str) -> list[PointRow]:
    """A station's points, those whose index is oldest or absent first. Raises NotFound."""
    now = context.now()
    last = {
        row.point: row for row in collection.last_indices(context.ledger, station=station, at=now)
    }
    lacking = {
        row.point
        for row in collection.meters_without_index(
            context.ledger, day=context.today(), zone=context.zone, station=station
        )
    }
    rows = []
    for view in registry.points(context.ledger, now, station):
        point = view.point
        index = last.get(point.point)
        read_at = index.read_at if index else None
        rows.append(
            PointRow(
                point=point.point,
                role=point.role.value,
                meter=view.installation.meter if view.installation else None,
                multiplier=str(view.multiplier.ratio) if view.multiplier else "1",
                index_wh=index.value_wh if index else None,
                read_at=read_at,
                age_s=(now - read_at).total_seconds() if read_at else None,
                has_index=point.point not in lacking,
            )
        )
    return sorted(rows, key=_point_order)


def balance_days(context: Context, station: str) -> list[DayRow]:
    """The last days that are over, newest first; none before the first that can be told."""
    today = context.today()
    found = balances.daily_balances(
        context.ledger,
        station=station,
        first_day=today - timedelta(days=BALANCE_DAYS),
        last_day=today - timedelta(days=1),
        zone=context.zone,
    )
    rows = [_day_row(row.day, row.balance) for row in found]
    begun = next((place for place, row in enumerate(rows) if row.is_known), len(rows))
    return rows[begun:][::-1]


def day_data(context: Context, station: str, day: date) -> DayData:
    """The plot of one day of a station. Raises NotFound, StoreUnavailable."""
    registry.station(context.ledger, station)
    from_at, to_at = day_bounds(day, context.zone)
    meters = plot_meters(context, station, from_at, to_at)
    heads = [meter for meter in meters if meter.is_head]
    step = STEP_DEFAULT
    if heads:
        head_reads = context.store.readings(heads[-1].meter, from_at, to_at)
        step = step_of([read.at for read in head_reads])
    reads = context.store.station_reads(
        station, from_at - LOOK_AROUND, to_at + LOOK_AROUND, REGISTERS
    )
    plot = plot_day(reads, meters, from_at, to_at, step)
    return DayData(
        from_at=from_at,
        to_at=to_at,
        step_s=plot.step_s,
        starts_at=plot.starts_at,
        power_w=plot.power_w,
        received_wh=plot.received_wh,
        sold_wh=plot.sold_wh,
        complete=plot.complete,
        measured=plot.measured,
        points=plot.points,
        silent_points=plot.silent_points,
    )


def _point_order(row: PointRow) -> tuple[bool, bool, float, list[tuple[int, str]]]:
    """What lacks today's index first, then the head, then the oldest index; 9 before 10."""
    age_min = float("inf") if row.age_s is None else row.age_s // 60
    parts = [
        (int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(row.point)
    ]
    return (row.has_index, row.role != Role.HEAD.value, -age_min, parts)


def _day_row(day: date, balance: Balance) -> DayRow:
    return DayRow(
        day=day,
        head_wh=balance.head_wh,
        customers_wh=balance.customers_wh,
        loss_wh=balance.loss_wh if balance.complete else None,
        loss_percent=balance.loss_percent if balance.complete else None,
        lacking=len(balance.lacking),
    )


def plot_meters(
    context: Context, station: str, from_at: datetime, to_at: datetime
) -> list[PlotMeter]:
    """The meters that were at the station's points at any time of the range, by installation."""
    points = {view.point.point: view for view in registry.points(context.ledger, from_at, station)}
    found = []
    for view in registry.meters(context.ledger, station):
        for place in view.installations:
            if place.installed_at >= to_at or (place.removed_at and place.removed_at <= from_at):
                continue
            point = points[place.point]
            ratio = point.multiplier.ratio if point.multiplier else 1
            found.append(
                PlotMeter(
                    point=place.point,
                    meter=place.meter,
                    is_head=point.point.role is Role.HEAD,
                    numerator=ratio.numerator,
                    denominator=ratio.denominator,
                    from_at=place.installed_at,
                    to_at=place.removed_at,
                )
            )
    return sorted(found, key=lambda meter: meter.from_at)
