"""What an import changes: new rows, closed installations, and everything that speaks against it.

A fact that is stored is never changed by an import: what contradicts it is an error of its row.
It must not know files or the ledger, only values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeVar

from collector.civil import format_instant
from collector.registry.files import Located, RegistryFiles, RowError
from collector.registry.values import (
    Installation,
    Meter,
    Multiplier,
    Point,
    Registry,
    Role,
    Station,
)

_Value = TypeVar("_Value")

# Where a value's field has another name than its column.
_COLUMNS = {
    "install_indices": "install_index_wh",
    "removal_indices": "removal_index_wh",
    "ratio": "multiplier",
}


@dataclass(slots=True)
class RegistryChanges:
    """What to write, or why nothing may be written. `warnings` do not stand in the way."""

    stations: list[Station] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    installations: list[Installation] = field(default_factory=list)
    closed: list[Installation] = field(default_factory=list)
    multipliers: list[Multiplier] = field(default_factory=list)
    unchanged: int = 0
    errors: list[RowError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def plan_changes(stored: Registry, files: RegistryFiles) -> RegistryChanges:
    """What the files add to what is stored; with any error nothing of it may be written."""
    changes = RegistryChanges(errors=list(files.errors))
    changes.stations = _added(
        "stations.csv", files.stations, stored.stations, lambda value: value.station, changes
    )
    changes.points = _added(
        "points.csv", files.points, stored.points, lambda value: value.point, changes
    )
    changes.meters = _added(
        "meters.csv", files.meters, stored.meters, lambda value: value.meter, changes
    )
    stations = {*stored.stations, *(row.value.station for row in files.stations)}
    points = {*stored.points, *(row.value.point for row in files.points)}
    meters = {*stored.meters, *(row.value.meter for row in files.meters)}
    _check_known("points.csv", "station", files.points, stations, changes)
    _check_known("installations.csv", "point", files.installations, points, changes)
    _check_known("installations.csv", "meter", files.installations, meters, changes)
    _check_known("multipliers.csv", "point", files.multipliers, points, changes)
    _plan_installations(stored, files.installations, changes)
    changes.multipliers = _added(
        "multipliers.csv",
        files.multipliers,
        {(row.point, row.from_at): row for row in stored.multipliers},
        lambda value: (value.point, value.from_at),
        changes,
    )
    changes.warnings = _warnings(stored, changes)
    changes.errors.sort()
    return changes


def _added(
    file: str,
    rows: Iterable[Located[_Value]],
    stored: Mapping[Any, _Value],
    key: Callable[[_Value], Any],
    changes: RegistryChanges,
) -> list[_Value]:
    """The rows that are new; those that contradict what is stored or each other are errors."""
    seen: dict[Any, int] = {}
    added = []
    for located in rows:
        name = key(located.value)
        first = seen.setdefault(name, located.row)
        if first != located.row:
            _fail(changes, file, located.row, "", f"the same as row {first}: give it once")
        elif name not in stored:
            added.append(located.value)
        elif stored[name] == located.value:
            changes.unchanged += 1
        else:
            _contradicted(changes, file, located.row, stored[name], located.value)
    return added


def _check_known(
    file: str,
    column: str,
    rows: Iterable[Located[Any]],
    known: set[str],
    changes: RegistryChanges,
) -> None:
    for located in rows:
        name = getattr(located.value, column)
        if name not in known:
            reason = f"{name!r} is not known: add it to {column}s.csv"
            _fail(changes, file, located.row, column, reason)


def _plan_installations(
    stored: Registry, rows: Sequence[Located[Installation]], changes: RegistryChanges
) -> None:
    standing = {(row.point, row.installed_at): row for row in stored.installations}
    all_rows: dict[tuple[str, datetime], tuple[int, Installation]] = {
        key: (0, row) for key, row in standing.items()
    }
    seen: dict[tuple[str, datetime], int] = {}
    for located in rows:
        value = located.value
        key = (value.point, value.installed_at)
        first = seen.setdefault(key, located.row)
        if first != located.row:
            reason = f"the same point and instant as row {first}"
            _fail(changes, "installations.csv", located.row, "installed_at", reason)
            continue
        if _is_sound(located, changes):
            _plan_installation(located, standing.get(key), changes)
            all_rows[key] = (located.row, value)
    _check_overlaps("point", all_rows.values(), changes)
    _check_overlaps("meter", all_rows.values(), changes)


def _is_sound(located: Located[Installation], changes: RegistryChanges) -> bool:
    value = located.value
    if value.removed_at is None:
        if value.removal_indices:
            reason = "there is a removal index but no removed_at"
            _fail(changes, "installations.csv", located.row, "removal_index_wh", reason)
            return False
    elif value.removed_at <= value.installed_at:
        reason = "removed_at must be after installed_at"
        _fail(changes, "installations.csv", located.row, "removed_at", reason)
        return False
    return True


def _plan_installation(
    located: Located[Installation], standing: Installation | None, changes: RegistryChanges
) -> None:
    value = located.value
    if standing is None:
        changes.installations.append(value)
    elif standing == value:
        changes.unchanged += 1
    elif standing.removed_at is None and standing == replace(
        value, removed_at=None, removal_indices={}
    ):
        changes.closed.append(value)
    else:
        _contradicted(changes, "installations.csv", located.row, standing, value)


def _check_overlaps(
    column: str, rows: Iterable[tuple[int, Installation]], changes: RegistryChanges
) -> None:
    """One meter at a point at a time, and one point for a meter at a time."""
    by_name: dict[str, list[tuple[int, Installation]]] = {}
    for number, value in rows:
        by_name.setdefault(getattr(value, column), []).append((number, value))
    for name, of_name in by_name.items():
        of_name.sort(key=lambda entry: entry[1].installed_at)
        for (row_before, before), (row_after, after) in pairwise(of_name):
            if before.removed_at is None or before.removed_at > after.installed_at:
                row = row_after or row_before
                reason = (
                    f"{column} {name!r} would be in two installations at once from "
                    f"{format_instant(after.installed_at)}: give the earlier one its removed_at"
                )
                _fail(changes, "installations.csv", row, column, reason)


def _contradicted(
    changes: RegistryChanges, file: str, row: int, stored: object, given: object
) -> None:
    for field_ in fields(stored):  # type: ignore[arg-type]
        was, said = getattr(stored, field_.name), getattr(given, field_.name)
        if was != said:
            reason = f"contradicts what is stored: {_shown(was)}, not {_shown(said)}"
            _fail(changes, file, row, _COLUMNS.get(field_.name, field_.name), reason)


def _shown(value: object) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, Mapping):
        return ", ".join(str(one) for one in value.values())
    return str(value)


def _fail(changes: RegistryChanges, file: str, row: int, column: str, reason: str) -> None:
    changes.errors.append(RowError(file, row, column, reason))


def _warnings(stored: Registry, changes: RegistryChanges) -> list[str]:
    with_head = {
        point.station
        for point in (*stored.points.values(), *changes.points)
        if point.role is Role.HEAD
    }
    return [
        f"station {station} has no head point: it can have no balance"
        for station in sorted({*stored.stations, *(row.station for row in changes.stations)})
        if station not in with_head
    ]
