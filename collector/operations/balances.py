"""A station's balance over a period and day by day.

It fetches registry and indices; it must not add up anything, which `collector.balance` does.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise

from collector.balance.station import Balance, DayBalance, station_balance
from collector.billing.snapshot import at_station, make_lines, stretches
from collector.civil import day_start, days
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.operations.indices import BALANCE_WINDOW, BILLING_WINDOW, indices_for
from collector.operations.registry import unknown_station
from collector.operations.snapshots import check_period
from collector.registry.values import Registry

# Daily balances of one request: a leap year.
DAYS_MAX = 366


def period_balance(ledger: Ledger, *, station: str, from_at: datetime, to_at: datetime) -> Balance:
    """The balance of [from_at, to_at), from the same indices as a snapshot of it.

    `complete` only if every point was read within 60 minutes of both instants.
    Raises NotFound for the station, InvalidRequest for the period.
    """
    check_period(from_at, to_at)
    with ledger.read() as uow:
        registry = _registry(uow, station)
        [figures] = _balances(uow, registry, station, [from_at, to_at], BILLING_WINDOW)
        [near] = _balances(uow, registry, station, [from_at, to_at], BALANCE_WINDOW)
    return replace(figures, complete=near.complete, lacking=near.lacking)


def daily_balances(
    ledger: Ledger, *, station: str, first_day: date, last_day: date, zone: str
) -> list[DayBalance]:
    """The balances of the civil days of `zone` from the first to the last, both included.

    A point counts in a day only if it was read within 60 minutes of both midnights.
    Raises NotFound for the station, InvalidRequest for the days.
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
    midnights = [day_start(day, zone) for day in (*wanted, last_day + timedelta(days=1))]
    with ledger.read() as uow:
        registry = _registry(uow, station)
        balances = _balances(uow, registry, station, midnights, BALANCE_WINDOW)
    return [DayBalance(day, one) for day, one in zip(wanted, balances, strict=True)]


def _registry(uow: UnitOfWork, station: str) -> Registry:
    registry = uow.registry.load(station)
    if not registry.stations:
        raise unknown_station(station)
    return registry


def _balances(
    uow: UnitOfWork,
    registry: Registry,
    station: str,
    instants: Sequence[datetime],
    window: timedelta,
) -> list[Balance]:
    """One balance between each two neighbouring instants."""
    periods = list(pairwise(instants))
    parts = [
        at_station(
            stretches(registry, from_at, to_at), registry.points, registry.transfers, station
        )
        for from_at, to_at in periods
    ]
    all_parts = [part for of_period in parts for part in of_period]
    indices = indices_for(uow, all_parts, instants, station, window)
    return [
        station_balance(station, period, registry.points, make_lines(registry, of_period, indices))
        for period, of_period in zip(periods, parts, strict=True)
    ]
