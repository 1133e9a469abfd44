"""Writing what was planned of the registry: the rows, the entry of the audit trail, what follows.

Importing files and changing single rows end here. It must not judge rows, which
`collector.registry` does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from collector.civil import format_instant, parse_instant
from collector.ledger import UnitOfWork
from collector.registry.contract_values import PERSONAL_FACTS, ContractRegistry
from collector.registry.planning import RegistryChanges
from collector.registry.reach import ahead, reach
from collector.registry.rows import PERSONAL, REPLACED, Row, key_of, show_row, stored_key_of
from collector.registry.values import Registry

# Rows that one entry of the audit trail spells out; a district's import has hundreds of thousands,
# and those that are new are in the registry itself.
NAMED_MAX = 1_000

# Points and runs that an entry, or an answer, names of those that a change touches.
TOUCHED_MAX = 100

# Instants to come that an entry names each by itself; those after them are told as one span, which
# counts for all points.
AHEAD_MAX = 100


@dataclass(frozen=True, slots=True)
class Touched:
    """What a back-dated change touches: points, from then on, up to `to_at` (None: until now).

    Of points and runs the first hundred are named; `point_count` is of all.

    Balances and previews are computed anew when they are next asked for; open billing runs have to
    be made again, exported ones are corrected by the next run, snapshots stay as they are.
    """

    points: tuple[str, ...]
    point_count: int
    from_at: datetime
    to_at: datetime | None
    open_runs: tuple[str, ...]
    exported_runs: tuple[str, ...]
    snapshots: int

    def says(self) -> dict[str, object]:
        """The same for the audit trail."""
        return {
            "points": list(self.points),
            "point_count": self.point_count,
            "from_at": format_instant(self.from_at),
            "to_at": None if self.to_at is None else format_instant(self.to_at),
            "open_runs": list(self.open_runs),
            "exported_runs": list(self.exported_runs),
            "snapshots": self.snapshots,
        }


def heard(said: Mapping[str, Any] | None) -> Touched | None:
    """What a change touched, from what the audit trail says of it."""
    if said is None:
        return None
    return Touched(
        tuple(said["points"]),
        said["point_count"],
        parse_instant(said["from_at"], "UTC"),
        None if said["to_at"] is None else parse_instant(said["to_at"], "UTC"),
        tuple(said["open_runs"]),
        tuple(said["exported_runs"]),
        said["snapshots"],
    )


def touched(
    uow: UnitOfWork,
    changes: RegistryChanges,
    stored: tuple[Registry, ContractRegistry],
    now: datetime,
) -> Touched | None:
    """What of the past counts otherwise by these changes; None where nothing does."""
    found = reach(changes, *stored, now)
    if found is None:
        return None
    resting = uow.registry_rows.resting(found.points, found.from_at, found.to_at)
    return Touched(
        tuple(sorted(found.points)[:TOUCHED_MAX]),
        len(found.points),
        found.from_at,
        found.to_at,
        resting.open_runs[:TOUCHED_MAX],
        resting.exported_runs[:TOUCHED_MAX],
        resting.snapshots,
    )


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a change says of a time to come, by the first and last instant of which it says it.

    Of points the first hundred are named; `point_count` is of all.
    """

    from_at: datetime
    to_at: datetime
    points: tuple[str, ...]
    point_count: int


def ahead_says(
    changes: RegistryChanges, stored: tuple[Registry, ContractRegistry], now: datetime
) -> dict[str, object]:
    """What these changes say of the time to come, for the audit trail; nothing where they do not.

    Nothing counts otherwise by it when it is written; when the time has come, who wrote it had a
    hand in what is billed of it.
    """
    found = sorted(ahead(changes, *stored, now).items())
    rows = [
        Ahead(at, at, tuple(sorted(points)[:TOUCHED_MAX]), len(points))
        for at, points in found[:AHEAD_MAX]
    ]
    if later := found[AHEAD_MAX:]:
        count = len(set().union(*(points for _, points in later)))
        rows.append(Ahead(later[0][0], later[-1][0], (), count))
    said = [
        {
            "from_at": format_instant(row.from_at),
            "to_at": format_instant(row.to_at),
            "points": list(row.points),
            "point_count": row.point_count,
        }
        for row in rows
    ]
    return {"ahead": said} if said else {}


def heard_ahead(detail: Mapping[str, Any]) -> list[Ahead]:
    """What a change said of a time to come, from what the audit trail says of it."""
    return [
        Ahead(
            parse_instant(row["from_at"], "UTC"),
            parse_instant(row["to_at"], "UTC"),
            tuple(row["points"]),
            row["point_count"],
        )
        for row in detail.get("ahead", ())
    ]


