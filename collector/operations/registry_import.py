"""Importing the registry from a folder of CSV files or from one workbook: all rows, or none.

It reads the files and opens the transaction; it must not judge rows, which `collector.registry`
does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from collector.civil import DEFAULT_ZONE, format_instant, zone_info
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.operations.registry_workbook import WORKBOOK_SUFFIX, read_workbook
from collector.operations.tariffs import load_tariffs, price_groups
from collector.registry.changes import plan_changes
from collector.registry.files import RegistryFiles, RowError, file_names, parse_files
from collector.registry.planning import RegistryChanges

# A registry of a million points is smaller.
FILE_BYTES_MAX = 256 * 1024 * 1024

# Codes of customers whose data were put right that an entry of the audit trail names.
NAMED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do, or why nothing was done (`errors` is not empty).

    `closed` counts installations and contracts that ended, `completed` rows that say more now.
    """

    written: bool
    added: dict[str, int]
    closed: int
    unchanged: int
    errors: tuple[RowError, ...]
    warnings: tuple[str, ...]
    closed_contracts: int = 0
    completed: int = 0
    corrected_customers: int = 0
    corrected: int = 0


def import_registry(  # noqa: PLR0913  one parameter per fact
    ledger: Ledger,
    source: Path,
    actor: str,
    now: datetime,
    *,
    zone: str = DEFAULT_ZONE,
    dry_run: bool = False,
    tariffs: Sequence[Path] = (),
    correction: str | None = None,
) -> ImportReport:
    """Import the CSV files of a folder, or a workbook's sheets: all rows, or none if one is wrong.

    Dates mean the first instant of that day in `zone`. The same files again change nothing. Price
    groups are those of the built-in tariffs and of `tariffs`. `correction` is the reason why dated
    rows may say otherwise than what is stored; what they replace is kept. Raises InvalidRequest
    where there are no files or they are not what they should be.
    """
    zone_info(zone)
    if correction is not None and not correction.strip():
        raise InvalidRequest("a correction needs a reason", hint="say what was wrong, and why")
    is_workbook = source.suffix.lower() == WORKBOOK_SUFFIX
    texts = read_workbook(source, file_names()) if is_workbook else _texts(source)
    files = parse_files(texts, zone)
    groups = price_groups(load_tariffs(tariffs)) if files.allocations else frozenset()
    if dry_run:
        with ledger.read() as uow:
            changes = _plan(uow, files, groups, correcting=correction is not None)
        return _report(changes, written=False, sheets=is_workbook)
    with ledger.begin() as uow:
        uow.registry.lock()
        changes = _plan(uow, files, groups, correcting=correction is not None)
        if not changes.errors:
            _write(uow, changes)
            _correct(uow, changes)
            report = _report(changes, written=True, sheets=is_workbook)
            detail: dict[str, object] = {
                "added": report.added,
                "closed": report.closed + report.closed_contracts,
                "folder": source.name,
            }
            if changes.corrected_customers:
                # Who, never what: the audit trail outlives a person's data.
                codes = [row.customer for row in changes.corrected_customers]
                detail["corrected_customers"] = codes[:NAMED_MAX]
            if changes.corrected:
                detail["reason"] = correction
                detail["corrected"] = [
                    f"{kind} {_key(row)}"
                    for kind, rows in changes.corrected.items()
                    for row in rows
                ][:NAMED_MAX]
            uow.audit.add(AuditEntry(now, actor, "registry.import", "registry", detail))
            return report
    return _report(changes, written=False, sheets=is_workbook)


def _plan(
    uow: UnitOfWork, files: RegistryFiles, groups: Collection[str], *, correcting: bool
) -> RegistryChanges:
    stored, contracts = uow.registry.load(), uow.contracts.load()
    return plan_changes(stored, files, contracts, groups, correcting=correcting)


def _texts(folder: Path) -> Mapping[str, str]:
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
    registry, contracts = uow.registry, uow.contracts
    registry.add_stations(changes.stations)
    registry.complete_stations(changes.completed_stations)
    registry.add_points(changes.points)
    registry.add_transfers(changes.transfers)
    registry.add_meters(changes.meters)
    registry.complete_meters(changes.completed_meters)
    # An exchange closes one installation and opens the next: in this order.
    registry.close_installations(changes.closed)
    registry.add_installations(changes.installations)
    registry.add_multipliers(changes.multipliers)
    contracts.add_inspections(changes.inspections)
    contracts.add_customers(changes.customers)
    contracts.correct_customers(changes.corrected_customers)
    contracts.close_contracts(changes.closed_contracts)
    contracts.add_contracts(changes.contracts)
    contracts.add_terms(changes.terms)
    contracts.add_allocations(changes.allocations)
    contracts.add_books(changes.books)
    contracts.add_reading_days(changes.reading_days)
    contracts.add_memberships(changes.memberships)


def _correct(uow: UnitOfWork, changes: RegistryChanges) -> None:
    writers: dict[str, Callable[..., None]] = {
        "transfers": uow.registry.add_transfers,
        "inspections": uow.contracts.add_inspections,
        "terms": uow.contracts.add_terms,
        "allocations": uow.contracts.add_allocations,
        "reading_days": uow.contracts.add_reading_days,
        "memberships": uow.contracts.add_memberships,
    }
    for kind, rows in changes.corrected.items():
        writers[kind](rows, corrected=True)


def _key(row: Any) -> str:  # noqa: ANN401  rows of many kinds
    """Name and instant of a dated row; both come first in all of them."""
    name, at = (getattr(row, one.name) for one in fields(row)[:2])
    return f"{name} {format_instant(at)}"


def _report(changes: RegistryChanges, *, written: bool, sheets: bool) -> ImportReport:
    always = {"stations", "points", "meters", "installations", "multipliers"}
    kinds = {one.name for one in fields(RegistryFiles)} - {"errors"}
    counts = {
        one.name: len(getattr(changes, one.name))
        for one in fields(RegistryChanges)
        if one.name in kinds
    }
    errors = changes.errors
    if sheets:
        errors = [replace(row, file=f"sheet {row.file.removesuffix('.csv')}") for row in errors]
    return ImportReport(
        written,
        {kind: count for kind, count in counts.items() if count or kind in always},
        len(changes.closed),
        changes.unchanged,
        tuple(errors),
        tuple(changes.warnings),
        len(changes.closed_contracts),
        len(changes.completed_stations) + len(changes.completed_meters),
        len(changes.corrected_customers),
        sum(len(rows) for rows in changes.corrected.values()),
    )
