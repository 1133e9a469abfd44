"""How a district is made up: which stations, which customers, which misfortunes, from a seed.

Pure but for the networks' files, whose nodes and loads it takes. Numbers of events are shares of
the points, at least a few, so that a small district has each of them too.
"""

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, replace

from simulator.district.plan import (
    QUARTERS_PER_DAY,
    Column,
    District,
    Down,
    Held,
    Move,
    Place,
    PlannedPoint,
    PlannedStation,
    Rated,
    Silence,
    Stay,
    Theft,
)
from simulator.errors import SimulatorError
from simulator.grid import Grid, Load, load_grid
from simulator.station import HOUSEHOLD, role_of

STATIONS_MAX = 400
WHOLESALE_COMMUNES = 5
RETAIL_COMMUNES = 12
STATIONS_PER_WHOLESALE = 20

# What the lines of a rural overhead network lose, per cent of what comes in.
LOSS_PERCENT_MIN, LOSS_PERCENT_MAX = 4.0, 6.5

# Current transformers of heads: 400 A to 5 A.
HEAD_MULTIPLIER = 80
BUSINESS_MULTIPLIER = 20
BUSINESS_MULTIPLIER_NEXT = 30
BUSINESS_MULTIPLIER_KW = 9.0

HOOK_KW = 5.0
BYPASS_COUNTED_PERCENT = 10