def write(
    uow: UnitOfWork,
    changes: RegistryChanges,
    stored: tuple[Registry, ContractRegistry],
    now: datetime,
) -> None:
    """Write everything that was planned of what is stored; there must be no errors in it."""
    assert not changes.errors
    _keep_replaced(uow, changes, stored, now)
    # A corrected end makes room for what begins there.
    _write_replacing(uow, changes)
    registry, contracts = uow.registry, uow.contracts
    registry.add_areas(changes.areas)
    registry.add_stations(changes.stations)
    registry.complete_stations(changes.completed_stations)
    registry.add_transformers(changes.transformers)
    registry.add_points(changes.points)
    registry.add_transfers(changes.transfers)
    registry.complete_meters(changes.completed_meters)
    # An exchange closes one installation and opens the next: in this order.
    registry.close_installations(changes.closed)
    registry.add_installations(changes.installations)
    registry.add_multipliers(changes.multipliers)
    contracts.add_inspections(changes.inspections)
    contracts.correct_customers(changes.corrected_customers)
    contracts.close_contracts(changes.closed_contracts)
    contracts.add_contracts(changes.contracts)
    contracts.add_terms(changes.terms)
    contracts.add_allocations(changes.allocations)
    contracts.add_applications(changes.applications)
    contracts.add_applications(changes.completed_applications, corrected=True)
    contracts.add_books(changes.books)
    contracts.add_reading_days(changes.reading_days)
    contracts.add_memberships(changes.memberships)
    writers: dict[str, Callable[..., None]] = {
        "areas": registry.add_areas,
        "transformers": registry.add_transformers,
        "transfers": registry.add_transfers,
        "inspections": contracts.add_inspections,
        "applications": contracts.add_applications,
        "terms": contracts.add_terms,
        "allocations": contracts.add_allocations,
        "reading_days": contracts.add_reading_days,
        "memberships": contracts.add_memberships,
    }
    for kind, rows in changes.corrected.items():
        if kind not in REPLACED:
            writers[kind](rows, corrected=True)


def _write_replacing(uow: UnitOfWork, changes: RegistryChanges) -> None:
    """Put right what is kept in its own table; new meters and customers must be there first."""
    uow.registry.add_meters(changes.meters)
    uow.contracts.add_customers(changes.customers)
    uow.registry.correct_installations(changes.corrected.get("installations", ()))
    uow.registry.correct_multipliers(changes.corrected.get("multipliers", ()))
    uow.contracts.correct_contracts(changes.corrected.get("contracts", ()))


def _keep_replaced(
    uow: UnitOfWork,
    changes: RegistryChanges,
    stored: tuple[Registry, ContractRegistry],
    now: datetime,
) -> None:
    """Nothing is overwritten: what a correction takes the place of is kept first."""
    for kind in REPLACED:
        rows = changes.corrected.get(kind, ())
        for _, old, _ in _pairs(kind, rows, _standing(kind, stored)):
            began = old.installed_at if kind == "installations" else old.from_at
            name = str(key_of(kind, old)[0])
            uow.replaced_rows.keep(kind, name, began, show_row(kind, old, "UTC"), now)


def changed_rows(
    changes: RegistryChanges, stored: tuple[Registry, ContractRegistry], zone: str
) -> list[dict[str, object]]:
    """Every stored row that says something else now, with what it said before.

    Of customers it has the code and which facts were put right, never what they are.
    """
    registry, contracts = stored
    found = [
        *_pairs("stations", changes.completed_stations, registry.stations.values()),
        *_pairs("meters", changes.completed_meters, registry.meters.values()),
        *(
            ("installations", replace(row, removed_at=None, removal_indices={}), row)
            for row in changes.closed
        ),
        *_pairs("applications", changes.completed_applications, contracts.applications.values()),
        *_pairs("contracts", changes.closed_contracts, contracts.contracts.values()),
    ]
    for kind, rows in changes.corrected.items():
        if kind == "allocations":
            found += _lists(rows, contracts)
        else:
            found += _pairs(kind, rows, _standing(kind, stored))
    said: list[dict[str, object]] = [
        {"kind": kind, "old": _shown(kind, old, zone), "new": _shown(kind, new, zone)}
        for kind, old, new in found
    ]
    for row in changes.corrected_customers:
        before = contracts.customers[row.customer]
        facts = [fact for fact in PERSONAL_FACTS if getattr(row, fact) != getattr(before, fact)]
        said.append({"kind": PERSONAL, "customer": row.customer, "facts": facts})
    return said


def new_rows(changes: RegistryChanges, kind: str, zone: str) -> list[Row]:
    """Rows of a kind that were not there before, as the audit trail has them."""
    rows = getattr(changes, kind)
    if kind == PERSONAL:
        return [{"customer": row.customer} for row in rows]
    return [show_row(kind, row, zone) for row in rows]


def _standing(kind: str, stored: tuple[Registry, ContractRegistry]) -> Iterable[Any]:
    registry, contracts = stored
    rows = getattr(registry if hasattr(registry, kind) else contracts, kind)
    return rows.values() if isinstance(rows, Mapping) else rows


_Pair = tuple[str, Any, Any]


def _pairs(kind: str, rows: Iterable[Any], stored: Iterable[Any]) -> Iterator[_Pair]:
    wanted = {stored_key_of(kind, row): row for row in rows}
    if wanted:
        before = {key_of(kind, row): row for row in stored}
        for key, row in wanted.items():
            yield kind, before[key], row


def _lists(rows: Iterable[Any], contracts: ContractRegistry) -> Iterator[_Pair]:
    """A list of prices takes the place of another as a whole."""
    lists: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        lists.setdefault((row.contract, row.from_at), []).append(row)
    for key, of_list in lists.items():
        before = [row for row in contracts.allocations if (row.contract, row.from_at) == key]
        yield "allocations", before, of_list


def _shown(kind: str, row: Any, zone: str) -> object:  # noqa: ANN401  rows of many kinds
    if isinstance(row, list):
        return [show_row(kind, one, zone) for one in row]
    return show_row(kind, row, zone)


def capped(rows: list[Any], into: Mapping[str, object]) -> dict[str, object]:
    """`into` with the rows under `changed`, as many as an entry takes, and how many more."""
    if not rows:
        return dict(into)
    said = dict(into) | {"changed": rows[:NAMED_MAX]}
    return said if len(rows) <= NAMED_MAX else said | {"changed_more": len(rows) - NAMED_MAX}
