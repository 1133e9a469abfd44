"""A station's balance over a period and day by day.

It fetches registry and indices; it must not add up anything, which `collector.balance` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

from collector.balance.cover import with_gaps
from collector.balance.energy import PointEnergy, energies, placed
from collector.balance.station import Balance, DayBalance, station_balance
from collector.billing.snapshot import stretches
from collector.civil import day_start, days
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.operations.boundaries import boundary_indices
from collector.operations.registry import unknown_station
from collector.operations.snapshots import check_period
from collector.registry.asking import just_before, station_at
from collector.registry.values import Registry, Role


@dataclass(frozen=True, slots=True)
class Between:
    """What lies between two instants: balances by station, energies by station and point.

    Energies are of all that the points of these stations counted, at other stations too where a
    point was moved; of those stations the other points are not there.
    """

    balances: Mapping[str, Balance]
    energies: Mapping[str, Mapping[str, PointEnergy]]


# Daily balances of one request: a leap year.
DAYS_MAX = 366


def period_balance(ledger: Ledger, *, station: str, from_at: datetime, to_at: datetime) -> Balance:
    """The balance of [from_at, to_at), all points taken to the same two instants.

    `complete` only if every point was read within 60 minutes of both instants.
    Raises NotFound for the station, InvalidRequest for the period.
    """
    check_period(from_at, to_at)
    with ledger.read() as uow:
        registry = load_station(uow, station)
        [of_period] = balances_between(uow, registry, [from_at, to_at])
    return of_period.balances[station]


def daily_balances(
    ledger: Ledger, *, station: str, first_day: date, last_day: date, zone: str
) -> list[DayBalance]:
    """The balances of the civil days of `zone` from the first to the last, both included.

    A day is complete only if every point was read within 60 minutes of both its midnights.
    Raises NotFound for the station, InvalidRequest for the days.
    """
    wanted, midnights = midnights_of(first_day, last_day, zone)
    with ledger.read() as uow:
        registry = load_station(uow, station)
        balances = balances_between(uow, registry, midnights, near_only=True)
    return [
        DayBalance(day, one.balances[station]) for day, one in zip(wanted, balances, strict=True)
    ]


def midnights_of(first_day: date, last_day: date, zone: str) -> tuple[list[date], list[datetime]]:
    """The days from the first to the last, with their starts and the end of the last one.

    Raises InvalidRequest where there are none, or more than a year.
    """
    if first_day > last_day:
        raise InvalidRequest(
            f"first_day ({first_day}) is after last_day ({last_day})",
            hint="swap them; both days are part of the range",
        )
    count = (last_day - first_day).days + 1
    if count > DAYS_MAX:
        raise InvalidRequest(
            f"{count} days, at most {DAYS_MAX} are allowed", hint="ask for them in several parts"
        )
    wanted = list(days(first_day, last_day))
    return wanted, [day_start(day, zone) for day in (*wanted, last_day + timedelta(days=1))]


def load_station(uow: UnitOfWork, station: str) -> Registry:
    """What concerns one station. Raises NotFound."""
    registry = uow.registry.load(station)
    if not registry.stations:
        raise unknown_station(station)
    return registry


def balances_between(
    uow: UnitOfWork,
    registry: Registry,
    instants: Sequence[datetime],
    *,
    near_only: bool = False,
) -> list[Between]:
    """Between each two neighbouring instants the balance of every station of `registry`.

    With `near_only` what was not read within the hour has no index at all, as for the days of a
    chart; over a month a read of the day before or after says nearly the same.
    """
    periods = list(pairwise(instants))
    parts = [
        list(placed(stretches(registry, from_at, to_at), registry.points, registry.transfers))
        for from_at, to_at in periods
    ]
    indices = boundary_indices(
        uow, registry, [part for some in parts for _, part in some], near_only=near_only
    )
    found: list[Between] = []
    for period, of_period in zip(periods, parts, strict=True):
        counted = energies(registry, of_period, indices)
        heads = _heads(registry, just_before(period[1]))
        with_gaps(counted, registry.points, of_period, heads, period[1])
        balances = {
            name: station_balance(
                row, period, registry.points, counted.get(name, {}), heads.get(name, ())
            )
            for name, row in registry.stations.items()
        }
        found.append(Between(balances, counted))
    return found


def _heads(registry: Registry, at: datetime) -> dict[str, list[str]]:
    """The head points of each station at an instant, with or without a meter."""
    found: dict[str, list[str]] = {}
    for point in registry.points.values():
        if point.role is Role.HEAD:
            station = station_at(point, registry.transfers, at)
            found.setdefault(station, []).append(point.point)
    return found
