"""What an import changes of customers, contracts, prices and reading books.

Every rule about what may stand beside what is here. It must not know files or the ledger.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from collector.civil import format_instant
from collector.registry.cells import percent_text
from collector.registry.contract_values import (
    PERSONAL_FACTS,
    Allocation,
    Contract,
    ContractRegistry,
    ContractTerms,
    Customer,
    Membership,
)
from collector.registry.files import Located, RegistryFiles
from collector.registry.forms import RATES, TOTAL
from collector.registry.planning import (
    RegistryChanges,
    added,
    check_known,
    contradicted,
    fail,
)

_WHOLE = 100_00


def plan_contracts(
    stored: ContractRegistry,
    files: RegistryFiles,
    points: Collection[str],
    price_groups: Collection[str],
    changes: RegistryChanges,
) -> None:
    """Add to `changes` what the files say of contracts and books, and what is wrong with it."""
    known = set(points)
    customers = {*stored.customers, *(row.value.customer for row in files.customers)}
    contracts = {**stored.contracts, **{row.value.contract: row.value for row in files.contracts}}
    books = {*stored.books, *(row.value.book for row in files.books)}
    check_known("contracts.csv", "point", files.contracts, known, changes)
    check_known("contracts.csv", "customer", files.contracts, customers, changes)
    check_known("terms.csv", "contract", files.terms, set(contracts), changes)
    check_known("allocations.csv", "contract", files.allocations, set(contracts), changes)
    check_known("reading_days.csv", "book", files.reading_days, books, changes)
    check_known("memberships.csv", "point", files.memberships, known, changes)
    check_known("memberships.csv", "book", files.memberships, books, changes)
    _plan_customers(stored, files.customers, changes)
    _plan_contracts(stored, files.contracts, changes)
    for file, rows in (("terms.csv", files.terms), ("allocations.csv", files.allocations)):
        _check_days(file, rows, contracts, changes)
    _check_terms(files.terms, changes)
    _check_allocations(stored, files.allocations, price_groups, changes)
    _check_memberships(files.memberships, changes)
    _plan_dated(stored, files, changes)
    _plan_applications(stored, files, known, contracts, customers, changes)
    changes.warnings += _warnings(stored, changes)


def _plan_applications(
    stored: ContractRegistry,
    files: RegistryFiles,
    points: set[str],
    contracts: Mapping[str, Contract],
    customers: set[str],
    changes: RegistryChanges,
) -> None:
    """What an application lacks may be said later; its days are in their order."""
    rows = files.applications
    check_known("applications.csv", "customer", rows, customers, changes)
    check_known("applications.csv", "point", rows, points, changes)
    check_known("applications.csv", "contract", rows, set(contracts), changes)
    for located in rows:
        value = located.value
        for column in ("surveyed_on", "withdrawn_on"):
            day = getattr(value, column)
            if day is not None and day < value.received_on:
                reason = "this is before the application was received"
                fail(changes, "applications.csv", located.row, column, reason)
    changes.applications = added(
        "applications.csv",
        rows,
        stored.applications,
        lambda row: row.application,
        changes,
        fillable=("customer", "point", "surveyed_on", "contract", "withdrawn_on"),
        completed=changes.completed_applications,
        correctable=True,
    )


def _plan_dated(stored: ContractRegistry, files: RegistryFiles, changes: RegistryChanges) -> None:
    corrected = {_price(row)[:2] for row in changes.corrected.get("allocations", ())}
    changes.terms = added(
        "terms.csv",
        files.terms,
        {(row.contract, row.from_at): row for row in stored.terms},
        lambda row: (row.contract, row.from_at),
        changes,
        correctable=True,
    )
    changes.allocations = added(
        "allocations.csv",
        [row for row in files.allocations if _price(row.value)[:2] not in corrected],
        {_price(row): row for row in stored.allocations},
        _price,
        changes,
    )
    changes.books = added("books.csv", files.books, stored.books, lambda row: row.book, changes)
    changes.reading_days = added(
        "reading_days.csv",
        files.reading_days,
        {(row.book, row.from_at): row for row in stored.reading_days},
        lambda row: (row.book, row.from_at),
        changes,
        correctable=True,
    )
    changes.memberships = added(
        "memberships.csv",
        files.memberships,
        {(row.point, row.from_at): row for row in stored.memberships},
        lambda row: (row.point, row.from_at),
        changes,
        correctable=True,
    )
    changes.inspections = added(
        "inspections.csv",
        files.inspections,
        {(row.meter, row.inspected_at): row for row in stored.inspections},
        lambda row: (row.meter, row.inspected_at),
        changes,
        correctable=True,
    )


def _price(row: Allocation) -> tuple[str, datetime, str, int]:
    return row.contract, row.from_at, row.register, row.position


def _plan_customers(
    stored: ContractRegistry, rows: Iterable[Located[Customer]], changes: RegistryChanges
) -> None:
    """Personal data are put right where they differ: no bill rests on them, and the law on
    personal data (91/2025/QH15) gives everyone the right to have them corrected."""
    seen: dict[str, int] = {}
    for located in rows:
        value = located.value
        first = seen.setdefault(value.customer, located.row)
        before = stored.customers.get(value.customer)
        if first != located.row:
            reason = f"the same as row {first}: give it once"
            fail(changes, "customers.csv", located.row, "customer", reason)
        elif before is None:
            changes.customers.append(value)
        else:
            facts = (getattr(value, fact) or getattr(before, fact) for fact in PERSONAL_FACTS)
            said = Customer(value.customer, *facts)
            if said == before:
                changes.unchanged += 1
            else:
                changes.corrected_customers.append(said)


def _plan_contracts(
    stored: ContractRegistry, rows: Iterable[Located[Contract]], changes: RegistryChanges
) -> None:
    seen: dict[str, int] = {}
    standing = {name: (0, row) for name, row in stored.contracts.items()}
    for located in rows:
        value = located.value
        first = seen.setdefault(value.contract, located.row)
        if first != located.row:
            reason = f"the same as row {first}: give it once"
            fail(changes, "contracts.csv", located.row, "contract", reason)
            continue
        if value.to_at is not None and value.to_at <= value.from_at:
            reason = "to_at must be after from_at"
            fail(changes, "contracts.csv", located.row, "to_at", reason)
            continue
        before = stored.contracts.get(value.contract)
        if before is None:
            changes.contracts.append(value)
        elif before == value:
            changes.unchanged += 1
        elif before == replace(value, to_at=None):
            changes.closed_contracts.append(value)
        elif changes.correcting and before.point == value.point:
            changes.corrected.setdefault("contracts", []).append(value)
        else:
            contradicted(changes, "contracts.csv", located.row, before, value)
            continue
        standing[value.contract] = (located.row, value)
    _check_overlaps(standing.values(), changes)


def _check_overlaps(rows: Iterable[tuple[int, Contract]], changes: RegistryChanges) -> None:
    """One contract for a point at a time."""
    by_point: dict[str, list[tuple[int, Contract]]] = {}
    for number, row in rows:
        by_point.setdefault(row.point, []).append((number, row))
    for name, of_point in by_point.items():
        of_point.sort(key=lambda entry: entry[1].from_at)
        for (row_before, before), (row_after, after) in pairwise(of_point):
            if before.to_at is None or before.to_at > after.from_at:
                reason = (
                    f"point {name!r} would have two contracts at once from "
                    f"{format_instant(after.from_at)}: give {before.contract!r} its to_at"
                )
                fail(changes, "contracts.csv", row_after or row_before, "point", reason)


def _check_days(
    file: str,
    rows: Iterable[Located[ContractTerms]] | Iterable[Located[Allocation]],
    contracts: dict[str, Contract],
    changes: RegistryChanges,
) -> None:
    for located in rows:
        contract = contracts.get(located.value.contract)
        if contract is None:
            continue
        if located.value.from_at < contract.from_at or (
            contract.to_at is not None and located.value.from_at >= contract.to_at
        ):
            reason = f"contract {contract.contract!r} is not in force then"
            fail(changes, file, located.row, "from_at", reason)


def _check_terms(rows: Iterable[Located[ContractTerms]], changes: RegistryChanges) -> None:
    for located in rows:
        value = located.value
        quotas = (value.households is not None, value.renters is not None, value.renters_undeclared)
        if sum(quotas) > 1:
            reason = "one of households, renters and renters_undeclared"
            fail(changes, "terms.csv", located.row, "households", reason)


def _check_allocations(
    stored: ContractRegistry,
    rows: Iterable[Located[Allocation]],
    price_groups: Collection[str],
    changes: RegistryChanges,
) -> None:
    """A list is whole: it names every register that is billed, and leaves nothing of any."""
    lists: dict[tuple[str, datetime], list[Located[Allocation]]] = {}
    for located in rows:
        value = located.value
        lists.setdefault((value.contract, value.from_at), []).append(located)
        if (value.percent_hundredths is None) == (value.kwh is None):
            reason = "either percent or kwh"
            fail(changes, "allocations.csv", located.row, "percent", reason)
        if value.price_group not in price_groups:
            reason = f"no tariff has {value.price_group!r}; there are: " + ", ".join(
                sorted(price_groups)
            )
            fail(changes, "allocations.csv", located.row, "price_group", reason)
    begun: dict[tuple[str, datetime], set[Allocation]] = {}
    for row in stored.allocations:
        begun.setdefault((row.contract, row.from_at), set()).add(row)
    for key, of_list in lists.items():
        if key not in begun:
            _check_list(of_list, changes)
        elif not changes.correcting:
            _check_stored(of_list, begun[key], changes)
        elif {located.value for located in of_list} != begun[key]:
            # A list is corrected as a whole.
            _check_list(of_list, changes)
            corrected = changes.corrected.setdefault("allocations", [])
            corrected += [located.value for located in of_list]


def _check_stored(
    of_list: list[Located[Allocation]], stored: set[Allocation], changes: RegistryChanges
) -> None:
    before = {_price(row) for row in stored}
    for located in of_list:
        if _price(located.value) not in before:
            reason = "the list of that instant is stored and whole: begin one later"
            fail(changes, "allocations.csv", located.row, "from_at", reason)


def _check_list(of_list: list[Located[Allocation]], changes: RegistryChanges) -> None:
    registers: dict[str, list[Located[Allocation]]] = {}
    for located in of_list:
        registers.setdefault(located.value.register, []).append(located)
    if set(registers) not in ({TOTAL}, set(RATES)):
        reason = f"a list is of {TOTAL} alone, or of {', '.join(RATES)}"
        fail(changes, "allocations.csv", of_list[0].row, "register", reason)
    for register, of_register in registers.items():
        total = sum(row.value.percent_hundredths or 0 for row in of_register)
        if total != _WHOLE:
            reason = (
                f"the per cents of {register} are {percent_text(total)} together, not 100:"
                " what is left has no price"
            )
            fail(changes, "allocations.csv", of_register[0].row, "percent", reason)
        groups: set[str] = set()
        for located in of_register:
            if located.value.price_group in groups:
                reason = f"{located.value.price_group!r} is there twice: it would have two quotas"
                fail(changes, "allocations.csv", located.row, "price_group", reason)
            groups.add(located.value.price_group)


def _check_memberships(rows: Iterable[Located[Membership]], changes: RegistryChanges) -> None:
    for located in rows:
        if (located.value.book is None) != (located.value.position is None):
            reason = "a point has a position where it has a book, and only there"
            fail(changes, "memberships.csv", located.row, "position", reason)


def _warnings(stored: ContractRegistry, changes: RegistryChanges) -> list[str]:
    terms = _first((*stored.terms, *changes.terms))
    prices = _first((*stored.allocations, *changes.allocations))
    rows: list[Contract] = [*changes.contracts, *changes.corrected.get("contracts", ())]
    return [
        f"contract {row.contract} has no {what} from its beginning on: it cannot be billed"
        for row in sorted(rows, key=lambda row: row.contract)
        for what, known in (("terms", terms), ("allocation of prices", prices))
        if row.contract not in known or known[row.contract] > row.from_at
    ]


def _first(rows: Iterable[ContractTerms | Allocation]) -> dict[str, datetime]:
    """From when on contracts have such rows."""
    found: dict[str, datetime] = {}
    for row in rows:
        found[row.contract] = min(row.from_at, found.get(row.contract, row.from_at))
    return found
