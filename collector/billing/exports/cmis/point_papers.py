"""What contracts, reading books and stations say of points at an instant, as CMIS's columns.

It joins the registry's values; it must not know where they are kept, nor a file's form.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Protocol, TypeVar

from collector.billing.exports.cmis.values import CmisRow, PointPaper
from collector.civil import civil_day
from collector.registry.asking import (
    allocation_at,
    contract_at,
    just_before,
    membership_at,
    periods_of_month,
    position_key,
    station_at,
    terms_at,
)
from collector.registry.cells import percent_text
from collector.registry.contract_values import Allocation, ContractRegistry, ReadingDays
from collector.registry.values import Registry
from contract.registers import BY_OBIS


class _OfPoint(Protocol):
    @property
    def point(self) -> str: ...


class _OfContract(Protocol):
    @property
    def contract(self) -> str: ...


_PointRow = TypeVar("_PointRow", bound=_OfPoint)
_ContractRow = TypeVar("_ContractRow", bound=_OfContract)


def point_papers(
    registry: Registry, contracts: ContractRegistry, to_at: datetime, zone: str
) -> dict[str, PointPaper]:
    """Of each point what held just before a period's end `to_at`.

    MA_NN, MA_CTO and the codes of CMIS's own price list are not known here; CHUOI_GIA names the
    price groups of the tariffs.
    """
    at = just_before(to_at)
    of_point = _by_point(contracts.contracts.values())
    members = _by_point(contracts.memberships)
    moves = _by_point(registry.transfers)
    terms = _by_contract(contracts.terms)
    prices = _by_contract(contracts.allocations)
    cycles = _cycles(contracts.reading_days, to_at, zone)
    found: dict[str, PointPaper] = {}
    for point in registry.points.values():
        name = point.point
        contract = contract_at(of_point.get(name, ()), name, at)
        code = "" if contract is None else contract.contract
        customer = None if contract is None else contracts.customers.get(contract.customer)
        its_terms = terms_at(terms.get(code, ()), code, at)
        member = membership_at(members.get(name, ()), name, at)
        station = station_at(point, moves.get(name, ()), at)
        book = None if member is None else member.book
        cycle, month = cycles.get(book or "", (None, None))
        found[name] = PointPaper(
            customer=None if contract is None else contract.customer,
            unit=registry.stations[station].unit if station in registry.stations else None,
            book=book,
            position=None if member is None else member.position,
            station=station,
            name=(None if customer is None else customer.name) or point.name,
            address=None if customer is None else customer.address,
            households=None if its_terms is None else its_terms.households,
            price_chain=price_chain(allocation_at(prices.get(code, ()), code, at)),
            cycle=cycle,
            month_of=month,
        )
    return found


def price_chain(rows: Iterable[Allocation]) -> str | None:
    """A list of prices as CHUOI_GIA: `KT: 70%*household, 30%*business`; None for an empty one."""
    chains: dict[str, list[str]] = {}
    for row in rows:
        share = f"{row.kwh}kWh"
        if row.percent_hundredths is not None:
            share = f"{percent_text(row.percent_hundredths)}%"
        chains.setdefault(row.register, []).append(f"{share}*{row.price_group}")
    parts = (
        f"{BY_OBIS[register].cmis}: {', '.join(shares)}" for register, shares in chains.items()
    )
    return "; ".join(parts) or None


def in_book_order(rows: Iterable[CmisRow], papers: Mapping[str, PointPaper]) -> list[CmisRow]:
    """The rows by book and position (MA_GC), as a book is read; points without a book last."""

    def place(row: CmisRow) -> tuple[bool, str, tuple[tuple[int, int, str], ...]]:
        paper = papers.get(row.point)
        if paper is None or paper.book is None:
            return True, "", ()
        return False, paper.book, position_key(paper.position or "")

    keys: dict[str, tuple[bool, str, tuple[tuple[int, int, str], ...]]] = {}
    found = list(rows)
    for row in found:
        if row.point not in keys:
            keys[row.point] = place(row)
    # Stable: points of one place, and registers of a point, stay in the order they came in.
    found.sort(key=lambda row: keys[row.point])
    return found


def _cycles(
    rows: Iterable[ReadingDays], to_at: datetime, zone: str
) -> dict[str, tuple[int | None, date | None]]:
    """Of each book the number of the period that ends at `to_at` (KY), and a day of its month."""
    last = civil_day(to_at, zone)
    by_book: dict[str, list[ReadingDays]] = {}
    for row in rows:
        by_book.setdefault(row.book, []).append(row)
    found: dict[str, tuple[int | None, date | None]] = {}
    for book, of_book in by_book.items():
        for period in periods_of_month(of_book, book, last, zone):
            if period.to_at == to_at:
                found[book] = period.number, last
    return found


def _by_point(rows: Iterable[_PointRow]) -> dict[str, list[_PointRow]]:
    found: dict[str, list[_PointRow]] = {}
    for row in rows:
        found.setdefault(row.point, []).append(row)
    return found


def _by_contract(rows: Iterable[_ContractRow]) -> dict[str, list[_ContractRow]]:
    found: dict[str, list[_ContractRow]] = {}
    for row in rows:
        found.setdefault(row.contract, []).append(row)
    return found
