"""Exporting the registry: the files or the workbook that an import takes.

It writes files; what is in them is `collector.registry`'s. They hold names and addresses, so only
the account that asks can read them.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from collector.civil import DEFAULT_ZONE, zone_info
from collector.errors import InvalidRequest
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.operations.registry_workbook import WORKBOOK_SUFFIX, write_workbook
from collector.operations.registry_zip import ZIP_SUFFIX, write_zip
from collector.registry.asking import within_contracts
from collector.registry.files import write_files

PIECE_BYTES = 64 * 1024

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700


def export_registry(
    ledger: Ledger, target: Path, actor: str, now: datetime, *, zone: str = DEFAULT_ZONE
) -> dict[str, int]:
    """Write everything to a folder of CSV files or to a workbook; returns the rows of each file.

    A target that ends in .zip has the files of the folder. The files of a folder are those that
    were imported, if they were in this form. Nothing is overwritten: raises InvalidRequest where a
    file is there already.
    """
    zone_info(zone)
    texts = _taken(ledger, target.name, actor, now, zone)
    try:
        if target.suffix.lower() == WORKBOOK_SUFFIX:
            write_workbook(target, texts, _private)
        elif target.suffix.lower() == ZIP_SUFFIX:
            with _private(target) as stream:
                write_zip(stream, texts)
        else:
            target.mkdir(mode=_OWNER_ONLY_FOLDER, exist_ok=True)
            for name, text in texts.items():
                with _private(target / name) as stream:
                    stream.write(text.encode())
    except OSError as error:
        raise InvalidRequest(
            f"{error.filename or target} cannot be written: {error.strerror}",
            hint="name a folder that is empty or does not exist, or a new .xlsx or .zip file",
        ) from error
    return _counts(texts)


def export_stream(
    ledger: Ledger, form: str, actor: str, now: datetime, *, zone: str = DEFAULT_ZONE
) -> Iterator[bytes]:
    """The same as one file, `.zip` or `.xlsx`, in pieces; on the disk it never has a name."""
    assert form in {ZIP_SUFFIX, WORKBOOK_SUFFIX}
    texts = _taken(ledger, f"registry{form}", actor, now, zone)
    stream = tempfile.TemporaryFile()  # noqa: SIM115  closed after its last piece
    if form == ZIP_SUFFIX:
        write_zip(stream, texts)
    else:
        write_workbook(Path("registry.xlsx"), texts, lambda _: contextlib.nullcontext(stream))
    stream.seek(0)
    return _pieces(stream)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _counts(texts: Mapping[str, str]) -> dict[str, int]:
    return {name: text.count("\n") - 1 for name, text in texts.items()}


def _taken(ledger: Ledger, target: str, actor: str, now: datetime, zone: str) -> dict[str, str]:
    """The files, by name; that they were taken is on record."""
    with ledger.read() as uow:
        registry, contracts = uow.registry.load(), uow.contracts.load()
    values: dict[str, Iterable[Any]] = {
        "areas": _sorted(registry.areas, "kind", "code"),
        "stations": _sorted(registry.stations.values(), "station"),
        "transformers": _sorted(registry.transformers, "station", "from_at"),
        "points": _sorted(registry.points.values(), "point"),
        "transfers": _sorted(registry.transfers, "point", "from_at"),
        "meters": _sorted(registry.meters.values(), "meter"),
        "installations": _sorted(registry.installations, "point", "installed_at"),
        "multipliers": _sorted(registry.multipliers, "point", "from_at"),
        "inspections": _sorted(contracts.inspections, "meter", "inspected_at"),
        "customers": _sorted(contracts.customers.values(), "customer"),
        "contracts": _sorted(contracts.contracts.values(), "contract"),
        "terms": _sorted(
            within_contracts(contracts.terms, contracts.contracts), "contract", "from_at"
        ),
        "allocations": _sorted(
            within_contracts(contracts.allocations, contracts.contracts),
            "contract",
            "from_at",
            "register",
            "position",
        ),
        "applications": _sorted(contracts.applications.values(), "application"),
        "books": _sorted(contracts.books.values(), "book"),
        "reading_days": _sorted(contracts.reading_days, "book", "from_at"),
        "memberships": _sorted(contracts.memberships, "point", "from_at"),
    }
    texts = write_files(values, zone)
    # Before the files: whoever sees personal data is on record, whatever happens to the disk.
    with ledger.begin() as uow:
        detail = {"rows": _counts(texts), "to": target}
        uow.audit.add(AuditEntry(now, actor, "registry.export", "registry", detail))
    return texts


def _sorted(rows: Iterable[Any], *names: str) -> list[Any]:
    """Rows in an order that no database's collation decides."""
    return sorted(rows, key=lambda row: tuple(getattr(row, name) for name in names))


def _private(path: Path) -> IO[bytes]:
    """A new file that nobody else can read. Raises OSError where one is there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb")
