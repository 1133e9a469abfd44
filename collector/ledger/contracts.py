"""Customers, contracts, prices and reading books: loaded as values, added, contracts ended.

It must not judge whether a change is allowed: that is `collector.registry`.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, insert, select, update

from collector.ledger.tables import (
    allocations,
    books,
    contract_terms,
    contracts,
    customers,
    inspections,
    memberships,
    reading_days,
)
from collector.registry.contract_values import (
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
        query = _of(ContractTerms, contract_terms).order_by("contract", "from_at")
        if of is not None:
            query = query.where(contract_terms.c.contract.in_(list(of)))
        return self._rows(ContractTerms, contract_terms, query)

    def allocations(self, of: Iterable[str] | None = None) -> list[Allocation]:
        """Lists of prices by contract, instant, register and position."""
        query = _of(Allocation, allocations).order_by("contract", "from_at", "register", "position")
        if of is not None:
            query = query.where(allocations.c.contract.in_(list(of)))
        return self._rows(Allocation, allocations, query)

    def books(self) -> list[Book]:
        """Books by code."""
        return self._rows(Book, books, _of(Book, books).order_by("book"))

    def reading_days(self) -> list[ReadingDays]:
        """Reading days by book, then by instant."""
        query = _of(ReadingDays, reading_days).order_by("book", "from_at")
        return [
            ReadingDays(book, from_at, _days(text))
            for book, from_at, text in self._connection.execute(query).all()
        ]

    def memberships(self, point: str | None = None) -> list[Membership]:
        """Memberships by point, then by instant: all, or those of a point."""
        query = _of(Membership, memberships).order_by("point", "from_at")
        if point is not None:
            query = query.where(memberships.c.point == point)
        return self._rows(Membership, memberships, query)

    def inspections(self, meters: Iterable[str] | None = None) -> list[Inspection]:
        """Inspections by meter, then by instant: all, or those of some meters."""
        query = _of(Inspection, inspections).order_by("meter", "inspected_at")
        if meters is not None:
            query = query.where(inspections.c.meter.in_(list(meters)))
        return [
            Inspection(meter, at, due, tuple(seals.split(_SEPARATOR)) if seals else ())
            for meter, at, due, seals in self._connection.execute(query).all()
        ]

    def add_customers(self, rows: Iterable[Customer]) -> None:
        """Add customers that are not there yet."""
        self._insert(customers, [asdict(row) for row in rows])

    def correct_customers(self, rows: Iterable[Customer]) -> None:
        """Put names and addresses right."""
        for row in rows:
            self._connection.execute(
                update(customers)
                .where(customers.c.customer == row.customer)
                .values(name=row.name, address=row.address)
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

    def add_terms(self, rows: Iterable[ContractTerms]) -> None:
        """Add terms; their contracts must be there."""
        self._insert(contract_terms, [asdict(row) for row in rows])

    def add_allocations(self, rows: Iterable[Allocation]) -> None:
        """Add prices; their contracts must be there."""
        self._insert(allocations, [asdict(row) for row in rows])

    def add_books(self, rows: Iterable[Book]) -> None:
        """Add books that are not there yet."""
        self._insert(books, [asdict(row) for row in rows])

    def add_reading_days(self, rows: Iterable[ReadingDays]) -> None:
        """Add reading days; their books must be there."""
        self._insert(
            reading_days,
            [
                {
                    "book": row.book,
                    "from_at": row.from_at,
                    "reading_days": _SEPARATOR.join(str(day) for day in row.reading_days),
                }
                for row in rows
            ],
        )

    def add_memberships(self, rows: Iterable[Membership]) -> None:
        """Add memberships; points and books must be there."""
        self._insert(memberships, [asdict(row) for row in rows])

    def add_inspections(self, rows: Iterable[Inspection]) -> None:
        """Add inspections; their meters must be there."""
        self._insert(
            inspections, [asdict(row) | {"seals": _SEPARATOR.join(row.seals)} for row in rows]
        )

    def _rows(self, kind: type[_Value], table: Table, query: Select[Any]) -> list[_Value]:
        assert len(fields(kind)) == len(table.columns)  # type: ignore[arg-type]
        return [kind(*row) for row in self._connection.execute(query).all()]

    def _insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(insert(table), rows)


def _of(kind: type, table: Table) -> Select[Any]:
    """The table's columns in the order of the value's fields."""
    return select(*(table.c[one.name] for one in fields(kind)))


def _days(text: str) -> tuple[ReadingDay, ...]:
    return tuple("last" if day == "last" else int(day) for day in text.split(_SEPARATOR))
