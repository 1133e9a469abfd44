"""A copy of the embedded reading store while its collector writes to it.

It owns when such a copy is good; what is in the table is `duckdb_store`'s. One process at a time
may open a DuckDB file, so the copy is one of files, proven by opening it.

DuckDB writes a new state beside the old one and then puts over one of two headers in the file's
first 12 KiB; until the next such *checkpoint* nothing that the header or the write-ahead log rests
on is written over. So: the header, then the log, then the file; and once more where header or log
are not what they were (duckdb.org/docs/stable/internals/storage).
"""

import os
import shutil
import time
from pathlib import Path

from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import StoreUnavailable

HEADER_BYTES = 3 * 4096

# A checkpoint comes with every 256 MB of log, and a copy of as much takes seconds. While the
# collector has much to catch up with, they may follow each other closely.
TRIES = 20
PAUSE_S = 1.0


def copy_store(source: Path, target: Path) -> int:
    """Copy the store to the new file `target`; returns how many rows it has there.

    Raises StoreUnavailable where `source` cannot be read, or never stands still long enough.
    """
    for _ in range(TRIES):
        try:
            is_whole = _copied(source, target)
        except OSError as error:
            raise StoreUnavailable(
                f"DuckDB file {source} cannot be copied: {error.strerror or error}"
            ) from error
        if is_whole:
            return proven(target)
        time.sleep(PAUSE_S)
    raise StoreUnavailable(
        f"DuckDB file {source} was rewritten during each of {TRIES} copies: try again when the"
        " collector has less to catch up with"
    )


def proven(path: Path) -> int:
    """Open a copy, fold its log into it, read all of it. Raises StoreUnavailable; returns rows."""
    store = DuckDbStore(path)
    try:
        rows = store.read_through()
    finally:
        store.close()
    if _log_of(path).exists():
        raise StoreUnavailable(f"DuckDB file {path}: its log could not be folded into it")
    return rows


def _copied(source: Path, target: Path) -> bool:
    """Copy once; whether what was copied belongs together."""
    log, target_log = _log_of(source), _log_of(target)
    for path in (target, target_log):
        path.unlink(missing_ok=True)
    header = _head(source)
    log_head, log_bytes = _start_of(log)
    if log_bytes:
        with log.open("rb") as stream, target_log.open("wb") as out:
            out.write(stream.read(log_bytes))
    shutil.copyfile(source, target)
    os.chmod(target, 0o600)
    after_head, after_bytes = _start_of(log)
    return (
        _head(source) == _head(target) == header
        and after_bytes >= log_bytes
        and after_head[: len(log_head)] == log_head
        and not _is_between(source)
    )


def _is_between(source: Path) -> bool:
    """Whether logs of a checkpoint under way lie beside the file."""
    return any(
        entry.name.startswith(f"{source.name}.") and ".wal" in entry.name
        for entry in os.scandir(source.parent)
        if entry.name != f"{source.name}.wal"
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEADER_BYTES)


def _start_of(log: Path) -> tuple[bytes, int]:
    try:
        with log.open("rb") as stream:
            return stream.read(HEADER_BYTES), os.fstat(stream.fileno()).st_size
    except FileNotFoundError:
        return b"", 0


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")
