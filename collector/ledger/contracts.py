"""Customers, contracts, prices and reading books: loaded as values, added, contracts ended.

It must not judge whether a change is allowed: that is `collector.registry`.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, func, insert, select, update

from collector.ledger.tables import (
    allocations,
    applications,
    books,
    contract_terms,
    contracts,
    customers,
    inspections,
    memberships,
    reading_days,
)
from collector.registry.contract_values import (
    PERSONAL_FACTS,
    Allocation,
    Book,
    Contract,
    ContractRegistry,
    ContractTerms,
    Customer,
    Inspection,
    Membership,
    ReadingDay,
    ReadingDays,
    SupplyApplication,
)

_Value = TypeVar("_Value")

_SEPARATOR = ";"


class ContractRepository:
    """What a bill needs to know beside meters, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self, *, customers: bool = True) -> ContractRegistry:
        """All of it; `customers` False leaves names and addresses where they are."""
        return ContractRegistry(
            customers={row.customer: row for row in self.customers()} if customers else {},
            contracts={row.contract: row for row in self.contracts()},
            terms=tuple(self.terms()),
            allocations=tuple(self.allocations()),
            books={row.book: row for row in self.books()},
            reading_days=tuple(self.reading_days()),
            memberships=tuple(self.memberships()),
            inspections=tuple(self.inspections()),
            applications={row.application: row for row in self.applications()},
        )

    def load_point(self, point: str) -> ContractRegistry:
        """What concerns one point: never names or addresses."""
        found = self.contracts(point)
        mine = [row.contract for row in found]
        members = self.memberships(point)
        wanted = {row.book for row in members}
        return ContractRegistry(
            contracts={row.contract: row for row in found},
            terms=tuple(self.terms(mine)),
            allocations=tuple(self.allocations(mine)),
            books={row.book: row for row in self.books() if row.book in wanted},
            reading_days=tuple(row for row in self.reading_days() if row.book in wanted),
            memberships=tuple(members),
        )

    def customers(self) -> list[Customer]:
        """Customers by code."""
        return self._rows(Customer, customers, _of(Customer, customers).order_by("customer"))

    def contracts(self, point: str | None = None) -> list[Contract]:
        """Contracts by point, then by instant: all, or those of a point."""
        query = _of(Contract, contracts).order_by("point", "from_at")
        if point is not None:
            query = query.where(contracts.c.point == point)
        return self._rows(Contract, contracts, query)

    def terms(self, of: Iterable[str] | None = None) -> list[ContractTerms]:
        """Terms by contract, then by instant: all, or of these contracts."""
        query = _of(ContractTerms, contract_terms).order_by(
            "contract", "from_at", contract_terms.c.version
        )
        if of is not None:
            query = query.where(contract_terms.c.contract.in_(list(of)))
        return _newest(self._rows(ContractTerms, contract_terms, query), "contract", "from_at")

    def allocations(self, of: Iterable[str] | None = None) -> list[Allocation]:
        """Lists of prices by contract, instant, register and position."""
        query = (
            _of(Allocation, allocations)
            .add_columns(allocations.c.version)
            .order_by("contract", "from_at", "register", "position")
        )
        if of is not None:
            query = query.where(allocations.c.contract.in_(list(of)))
        found = [(Allocation(*row[:-1]), row.version) for row in self._connection.execute(query)]
        newest: dict[tuple[str, datetime], int] = {}
        for one, version in found:
            key = (one.contract, one.from_at)
            newest[key] = max(version, newest.get(key, version))
        # A list is corrected as a whole.
        return [row for row, version in found if version == newest[row.contract, row.from_at]]

    def books(self) -> list[Book]:
        """Books by code."""
        return self._rows(Book, books, _of(Book, books).order_by("book"))

    def reading_days(self) -> list[ReadingDays]:
        """Reading days by book, then by instant."""
        query = _of(ReadingDays, reading_days).order_by("book", "from_at", reading_days.c.version)
        found = [
            ReadingDays(book, from_at, stored_days(text))
            for book, from_at, text in self._connection.execute(query).all()
        ]
        return _newest(found, "book", "from_at")

    def memberships(self, point: str | None = None) -> list[Membership]:
        """Memberships by point, then by instant: all, or those of a point."""
        query = _of(Membership, memberships).order_by("point", "from_at", memberships.c.version)
        if point is not None:
            query = query.where(memberships.c.point == point)
        return _newest(self._rows(Membership, memberships, query), "point", "from_at")

    def inspections(self, meters: Iterable[str] | None = None) -> list[Inspection]:
        """Inspections by meter, then by instant: all, or those of some meters."""
        query = _of(Inspection, inspections).order_by(
            "meter", "inspected_at", inspections.c.version
        )
        if meters is not None:
            query = query.where(inspections.c.meter.in_(list(meters)))
        found = [
            Inspection(meter, at, due, stored_seals(seals))
            for meter, at, due, seals in self._connection.execute(query).all()
        ]
        return _newest(found, "meter", "inspected_at")

    def applications(self) -> list[SupplyApplication]:
        """Applications for supply by name."""
        query = _of(SupplyApplication, applications).order_by("application", "version")
        return _newest(self._rows(SupplyApplication, applications, query), "application")

    def add_applications(
        self, rows: Iterable[SupplyApplication], *, corrected: bool = False
    ) -> None:
        """Add applications, or their next versions; what they name must be there."""
        values = [asdict(row) for row in rows]
        add_versions(self._connection, applications, values, ("application",), corrected=corrected)

    def add_customers(self, rows: Iterable[Customer]) -> None:
        """Add customers that are not there yet."""
        self._insert(customers, [asdict(row) for row in rows])

    def correct_customers(self, rows: Iterable[Customer]) -> None:
        """Put names, addresses, telephone numbers and e-mail addresses right."""
        for row in rows:
            self._connection.execute(
                update(customers)
                .where(customers.c.customer == row.customer)
                .values({fact: getattr(row, fact) for fact in PERSONAL_FACTS})
            )

    def add_contracts(self, rows: Iterable[Contract]) -> None:
        """Add contracts; points and customers must be there."""
        self._insert(contracts, [asdict(row) for row in rows])

    def close_contracts(self, rows: Iterable[Contract]) -> None:
        """Write `to_at` of contracts that had none."""
        for row in rows:
            self._connection.execute(
                update(contracts)
                .where(contracts.c.contract == row.contract, contracts.c.to_at.is_(None))
                .values(to_at=row.to_at)
            )

    def correct_contracts(self, rows: Iterable[Contract]) -> None:
        """Put customer, beginning and end of contracts right; what they said must be kept."""
        for row in rows:
            self._connection.execute(
                update(contracts)
                .where(contracts.c.contract == row.contract)
                .values(customer=row.customer, from_at=row.from_at, to_at=row.to_at)
            )

    def add_terms(self, rows: Iterable[ContractTerms], *, corrected: bool = False) -> None:
        """Add terms; their contracts must be there."""
        values = [asdict(row) for row in rows]
        add_versions(
            self._connection, contract_terms, values, ("contract", "from_at"), corrected=corrected
        )

    def add_allocations(self, rows: Iterable[Allocation], *, corrected: bool = False) -> None:
        """Add prices; their contracts must be there."""
        values = [asdict(row) for row in rows]
        add_versions(
            self._connection, allocations, values, ("contract", "from_at"), corrected=corrected
        )

    def add_books(self, rows: Iterable[Book]) -> None:
        """Add books that are not there yet."""
        self._insert(books, [asdict(row) for row in rows])

    def add_reading_days(self, rows: Iterable[ReadingDays], *, corrected: bool = False) -> None:
        """Add reading days; their books must be there."""
        values = [
            {
                "book": row.book,
                "from_at": row.from_at,
                "reading_days": _SEPARATOR.join(str(day) for day in row.reading_days),
            }
            for row in rows
        ]
        key = ("book", "from_at")
        add_versions(self._connection, reading_days, values, key, corrected=corrected)

    def add_memberships(self, rows: Iterable[Membership], *, corrected: bool = False) -> None:
        """Add memberships; points and books must be there."""
        values = [asdict(row) for row in rows]
        add_versions(
            self._connection, memberships, values, ("point", "from_at"), corrected=corrected
        )

    def add_inspections(self, rows: Iterable[Inspection], *, corrected: bool = False) -> None:
        """Add inspections; their meters must be there."""
        values = [asdict(row) | {"seals": _SEPARATOR.join(row.seals)} for row in rows]
        key = ("meter", "inspected_at")
        add_versions(self._connection, inspections, values, key, corrected=corrected)

    def _rows(self, kind: type[_Value], table: Table, query: Select[Any]) -> list[_Value]:
        known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
        assert known == set(table.columns.keys()) - {"version"}
        return [kind(*row) for row in self._connection.execute(query).all()]

    def _insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(insert(table), rows)


