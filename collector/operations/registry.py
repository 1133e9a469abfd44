"""The registry: looking at it.

It opens transactions; importing is `registry_import`, exporting `registry_export`.
"""

from dataclasses import dataclass
from datetime import datetime

from collector.errors import NotFound
from collector.ledger import Ledger
from collector.operations.registry_import import ImportReport, import_registry
from collector.registry.asking import station_at
from collector.registry.values import Installation, Meter, Multiplier, Point, Role, Station

__all__ = [
    "ImportReport",
    "MeterView",
    "PointView",
    "StationView",
    "import_registry",
    "meters",
    "points",
    "station",
    "stations",
    "unknown_station",
]


@dataclass(frozen=True, slots=True)
class StationView:
    """A station and how many points it has, its head points counted apart."""

    station: Station
    heads: int
    points: int


@dataclass(frozen=True, slots=True)
class PointView:
    """A point with the meter that is there at the instant asked for, if any."""

    point: Point
    installation: Installation | None
    multiplier: Multiplier | None


@dataclass(frozen=True, slots=True)
class MeterView:
    """A meter with where it was ever installed, oldest first."""

    meter: Meter
    installations: tuple[Installation, ...]


def stations(ledger: Ledger) -> list[StationView]:
    """All stations by name, with the points that are there after every transfer."""
    with ledger.read() as uow:
        rows, points_ = uow.registry.stations(), uow.registry.points()
        moved = {row.point: row.station for row in uow.registry.transfers()}
    heads: dict[str, int] = {}
    counts: dict[str, int] = {}
    for point in points_:
        name = moved.get(point.point, point.station)
        counts[name] = counts.get(name, 0) + 1
        heads[name] = heads.get(name, 0) + (point.role is Role.HEAD)
    return [StationView(row, heads.get(row.station, 0), counts.get(row.station, 0)) for row in rows]


def station(ledger: Ledger, name: str) -> StationView:
    """One station. Raises NotFound."""
    with ledger.read() as uow:
        rows, ever = uow.registry.stations(name), uow.registry.points(name)
        moved = {row.point: row.station for row in uow.registry.transfers(name)}
    if not rows:
        raise unknown_station(name)
    points_ = [point for point in ever if moved.get(point.point, point.station) == name]
    heads = sum(point.role is Role.HEAD for point in points_)
    return StationView(rows[0], heads, len(points_))


def points(ledger: Ledger, at: datetime, station: str | None = None) -> list[PointView]:
    """Points by name, with what is installed there at `at`: all, or those at the station then.

    Raises NotFound for the station.
    """
    with ledger.read() as uow:
        registry = uow.registry.load(station)
    if station is not None and not registry.stations:
        raise unknown_station(station)
    installed = {
        row.point: row
        for row in registry.installations
        if row.installed_at <= at and (row.removed_at is None or at < row.removed_at)
    }
    ratios = {row.point: row for row in registry.multipliers if row.from_at <= at}
    return [
        PointView(point, installed.get(point.point), ratios.get(point.point))
        for point in registry.points.values()
        if station is None or station_at(point, registry.transfers, at) == station
    ]


def meters(ledger: Ledger, station: str | None = None) -> list[MeterView]:
    """Meters by serial: all, or those ever installed at the station, with where they were."""
    with ledger.read() as uow:
        registry = uow.registry.load(station)
    if station is not None and not registry.stations:
        raise unknown_station(station)
    places: dict[str, list[Installation]] = {}
    for row in sorted(registry.installations, key=lambda row: row.installed_at):
        places.setdefault(row.meter, []).append(row)
    return [
        MeterView(meter, tuple(places.get(meter.meter, ()))) for meter in registry.meters.values()
    ]


def unknown_station(name: str) -> NotFound:
    """The error for a station that the registry does not have."""
    return NotFound(
        f"there is no station {name!r}",
        hint="see `GET /v1/stations`; add it with: songlo collector registry import DIR",
    )
