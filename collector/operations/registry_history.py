"""What the registry says of a point over time, and what held at one instant.

It fetches; what holds when is decided by `collector.registry.asking`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from collector.errors import NotFound
from collector.ledger import Ledger
from collector.registry.asking import (
    BookPeriod,
    allocation_at,
    contract_at,
    last_of,
    membership_at,
    periods_of_month,
    points_of_book,
    station_at,
    terms_at,
)
from collector.registry.cells import instant_text, percent_text
from collector.registry.contract_values import (
    Allocation,
    Contract,
    ContractRegistry,
    ContractTerms,
    Membership,
)
from collector.registry.rows import REPLACED
from collector.registry.values import Point, Registry
from contract.registers import BY_OBIS, IMPORT_ACTIVE

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PointAt:
    """What held for a point at an instant."""

    point: Point
    station: str
    contract: Contract | None
    terms: ContractTerms | None
    allocation: tuple[Allocation, ...]
    membership: Membership | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that began, or ended, at an instant; `at` None: from the beginning."""

    at: datetime | None
    what: str
    text: str


def point_at(ledger: Ledger, point: str, at: datetime) -> PointAt:
    """Station, contract, prices and book of a point at an instant. Raises NotFound."""
    registry, contracts = _load(ledger, point)
    contract = contract_at(contracts.contracts.values(), point, at)
    code = "" if contract is None else contract.contract
    return PointAt(
        registry.points[point],
        station_at(registry.points[point], registry.transfers, at),
        contract,
        terms_at(contracts.terms, code, at),
        allocation_at(contracts.allocations, code, at),
        membership_at(contracts.memberships, point, at),
    )


def book_periods(ledger: Ledger, book: str, month: date, zone: str) -> list[BookPeriod]:
    """The periods of a book that end in the month of a day. Raises NotFound for the book."""
    with ledger.read() as uow:
        books, rows = uow.contracts.books(), uow.contracts.reading_days()
    if book not in {row.book for row in books}:
        raise unknown_book(book)
    return periods_of_month(rows, book, month, zone)


def book_names(ledger: Ledger) -> list[str]:
    """The codes of all reading books, in their order."""
    with ledger.read() as uow:
        return sorted({row.book for row in uow.contracts.books()})


def book_points(ledger: Ledger, period: BookPeriod) -> list[Membership]:
    """The points of a book for a period, in the order of their positions (MA_GC)."""
    with ledger.read() as uow:
        rows = uow.contracts.memberships()
    return points_of_book(rows, period.book, last_of(period))


def point_history(ledger: Ledger, point: str, zone: str) -> list[HistoryEntry]:
    """Everything dated about a point, oldest first; no name and no address. Raises NotFound."""
    registry, contracts = _load(ledger, point)
    entries = [
        *_places(registry, point),
        *_meters(ledger, registry, point),
        *_contracts(contracts, zone),
        *_replaced(ledger, point, contracts),
    ]
    return sorted(entries, key=lambda entry: entry.at or _BEFORE_ALL)


def unknown_book(book: str) -> NotFound:
    """The error for a book that the registry does not have."""
    return NotFound(
        f"there is no reading book {book!r}",
        hint="add it to books.csv: songlo collector registry import DIR",
    )


def _load(ledger: Ledger, point: str) -> tuple[Registry, ContractRegistry]:
    with ledger.read() as uow:
        registry = uow.registry.load_point(point)
        contracts = uow.contracts.load_point(point)
    if point not in registry.points:
        raise NotFound(
            f"there is no point {point!r}",
            hint="see `GET /v1/points`; add it with: songlo collector registry import DIR",
        )
    return registry, contracts


def _places(registry: Registry, point: str) -> Iterator[HistoryEntry]:
    row = registry.points[point]
    behind = "" if row.parent is None else f", behind {row.parent}"
    yield HistoryEntry(None, "point", f"{row.role.value} at station {row.station}{behind}")
    for transfer in registry.transfers:
        yield HistoryEntry(transfer.from_at, "station", transfer.station)


def _meters(ledger: Ledger, registry: Registry, point: str) -> Iterator[HistoryEntry]:
    with ledger.read() as uow:
        inspections = uow.contracts.inspections(registry.meters)
    for row in registry.installations:
        index = _indices(row.install_indices)
        yield HistoryEntry(row.installed_at, "meter", f"{row.meter} installed{index}")
        if row.removed_at is not None:
            index = _indices(row.removal_indices)
            yield HistoryEntry(row.removed_at, "meter", f"{row.meter} removed{index}")
    for ratio in registry.multipliers:
        text = f"{ratio.ratio} ({ratio.index_side.value} index)"
        yield HistoryEntry(ratio.from_at, "multiplier", text)
    for seen in inspections:
        due = f", calibration due {seen.calibration_due}" if seen.calibration_due else ""
        seals = f", seals {' '.join(seen.seals)}" if seen.seals else ""
        yield HistoryEntry(seen.inspected_at, "inspection", f"{seen.meter}{due}{seals}")


def _replaced(ledger: Ledger, point: str, contracts: ContractRegistry) -> Iterator[HistoryEntry]:
    """What corrections took the place of, at the instant of the correction."""
    names = {"installations": [point], "multipliers": [point], "contracts": contracts.contracts}
    with ledger.read() as uow:
        found = [row for kind in REPLACED for row in uow.replaced_rows.of(kind, names[kind])]
    for row in found:
        cells = ", ".join(
            f"{column} {cell}" for column, cell in row.row.items() if cell is not None
        )
        yield HistoryEntry(row.replaced_at, "corrected", f"{row.kind} said until then: {cells}")


def _indices(indices: Mapping[str, int]) -> str:
    """What a meter's registers showed: the total import by itself, others with their codes."""
    texts = [
        f"{value} {BY_OBIS[register].unit.value}"
        + ("" if register == IMPORT_ACTIVE else f" ({register})")
        for register, value in sorted(indices.items())
    ]
    return f" at {', '.join(texts)}" if texts else ""


def _contracts(contracts: ContractRegistry, zone: str) -> Iterator[HistoryEntry]:
    for row in contracts.contracts.values():
        until = "" if row.to_at is None else f" until {instant_text(row.to_at, zone)}"
        text = f"{row.contract} with customer {row.customer}{until}"
        yield HistoryEntry(row.from_at, "contract", text)
    for terms in contracts.terms:
        quota = ", renters undeclared" if terms.renters_undeclared else ""
        for count, what in ((terms.households, "households"), (terms.renters, "renters")):
            quota += "" if count is None else f", {count} {what}"
        watts = "" if terms.registered_w is None else f", {terms.registered_w} W registered"
        text = f"{terms.contract}: {terms.voltage_v} V{quota}{watts}"
        yield HistoryEntry(terms.from_at, "terms", text)
    lists: dict[tuple[datetime, str, str], list[str]] = {}
    for one in contracts.allocations:
        size = f"{one.kwh}kWh" if one.percent_hundredths is None else _percent(one)
        of_list = lists.setdefault((one.from_at, one.contract, one.register), [])
        of_list.append(f"{size}*{one.price_group}")
    for (at, contract, register), shares in lists.items():
        yield HistoryEntry(at, "prices", f"{contract}: {register} {'; '.join(shares)}")
    for member in contracts.memberships:
        text = "none" if member.book is None else f"{member.book}, position {member.position}"
        yield HistoryEntry(member.from_at, "book", text)


def _percent(row: Allocation) -> str:
    assert row.percent_hundredths is not None
    return f"{percent_text(row.percent_hundredths)}%"
