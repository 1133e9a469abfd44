"""The outbox: every batch, durable from before it is sent until the collector has it.

Owns the numbering of batches, the marks of slots and what is still to be delivered. It must not
know MQTT, lines or what time it is: instants come from its caller.
"""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog

from contract.limits import SEQ_MAX
from contract.messages import Ack, EpochStatus, OutboxStatus
from gateway import outbox_age, outbox_held, outbox_room
from gateway.outbox_file import LOCK_SUFFIX, OutboxError, OutboxFile, OutboxUnavailable
from gateway.outbox_room import DAMAGED
from gateway.outbox_slots import begin_after, instant, mark, ms, set_fact
from gateway.outbox_values import BatchKey, Draft, Held, Late, SlotDone, Stored

FILE_NAME = "outbox.sqlite3"
LOCK_NAME = FILE_NAME + LOCK_SUFFIX

_T = TypeVar("_T")
_EPOCH = re.compile(r"[0-9a-f]{32}")

log = structlog.get_logger("gateway.outbox")


class Outbox:
    """Not thread-safe: one caller at a time (`gateway.outbox_thread` sees to that).

    Every method raises OutboxUnavailable when the file cannot be used now.
    """

    def __init__(self, path: Path, *, station: str, epoch: str, bytes_max: int) -> None:
        if _EPOCH.fullmatch(epoch) is None:
            raise ValueError("an epoch is 32 hexadecimal digits")
        self.epoch = epoch
        self._station = station
        self._bytes_max = bytes_max
        self._next = 1
        self._in_doubt = False  # whether the last append was kept, which its file could not tell
        # The drafts of that append, and the same once it is known that they were kept after all,
        # while another append came first: whoever tries again must not have them twice.
        self._doubtful: tuple[bytes, ...] = ()
        self._kept_after_all: tuple[tuple[bytes, ...], int] | None = None
        self._file = OutboxFile(path, bytes_max, station, self._begin)
        self._generation = self._fact("generation") or 0

    @classmethod
    def open(cls, path: Path, *, station: str, epoch: str, bytes_max: int) -> "Outbox":
        """Open or create the file at `path`, at most `bytes_max` bytes, and begin `epoch` in it.

        A damaged file is moved aside and a new one begun; `take_incident` tells. Raises OutboxError
        when another process has it, it is of a newer version, or it cannot be made.
        """
        try:
            return cls(path, station=station, epoch=epoch, bytes_max=bytes_max)
        except (OSError, sqlite3.Error) as error:
            raise OutboxError(f"{path} cannot be opened: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def take_incident(self) -> str | None:
        """What was wrong with a file that had to be moved aside; told once."""
        incident, self._file.incident = self._file.incident, None
        return incident

    # -- writing

    def append(
        self,
        drafts: Sequence[Draft],
        *,
        at: datetime,
        done: Sequence[SlotDone] = (),
        late: Late | None = None,
        release: int | None = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> list[BatchKey]:
        """Keep `drafts` and the marks in one transaction; all durable on return.

        What was held as `release` is held no more. `also` writes what must be kept with them or
        not at all; see OutboxFile.write. The last of `done` becomes `last_slot()`. `at` is the
        present instant. On OutboxUnavailable nothing was kept.
        """
        self._settle_doubt()
        if self._kept_after_all is not None and _hashes(drafts) == self._kept_after_all[0]:
            first, self._kept_after_all = self._kept_after_all[1], None
            return [BatchKey(self.epoch, seq) for seq in range(first, first + len(drafts))]
        first, following = self._next, self._next + len(drafts)
        assert following <= SEQ_MAX

        def write(db: sqlite3.Connection) -> None:
            for seq, draft in enumerate(drafts, start=first):
                self._insert(db, draft, seq, at)
            db.execute("UPDATE epochs SET next = ? WHERE epoch = ?", (following, self.epoch))
            mark(db, done, late, at)
            if release is not None:
                outbox_held.release(db, release)
            if also is not None:
                also(db)

        try:
            self._file.write(write, sum(len(draft.payload) for draft in drafts))
        except OutboxUnavailable:
            # A commit whose fsync failed may have been kept all the same: the reopened file knows,
            # unless it cannot be opened either.
            self._in_doubt, self._doubtful = True, _hashes(drafts)
            if not (drafts and self._holds(first, drafts)):
                self._in_doubt = False
                raise
        return self._given_out(len(drafts))

    def hold(self, boot: str, begun_s: float, content: bytes) -> None:
        """Keep a scan whose time is not known, begun at that moment of the boot's monotonic clock.

        Durable on return. Beyond `outbox_held.HELD_MAX` the oldest go.
        """
        self._file.write(lambda db: outbox_held.hold(db, boot, begun_s, content), len(content))

    def know_time(self, boot: str) -> None:
        """Remember that the time has become known in this boot."""
        self._file.write(lambda db: outbox_held.know_time(db, boot))

    def begin_after(self, to_at: datetime) -> None:
        """From `to_at` on slots are dealt with, for the first time or again: it is `last_slot()`.

        What was dealt with until now is in `accounted()`. Nobody is wanted any more.
        """
        self._file.write(lambda db: begin_after(db, to_at))

    def transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work`, of another table than those of batches, in one durable transaction."""
        return self._file.write(work)

    def apply_acks(self, acks: Sequence[Ack]) -> set[BatchKey]:
        """Take what the collector has; returns what has become delivered by it.

        Within the highest generation seen, acks only add up. A higher generation replaces all
        before it: whatever it does not cover is pending again. A lower one is ignored.
        """
        generation = max((ack.generation for ack in acks), default=0)
        acks = [ack for ack in acks if ack.generation == generation]
        risen = generation > self._generation
        if generation < self._generation or not (risen or self._has_pending()):
            return set()

        def write(db: sqlite3.Connection) -> set[BatchKey]:
            if risen:
                db.execute("UPDATE batches SET acked = 0 WHERE acked = 1")
                outbox_age.begin_again(db)
                set_fact(db, "generation", generation)
            return {key for ack in acks for key in _cover(db, ack)}

        delivered = self._file.write(write)
        self._generation = generation
        return delivered

    def purge(self, before_at: datetime, *, ran_s: float = 0.0, keep_days: int = 0) -> int:
        """Forget batches that were kept before `before_at` and delivered `keep_days` days ago or
        more; returns how many.

        Those days are of running: `ran_s` is how long this was since the last call. Only from the
        low end of an epoch: what is held stays without holes, so that its lowest seq says truly
        what can no longer be had.
        """

        def write(db: sqlite3.Connection) -> int:
            gone = 0
            row_id = outbox_age.delivered_for(db, ran_s, keep_days)
            for (epoch_id,) in db.execute("SELECT id FROM epochs").fetchall():
                (limit,) = db.execute(
                    "SELECT min(seq) FROM batches WHERE epoch_id = ?"
                    " AND (acked = 0 OR appended_at >= ? OR id > ?)",
                    (epoch_id, ms(before_at), row_id),
                ).fetchone()
                gone += outbox_room.delete_below(db, epoch_id, SEQ_MAX if limit is None else limit)
            db.execute(
                "DELETE FROM epochs WHERE epoch <> ?"
                " AND NOT EXISTS (SELECT 1 FROM batches WHERE epoch_id = epochs.id)"
                " AND NOT EXISTS (SELECT 1 FROM facts WHERE name = ? || epochs.epoch)",
                (self.epoch, outbox_room.LOST),
            )
            return gone

        gone = self._file.write(write)
        self._file.tidy()
        return gone

    # -- asking

    def pending(
        self, limit: int, *, live_since: datetime, except_for: frozenset[BatchKey] = frozenset()
    ) -> list[Stored]:
        """Up to `limit` batches to send: those kept since `live_since` first, then the oldest.

        Those in `except_for` are left out. A batch whose bytes no longer have their hash is
        replaced by a tombstone first.
        """
        query = (
            "SELECT b.id, e.epoch, b.seq, b.appended_at FROM batches b"
            " JOIN epochs e ON e.id = b.epoch_id WHERE b.acked = 0 ORDER BY b.id {} LIMIT ?"
        )
        reach = limit + len(except_for)
        newest = self._file.read(query.format("DESC"), reach)
        live = [row for row in reversed(newest) if row[3] >= ms(live_since)]
        chosen: dict[BatchKey, int] = {}
        for row_id, epoch, seq, _ in [*live, *self._file.read(query.format("ASC"), reach)]:
            key = BatchKey(epoch, seq)
            if len(chosen) < limit and key not in except_for:
                chosen.setdefault(key, row_id)
        return [Stored(key, self._payload(row_id)) for key, row_id in chosen.items()]

    def get(self, key: BatchKey) -> Stored | None:
        """The batch of `key`, if it is held and still to be delivered."""
        rows = self._file.read(
            "SELECT b.id FROM batches b JOIN epochs e ON e.id = b.epoch_id"
            " WHERE e.epoch = ? AND b.seq = ? AND b.acked = 0",
            key.epoch,
            key.seq,
        )
        return Stored(key, self._payload(rows[0][0])) if rows else None

    def epochs(self) -> list[EpochStatus]:
        """The current epoch, then every other with something to deliver or to tell, oldest first.

        What is to be told is that batches were given up before they were delivered.
        """
        rows = self._file.read(
            "SELECT e.epoch, e.next, (SELECT min(seq) FROM batches WHERE epoch_id = e.id)"
            " FROM epochs e WHERE e.epoch = ? OR EXISTS (SELECT 1 FROM batches"
            " INDEXED BY batches_pending WHERE epoch_id = e.id AND acked = 0)"
            " OR EXISTS (SELECT 1 FROM facts WHERE name = ? || e.epoch)"
            " ORDER BY e.epoch <> ?, e.id",
            self.epoch,
            outbox_room.LOST,
            self.epoch,
        )
        return [
            EpochStatus(epoch=epoch, oldest=following if low is None else low, next=following)
            for epoch, following, low in rows
        ]

    def usage(self) -> OutboxStatus:
        """How much waits, and how many bytes of the allowed ones are in use."""
        waiting = self._file.read("SELECT count(*) FROM batches WHERE acked = 0")[0][0]
        held = self._file.read("SELECT count(*) FROM held")[0][0]
        return OutboxStatus(waiting, self._file.used_bytes(), self._bytes_max, held)

    def last_slot(self) -> datetime | None:
        """The slot that was dealt with last; None when none ever was."""
        last = self._fact("last_slot")
        return None if last is None else instant(last)

    def accounted(self) -> list[tuple[datetime, datetime]]:
        """Spans of which every slot was dealt with before the clock was put back.

        Each is (after, until): slots later than the one up to the other, which counts.
        """
        rows = self._file.read("SELECT after_at, until_at FROM accounted")
        return [(instant(after), instant(until)) for after, until in rows]

    def slots_after(self, at: datetime) -> list[datetime]:
        """The slots later than `at` of which a scan is held."""
        rows = self._file.read("SELECT DISTINCT slot_at FROM batches WHERE slot_at > ?", ms(at))
        return [instant(slot_at) for (slot_at,) in rows]

    def retries(self) -> list[SlotDone]:
        """The meters still wanted for earlier slots, oldest slot first, in the order given."""
        wanted: dict[tuple[int, int], list[str]] = {}
        for slot_ms, until_ms, meter in self._file.read(
            "SELECT slot_at, until_at, meter FROM retries ORDER BY slot_at, rowid"
        ):
            wanted.setdefault((slot_ms, until_ms), []).append(meter)
        return [
            SlotDone(instant(slot_ms), tuple(meters), instant(until_ms))
            for (slot_ms, until_ms), meters in wanted.items()
        ]

    def knew_time(self, boot: str) -> bool:
        """Whether the time was known in this boot before."""
        return bool(self._file.read("SELECT 1 FROM dated_boots WHERE boot = ?", boot))

    def last_held_s(self, boot: str) -> float | None:
        """When the last scan was begun that is held of this boot; None if there is none."""
        (last,) = self._file.read("SELECT max(begun_ms) FROM held WHERE boot = ?", boot)[0]
        return None if last is None else last / 1000

    def next_held(self, boot: str, *, of_others: bool) -> Held | None:
        """The oldest scan held of this boot, or of all others; None if there is none."""
        rows = self._file.read(
            "SELECT id, boot, content FROM held WHERE (boot <> ?) = ? ORDER BY id LIMIT 1",
            boot,
            of_others,
        )
        return Held(*rows[0]) if rows else None

    @property
    def generation(self) -> int:
        """That of the newest ack taken; 0 when none ever was."""
        return self._generation

    # -- rows

    def _begin(self, db: sqlite3.Connection) -> None:
        """Enter the current epoch in a file just opened; in a new file it goes on counting."""
        db.execute(
            "INSERT INTO epochs (epoch, next) VALUES (?, ?) ON CONFLICT (epoch) DO NOTHING",
            (self.epoch, self._next),
        )

    def _settle_doubt(self) -> None:
        """Learn whether the append before was kept although it failed: then its numbers are taken.

        It may come again, at once or after others.
        """
        if self._in_doubt:
            first, self._next = self._next, self._stored_next()
            self._in_doubt = False
            if self._next > first:
                self._kept_after_all = self._doubtful, first

    def _given_out(self, count: int) -> list[BatchKey]:
        first, self._next, self._in_doubt = self._next, self._next + count, False
        return [BatchKey(self.epoch, seq) for seq in range(first, self._next)]

    def _holds(self, first: int, drafts: Sequence[Draft]) -> bool:
        """Whether exactly these are held from `first` on."""
        rows = self._file.read(
            "SELECT b.sha256 FROM batches b JOIN epochs e ON e.id = b.epoch_id"
            " WHERE e.epoch = ? AND b.seq >= ? ORDER BY b.seq",
            self.epoch,
            first,
        )
        return tuple(sha for (sha,) in rows) == _hashes(drafts)

    def _stored_next(self) -> int:
        following: int = self._file.read("SELECT next FROM epochs WHERE epoch = ?", self.epoch)[0][
            0
        ]
        return following

    def _insert(self, db: sqlite3.Connection, draft: Draft, seq: int, at: datetime) -> None:
        cursor = db.execute(
            "INSERT INTO batches (epoch_id, seq, slot_at, appended_at, worth, bytes, sha256)"
            " SELECT id, ?, ?, ?, ?, ?, ? FROM epochs WHERE epoch = ?",
            (
                seq,
                None if draft.slot_at is None else ms(draft.slot_at),
                ms(at),
                draft.worth,
                len(draft.payload),
                hashlib.sha256(draft.payload).digest(),
                self.epoch,
            ),
        )
        db.execute("INSERT INTO payloads VALUES (?, ?)", (cursor.lastrowid, draft.payload))

    def _payload(self, row_id: int) -> bytes:
        rows = self._file.read(
            "SELECT p.payload, b.sha256 FROM batches b LEFT JOIN payloads p ON p.id = b.id"
            " WHERE b.id = ?",
            row_id,
        )
        payload: bytes = rows[0][0] or b""
        if hashlib.sha256(payload).digest() == rows[0][1]:
            return payload
        log.error("a batch is damaged; a tombstone takes its place", row=row_id)
        return self._file.write(lambda db: outbox_room.bury(db, row_id, DAMAGED, self._station))

    def _has_pending(self) -> bool:
        return bool(self._file.read("SELECT 1 FROM batches WHERE acked = 0 LIMIT 1"))

    def _fact(self, name: str) -> int | None:
        rows = self._file.read("SELECT value FROM facts WHERE name = ?", name)
        return rows[0][0] if rows else None


def _hashes(drafts: Sequence[Draft]) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(draft.payload).digest() for draft in drafts)


def _cover(db: sqlite3.Connection, ack: Ack) -> set[BatchKey]:
    """Mark what `ack` has; returns what it newly has."""
    ids: dict[str, int] = dict(db.execute("SELECT epoch, id FROM epochs").fetchall())
    delivered: set[BatchKey] = set()
    for entry in ack.epochs:
        if entry.epoch not in ids:
            continue
        for low, high in ((1, entry.upto), *entry.also):
            rows = db.execute(
                "UPDATE batches INDEXED BY batches_pending SET acked = 1"
                " WHERE epoch_id = ? AND acked = 0 AND seq BETWEEN ? AND ? RETURNING seq",
                (ids[entry.epoch], low, high),
            ).fetchall()
            delivered.update(BatchKey(entry.epoch, seq) for (seq,) in rows)
        db.execute(
            "DELETE FROM facts WHERE name = ? AND value <= ?",
            (outbox_room.LOST + entry.epoch, entry.upto),
        )
    return delivered
