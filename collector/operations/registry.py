"""The registry: importing it from files and looking at it.

It reads the files and opens the transaction; it must not judge rows, which `collector.registry`
does.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from collector.civil import DEFAULT_ZONE, zone_info
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.registry.changes import RegistryChanges, plan_changes
from collector.registry.files import RowError, file_names, parse_files
from collector.registry.values import Installation, Meter, Multiplier, Point, Role, Station

# A registry of a million points is smaller.
FILE_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do, or why nothing was done (`errors` is not empty)."""

    written: bool
    added: dict[str, int]
    closed: int
    unchanged: int
    errors: tuple[RowError, ...]
    warnings: tuple[str, ...]


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


def import_registry(
    ledger: Ledger,
    folder: Path,
    actor: str,
    now: datetime,
    *,
    zone: str = DEFAULT_ZONE,
    dry_run: bool = False,
) -> ImportReport:
    """Import the CSV files of `folder`: all of their rows, or none if any of them is wrong.

    Dates mean the first instant of that day in `zone`. The same files again change nothing.
    Raises InvalidRequest where there are no files or they are not text.
    """
    zone_info(zone)
    files = parse_files(_texts(folder), zone)
    if dry_run:
        with ledger.read() as uow:
            changes = plan_changes(uow.registry.load(), files)
        return _report(changes, written=False)
    with ledger.begin() as uow:
        uow.registry.lock()
        changes = plan_changes(uow.registry.load(), files)
        if not changes.errors:
            _write(uow, changes)
            report = _report(changes, written=True)
            detail = {"added": report.added, "closed": report.closed, "folder": folder.name}
            uow.audit.add(AuditEntry(now, actor, "registry.import", "registry", detail))
            return report
    return _report(changes, written=False)


def stations(ledger: Ledger) -> list[StationView]:
    """All stations by name, with their counts of points."""
    with ledger.read() as uow:
        rows, points_ = uow.registry.stations(), uow.registry.points()
    heads: dict[str, int] = {}
    counts: dict[str, int] = {}
    for point in points_:
        counts[point.station] = counts.get(point.station, 0) + 1
        heads[point.station] = heads.get(point.station, 0) + (point.role is Role.HEAD)
    return [StationView(row, heads.get(row.station, 0), counts.get(row.station, 0)) for row in rows]


def station(ledger: Ledger, name: str) -> StationView:
    """One station. Raises NotFound."""
    with ledger.read() as uow:
        rows, points_ = uow.registry.stations(name), uow.registry.points(name)
    if not rows:
        raise unknown_station(name)
    heads = sum(point.role is Role.HEAD for point in points_)
    return StationView(rows[0], heads, len(points_))


def points(ledger: Ledger, at: datetime, station: str | None = None) -> list[PointView]:
    """Points by name, with what is installed there at `at`. Raises NotFound for the station."""
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


def _texts(folder: Path) -> dict[str, str]:
    texts = {}
    for name in file_names():
        path = folder / name
        if not path.is_file():
            continue
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidRequest(
                f"{path} is larger than {FILE_BYTES_MAX} bytes",
                hint="import it in parts: what is stored stays",
            )
        try:
            texts[name] = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"{path} is not UTF-8: {error.reason} at byte {error.start}",
                hint="save it as CSV UTF-8",
            ) from error
    if not texts:
        raise InvalidRequest(
            f"{folder} has no registry files", hint=f"expected are {', '.join(file_names())}"
        )
    return texts


def _write(uow: UnitOfWork, changes: RegistryChanges) -> None:
    uow.registry.add_stations(changes.stations)
    uow.registry.add_points(changes.points)
    uow.registry.add_meters(changes.meters)
    # An exchange closes one installation and opens the next: in this order.
    uow.registry.close_installations(changes.closed)
    uow.registry.add_installations(changes.installations)
    uow.registry.add_multipliers(changes.multipliers)


def _report(changes: RegistryChanges, *, written: bool) -> ImportReport:
    added = {
        "stations": len(changes.stations),
        "points": len(changes.points),
        "meters": len(changes.meters),
        "installations": len(changes.installations),
        "multipliers": len(changes.multipliers),
    }
    return ImportReport(
        written,
        added,
        len(changes.closed),
        changes.unchanged,
        tuple(changes.errors),
        tuple(changes.warnings),
    )
