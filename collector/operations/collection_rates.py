"""How many of the daily indices that were due came: by station, commune, class of customer and day.

It counts what was read for the start of each day; which index stands for a day, and so what is
billed, is `daily.py`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from collector.civil import day_start, days
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.findings import ManualKind
from collector.operations.daily import DAY
from collector.operations.registry import unknown_station
from collector.registry.asking import station_at
from collector.registry.values import Installation, Point, Registry, Role, StationKind, Transfer

DAYS_MAX = 31

# A read after this is late: another pass brought it.
ON_TIME = timedelta(hours=1)

_NEAR = timedelta(hours=12)


class Dimension(StrEnum):
    """By what is counted."""

    STATION = "station"
    COMMUNE = "commune"
    CLASS = "class"
    DAY = "day"


class PointClass(StrEnum):
    """The three that the utility's district practice reports apart."""

    HEAD = "head"  # CTT: công tơ tổng
    DEDICATED = "dedicated"  # TCD: khách hàng trạm chuyên dùng
    PUBLIC = "public"  # KH sau TCC: khách hàng sau trạm công cộng


@dataclass(slots=True)
class Rate:
    """Daily indices of one group; what the group is not of is None.

    `had` of the `due` were read for their day, `late` of them after the first hour. Of the others
    `by_hand` were entered or edited by a person and `estimated` computed; the rest is `missing`.
    `registered` points have a meter or a contract on the day, `on_system` of them a meter that has
    been read at least once by its end. All are sums over the days.
    """

    station: str | None = None
    commune: str | None = None
    point_class: PointClass | None = None
    day: date | None = None
    due: int = 0
    had: int = 0
    late: int = 0
    by_hand: int = 0
    estimated: int = 0
    missing: int = 0
    registered: int = 0
    on_system: int = 0

    @property
    def exploited_percent(self) -> str | None:
        """Tỷ lệ khai thác: points on the system of those registered, two decimals, rounded down."""
        return _percent(self.on_system, self.registered)

    @property
    def collected_percent(self) -> str | None:
        """Tỷ lệ thu thập: points with data of those on the system, two decimals, rounded down."""
        return _percent(self.had, self.on_system)


def collection_rates(
    ledger: Ledger,
    period: tuple[date, date, str],
    by: Collection[Dimension],
    *,
    station: str | None = None,
) -> list[Rate]:
    """Rates from the first day to the last, in a zone, by station, commune, class and day.

    Raises InvalidRequest for the period, NotFound for the station.
    """
    first_day, last_day, zone = period
    if last_day < first_day:
        raise InvalidRequest(f"{last_day} is before {first_day}", hint="give the first day first")
    if (last_day - first_day).days >= DAYS_MAX:
        raise InvalidRequest(f"more than {DAYS_MAX} days at once", hint="ask month by month")
    found: dict[tuple[object, ...], Rate] = {}
    with ledger.read() as uow:
        scope = _scope(uow, station)
        for day in days(first_day, last_day):
            at, end = day_start(day, zone), day_start(day + DAY, zone)
            had = uow.coverage.first_for_slot(at, DAY)
            manual = _manual(uow, scope, at)
            for point, row in scope.there(at, station):
                rate = scope.rate(found, point, at, day, by)
                rate.registered += 1
                if row is None:
                    continue
                first = scope.first_read.get(row.meter)
                rate.on_system += first is not None and first < end
                rate.due += 1
                read_at = had.get(row.meter)
                if read_at is not None:
                    rate.had += 1
                    rate.late += read_at - at > ON_TIME
                else:
                    _count(rate, manual.get(row.meter))
    return [found[key] for key in sorted(found, key=str)]


def _count(rate: Rate, kind: ManualKind | None) -> None:
    """A day without a read: what stands for it."""
    if kind is None:
        rate.missing += 1
    elif kind is ManualKind.ESTIMATE:
        rate.estimated += 1
    else:
        rate.by_hand += 1


@dataclass(slots=True)
class _Scope:
    """The registry by point, and since when meters are read."""

    registry: Registry
    first_read: Mapping[str, datetime]
    installed: dict[str, list[Installation]] = field(default_factory=dict)
    contracts: dict[str, list[tuple[datetime, datetime | None]]] = field(default_factory=dict)
    moves: dict[str, list[Transfer]] = field(default_factory=dict)

    def there(
        self, at: datetime, station: str | None
    ) -> Iterator[tuple[Point, Installation | None]]:
        """Points with a meter or a contract at an instant, of a station then or of all."""
        for point in self.registry.points.values():
            if station is not None and self.station(point, at) != station:
                continue
            row = next(
                (
                    one
                    for one in self.installed.get(point.point, ())
                    if one.installed_at <= at and (one.removed_at is None or at < one.removed_at)
                ),
                None,
            )
            if row is not None or any(
                from_at <= at and (to_at is None or at < to_at)
                for from_at, to_at in self.contracts.get(point.point, ())
            ):
                yield point, row

    def station(self, point: Point, at: datetime) -> str:
        """Where a point is at an instant."""
        return station_at(point, self.moves.get(point.point, ()), at)

    def rate(
        self,
        found: dict[tuple[object, ...], Rate],
        point: Point,
        at: datetime,
        day: date,
        by: Collection[Dimension],
    ) -> Rate:
        """The rate that a point counts for on a day."""
        name = self.station(point, at)
        station = self.registry.stations.get(name)
        public = station is None or station.kind is not StationKind.DEDICATED
        of_class = PointClass.PUBLIC if public else PointClass.DEDICATED
        if point.role is Role.HEAD:
            of_class = PointClass.HEAD
        commune = None if station is None else station.commune
        key = (
            name if Dimension.STATION in by else None,
            # A station's commune goes with it.
            commune if {Dimension.COMMUNE, Dimension.STATION} & set(by) else None,
            of_class if Dimension.CLASS in by else None,
            day if Dimension.DAY in by else None,
        )
        if key not in found:
            found[key] = Rate(*key)
        return found[key]


def _scope(uow: UnitOfWork, station: str | None) -> _Scope:
    if station is not None and not uow.registry.stations(station):
        raise unknown_station(station)
    registry = uow.registry.load(station)
    stations = {row.station: row for row in uow.registry.stations()}
    meters = {row.meter for row in registry.installations}
    scope = _Scope(
        Registry(stations=stations, points=registry.points), uow.coverage.first_read(meters)
    )
    installed, contracts = defaultdict(list), defaultdict(list)
    for row in registry.installations:
        installed[row.point].append(row)
    for contract in uow.contracts.contracts():
        if contract.point in registry.points:
            contracts[contract.point].append((contract.from_at, contract.to_at))
    for move in registry.transfers:
        scope.moves.setdefault(move.point, []).append(move)
    scope.installed, scope.contracts = dict(installed), dict(contracts)
    return scope


def _manual(uow: UnitOfWork, scope: _Scope, at: datetime) -> dict[str, ManualKind]:
    """What people put in for a day's start, by meter; a person's word goes first."""
    meters = {row.meter for rows in scope.installed.values() for row in rows}
    found: dict[str, ManualKind] = {}
    for one in uow.manual_indices.near(meters, at - _NEAR, at + _NEAR):
        by_hand = one.kind is ManualKind.HAND
        if (by_hand or one.at == at) and found.get(one.meter) in {None, ManualKind.ESTIMATE}:
            found[one.meter] = one.kind
    return found


def _percent(part: int, whole: int) -> str | None:
    if whole == 0:
        return None
    hundredths = part * 10_000 // whole
    return f"{hundredths // 100}.{hundredths % 100:02}"
