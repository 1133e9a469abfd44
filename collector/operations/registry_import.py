"""Importing the registry from a folder of CSV files or from one workbook: all rows, or none.

It reads the files and opens the transaction; it must not judge rows, which `collector.registry`
does.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from collector.civil import DEFAULT_ZONE, format_instant, zone_info
from collector.errors import BadRows, InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.idempotency import Once
from collector.operations import registry_workbook, registry_zip
from collector.operations.registry_workbook import WORKBOOK_SUFFIX, read_workbook
from collector.operations.registry_writing import (
    NAMED_MAX,
    Touched,
    ahead_says,
    capped,
    changed_rows,
    heard,
    touched,
    write,
)
from collector.operations.tariffs import load_tariffs, price_groups
from collector.registry.changes import plan_changes
from collector.registry.contract_values import ContractRegistry
from collector.registry.files import RegistryFiles, RowError, file_names, parse_files
from collector.registry.planning import RegistryChanges
from collector.registry.rows import stored_key_of
from collector.registry.values import Registry

ACTION = "registry.import"

_COUNTS = (
    "closed", "unchanged", "closed_contracts", "completed", "corrected_customers", "corrected",
)  # fmt: skip

# A registry of a million points is smaller.
FILE_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do, or why nothing was done (`errors` is not empty).

    `closed` counts installations and contracts that ended, `completed` rows that say more now.
    `repeated`: the same request had been made before.
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
    touched: Touched | None = None
    repeated: bool = False


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
    once: Once | None = None,
) -> ImportReport:
    """Import the CSV files of a folder or zip file, or a workbook: all rows, or none.

    Dates mean the first instant of that day in `zone`. The same files again change nothing. Price
    groups are those of the built-in tariffs and of `tariffs`. `correction` is the reason why dated
    rows may say otherwise than what is stored; what they replace is kept. What was sent `once`
    before is not done again. Raises InvalidRequest where there are no files or they are not what
    they should be.
    """
    zone_info(zone)
    if correction is not None and not correction.strip():
        raise InvalidRequest("a correction needs a reason", hint="say what was wrong, and why")
    is_workbook = source.suffix.lower() == WORKBOOK_SUFFIX
    texts = _source_texts(source)
    files = parse_files(texts, zone)
    groups = price_groups(load_tariffs(tariffs)) if files.allocations else frozenset()
    correcting = correction is not None
    if dry_run:
        with ledger.read() as uow:
            stored = load(uow)
            changes = plan(stored, files, groups, correcting=correcting)
            follows = None if changes.errors else touched(uow, changes, stored, now)
        return _report(changes, follows, written=False, sheets=is_workbook)
    with ledger.begin() as uow:
        uow.registry.lock()
        subject = "registry" if once is None else str(uuid.uuid4())
        if once is not None:
            earlier = uow.idempotency.claim(once, subject, now)
            if earlier is not None:
                return _earlier(uow, earlier)
        stored = load(uow)
        changes = plan(stored, files, groups, correcting=correcting)
        if not changes.errors:
            write(uow, changes, stored, now)
            follows = touched(uow, changes, stored, now)
            report = _report(changes, follows, written=True, sheets=is_workbook)
            detail = _detail(report, changes, source.name, correction)
            detail = capped(changed_rows(changes, stored, zone), detail)
            detail |= ahead_says(changes, stored, now)
            uow.audit.add(AuditEntry(now, actor, ACTION, subject, detail))
            return report
        # What was not done may be sent again, with the same token.
        uow.idempotency.forget(once)
    return _report(changes, None, written=False, sheets=is_workbook)


def refused(report: ImportReport) -> BadRows:
    """The error for an import of which nothing was done."""
    faults = [(where, reason) for error in report.errors for where, reason in [error.parts()]]
    return BadRows(faults, "correct these rows and import again: nothing of it was imported")


def _earlier(uow: UnitOfWork, subject: str) -> ImportReport:
    """What an import did, as the audit trail has it."""
    entry = uow.audit.of_subject(ACTION, subject)
    assert entry is not None
    counts: dict[str, int] = entry.detail["counts"]
    return ImportReport(
        written=True,
        added=entry.detail["added"],
        errors=(),
        warnings=(),
        touched=heard(entry.detail.get("touched")),
        repeated=True,
        **counts,
    )


def load(uow: UnitOfWork) -> tuple[Registry, ContractRegistry]:
    """All that a plan is judged by."""
    return uow.registry.load(), uow.contracts.load()


def plan(
    stored: tuple[Registry, ContractRegistry],
    files: RegistryFiles,
    groups: Collection[str],
    *,
    correcting: bool,
) -> RegistryChanges:
    """What the rows would change of what is stored, or everything that speaks against it."""
    registry, contracts = stored
    return plan_changes(registry, files, contracts, groups, correcting=correcting)


def _detail(
    report: ImportReport, changes: RegistryChanges, folder: str, correction: str | None
) -> dict[str, object]:
    detail: dict[str, object] = {
        "added": report.added,
        "closed": report.closed + report.closed_contracts,
        "folder": folder,
        "counts": {name: getattr(report, name) for name in _COUNTS},
    }
    if changes.corrected_customers:
        # Who, never what: the audit trail outlives a person's data.
        codes = [row.customer for row in changes.corrected_customers]
        detail["corrected_customers"] = codes[:NAMED_MAX]
    if changes.corrected:
        detail["reason"] = correction
        detail["corrected"] = [
            f"{kind} {_key(kind, row)}" for kind, rows in changes.corrected.items() for row in rows
        ][:NAMED_MAX]
    if report.touched is not None:
        detail["touched"] = report.touched.says()
    return detail


def _source_texts(source: Path) -> Mapping[str, str]:
    match source.suffix.lower():
        case registry_workbook.WORKBOOK_SUFFIX:
            return read_workbook(source, file_names())
        case registry_zip.ZIP_SUFFIX:
            return registry_zip.read_zip(source, file_names())
    return _texts(source)


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


def _key(kind: str, row: Any) -> str:  # noqa: ANN401  rows of many kinds
    """The name of a row and, where it has one, the instant under which it is stored."""
    parts = stored_key_of(kind, row)[:2]
    return " ".join(format_instant(one) if isinstance(one, datetime) else one for one in parts)


def _report(
    changes: RegistryChanges, follows: Touched | None, *, written: bool, sheets: bool
) -> ImportReport:
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
        len(changes.completed_stations)
        + len(changes.completed_meters)
        + len(changes.completed_applications),
        len(changes.corrected_customers),
        sum(len(rows) for rows in changes.corrected.values()),
        follows,
    )
