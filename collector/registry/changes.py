"""What an import changes: new rows, closed installations, and everything that speaks against it.

A fact that is stored is never changed by an import: what contradicts it is an error of its row.
It must not know files or the ledger, only values.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from collector.civil import format_instant
from collector.registry.contract_changes import plan_contracts
from collector.registry.contract_values import ContractRegistry
from collector.registry.files import Located, RegistryFiles
from collector.registry.forms import REMOVAL, index_column
from collector.registry.planning import (
    RegistryChanges,
    added,
    check_known,
    contradicted,
    fail,
)
from collector.registry.values import (
    AreaKind,
    HeadSide,
    IndexSide,
    Installation,
    Multiplier,
    Point,
    Registry,
    Role,
    StationKind,
    Transfer,
    Transformers,
)


def plan_changes(
    stored: Registry,
    files: RegistryFiles,
    contracts: ContractRegistry | None = None,
    price_groups: Collection[str] = (),
    *,
    correcting: bool = False,
) -> RegistryChanges:
    """What the files add to what is stored; with any error nothing of it may be written.

    `price_groups` are those that tariffs have. With `correcting` rows of dated files may say
    otherwise than what is stored under the same name and instant; they are its next version.
    """
    changes = RegistryChanges(correcting=correcting, errors=list(files.errors))
    changes.stations = added(
        "stations.csv",
        files.stations,
        stored.stations,
        lambda value: value.station,
        changes,
        fillable=("kind", "unit", "feeder"),
        completed=changes.completed_stations,
    )
    changes.points = added(
        "points.csv", files.points, stored.points, lambda value: value.point, changes
    )
    changes.meters = added(
        "meters.csv",
        files.meters,
        stored.meters,
        lambda value: value.meter,
        changes,
        fillable=("digits",),
        completed=changes.completed_meters,
    )
    stations = {*stored.stations, *(row.value.station for row in files.stations)}
    points = {*stored.points, *(row.value.point for row in files.points)}
    meters = {*stored.meters, *(row.value.meter for row in files.meters)}
    check_known("transformers.csv", "station", files.transformers, stations, changes)
    check_known("points.csv", "station", files.points, stations, changes)
    check_known("installations.csv", "point", files.installations, points, changes)
    check_known("installations.csv", "meter", files.installations, meters, changes)
    check_known("multipliers.csv", "point", files.multipliers, points, changes)
    check_known("transfers.csv", "point", files.transfers, points, changes)
    check_known("transfers.csv", "station", files.transfers, stations, changes)
    check_known("inspections.csv", "meter", files.inspections, meters, changes)
    _check_parents(stored.points, files.points, changes)
    _plan_installations(stored, files.installations, changes)
    _check_sides(files.multipliers, changes)
    changes.multipliers = added(
        "multipliers.csv",
        files.multipliers,
        {(row.point, row.from_at): row for row in stored.multipliers},
        lambda value: (value.point, value.from_at),
        changes,
        correctable=True,
    )
    changes.transfers = added(
        "transfers.csv",
        files.transfers,
        {(row.point, row.from_at): row for row in stored.transfers},
        lambda value: (value.point, value.from_at),
        changes,
        correctable=True,
    )
    _check_transfers(stored, files, changes)
    _plan_areas(stored, files, changes)
    _plan_transformers(stored, files.transformers, changes)
    plan_contracts(contracts or ContractRegistry(), files, points, price_groups, changes)
    changes.warnings = [*_warnings(stored, changes), *changes.warnings]
    changes.errors.sort()
    return changes


def _check_parents(
    stored: Mapping[str, Point], rows: Sequence[Located[Point]], changes: RegistryChanges
) -> None:
    """Sub-meters, and they alone, are behind a point that is known, and not behind themselves."""
    parents = {name: point.parent for name, point in stored.items()}
    parents |= {row.value.point: row.value.parent for row in rows}
    for located in rows:
        value = located.value
        reason = ""
        if (value.role is Role.SUB_METER) != (value.parent is not None):
            reason = "a sub_meter has a parent, and nothing else has"
        elif value.parent is not None and value.parent not in parents:
            reason = f"{value.parent!r} is not known: add it to points.csv"
        elif _is_circle(value.point, parents):
            reason = f"{value.point!r} would be behind itself"
        if reason:
            fail(changes, "points.csv", located.row, "parent", reason)


def _is_circle(point: str, parents: Mapping[str, str | None]) -> bool:
    passed = {point}
    above = parents.get(point)
    while above is not None and above not in passed:
        passed.add(above)
        above = parents.get(above)
    # A circle further up is the error of the rows that make it.
    return above == point


def _plan_areas(stored: Registry, files: RegistryFiles, changes: RegistryChanges) -> None:
    """Once there is a list of units, communes or feeders, stations name what is on it."""
    changes.areas = added(
        "areas.csv",
        files.areas,
        {(row.kind, row.code): row for row in stored.areas},
        lambda value: (value.kind, value.code),
        changes,
        correctable=True,
    )
    known: dict[AreaKind, set[str]] = {}
    for area in (*stored.areas, *changes.areas):
        known.setdefault(area.kind, set()).add(area.code)
    for kind, codes in known.items():
        said = {name: getattr(row, kind) for name, row in stored.stations.items()}
        for located in files.stations:
            code = getattr(located.value, kind)
            # What is stored may be older than the list.
            if code not in {None, said.get(located.value.station)} and code not in codes:
                reason = f"{code!r} is not known: add it to areas.csv"
                fail(changes, "stations.csv", located.row, kind, reason)
        if any(area.kind is kind for area in changes.areas):
            changes.warnings += [
                f"station {name} has the {kind.value} {code}, which areas.csv does not have"
                for name, code in sorted(said.items())
                if code is not None and code not in codes
            ]


def _plan_transformers(
    stored: Registry, rows: Sequence[Located[Transformers]], changes: RegistryChanges
) -> None:
    """Where the head is on the MV side, their loss is the station's: it must be computable."""
    for located in rows:
        for name in ("rated_kva", "no_load_loss_w", "load_loss_w"):
            if located.value.head_side is HeadSide.MV and getattr(located.value, name) is None:
                reason = "a head on the MV side needs the transformers' rating and losses"
                fail(changes, "transformers.csv", located.row, name, reason)
    changes.transformers = added(
        "transformers.csv",
        rows,
        {(row.station, row.from_at): row for row in stored.transformers},
        lambda value: (value.station, value.from_at),
        changes,
        correctable=True,
    )


