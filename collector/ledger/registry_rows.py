"""The registry's rows of one kind, a page at a time, and who rests on what they say.

Pages go on after a key, so that the last costs what the first does. Of versions the newest is what
holds. It must not know what rows mean.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from collector.ledger.billing_tables import billing_exports, billing_lines, billing_runs
from collector.ledger.contracts import stored_days, stored_seals
from collector.ledger.tables import (
    allocations,
    applications,
    areas,
    books,
    contract_terms,
    contracts,
    customers,
    inspections,
    installation_indices,
    installations,
    memberships,
    meters,
    multipliers,
    points,
    reading_days,
    snapshots,
    stations,
    transfers,
    transformers,
)
from collector.registry.contract_values import (
    Allocation,
    Book,
    Contract,
    ContractTerms,
    Customer,
    Inspection,
    Membership,
    ReadingDays,
    SupplyApplication,
)
from collector.registry.rows import KEYS
from collector.registry.values import (
    Area,
    AreaKind,
    HeadSide,
    IndexSide,
    Installation,
    Meter,
    Multiplier,
    Point,
    Role,
    Station,
    StationKind,
    Transfer,
    Transformers,
)

# By more names than this is not searched: what rests on them is found by the period alone.
NAMES_MAX = 500

_INSTALL = "install"

_Moments = tuple[dict[str, int], dict[str, int]]
"""Indices by register, of going in and of coming out."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where rows of a kind are, and the value that a row's columns make."""

    table: Table
    make: Callable[[Mapping[str, Any]], Any]
    until: str | None = None

    def versioned(self) -> bool:
        return "version" in self.table.c


def _plain(kind: type) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: kind(**{name: value for name, value in row.items() if name != "version"})


def _area(row: Mapping[str, Any]) -> Area:
    return Area(AreaKind(row["kind"]), row["code"], row["name"])


def _station(row: Mapping[str, Any]) -> Station:
    kind = row["kind"]
    return Station(**{**row, "kind": None if kind is None else StationKind(kind)})


def _transformers(row: Mapping[str, Any]) -> Transformers:
    facts = {name: value for name, value in row.items() if name != "version"}
    return Transformers(**{**facts, "head_side": HeadSide(row["head_side"])})


def _point(row: Mapping[str, Any]) -> Point:
    return Point(**{**row, "role": Role(row["role"])})


def _multiplier(row: Mapping[str, Any]) -> Multiplier:
    ratio = Fraction(row["numerator"], row["denominator"])
    return Multiplier(row["point"], row["from_at"], ratio, IndexSide(row["index_side"]))


def _inspection(row: Mapping[str, Any]) -> Inspection:
    seals = stored_seals(row["seals"])
    return Inspection(row["meter"], row["inspected_at"], row["calibration_due"], seals)


def _reading_days(row: Mapping[str, Any]) -> ReadingDays:
    return ReadingDays(row["book"], row["from_at"], stored_days(row["reading_days"]))


def _installation(row: Mapping[str, Any]) -> Installation:
    return Installation(row["point"], row["meter"], row["installed_at"], row["removed_at"])


_KINDS: Mapping[str, _Kind] = {
    "areas": _Kind(areas, _area),
    "stations": _Kind(stations, _station),
    "transformers": _Kind(transformers, _transformers),
    "points": _Kind(points, _point),
    "transfers": _Kind(transfers, _plain(Transfer)),
    "meters": _Kind(meters, _plain(Meter)),
    "installations": _Kind(installations, _installation, "removed_at"),
    "multipliers": _Kind(multipliers, _multiplier),
    "inspections": _Kind(inspections, _inspection),
    "customers": _Kind(customers, _plain(Customer)),
    "contracts": _Kind(contracts, _plain(Contract), "to_at"),
    "terms": _Kind(contract_terms, _plain(ContractTerms)),
    "allocations": _Kind(allocations, _plain(Allocation)),
    "applications": _Kind(applications, _plain(SupplyApplication)),
    "books": _Kind(books, _plain(Book)),
    "reading_days": _Kind(reading_days, _reading_days),
    "memberships": _Kind(memberships, _plain(Membership)),
}


def began_column(kind: str) -> str | None:
    """The column with the instant from which a row of this kind holds; None: it has no dates."""
    columns = _KINDS[kind].table.c
    found = [name for name in ("from_at", "installed_at", "inspected_at") if name in columns]
    return found[0] if found else None


def can_filter(kind: str, column: str) -> bool:
    """Whether rows of this kind have the column."""
    return column in _KINDS[kind].table.c


