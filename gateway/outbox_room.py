"""Room in the outbox: what may go when it is full, and in which order.

Owns the order of sacrifice and the tombstones that are left. It must not know when to make room,
nor open or commit anything: it works within a transaction of its caller.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from contract.messages import (
    Batch,
    Clock,
    Event,
    GapReason,
    MessageError,
    ScanKind,
    Tombstone,
    decode_batch,
    encode,
)
from gateway import outbox_held
from gateway.outbox_slots import set_fact
from gateway.outbox_values import Worth

DAMAGED = "damaged"  # the reason of a tombstone for a batch whose bytes no longer have their hash

# Before the name of an epoch: the fact up to which seq undelivered batches of it were given up
# without a trace. Statuses list the epoch until an ack shows that the collector knows.
LOST = "lost/"

BALLAST_BYTES_MAX = 8 * 1024 * 1024  # twice what the write-ahead log can hold before it is folded
BALLAST_PART = 8  # of a small outbox, one part in this many …
# … but enough for a young file: the log (1 MB, or twice that for a moment), and what the file still
# grows by before it has a megabyte to drop old batches from. With less, neither can be had without
# the other.
BALLAST_BYTES_MIN = 4 * 1024 * 1024
BALLAST_AGAIN = 4  # made again once this many times its size is free

log = structlog.get_logger("gateway.outbox")


def used_bytes(db: sqlite3.Connection) -> int:
    """The bytes of the file that hold something."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    used: int = (pages - free) * size
    return used


def make_room(db: sqlite3.Connection, bytes_wanted: int, station: str) -> int:
    """Give up batches until `bytes_wanted` bytes of payload are free; returns how many it got.

    First what was delivered, from the low end of each epoch, then tombstones for what was
    delivered further up and for undelivered instantaneous scans; then scans whose time is not
    known, and tombstones for undelivered index scans, oldest first; at the very last the oldest
    rows themselves, whatever they are.
    """
    freed = 0
    for steps in (
        _delete_delivered(db),
        _bury(db, station, "acked = 1 AND worth < 2"),
        _bury(db, station, "acked = 0 AND worth = 0"),
        outbox_held.give_up_oldest(db),
        _bury(db, station, "acked = 0 AND worth = 1"),
        _delete_oldest(db),
    ):
        for gained in steps:
            freed += gained
            if freed >= bytes_wanted:
                return freed
    return freed


def delete_below(db: sqlite3.Connection, epoch_id: int, seq: int) -> int:
    """Delete the batches of one epoch below `seq`; returns how many."""
    below = "SELECT id FROM batches WHERE epoch_id = ? AND seq < ?"
    db.execute(f"DELETE FROM payloads WHERE id IN ({below})", (epoch_id, seq))  # noqa: S608 constant
    return db.execute(
        "DELETE FROM batches WHERE epoch_id = ? AND seq < ?", (epoch_id, seq)
    ).rowcount


def bury(db: sqlite3.Connection, row_id: int, reason: str, station: str) -> bytes:
    """Put a tombstone in the place of a batch, under the same seq; returns its bytes."""
    slot_ms, appended_ms, worth, payload = db.execute(
        "SELECT slot_at, appended_at, worth, payload FROM batches"
        " LEFT JOIN payloads USING (id) WHERE id = ?",
        (row_id,),
    ).fetchone()
    try:
        old = decode_batch(payload or b"")
    except MessageError:
        old = None
    if old is not None and old.scan is not None:
        scan = old.scan
        meters = [read[0] for table in scan.tables for read in table.reads]
        meters += [serial for serial, _ in scan.missing]
        stone = Tombstone(scan.kind, scan.slot, meters, reason)
        batch = Batch(v=1, station=old.station, clock=old.clock, tombstone=stone)
    elif slot_ms is not None:
        kind = ScanKind.INDEX if worth == Worth.INDEX else ScanKind.INTERVAL
        stone = Tombstone(kind, _at(slot_ms), [], reason)
        batch = Batch(v=1, station=station, clock=Clock.UNSYNCED, tombstone=stone)
    else:
        event = Event(at=_at(appended_ms), type="batch_lost", detail=reason)
        batch = Batch(v=1, station=station, clock=Clock.UNSYNCED, events=[event])
    content = encode(batch)
    db.execute(
        "UPDATE batches SET worth = ?, bytes = ?, sha256 = ? WHERE id = ?",
        (Worth.RECORD, len(content), hashlib.sha256(content).digest(), row_id),
    )
    # Not REPLACE: that takes the new pages before it gives back the old ones, and none may be left.
    db.execute("DELETE FROM payloads WHERE id = ?", (row_id,))
    db.execute("INSERT INTO payloads VALUES (?, ?)", (row_id, content))
    return content


def _delete_delivered(db: sqlite3.Connection) -> Iterator[int]:
    rows = db.execute(
        "SELECT id, epoch_id, seq, bytes FROM batches WHERE acked = 1 ORDER BY id"
    ).fetchall()
    blocked: set[int] = set()
    for row_id, epoch_id, seq, size in rows:
        if epoch_id in blocked:
            continue
        (lowest,) = db.execute(
            "SELECT min(seq) FROM batches WHERE epoch_id = ?", (epoch_id,)
        ).fetchone()
        if lowest < seq:
            blocked.add(epoch_id)
            continue
        _delete(db, row_id)
        yield size


def _bury(db: sqlite3.Connection, station: str, which: str) -> Iterator[int]:
    rows = db.execute(
        f"SELECT id, bytes FROM batches WHERE {which} ORDER BY id"  # noqa: S608 constants only
    ).fetchall()
    for row_id, size in rows:
        yield size - len(bury(db, row_id, GapReason.OVERFLOW, station))


def _delete_oldest(db: sqlite3.Connection) -> Iterator[int]:
    rows = db.execute(
        "SELECT b.id, b.bytes, b.acked, b.seq, e.epoch FROM batches b"
        " JOIN epochs e ON e.id = b.epoch_id ORDER BY b.id"
    ).fetchall()
    for row_id, size, acked, seq, epoch in rows:
        _delete(db, row_id)
        if not acked:
            set_fact(db, LOST + epoch, seq)
        yield size


def _delete(db: sqlite3.Connection, row_id: int) -> None:
    db.execute("DELETE FROM payloads WHERE id = ?", (row_id,))
    db.execute("DELETE FROM batches WHERE id = ?", (row_id,))


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class Ballast:
    """A file of nothing, given up when the disk is full: even deleting needs room.

    `bytes_max` is that of the outbox.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._size = min(BALLAST_BYTES_MAX, max(BALLAST_BYTES_MIN, bytes_max // BALLAST_PART))

    def make(self) -> bool:
        """Make it, unless it is there or the disk has little room; whether it is there.

        It is never synced: a power cut can leave its name and not its size.
        """
        if self._path.exists() and self._path.stat().st_size >= self._size:
            return True
        if self._free_bytes() < BALLAST_AGAIN * self._size:
            return False
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            log.warning("no ballast could be set aside", error=str(error))
            return False
        return True

    def give_up(self) -> bool:
        """Remove it when the disk is nearly full; whether that was so."""
        if self._free_bytes() >= self._size or not self._path.exists():
            return False
        self._path.unlink(missing_ok=True)
        log.error("the disk is full, the outbox falls back on its ballast", freed=self._size)
        return True

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize
