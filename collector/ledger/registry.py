"""The registry's rows: loaded as values, added, completed, closed; nothing is rewritten.

It must not judge whether a change is allowed: that is `collector.registry`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from collector.ledger.contracts import add_versions
from collector.ledger.tables import (
    areas,
    installation_indices,
    installations,
    meters,
    multipliers,
    points,
    stations,
    transfers,
    transformers,
)
from collector.registry.values import (
    Area,
    AreaKind,
    HeadSide,
    IndexSide,
    Installation,
    Meter,
    Multiplier,
    Point,
    Registry,
    Role,
    Station,
    StationKind,
    Transfer,
    Transformers,
)

# Any number that nothing else locks (the migration's is in `unit_of_work`).
_IMPORT_LOCK = 736_673

_INSTALL = "install"
_REMOVAL = "removal"

# Before anything that a registry takes.
_NEVER = datetime(1900, 1, 1, tzinfo=UTC)


class RegistryRepository:
    """The registry within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self) -> None:
        """Have every other import wait until this transaction ends: what it checks stays true."""
        # SQLite has one writer at a time anyway.
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(func.pg_advisory_xact_lock(_IMPORT_LOCK)))

    def load(self, station: str | None = None) -> Registry:
        """The whole registry, or the part that concerns one station."""
        return Registry(
            stations={row.station: row for row in self.stations(station)},
            points={row.point: row for row in self.points(station)},
            meters={row.meter: row for row in self.meters(station)},
            installations=tuple(self.installations(station)),
            multipliers=tuple(self.multipliers(station)),
            transfers=tuple(self.transfers(station)),
            transformers=tuple(self.transformers(station)),
            areas=tuple(self.areas()),
        )

    def load_point(self, point: str) -> Registry:
        """What concerns one point; without the point where there is none of that name."""
        found = self.points(point=point)
        if not found:
            return Registry()
        station = found[0].station
        installed = [row for row in self.installations(station) if row.point == point]
        serials = {row.meter for row in installed}
        return Registry(
            points={point: found[0]},
            meters={row.meter: row for row in self.meters(station) if row.meter in serials},
            installations=tuple(installed),
            multipliers=tuple(row for row in self.multipliers(station) if row.point == point),
            transfers=tuple(row for row in self.transfers(station) if row.point == point),
        )

    def load_installed(self, station: str | None = None) -> Registry:
        """What indices are counted by: installations with meters and multipliers; and transfers."""
        return Registry(
            meters={row.meter: row for row in self.meters(station)},
            installations=tuple(self.installations(station)),
            multipliers=tuple(self.multipliers(station)),
            transfers=tuple(self.transfers(station)),
        )

    def stations(self, station: str | None = None) -> list[Station]:
        """Stations by name of the station."""
        query = select(
            stations.c.station,
            stations.c.name,
            stations.c.commune,
            stations.c.capacity_kva,
            stations.c.kind,
            stations.c.unit,
            stations.c.feeder,
        ).order_by(stations.c.station)
        if station is not None:
            query = query.where(stations.c.station == station)
        return [
            Station(*row[:4], None if row.kind is None else StationKind(row.kind), *row[5:])
            for row in self._connection.execute(query).all()
        ]

    def points(self, station: str | None = None, *, point: str | None = None) -> list[Point]:
        """Points by name: all, or those that ever were at the station."""
        query = select(
            points.c.point, points.c.station, points.c.role, points.c.name, points.c.parent
        ).order_by(points.c.point)
        if station is not None:
            query = query.where(ever_at(station))
        if point is not None:
            query = query.where(points.c.point == point)
        return [
            Point(row.point, row.station, Role(row.role), row.name, row.parent)
            for row in self._connection.execute(query).all()
        ]

    def meters(self, station: str | None = None) -> list[Meter]:
        """Meters by serial: all, or those ever installed at the station."""
        query = select(
            meters.c.meter,
            meters.c.model,
            meters.c.resolution_wh,
            meters.c.roll_over_wh,
            meters.c.digits,
        ).order_by(meters.c.meter)
        if station is not None:
            query = query.where(
                meters.c.meter.in_(
                    select(installations.c.meter)
                    .join(points, points.c.point == installations.c.point)
                    .where(ever_at(station))
                )
            )
        return [Meter(*row) for row in self._connection.execute(query).all()]

    def installations(self, station: str | None = None) -> list[Installation]:
        """Installations by point, then by instant."""
        indices: dict[int, dict[str, dict[str, int]]] = {}
        for number, moment, register, value in self._connection.execute(
            _of_station(
                select(
                    installation_indices.c.installation,
                    installation_indices.c.moment,
                    installation_indices.c.register,
                    installation_indices.c.value,
                ).join(installations, installations.c.id == installation_indices.c.installation),
                station,
            )
        ):
            of_moment = indices.setdefault(number, {_INSTALL: {}, _REMOVAL: {}})[moment]
            of_moment[register] = value
        rows = self._connection.execute(
            _of_station(
                select(
                    installations.c.id,
                    installations.c.point,
                    installations.c.meter,
                    installations.c.installed_at,
                    installations.c.removed_at,
                ).order_by(installations.c.point, installations.c.installed_at),
                station,
            )
        ).all()
        none: dict[str, dict[str, int]] = {_INSTALL: {}, _REMOVAL: {}}
        return [
            Installation(
                point,
                meter,
                installed_at,
                removed_at,
                indices.get(number, none)[_INSTALL],
                indices.get(number, none)[_REMOVAL],
            )
            for number, point, meter, installed_at, removed_at in rows
        ]

    def multipliers(self, station: str | None = None) -> list[Multiplier]:
        """Multipliers by point, then by instant."""
        query = select(
            multipliers.c.point,
            multipliers.c.from_at,
            multipliers.c.numerator,
            multipliers.c.denominator,
            multipliers.c.index_side,
        ).order_by(multipliers.c.point, multipliers.c.from_at)
        if station is not None:
            query = query.join(points, points.c.point == multipliers.c.point).where(
                ever_at(station)
            )
        return [
            Multiplier(point, from_at, Fraction(numerator, denominator), IndexSide(side))
            for point, from_at, numerator, denominator, side in self._connection.execute(query)
        ]

    def transfers(self, station: str | None = None) -> list[Transfer]:
        """Transfers by point, then by instant: all, or of points that ever were at the station."""
        query = select(transfers.c.point, transfers.c.from_at, transfers.c.station).order_by(
            transfers.c.point, transfers.c.from_at, transfers.c.version
        )
        if station is not None:
            query = query.join(points, points.c.point == transfers.c.point).where(ever_at(station))
        found = (Transfer(*row) for row in self._connection.execute(query).all())
        # The last version of each is what holds.
        return list({(row.point, row.from_at): row for row in found}.values())

    def areas(self) -> list[Area]:
        """Units, communes and feeders by kind and code."""
        c = areas.c
        query = select(c.kind, c.code, c.name).order_by(c.kind, c.code, c.version)
        found = (
            Area(AreaKind(kind), code, name) for kind, code, name in self._connection.execute(query)
        )
        return list({(row.kind, row.code): row for row in found}.values())

    def add_areas(self, rows: Iterable[Area], *, corrected: bool = False) -> None:
        """Add units, communes and feeders, or their next versions."""
        values = [asdict(row) | {"kind": row.kind.value} for row in rows]
        add_versions(self._connection, areas, values, ("kind", "code"), corrected=corrected)

    def transformers(self, station: str | None = None) -> list[Transformers]:
        """Transformers by station, then by instant: all, or those of one station."""
        c = transformers.c
        query = select(
            c.station, c.from_at, c.head_side, c.rated_kva, c.no_load_loss_w, c.load_loss_w,
            c.short_circuit_hundredths, c.count,
        ).order_by(c.station, c.from_at, c.version)  # fmt: skip
        if station is not None:
            query = query.where(c.station == station)
        found = (
            Transformers(*row[:2], HeadSide(row.head_side), *row[3:])
            for row in self._connection.execute(query).all()
        )
        return list({(row.station, row.from_at): row for row in found}.values())

    def add_transformers(self, rows: Iterable[Transformers], *, corrected: bool = False) -> None:
        """Add transformers, or their next versions; stations must be there."""
        values = [asdict(row) | {"head_side": row.head_side.value} for row in rows]
        key = ("station", "from_at")
        add_versions(self._connection, transformers, values, key, corrected=corrected)

    def add_stations(self, rows: Iterable[Station]) -> None:
        """Add stations that are not there yet."""
        self._insert(
            stations,
            [
                {
                    "station": row.station,
                    "name": row.name,
                    "commune": row.commune,
                    "capacity_kva": row.capacity_kva,
                    "kind": row.kind,
                    "unit": row.unit,
                    "feeder": row.feeder,
                }
                for row in rows
            ],
        )

    def add_points(self, rows: Iterable[Point]) -> None:
        """Add points; their stations must be there, and parents there or among them."""
        waiting = list(rows)
        while waiting:
            absent = {row.point for row in waiting}
            ready = [row for row in waiting if row.parent not in absent]
            assert ready, "parents go round in a circle"
            self._insert(
                points,
                [
                    {
                        "point": row.point,
                        "station": row.station,
                        "role": row.role.value,
                        "name": row.name,
                        "parent": row.parent,
                    }
                    for row in ready
                ],
            )
            waiting = [row for row in waiting if row.parent in absent]

    def add_transfers(self, rows: Iterable[Transfer], *, corrected: bool = False) -> None:
        """Add transfers, or their next versions; points and stations must be there."""
        values = [
            {"point": row.point, "from_at": row.from_at, "station": row.station} for row in rows
        ]
        key = ("point", "from_at")
        add_versions(self._connection, transfers, values, key, corrected=corrected)

    def complete_stations(self, rows: Iterable[Station]) -> None:
        """Write kind, unit and feeder of stations of which they were not known."""
        for row in rows:
            self._connection.execute(
                update(stations)
                .where(stations.c.station == row.station)
                .values(kind=row.kind, unit=row.unit, feeder=row.feeder)
            )

    def complete_meters(self, rows: Iterable[Meter]) -> None:
        """Write the digits of meters of which they were not known."""
        for row in rows:
            self._connection.execute(
                update(meters).where(meters.c.meter == row.meter).values(digits=row.digits)
            )

    def add_meters(self, rows: Iterable[Meter]) -> None:
        """Add meters that are not there yet."""
        self._insert(
            meters,
            [
                {
                    "meter": row.meter,
                    "model": row.model,
                    "resolution_wh": row.resolution_wh,
                    "roll_over_wh": row.roll_over_wh,
                    "digits": row.digits,
                }
                for row in rows
            ],
        )

    def add_installations(self, rows: Sequence[Installation]) -> None:
        """Add installations with their indices; points and meters must be there."""
        self._insert(
            installations,
            [
                {
                    "point": row.point,
                    "meter": row.meter,
                    "installed_at": row.installed_at,
                    "removed_at": row.removed_at,
                }
                for row in rows
            ],
        )
        self._add_indices(rows, _INSTALL)
        self._add_indices(rows, _REMOVAL)

    def close_installations(self, rows: Sequence[Installation]) -> None:
        """Write `removed_at` and the removal indices of installations that were open."""
        for row in rows:
            self._connection.execute(
                update(installations)
                .where(
                    installations.c.point == row.point,
                    installations.c.installed_at == row.installed_at,
                    installations.c.removed_at.is_(None),
                )
                .values(removed_at=row.removed_at)
            )
        self._add_indices(rows, _REMOVAL)

    def add_multipliers(self, rows: Iterable[Multiplier]) -> None:
        """Add multipliers; their points must be there."""
        self._insert(
            multipliers,
            [
                {
                    "point": row.point,
                    "from_at": row.from_at,
                    "numerator": row.ratio.numerator,
                    "denominator": row.ratio.denominator,
                    "index_side": row.index_side.value,
                }
                for row in rows
            ],
        )

    def correct_multipliers(self, rows: Iterable[Multiplier]) -> None:
        """Put multipliers right; what they said before must have been kept."""
        for row in rows:
            self._connection.execute(
                update(multipliers)
                .where(multipliers.c.point == row.point, multipliers.c.from_at == row.from_at)
                .values(
                    numerator=row.ratio.numerator,
                    denominator=row.ratio.denominator,
                    index_side=row.index_side.value,
                )
            )

    def correct_installations(self, rows: Sequence[Installation]) -> None:
        """Put installations with their indices right; what they said before must be kept."""
        numbers: list[int] = []
        for row in rows:
            found = self._connection.scalar(
                select(installations.c.id).where(
                    installations.c.point == row.point,
                    installations.c.installed_at == (row.instead_of or row.installed_at),
                )
            )
            assert found is not None, "only what is stored is corrected"
            numbers.append(found)
        # Out of the way first: one may begin when another began until now.
        for number in numbers:
            self._put_right(number, installed_at=_NEVER + timedelta(milliseconds=number))
        for number, row in zip(numbers, rows, strict=True):
            self._put_right(
                number,
                meter=row.meter,
                installed_at=row.installed_at,
                removed_at=row.removed_at,
            )
        self._connection.execute(
            delete(installation_indices).where(installation_indices.c.installation.in_(numbers))
        )
        self._add_indices(rows, _INSTALL)
        self._add_indices(rows, _REMOVAL)

    def _put_right(self, number: int, **values: object) -> None:
        self._connection.execute(
            update(installations).where(installations.c.id == number).values(**values)
        )

    def _add_indices(self, rows: Iterable[Installation], moment: str) -> None:
        wanted = [
            (row, row.install_indices if moment == _INSTALL else row.removal_indices)
            for row in rows
        ]
        wanted = [(row, indices) for row, indices in wanted if indices]
        if not wanted:
            return
        numbers = {
            (point, installed_at): number
            for number, point, installed_at in self._connection.execute(
                select(installations.c.id, installations.c.point, installations.c.installed_at)
            )
        }
        self._insert(
            installation_indices,
            [
                {
                    "installation": numbers[row.point, row.installed_at],
                    "moment": moment,
                    "register": register,
                    "value": value,
                }
                for row, indices in wanted
                for register, value in indices.items()
            ],
        )

    def _insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(insert(table), rows)


def _of_station(query: Select[Any], station: str | None) -> Select[Any]:
    """`query` over installations, limited to the points of one station."""
    if station is None:
        return query
    return query.join(points, points.c.point == installations.c.point).where(ever_at(station))


def ever_at(station: str | BindParameter[str]) -> ColumnElement[bool]:
    """Of `points`: those that are at the station or ever were."""
    moved_here = select(transfers.c.point).where(transfers.c.station == station)
    return or_(points.c.station == station, points.c.point.in_(moved_here))
