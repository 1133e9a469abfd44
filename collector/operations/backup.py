"""Backups: ledger and reading store as one folder that proves itself, and the way back.

The ledger is copied before the readings. An intake appends a batch's readings before it calls the
batch complete, so that the copied store has all that the copied ledger says was delivered; what it
has beyond that comes again and is stored once. Owns the folder and its manifest; how each store is
copied is the stores' own.
"""

import hashlib
import json
import os
import platform
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from collector.errors import Conflict, InvalidRequest, LedgerStateError
from collector.ledger.copies import (
    POSTGRESQL_FILE,
    SQLITE_FILE,
    LedgerCopy,
    check_empty,
    copy_ledger,
    file_of,
    look_at_dump,
    look_at_sqlite,
    put_ledger,
    sync,
)

FORMAT = 1
MANIFEST = "manifest.json"
READINGS_FILE = "readings.duckdb"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a collector keeps what it knows. `readings` is None where a server has them."""

    ledger_url: str
    ledger_password: str | None
    readings: Path | None


@dataclass(frozen=True, slots=True)
class Backup:
    """What a manifest says; files are by name, with their bytes and SHA-256."""

    made_at: str
    schema: str | None
    ledger_file: str
    ledger_rows: Mapping[str, int]
    readings_file: str | None
    readings_rows: int | None
    files: Mapping[str, tuple[int, str]]

    @property
    def bytes_all(self) -> int:
        """The size of all files together."""
        return sum(size for size, _ in self.files.values())


def make_backup(place: Place, folder: Path, *, now: datetime) -> Backup:
    """Copy what a collector keeps into the new or empty `folder`, while it works.

    Whole or not at all: the folder appears under its name when everything is on the disk. Raises
    Conflict, InvalidRequest, LedgerUnavailable, LedgerStateError, StoreUnavailable.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there and not empty", hint="name a new folder")
    part = folder.with_name(f".{folder.name}.part")
    try:
        _remove(part)
        part.mkdir(mode=0o700)
        backup = _fill(place, part, now)
        for name in (*backup.files, MANIFEST):
            sync(part / name)
        sync(part)
        part.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise InvalidRequest(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="name a folder on a disk with room, in a folder of this account's",
            code="not_written",
        ) from error
    finally:
        _remove(part)
    return backup


def check_backup(folder: Path) -> Backup:
    """Compare a backup with its manifest, byte for byte and row for row.

    Raises InvalidRequest where there is none, LedgerStateError where it is not what was written.
    """
    backup = _read_manifest(folder)
    for name, (size, sha256) in backup.files.items():
        path = folder / name
        try:
            found = (path.stat().st_size, _sha256(path))
        except OSError as error:
            raise _spoilt(folder, f"{name} cannot be read: {error.strerror or error}") from error
        if found != (size, sha256):
            raise _spoilt(folder, f"{name} is not what was written")
    if backup.ledger_file == POSTGRESQL_FILE:
        look_at_dump(folder / POSTGRESQL_FILE)
    else:
        _agree(folder, look_at_sqlite(folder / SQLITE_FILE), backup)
    return backup


def restore_backup(place: Place, folder: Path) -> Backup:
    """Put a backup, checked first, where nothing is yet. Raises as `check_backup`, and Conflict.

    The ledger comes last: until it is there no collector starts.
    """
    backup = check_backup(folder)
    if backup.ledger_file != file_of(place.ledger_url):
        raise InvalidRequest(
            f"{folder} has {backup.ledger_file}, which is another database's",
            hint="name a ledger of that kind in the collector file",
        )
    check_empty(place.ledger_url, place.ledger_password)
    if place.readings is not None and backup.readings_file is not None:
        _put_readings(folder / backup.readings_file, place.readings)
    found = put_ledger(folder / backup.ledger_file, place.ledger_url, place.ledger_password)
    _agree(folder, found, backup)
    return backup


def _fill(place: Place, part: Path, now: datetime) -> Backup:
    name = file_of(place.ledger_url)
    ledger = copy_ledger(place.ledger_url, place.ledger_password, part / name)
    if ledger.schema is None:
        raise LedgerStateError("the ledger has no schema", hint="songlo collector migrate")
    files, rows, versions = [name], None, {"sqlite": sqlite3.sqlite_version}
    if place.readings is not None:
        # Brings a large library, which a collector with InfluxDB has no use for.
        from collector.readings.duckdb_copy import copy_store  # noqa: PLC0415

        rows = copy_store(place.readings, part / READINGS_FILE)
        files.append(READINGS_FILE)
        versions["duckdb"] = version("duckdb")
    written = {name: ((part / name).stat().st_size, _sha256(part / name)) for name in files}
    document = {
        "format": FORMAT,
        "made_at": now.isoformat(timespec="seconds"),
        "ledger": {"file": name, "schema": ledger.schema, "rows": dict(ledger.rows)},
        "readings": None if rows is None else {"file": READINGS_FILE, "rows": rows},
        "files": {
            name: {"bytes": size, "sha256": sha256} for name, (size, sha256) in written.items()
        },
        "versions": {"songlo": version("songlo"), "python": platform.python_version(), **versions},
    }
    (part / MANIFEST).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return _from(document)


def _read_manifest(folder: Path) -> Backup:
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise InvalidRequest(
                f"{folder} has a manifest of format {document['format']}",
                hint="use the version of the program that made it, or a later one",
            )
        return _from(document)
    except OSError as error:
        raise InvalidRequest(
            f"{folder} is no backup: {MANIFEST} cannot be read: {error.strerror or error}",
            hint="name the folder that songlo collector backup made",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _spoilt(folder, f"{MANIFEST} is not what was written") from error


def _from(document: dict[str, Any]) -> Backup:
    readings = document["readings"]
    files = {name: (one["bytes"], one["sha256"]) for name, one in document["files"].items()}
    if any(Path(name).name != name for name in files):
        raise ValueError("a file outside of its folder")
    return Backup(
        document["made_at"],
        document["ledger"]["schema"],
        document["ledger"]["file"],
        document["ledger"]["rows"],
        None if readings is None else readings["file"],
        None if readings is None else readings["rows"],
        files,
    )


def _put_readings(source: Path, target: Path) -> None:
    log = target.with_name(f"{target.name}.wal")
    for path in (target, log):
        if path.exists():
            raise Conflict(
                f"{path} is there already", hint="move it away: what is there is not written over"
            )
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.chmod(0o600)
        sync(part)
        part.rename(target)
        sync(target.parent)
    except OSError as error:
        raise InvalidRequest(
            f"{target} cannot be written: {error.strerror or error}",
            hint="see that its folder exists, belongs to this account and has room",
            code="not_written",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _agree(folder: Path, found: LedgerCopy, backup: Backup) -> None:
    if found.schema != backup.schema:
        raise _spoilt(folder, f"schema {found.schema}, {backup.schema} was written")
    for table in sorted({*found.rows, *backup.ledger_rows}):
        counts = found.rows.get(table), backup.ledger_rows.get(table)
        if counts[0] != counts[1]:
            raise _spoilt(folder, f"table {table} has {counts[0]} rows, {counts[1]} were written")


def _spoilt(folder: Path, what: str) -> LedgerStateError:
    return LedgerStateError(f"backup {folder}: {what}", hint="use another backup")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _remove(part: Path) -> None:
    if os.path.lexists(part):
        shutil.rmtree(part)
