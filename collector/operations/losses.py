"""Losses of all stations over a period: one transaction, one registry, one set of boundary reads.

It fetches; sums, bands and causes are decided in `collector.balance`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from collector.balance.causes import Cause, Energies, causes, mirrors
from collector.balance.energy import everywhere
from collector.balance.losses import (
    AreaLoss,
    DaysLoss,
    MasterLoss,
    Order,
    StationLoss,
    area_loss,
    boundary_loss,
    by_area,
    days_loss,
    master_loss,
    masters,
    rank,
    station_loss,
)
from collector.balance.settings import LossesError, LossSettings, read_settings
from collector.balance.station import DayBalance
from collector.civil import civil_day, day_start, next_month
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations.balances import Between, balances_between, daily_balances, load_station
from collector.operations.registry_history import book_periods
from collector.operations.snapshots import check_period
from collector.registry.asking import just_before, station_at
from collector.registry.values import Installation, Multiplier, Registry, Role, Transfer

# A losses file of a district is some kilobytes.
FILE_BYTES_MAX = 1_000_000

# Periods of one trend: two years of months.
PERIODS_MAX = 24


@dataclass(frozen=True, slots=True)
class Period:
    """[from_at, to_at), with the start of the period before it that it is compared with."""

    from_at: datetime
    to_at: datetime
    previous_from_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LossReport:
    """Losses of a period: every station by code, areas by name, and the ranking.

    `causes` has an entry for each station beside whose loss something is to be checked.
    """

    period: Period
    stations: tuple[StationLoss, ...]
    ranking: tuple[StationLoss, ...]
    communes: tuple[AreaLoss, ...]
    units: tuple[AreaLoss, ...]
    masters: tuple[MasterLoss, ...]
    causes: Mapping[str, tuple[Cause, ...]]


@dataclass(frozen=True, slots=True)
class StationDays:
    """A station's days, and the complete ones together."""

    days: tuple[DayBalance, ...]
    total: DaysLoss


def district_losses(
    ledger: Ledger,
    period: Period,
    settings: LossSettings | None = None,
    *,
    station: str | None = None,
    order: Order = Order.ENERGY,
) -> LossReport:
    """The losses of all stations, or of one, all points taken to the same two instants.

    Areas have the stations of the report only. Raises NotFound for the station, InvalidRequest for
    the period.
    """
    settings = settings or LossSettings()
    check_period(period.from_at, period.to_at)
    instants = [period.from_at, period.to_at]
    if period.previous_from_at is not None:
        check_period(period.previous_from_at, period.from_at)
        instants.insert(0, period.previous_from_at)
    with ledger.read() as uow:
        registry = uow.registry.load() if station is None else load_station(uow, station)
        between = balances_between(uow, registry, instants)
    settings = settings.beside(registry.transformers)
    now = between[-1]
    before = between[0] if period.previous_from_at is not None else None
    supplies = _supplies(registry, settings, period.to_at)
    losses = tuple(
        station_loss(
            row,
            now.balances[name],
            settings,
            None if before is None else before.balances[name],
            boundary=name in supplies,
        )
        for name, row in registry.stations.items()
    )
    return LossReport(
        period,
        losses,
        tuple(rank(losses, order)),
        tuple(area_loss(name, some) for name, some in by_area(losses, "commune").items()),
        tuple(_units(losses, settings, now, whole=station is None)),
        tuple(_masters(registry, settings, losses, now, period.to_at)),
        _causes(losses, registry, now, before),
    )


def station_days(
    ledger: Ledger, *, station: str, first_day: date, last_day: date, zone: str
) -> StationDays:
    """A station's daily chart and its complete days together. Raises as `daily_balances`."""
    found = daily_balances(
        ledger, station=station, first_day=first_day, last_day=last_day, zone=zone
    )
    return StationDays(tuple(found), days_loss(found))


def station_trend(
    ledger: Ledger,
    *,
    station: str,
    instants: Sequence[datetime],
    settings: LossSettings | None = None,
) -> list[StationLoss]:
    """A station's losses between each two neighbouring instants, oldest first.

    Raises NotFound for the station, InvalidRequest for the instants.
    """
    settings = settings or LossSettings()
    if not 2 <= len(instants) <= PERIODS_MAX + 1:
        raise InvalidRequest(
            f"{len(instants) - 1} periods, from 1 to {PERIODS_MAX} are allowed",
            hint="ask for fewer",
        )
    for from_at, to_at in pairwise(instants):
        check_period(from_at, to_at)
    with ledger.read() as uow:
        registry = load_station(uow, station)
        between = balances_between(uow, registry, instants)
    row = registry.stations[station]
    boundary = station in _supplies(registry, settings, instants[-1])
    found: list[StationLoss] = []
    for one in between:
        previous = found[-1].balance if found else None
        found.append(
            station_loss(row, one.balances[station], settings, previous, boundary=boundary)
        )
    return found


def month_instants(month: date, zone: str, count: int = 1) -> list[datetime]:
    """The starts of `count` calendar months of which the last is the one of a day, and its end."""
    firsts = [next_month(month.replace(day=1))]
    for _ in range(count):
        firsts.append((firsts[-1] - timedelta(days=1)).replace(day=1))
    return [day_start(first, zone) for first in reversed(firsts)]


def last_day(month: date) -> date:
    """The last day of the month of a day."""
    return next_month(month.replace(day=1)) - timedelta(days=1)


def month_period(month: date, zone: str) -> Period:
    """The calendar month of a day, compared with the one before."""
    previous, from_at, to_at = month_instants(month, zone, 2)
    return Period(from_at, to_at, previous)