def _check_sides(rows: Sequence[Located[Multiplier]], changes: RegistryChanges) -> None:
    for located in rows:
        if located.value.index_side is IndexSide.PRIMARY and located.value.ratio != 1:
            reason = "a register of the primary side has the ratio counted in: its multiplier is 1"
            fail(changes, "multipliers.csv", located.row, "multiplier", reason)


def _check_transfers(stored: Registry, files: RegistryFiles, changes: RegistryChanges) -> None:
    """A transfer leads elsewhere, and heads stay where they are."""
    points = {row.value.point: row.value for row in files.points} | dict(stored.points)
    given = {(row.value.point, row.value.from_at): row for row in files.transfers}
    by_point: dict[str, list[tuple[int, Transfer]]] = {}
    for row in stored.transfers:
        if not (changes.correcting and (row.point, row.from_at) in given):
            by_point.setdefault(row.point, []).append((0, row))
    for key, located in given.items():
        if not any(key[1] == row.from_at for _, row in by_point.get(key[0], ())):
            by_point.setdefault(key[0], []).append((located.row, located.value))
    for name in {row.value.point for row in files.transfers} & points.keys():
        point = points[name]
        station = point.station
        for number, row in sorted(by_point[name], key=lambda entry: entry[1].from_at):
            if number and point.role is Role.HEAD:
                reason = "a head point stays: it measures its own station"
                fail(changes, "transfers.csv", number, "point", reason)
            elif number and row.station == station and not changes.correcting:
                # As a correction it says that the transfer never was.
                reason = f"{name!r} is at {station!r} then already"
                fail(changes, "transfers.csv", number, "station", reason)
            station = row.station


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
        key = (value.point, value.instead_of or value.installed_at)
        first = seen.setdefault(key, located.row)
        if first != located.row:
            reason = f"the same point and instant as row {first}"
            fail(changes, "installations.csv", located.row, "installed_at", reason)
            continue
        if value.instead_of is not None and not (changes.correcting and key in standing):
            reason = "only the correction of an installation that is stored says instead of what"
            fail(changes, "installations.csv", located.row, "instead_of", reason)
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
            column = index_column(REMOVAL, next(iter(value.removal_indices)))
            fail(changes, "installations.csv", located.row, column, reason)
            return False
    elif value.removed_at <= value.installed_at:
        reason = "removed_at must be after installed_at"
        fail(changes, "installations.csv", located.row, "removed_at", reason)
        return False
    return True


def _plan_installation(
    located: Located[Installation], standing: Installation | None, changes: RegistryChanges
) -> None:
    value = located.value if standing is None else _with_known_indices(located.value, standing)
    if standing is None:
        changes.installations.append(value)
    elif standing == value:
        changes.unchanged += 1
    elif standing.removed_at is None and standing == replace(
        value, removed_at=None, removal_indices={}
    ):
        changes.closed.append(value)
    elif changes.correcting:
        changes.corrected.setdefault("installations", []).append(value)
    else:
        contradicted(changes, "installations.csv", located.row, standing, value)


def _with_known_indices(value: Installation, standing: Installation) -> Installation:
    """`value` with the stored indices of registers of which it says nothing.

    A file may lack their columns.
    """
    removal = standing.removal_indices if value.removed_at is not None else {}
    return replace(
        value,
        install_indices={**standing.install_indices, **value.install_indices},
        removal_indices={**removal, **value.removal_indices},
    )


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
                fail(changes, "installations.csv", row, column, reason)


def _warnings(stored: Registry, changes: RegistryChanges) -> list[str]:
    with_head = {
        point.station
        for point in (*stored.points.values(), *changes.points)
        if point.role is Role.HEAD
    }
    stations = {row.station: row for row in (*stored.stations.values(), *changes.stations)}
    stations |= {row.station: row for row in changes.completed_stations}
    return [
        f"station {name} has no head point: it can have no balance"
        for name, row in sorted(stations.items())
        # The customer's own meter measures a dedicated station.
        if name not in with_head and row.kind is not StationKind.DEDICATED
    ]
