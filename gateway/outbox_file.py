"""The outbox's SQLite file: its schema, its transactions, and what is done when the disk fails.

Owns the connection, the lock on the file and the numbered schema. It must not know what the rows
mean beyond how room is made.
"""

import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import structlog

from gateway import command_memory, outbox_held, outbox_room, outbox_slots
from gateway.outbox_room import Ballast

_T = TypeVar("_T")

BUSY_TIMEOUT_S = 5.0
# The write-ahead log is folded into the file after this many pages (1 MB): it stays small, and
# the ballast is enough to fold it when the disk is full.
WAL_PAGES = 256
PAGE_BYTES = 4096
# What is read again and again are the marks and the newest batches. SQLite's own limit of 2 MB is
# reached after days only, which nobody would tell from a leak.
CACHE_KIB = 512
PAGES_MIN = 256  # what a file may grow to even when no ballast could be set aside
ROOM_PAGES = 64  # deleting can need pages of its own: beyond the bound, for that transaction only
ROOM_BYTES_MIN = 64 * 1024
ROOM_TRIES_MAX = 6
DAMAGED_FILES_MAX = 2
LOCK_SUFFIX = ".lock"

# One entry a version of the file; entries never change once released.
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE epochs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch TEXT NOT NULL UNIQUE,
        next INTEGER NOT NULL              -- the seq to be given out next; never goes back
    ) STRICT;
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were kept, over all epochs
        epoch_id INTEGER NOT NULL REFERENCES epochs (id),
        seq INTEGER NOT NULL,
        slot_at INTEGER,                   -- milliseconds since 1970, as all instants here
        appended_at INTEGER NOT NULL,
        worth INTEGER NOT NULL,            -- outbox_room.Worth
        acked INTEGER NOT NULL DEFAULT 0,  -- 1: the collector has it
        bytes INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        UNIQUE (epoch_id, seq)
    ) STRICT;
    CREATE INDEX batches_pending ON batches (epoch_id, seq) WHERE acked = 0;
    CREATE INDEX batches_pending_by_age ON batches (id) WHERE acked = 0;
    CREATE TABLE payloads (
        id INTEGER PRIMARY KEY,            -- batches.id; apart, so that marks rewrite little
        payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE retries (
        slot_at INTEGER NOT NULL,
        until_at INTEGER NOT NULL,
        meter TEXT NOT NULL,
        UNIQUE (slot_at, meter)
    ) STRICT;
    CREATE TABLE facts (
        name TEXT PRIMARY KEY,             -- 'generation', 'last_slot'
        value INTEGER NOT NULL
    ) STRICT;
    """,
    outbox_slots.SCHEMA + outbox_held.SCHEMA,
    command_memory.SCHEMA,
)

log = structlog.get_logger("gateway.outbox")


class OutboxError(Exception):
    """The outbox cannot be opened; the text says what to do."""


class OutboxUnavailable(Exception):
    """Nothing can be written or read now (disk full or failing); the same may work later."""


class OutboxFile:
    """One file, one connection, one transaction at a time.

    `begin` is run on a newly opened file before anything else, in a transaction. `incident` says
    what was wrong with a file that had to be moved aside.
    """

    def __init__(
        self, path: Path, bytes_max: int, station: str, begin: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.incident: str | None = None
        self._path = path
        self._pages_max = self._pages_limit = bytes_max // PAGE_BYTES
        self._station = station
        self._begin = begin
        self._ballast = Ballast(path.with_name(path.name + ".ballast"), bytes_max)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path.with_name(path.name + LOCK_SUFFIX))
        try:
            self._db = self._open_or_replace()
            self._tidy()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
        self._lock.close()

    def read(self, query: str, *values: object) -> list[Any]:
        """The rows of a query. Raises OutboxUnavailable."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from error

    def tidy(self) -> None:
        """Set the ballast aside where there is room for it; without it the file stops growing.

        What the ballast gave up is for the log that deleting needs, not for new batches. Raises
        OutboxUnavailable.
        """
        try:
            self._tidy()
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from error

    def used_bytes(self) -> int:
        """The bytes of the file that hold something. Raises OutboxUnavailable."""
        try:
            return outbox_room.used_bytes(self._db)
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from error

    def write(self, work: Callable[[sqlite3.Connection], _T], bytes_needed: int = 0) -> _T:
        """Run `work` in one durable transaction; makes room for `bytes_needed` where it must.

        `work` may run several times, each time on a file that has none of its effects.
        Raises OutboxUnavailable; after a failing disk the file has been opened anew.
        """
        for attempt in range(ROOM_TRIES_MAX):
            try:
                with self._transaction() as db:
                    return work(db)
            except sqlite3.DatabaseError as error:
                if not _is_full(error):
                    raise self._failed(error) from error
            self._make_room(max(bytes_needed, ROOM_BYTES_MIN) << attempt)
        raise OutboxUnavailable("the disk is full, and nothing more can be dropped")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _make_room(self, bytes_wanted: int) -> None:
        """Free pages inside the file; on a full disk, first give up the ballast for its log."""
        try:
            self._drop_batches(bytes_wanted)
        except sqlite3.DatabaseError as error:
            if not _is_full(error):
                raise self._failed(error) from error

    def _drop_batches(self, bytes_wanted: int) -> None:
        try:
            if self._ballast.give_up():
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._stop_growing()
            self._limit_pages(self._pages_limit + ROOM_PAGES)
            with self._transaction() as db:
                freed = outbox_room.make_room(db, bytes_wanted, self._station)
            log.warning("the outbox is full, older batches were dropped", freed_bytes=freed)
        finally:
            self._limit_pages(self._pages_limit)

    def _tidy(self) -> None:
        if self._ballast.make():
            self._pages_limit = self._pages_max
        else:
            self._stop_growing()
        self._limit_pages(self._pages_limit)

    def _stop_growing(self) -> None:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        self._pages_limit = min(max(pages, PAGES_MIN), self._pages_max)

    def _limit_pages(self, pages: int) -> None:
        self._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    def _failed(self, error: sqlite3.DatabaseError) -> OutboxUnavailable:
        """What a failing file is answered with: it is suspect now, so it is opened anew."""
        log.error("the outbox's file fails, it is opened anew", error=str(error))
        self._db.close()
        try:
            self._db = self._open_or_replace()
        except (sqlite3.DatabaseError, OSError, OutboxError) as again:
            log.error("the outbox's file cannot be opened", error=str(again))  # noqa: TRY400 no trace
        return OutboxUnavailable(str(error))

    def _open_or_replace(self) -> sqlite3.Connection:
        """The file, opened, checked and begun; a damaged one is moved aside for a new one."""
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self.incident = f"the outbox's file was damaged and a new one begun: {error}"
            log.error("the outbox's file is damaged and moved aside", error=str(error))  # noqa: TRY400 no trace
            _move_aside(self._path)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            db.execute(f"PRAGMA max_page_count = {self._pages_limit}")
            _check(db)
            _migrate(db, self._path)
            db.execute("BEGIN IMMEDIATE")
            self._begin(db)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db


class _Damaged(sqlite3.DatabaseError):
    """SQLite's own check found the file not whole."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _check(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _Damaged(found)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(SCHEMA):
        raise OutboxError(
            f"{path} is of version {version}, this program knows up to {len(SCHEMA)}: "
            "install the newer program again, or move the file away"
        )
    for number, script in enumerate(SCHEMA[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def _move_aside(path: Path) -> None:
    """Keep a damaged file for whoever wants to look at it; only the newest few are kept."""
    for number in range(DAMAGED_FILES_MAX, 0, -1):
        for tail in ("", "-wal"):
            older = path.with_name(f"{path.name}.damaged{number}{tail}")
            newer = path.with_name(f"{path.name}.damaged{number - 1}{tail}")
            source = path.with_name(path.name + tail) if number == 1 else newer
            if source.exists():
                source.replace(older)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)


def _lock(path: Path) -> IO[str]:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise OutboxError(
            f"{path.parent} is in use by another gateway process; stop that one first"
        ) from error
    return file


def _is_full(error: sqlite3.DatabaseError) -> bool:
    return _code(error) == sqlite3.SQLITE_FULL


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: sqlite3.DatabaseError) -> int:
    """The primary result code, without the extension in the upper bits."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