def _of(kind: type, table: Table) -> Select[Any]:
    """The table's columns in the order of the value's fields."""
    return select(*(table.c[one.name] for one in fields(kind)))


def add_versions(
    connection: Connection,
    table: Table,
    rows: list[dict[str, Any]],
    key: tuple[str, ...],
    *,
    corrected: bool,
) -> None:
    """Add rows as first versions, or as the next version of what has the same key."""
    version: dict[tuple[Any, ...], int] = {}
    for row in rows if corrected else ():
        name = tuple(row[column] for column in key)
        if name not in version:
            same = (table.c[column] == value for column, value in zip(key, name, strict=True))
            newest = connection.scalar(select(func.max(table.c.version)).where(*same))
            version[name] = (newest or 0) + 1
    if rows:
        numbered = [
            row | {"version": version.get(tuple(row[column] for column in key), 1)} for row in rows
        ]
        connection.execute(insert(table), numbered)


def _newest(rows: Iterable[_Value], *key: str) -> list[_Value]:
    """Of rows in the order of versions, the last one of each key."""
    return list({tuple(getattr(row, name) for name in key): row for row in rows}.values())


def stored_days(text: str) -> tuple[ReadingDay, ...]:
    """Reading days as they are kept."""
    return tuple("last" if day == "last" else int(day) for day in text.split(_SEPARATOR))


def stored_seals(text: str) -> tuple[str, ...]:
    """Seals as they are kept."""
    return tuple(text.split(_SEPARATOR)) if text else ()
