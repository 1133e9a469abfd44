"""The registry a page at a time: the database finds, counts and cuts, whatever there is of it.

A page begins after a name and is ordered by it; it must not know who turns pages.
"""

from collections.abc import Collection
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, case, exists, func, or_, select

from collector.ledger.tables import installations, meters, multipliers, points, stations
from collector.registry.values import Meter, Point, Role, Station


class StationRow(NamedTuple):
    """A station with its counts of points."""

    station: Station
    heads: int
    points: int


class Place(NamedTuple):
    """Where a meter is or was, without the indices of the spot."""

    point: str
    meter: str
    installed_at: datetime
    removed_at: datetime | None


class RegistryPages:
    """Pages of the registry within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def has_station(self, station: str) -> bool:
        """Whether the registry has this station."""
        return self._exists(select(exists().where(stations.c.station == station)))

    def has_meter(self, meter: str) -> bool:
        """Whether the registry has this meter."""
        return self._exists(select(exists().where(meters.c.meter == meter)))

    def stations(self, after: str | None, limit: int) -> list[StationRow]:
        """Stations by code, at most `limit`, after the code `after`."""
        c = stations.c
        heads = func.coalesce(func.sum(case((points.c.role == Role.HEAD.value, 1), else_=0)), 0)
        query = (
            select(c.station, c.name, c.commune, c.capacity_kva, heads, func.count(points.c.point))
            .select_from(stations.outerjoin(points, points.c.station == c.station))
            .group_by(c.station, c.name, c.commune, c.capacity_kva)
            .order_by(c.station)
            .limit(limit)
        )
        if after is not None:
            query = query.where(c.station > after)
        return [
            StationRow(Station(code, name, commune, kva), int(heads_), int(points_))
            for code, name, commune, kva, heads_, points_ in self._connection.execute(query)
        ]

    def points(
        self, after: str | None, limit: int, station: str | None, role: Role | None
    ) -> list[Point]:
        """Points by code, of one station or all, of one role or all."""
        c = points.c
        query = select(c.point, c.station, c.role, c.name).order_by(c.point).limit(limit)
        if station is not None:
            query = query.where(c.station == station)
        if role is not None:
            query = query.where(c.role == role.value)
        if after is not None:
            query = query.where(c.point > after)
        return [
            Point(code, of_station, Role(role_), name)
            for code, of_station, role_, name in self._connection.execute(query)
        ]

    def meters(self, after: str | None, limit: int, station: str | None) -> list[Meter]:
        """Meters by serial: all, or those ever installed at the station."""
        c = meters.c
        query = select(c.meter, c.model, c.resolution_wh, c.roll_over_wh)
        query = query.order_by(c.meter).limit(limit)
        if station is not None:
            query = query.where(
                c.meter.in_(
                    select(installations.c.meter)
                    .join(points, points.c.point == installations.c.point)
                    .where(points.c.station == station)
                )
            )
        if after is not None:
            query = query.where(c.meter > after)
        return [Meter(*row) for row in self._connection.execute(query)]

    def places_at(self, names: Collection[str], at: datetime) -> list[Place]:
        """What is installed at these points at an instant."""
        c = installations.c
        query = _places().where(
            c.point.in_(names),
            c.installed_at <= at,
            or_(c.removed_at.is_(None), c.removed_at > at),
        )
        return [Place(*row) for row in self._connection.execute(query)]

    def places_of(self, serials: Collection[str], station: str | None) -> list[Place]:
        """Where these meters are and were, at one station or anywhere, oldest first."""
        query = _places().where(installations.c.meter.in_(serials))
        if station is not None:
            query = query.join(points, points.c.point == installations.c.point).where(
                points.c.station == station
            )
        return [Place(*row) for row in self._connection.execute(query)]

    def ratios_at(self, names: Collection[str], at: datetime) -> dict[str, Fraction]:
        """The multipliers of these points at an instant; points that have none are absent."""
        c = multipliers.c
        query = (
            select(c.point, c.numerator, c.denominator)
            .where(c.point.in_(names), c.from_at <= at)
            .order_by(c.from_at)
        )
        return {
            point: Fraction(numerator, denominator)
            for point, numerator, denominator in self._connection.execute(query)
        }

    def _exists(self, query: Select[Any]) -> bool:
        return bool(self._connection.execute(query).scalar_one())


def _places() -> Select[Any]:
    c = installations.c
    return select(c.point, c.meter, c.installed_at, c.removed_at).order_by(c.installed_at, c.point)