_ROLL_OVER_DIGITS = 5
_DIGITS = 6
_WH_PER_KWH = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A district asked for: how many stations, whole days, and the days that billing falls on.

    Meters are read every `slot_quarters`; whatever happens, happens at one of these instants.
    """

    stations: int
    days: int
    billing_days: tuple[int, ...]
    slot_quarters: int = 2
    seed: int = 1

    def slot(self, day: int, quarter: int = 0) -> int:
        """The slot at or before a quarter hour of a day, as a quarter hour."""
        at = day * QUARTERS_PER_DAY + quarter
        return at - at % self.slot_quarters


class _Making:
    """A district on its way."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.grids = {name: load_grid(name) for name in ("LV1.101", "LV2.101", "LV3.101")}
        self.points: dict[str, PlannedPoint] = {}
        self.columns: dict[str, list[Column]] = defaultdict(list)
        self.stays: list[Stay] = []
        self.customers = 0
        self.chance = random.Random(f"district/{wanted.seed}")  # noqa: S311 - repeatable on purpose

    def next_customer(self) -> str:
        self.customers += 1
        return f"PA25SL{self.customers:07d}"

    def sample(self, names: list[str], per_mille: int, least: int) -> list[str]:
        """Points drawn for an event, in an order of their own."""
        count = min(len(names), max(least, len(names) * per_mille // 1000))
        return self.chance.sample(names, count)


def plan_district(wanted: Wanted) -> District:
    """The district of a seed. Raises SimulatorError for what cannot be."""
    if not 2 <= wanted.stations <= STATIONS_MAX:
        raise SimulatorError(f"{wanted.stations} stations: from 2 to {STATIONS_MAX} can be made")
    making = _Making(wanted)
    stations = [_station(making, number) for number in range(wanted.stations)]
    retail = [one for one in stations if not one.is_wholesale]
    names = [name for name, point in making.points.items() if point.place is Place.HOUSEHOLD]
    solar = _put_solar(making, names)
    moves = _move(making, retail, names)
    thefts = _steal(making, retail, names)
    _recable(making)
    _add_sub_meters(making)
    _change_customers(making, names)
    _exchange(making)
    silences, downs, helds = _misfortunes(making, retail)
    return District(
        seed=wanted.seed,
        quarters=wanted.days * QUARTERS_PER_DAY,
        boundaries=tuple(day * QUARTERS_PER_DAY for day in wanted.billing_days),
        stations=tuple(
            replace(one, columns=tuple(making.columns[one.station])) for one in stations
        ),
        points=making.points,
        stays=tuple(making.stays),
        moves=moves,
        silences=silences,
        helds=helds,
        downs=downs,
        solar=solar,
        thefts=thefts,
    )


def _station(making: _Making, number: int) -> PlannedStation:
    wholesale = min(WHOLESALE_COMMUNES, max(1, making.wanted.stations // STATIONS_PER_WHOLESALE))
    is_wholesale = number < wholesale
    name = f"SL{number + 1:03d}"
    if is_wholesale:
        commune, grid_name = f"HTX{number + 1:02d}", "LV1.101"
    else:
        commune = f"X{(number - wholesale) % RETAIL_COMMUNES + 1:02d}"
        grid_name = "LV3.101" if (number - wholesale) % 3 == 2 else "LV2.101"
    head = PlannedPoint(f"{name}/head", name, Place.HEAD, phases=3, multiplier=HEAD_MULTIPLIER)
    _place(making, head)
    grid = making.grids[grid_name]
    if is_wholesale:
        _add_master(making, name, grid)
    else:
        _add_customers(making, name, grid)
    return PlannedStation(
        station=name,
        commune=commune,
        grid=grid_name,
        loss_percent=making.chance.uniform(LOSS_PERCENT_MIN, LOSS_PERCENT_MAX),
        columns=(),
        head=head,
        is_wholesale=is_wholesale,
    )


def _place(making: _Making, point: PlannedPoint) -> None:
    """Put the point and its first meter there."""
    number = len(making.points) + 1
    making.points[point.point] = replace(point, position=number)
    resolution_wh = 10 if point.phases == 1 or point.place is Place.HEAD else 1
    making.stays.append(
        Stay(
            serial=f"26{number:07d}",
            point=point.point,
            model="abb-b23" if point.phases == 3 else "eastron-sdm120",
            resolution_wh=resolution_wh,
            digits=_DIGITS,
            roll_over_wh=10**_DIGITS * _WH_PER_KWH,
            initial_wh=making.chance.randrange(40_000) * _WH_PER_KWH
            + making.chance.randrange(100) * 10,
        )
    )


def _add_master(making: _Making, station: str, grid: Grid) -> None:
    """A cooperative buys at the first pole what its commune takes behind it."""
    node = min(_neighbours(grid))
    rated = tuple(Rated(load.profile, load.p_kw, load.q_kvar) for load in grid.loads)
    point = PlannedPoint(
        f"{station}/master",
        station,
        Place.WHOLESALE_MASTER,
        phases=3,
        multiplier=BUSINESS_MULTIPLIER,
        customer=making.next_customer(),
        households=60,
        price_groups=(("rural_wholesale_household", 8500), ("rural_wholesale_other", 1500)),
    )
    _place(making, point)
    making.columns[station].append(Column(point.point, node, rated))


def _neighbours(grid: Grid) -> list[int]:
    first = grid.transformer.lv_node
    return [
        line.node_to if line.node_from == first else line.node_from
        for line in grid.lines
        if first in (line.node_from, line.node_to)
    ]


def _add_customers(making: _Making, station: str, grid: Grid) -> None:
    households = [load for load in grid.loads if role_of(load.profile) == HOUSEHOLD]
    profiles = [load.profile for load in households]
    for number, load in enumerate(grid.loads, start=1):
        is_household = role_of(load.profile) == HOUSEHOLD
        profile = making.chance.choice(profiles) if is_household else load.profile
        scale = making.chance.lognormvariate(0, 0.35)
        point = _customer(making, station, f"{station}/{number:03d}", load)
        _place(making, point)
        rated = Rated(profile, load.p_kw * scale, load.q_kvar * scale)
        making.columns[station].append(Column(point.point, load.node, (rated,)))


def _customer(making: _Making, station: str, name: str, load: Load) -> PlannedPoint:
    customer = making.next_customer()
    if role_of(load.profile) != HOUSEHOLD:
        large = load.p_kw >= BUSINESS_MULTIPLIER_KW
        return PlannedPoint(
            name,
            station,
            Place.BUSINESS,
            phases=3,
            multiplier=BUSINESS_MULTIPLIER if large else 1,
            customer=customer,
            price_groups=(("business" if load.profile.startswith("G") else "production", 10_000),),
            has_rates=True,
        )
    mixed = making.chance.random() < 0.02
    return PlannedPoint(
        name,
        station,
        Place.HOUSEHOLD,
        phases=1,
        customer=customer,
        households=making.chance.choices((1, 2, 3), (94, 4, 2))[0],
        price_groups=(
            (("household", 7000), ("business", 3000)) if mixed else (("household", 10_000),)
        ),
    )


def _change_column(making: _Making, point: str, **changes: object) -> Column:
    """Replace the point's column by one with these fields changed; the new one."""
    columns = making.columns[making.points[point].station]
    for place, column in enumerate(columns):
        if column.point == point:
            columns[place] = replace(column, **changes)  # type: ignore[arg-type]
            return columns[place]
    raise AssertionError(point)


def _put_solar(making: _Making, names: list[str]) -> frozenset[str]:
    chosen = making.sample(names, 10, 3)
    for point in chosen:
        _change_column(making, point, solar_kw=making.chance.uniform(3, 6))
    return frozenset(chosen)


def _move(making: _Making, retail: list[PlannedStation], names: list[str]) -> tuple[Move, ...]:
    """Points go to the next station, at 00:00 in the middle of the first or the last period."""
    following = {one.station: after for one, after in itertools.pairwise(retail)}
    able = [
        name
        for name in names
        if making.points[name].station in following and not _has_solar(making, name)
    ]
    days = making.wanted.billing_days
    moves = []
    for number, name in enumerate(making.sample(able, 3, 2)):
        first = number % (len(days) - 1)
        at = (days[first] + days[first + 1]) // 2 * QUARTERS_PER_DAY
        target = following[making.points[name].station]
        column = _change_column(making, name, to_quarter=at)
        nodes = [load.node for load in making.grids[target.grid].loads]
        making.columns[target.station].append(
            replace(column, node=making.chance.choice(nodes), from_quarter=at, to_quarter=None)
        )
        moves.append(Move(name, at, target.station))
    return tuple(moves)


def _has_solar(making: _Making, point: str) -> bool:
    columns = making.columns[making.points[point].station]
    return any(column.point == point and column.solar_kw for column in columns)


def _steal(making: _Making, retail: list[PlannedStation], names: list[str]) -> dict[str, str]:
    """One station has a hook on its line all the time, others a meter that is bypassed."""
    stations = making.chance.sample(retail, max(1, min(3, len(retail) // 3)))
    first, *others = stations
    node = making.chance.choice(making.grids[first.grid].loads).node
    making.columns[first.station].append(Column(None, node, (), steady_kw=HOOK_KW))
    thefts = {first.station: f"a hook on the line, {HOOK_KW:.0f} kW at all hours"}
    days = making.wanted.billing_days
    at = (days[-2] + 3) * QUARTERS_PER_DAY
    moved = {column.point for one in making.columns.values() for column in one if column.to_quarter}
    for station in others:
        able = [
            column
            for column in making.columns[station.station]
            if column.point in set(names) - moved and not column.solar_kw
        ]
        thief = max(able, key=lambda column: sum(one.p_kw for one in column.rated))
        assert thief.point is not None
        _change_column(making, thief.point, theft=Theft(at, BYPASS_COUNTED_PERCENT))
        thefts[station.station] = (
            f"{thief.point} counts {BYPASS_COUNTED_PERCENT} % of what it takes"
        )
    return thefts


def _recable(making: _Making) -> None:
    """Some businesses have larger current transformers from a day in the last period on."""
    able = [
        name
        for name, point in making.points.items()
        if point.place is Place.BUSINESS and point.multiplier > 1
    ]
    at = (making.wanted.billing_days[-2] + 8) * QUARTERS_PER_DAY
    for name in making.sample(able, 50, 1):
        making.points[name] = replace(
            making.points[name], next_multiplier=BUSINESS_MULTIPLIER_NEXT, recabled_quarter=at
        )


def _add_sub_meters(making: _Making) -> None:
    """Shops behind a household's meter, each with a fifth of what that one counts."""
    able = [
        name
        for name, point in making.points.items()
        if point.place is Place.HOUSEHOLD
        and point.households == 1
        and point.price_groups == (("household", 10_000),)
        and not any(
            column.point == name and (column.solar_kw or column.to_quarter or column.theft)
            for column in making.columns[point.station]
        )
    ]
    for name in making.sample(able, 1, 2):
        parent = making.points[name]
        _place(
            making,
            PlannedPoint(
                f"{name}/1",
                parent.station,
                Place.SUB_METER,
                phases=1,
                parent=name,
                parent_percent=20,
                customer=making.next_customer(),
                price_groups=(("business", 10_000),),
            ),
        )


def _change_customers(making: _Making, names: list[str]) -> None:
    """Some move out in the middle of the first period, and others in on the same day."""
    days = making.wanted.billing_days
    at = (days[0] + (days[1] - days[0]) // 3) * QUARTERS_PER_DAY
    parents = {point.parent for point in making.points.values()}
    able = [name for name in names if name not in parents]
    for name in making.sample(able, 3, 2):
        making.points[name] = replace(
            making.points[name], next_customer=making.next_customer(), moved_in_quarter=at
        )


def _exchange(making: _Making) -> None:
    """Meters that were worn out are exchanged during the day; some others roll over."""
    days = making.wanted.billing_days
    retail = [
        name
        for name, point in making.points.items()
        if point.place is Place.HOUSEHOLD
        and not _has_solar(making, name)
        and not any(
            column.point == name and column.to_quarter for column in making.columns[point.station]
        )
    ]
    drawn = making.sample(retail, 15, 5)
    exchanged, rolling = drawn[: len(drawn) * 2 // 3], drawn[len(drawn) * 2 // 3 :]
    places = {stay.point: place for place, stay in enumerate(making.stays)}
    for number, name in enumerate(exchanged):
        first = number % (len(days) - 1)
        length = days[first + 1] - days[first]
        day = days[first] + 2 + number % max(1, length - 4)
        at = making.wanted.slot(day, 36 + 2 * (number % 12))
        old = making.stays[places[name]]
        making.stays[places[name]] = replace(old, to_quarter=at)
        initial_wh = making.chance.randrange(5) * _WH_PER_KWH
        making.stays.append(
            replace(old, serial=f"27{number + 1:07d}", initial_wh=initial_wh, from_quarter=at)
        )
    for name in rolling:
        old = making.stays[places[name]]
        roll_over_wh = 10**_ROLL_OVER_DIGITS * _WH_PER_KWH
        making.stays[places[name]] = replace(
            old,
            digits=_ROLL_OVER_DIGITS,
            roll_over_wh=roll_over_wh,
            initial_wh=roll_over_wh - making.chance.randrange(5, 20) * _WH_PER_KWH,
        )


def _misfortunes(
    making: _Making, retail: list[PlannedStation]
) -> tuple[tuple[Silence, ...], tuple[Down, ...], tuple[Held, ...]]:
    """Silent meters, gateways that are down for a day, gateways that deliver late."""
    days = making.wanted.billing_days
    singles = [
        stay
        for stay in making.stays
        if stay.from_quarter == 0
        and stay.to_quarter is None
        and making.points[stay.point].place is Place.HOUSEHOLD
    ]
    silences = []
    for number, stay in enumerate(
        making.chance.sample(singles, min(len(singles), max(4, len(singles) * 15 // 1000)))
    ):
        period = number % (len(days) - 1)
        first, last = days[period], days[period + 1]
        # Every fourth is silent over the billing day: its index must be estimated.
        day = last - 2 if number % 4 == 0 else first + 2 + number % max(1, last - first - 7)
        start = making.wanted.slot(day, number % 7)
        length = 4 if number % 4 == 0 else 1 + number % 3
        silences.append(Silence(stay.serial, start, start + length * QUARTERS_PER_DAY))
    chosen = making.chance.sample(retail, min(len(retail), 4))
    downs = tuple(
        Down(
            one.station, making.wanted.slot(days[0] + 5, 10), (days[0] + 6) * QUARTERS_PER_DAY + 96
        )
        for one in chosen[:1]
    )
    # The first comes between two versions of a run, the second after its export.
    helds = tuple(
        Held(one.station, making.wanted.slot(days[1] - 2, 20), (days[1] + after) * QUARTERS_PER_DAY)
        for one, after in zip(chosen[1:3], (1, 4), strict=False)
    )
    return tuple(silences), downs, helds