@dataclass(frozen=True, slots=True)
class Resting:
    """What rests on a stretch of time: billing runs, open and exported, and snapshots."""

    open_runs: tuple[str, ...]
    exported_runs: tuple[str, ...]
    snapshots: int


class RegistryRows:
    """Rows by kind within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(
        self,
        kind: str,
        after: Sequence[Any] | None,
        limit: int,
        filters: Mapping[str, str],
        at: datetime | None = None,
    ) -> list[Any]:
        """Rows in the order of their keys, after the key `after`: those that `filters` name.

        With `at` those that hold at that instant; the kind must have dates then.
        """
        found = _KINDS[kind]
        columns = [found.table.c[name] for name in KEYS[kind]]
        query = _newest(kind).order_by(*columns).limit(limit)
        for name, value in filters.items():
            query = query.where(found.table.c[name] == value)
        if at is not None:
            query = query.where(_holds(kind, at))
        if after is not None:
            bounds = [
                literal(value, column.type) for value, column in zip(after, columns, strict=True)
            ]
            query = query.where(tuple_(*columns) > tuple_(*bounds))
        return self._values(kind, query)

    def of(self, kind: str, name: str) -> list[Any]:
        """All rows of one name, in the order of their keys."""
        found = _KINDS[kind]
        columns = [found.table.c[column] for column in KEYS[kind]]
        return self._values(kind, _newest(kind).where(columns[0] == name).order_by(*columns))

    def resting(
        self, points_: Collection[str] | None, from_at: datetime, to_at: datetime | None
    ) -> Resting:
        """Runs that billed these points (None: any), and snapshots, of periods that overlap."""
        names = None if points_ is None or len(points_) > NAMES_MAX else sorted(points_)
        runs = select(billing_runs.c.run).where(_overlaps(billing_runs, from_at, to_at))
        if names is not None:
            runs = runs.where(
                exists().where(
                    billing_lines.c.run == billing_runs.c.run, billing_lines.c.point.in_(names)
                )
            )
        is_exported = exists().where(billing_exports.c.run == billing_runs.c.run)
        rows = self._connection.execute(
            runs.add_columns(is_exported).order_by(billing_runs.c.from_at, billing_runs.c.run)
        ).all()
        made = self._connection.scalar(
            select(func.count()).select_from(snapshots).where(_overlaps(snapshots, from_at, to_at))
        )
        return Resting(
            tuple(run for run, exported in rows if not exported),
            tuple(run for run, exported in rows if exported),
            int(made or 0),
        )

    def _values(self, kind: str, query: Select[Any]) -> list[Any]:
        make = _KINDS[kind].make
        rows = [dict(row) for row in self._connection.execute(query).mappings()]
        values = [make(row) for row in rows]
        if kind != "installations":
            return values
        indices = self._indices([row["id"] for row in rows])
        none: _Moments = ({}, {})
        return [
            Installation(
                value.point,
                value.meter,
                value.installed_at,
                value.removed_at,
                *indices.get(row["id"], none),
            )
            for row, value in zip(rows, values, strict=True)
        ]

    def _indices(self, numbers: Collection[int]) -> dict[int, _Moments]:
        c = installation_indices.c
        found: dict[int, _Moments] = {}
        query = select(c.installation, c.moment, c.register, c.value).where(
            c.installation.in_(numbers)
        )
        for number, moment, register, value in self._connection.execute(query):
            of_both = found.setdefault(number, ({}, {}))
            of_both[0 if moment == _INSTALL else 1][register] = value
        return found


def _newest(kind: str) -> Select[Any]:
    """The rows that hold: of versions of the same key the last."""
    found = _KINDS[kind]
    table = found.table
    if not found.versioned():
        return select(table)
    other = table.alias()
    # A list of prices is corrected as a whole: its versions are those of contract and instant.
    same = [other.c[name] == table.c[name] for name in KEYS[kind][:2]]
    newest = select(func.max(other.c.version)).where(*same).scalar_subquery()
    return select(table).where(table.c.version == newest)


def _holds(kind: str, at: datetime) -> ColumnElement[bool]:
    found = _KINDS[kind]
    table = found.table
    began = began_column(kind)
    assert began is not None
    begun = table.c[began] <= at
    if found.until is not None:
        until = table.c[found.until]
        return and_(begun, or_(until.is_(None), until > at))
    other = table.alias()
    name = KEYS[kind][0]
    latest = select(func.max(other.c[began])).where(
        other.c[name] == table.c[name], other.c[began] <= at
    )
    return table.c[began] == latest.scalar_subquery()


def _overlaps(table: Table, from_at: datetime, to_at: datetime | None) -> ColumnElement[bool]:
    after = table.c.to_at > from_at
    return after if to_at is None else and_(after, table.c.from_at < to_at)