def book_period(ledger: Ledger, book: str, month: date, zone: str) -> Period:
    """The billing period of a book that ends last in the month, compared with the one before.

    Every station is balanced over it, whatever books its points are in. Raises NotFound.
    """
    of_month = book_periods(ledger, book, month, zone)
    if not of_month:
        raise NotFound(
            f"no period of book {book} ends in {month:%Y-%m}",
            hint="see: songlo collector registry show",
        )
    last = of_month[-1]
    earlier = of_month[:-1] or book_periods(
        ledger, book, month.replace(day=1) - timedelta(days=1), zone
    )
    return Period(last.from_at, last.to_at, earlier[-1].from_at if earlier else None)


def range_period(from_at: datetime, to_at: datetime, zone: str) -> Period:
    """Any range, compared with the month before where it is a month, else with as much before it.

    A month is from a day to the same day of the next month, both at 00:00 in `zone`. An empty range
    is compared with nothing.
    """
    first, last = civil_day(from_at, zone), civil_day(to_at, zone)
    if from_at >= to_at:
        return Period(from_at, to_at)
    if from_at != day_start(first, zone) or to_at != day_start(last, zone):
        return Period(from_at, to_at, from_at - (to_at - from_at))
    earlier = first.replace(day=1) - timedelta(days=1)
    same = _same_day(earlier, first.day)
    if same is not None and last == _same_day(next_month(first.replace(day=1)), first.day):
        return Period(from_at, to_at, day_start(same, zone))
    return Period(from_at, to_at, day_start(first - (last - first), zone))


def load_settings(path: Path | None, zone: str) -> LossSettings:
    """The settings of a losses file; what is shipped without one. Raises LossesError."""
    if path is None:
        return LossSettings()
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LossesError(
            f"{path}: cannot be read: {error}", hint="see balance.losses_file of the collector file"
        ) from error
    if len(raw) > FILE_BYTES_MAX:
        raise LossesError(
            f"{path}: has more than {FILE_BYTES_MAX} bytes", hint="see docs/balance.md"
        )
    return read_settings(text, str(path), zone)


def _supplies(registry: Registry, settings: LossSettings, to_at: datetime) -> set[str]:
    """The stations whose head points are boundary meters."""
    found = set()
    for names in settings.boundaries.values():
        for name in names:
            if name in registry.points:
                point = registry.points[name]
                found.add(station_at(point, registry.transfers, just_before(to_at)))
    return found


def _units(
    losses: Sequence[StationLoss], settings: LossSettings, now: Between, *, whole: bool
) -> Iterator[AreaLoss]:
    """The units; against their boundary meters where all stations are there."""
    whole_period = everywhere(now.energies)
    for name, some in by_area(losses, "unit").items():
        points = settings.boundaries.get(name) if whole else None
        boundary = None if points is None else boundary_loss(points, whole_period, some)
        yield area_loss(name, some, boundary)


def _masters(
    registry: Registry,
    settings: LossSettings,
    losses: Sequence[StationLoss],
    now: Between,
    to_at: datetime,
) -> Iterator[MasterLoss]:
    by_station = {loss.station.station: loss for loss in losses}
    energies = everywhere(now.energies)
    children: dict[str, list[str]] = {}
    for point in registry.points.values():
        if point.parent is not None:
            children.setdefault(point.parent, []).append(point.point)
    for master in masters(registry.points.values()):
        station = station_at(master, registry.transfers, just_before(to_at))
        if station not in by_station:
            continue
        at_station = now.energies.get(station, {}).get(master.point)
        wanted = [energies[name] for name in children.get(master.point, ()) if name in energies]
        for other in settings.behind.get(master.point, ()):
            wanted += [
                energy
                for name, energy in now.energies.get(other, {}).items()
                if registry.points[name].role not in {Role.HEAD, Role.SUB_METER}
            ]
        yield master_loss(
            master, by_station[station], energies.get(master.point), at_station, wanted
        )


def _causes(
    losses: Sequence[StationLoss], registry: Registry, now: Between, before: Between | None
) -> dict[str, tuple[Cause, ...]]:
    mirrored = mirrors(losses)
    rows = _Rows(registry)
    found: dict[str, tuple[Cause, ...]] = {}
    for loss in losses:
        name = loss.station.station
        energies = Energies(
            now.energies.get(name, {}), {} if before is None else before.energies.get(name, {})
        )
        concerned = {*energies.now, *energies.before, *loss.balance.unknown}
        some = causes(loss, rows.of(concerned), energies, mirrored.get(name, ()))
        if some:
            found[name] = some
    return found


class _Rows:
    """A registry's dated rows by point."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._installations: dict[str, list[Installation]] = {}
        self._multipliers: dict[str, list[Multiplier]] = {}
        self._transfers: dict[str, list[Transfer]] = {}
        for installation in registry.installations:
            self._installations.setdefault(installation.point, []).append(installation)
        for multiplier in registry.multipliers:
            self._multipliers.setdefault(multiplier.point, []).append(multiplier)
        for transfer in registry.transfers:
            self._transfers.setdefault(transfer.point, []).append(transfer)

    def of(self, points: Iterable[str]) -> Registry:
        """The part that concerns these points."""
        names = sorted(points)
        return Registry(
            points={name: self._registry.points[name] for name in names},
            installations=tuple(row for name in names for row in self._installations.get(name, ())),
            multipliers=tuple(row for name in names for row in self._multipliers.get(name, ())),
            transfers=tuple(row for name in names for row in self._transfers.get(name, ())),
        )


def _same_day(month: date, day: int) -> date | None:
    """The day of this number in the month of a day; None where it has none."""
    try:
        return month.replace(day=day)
    except ValueError:
        return None
