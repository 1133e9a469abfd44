"""A look into an outbox from outside, without disturbing the gateway that writes it.

Reads only, in one snapshot of the file, and takes no lock that could hold anybody up. It must not
know what is good or bad about what it finds.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from contract.messages import Batch, MessageError, SlotGap, Tombstone, decode_batch
from gateway.outbox_values import Worth

RECORDS_MAX = 2_000  # the newest ones; what is older has long been in the collector's lists
BUSY_TIMEOUT_S = 2.0


class OutboxUnreadable(Exception):
    """The file cannot be looked into; the text says why."""


@dataclass(frozen=True, slots=True)
class OutboxLook:
    """What an outbox holds.

    `epoch` is the one begun last, `next_seq` the number that its next batch gets. `waiting` counts
    batches without the collector's acknowledgement, `waiting_bytes` their bytes, over
    `waiting_epochs` epochs; `oldest_waiting_at` is when the oldest of them was kept. `delivered`
    counts acknowledged ones still kept, `newest_delivered_at` is when the latest of them was kept
    (when it was acknowledged is not written down). `last_slot_at` is the slot dealt with last.
    `gaps` and `tombstones` are those of the newest RECORDS_MAX records, oldest first. A tombstone
    counts while the collector has not acknowledged it: one that has been may stand for a batch that
    was delivered first and dropped afterwards, of which nothing is lost.
    """

    epoch: str
    next_seq: int
    generation: int
    waiting: int
    waiting_bytes: int
    waiting_epochs: int
    oldest_waiting_at: datetime | None
    delivered: int
    newest_delivered_at: datetime | None
    last_slot_at: datetime | None
    file_bytes: int
    gaps: tuple[SlotGap, ...]
    tombstones: tuple[Tombstone, ...]


def look(path: Path, *, in_use: bool) -> OutboxLook:
    """What the outbox at `path` holds now. `in_use` says whether a gateway has it open.

    Raises OutboxUnreadable.
    """
    if not path.exists():
        raise OutboxUnreadable(f"{path} does not exist")
    try:
        with closing(_open(path, in_use=in_use)) as db:
            db.execute("BEGIN")  # one snapshot for all questions
            return _look(db, path)
    except (sqlite3.Error, OSError) as error:
        raise OutboxUnreadable(f"{path}: {error}") from error


def _open(path: Path, *, in_use: bool) -> sqlite3.Connection:
    """Read-only; also where the folder may not be written and no log lies beside the file."""
    wal = path.with_name(path.name + "-wal")
    is_still = not in_use and not (wal.exists() and wal.stat().st_size)
    mode = "immutable=1" if is_still else "mode=ro"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )


def _look(db: sqlite3.Connection, path: Path) -> OutboxLook:
    epoch = db.execute("SELECT epoch, next FROM epochs ORDER BY id DESC LIMIT 1").fetchone()
    waiting, waiting_bytes, epochs, oldest_ms = db.execute(
        "SELECT count(*), coalesce(sum(bytes), 0), count(DISTINCT epoch_id), min(appended_at)"
        " FROM batches WHERE acked = 0"
    ).fetchone()
    delivered, newest_ms = db.execute(
        "SELECT count(*), max(appended_at) FROM batches WHERE acked = 1"
    ).fetchone()
    facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
    records = list(_records(db))
    return OutboxLook(
        epoch=epoch[0] if epoch else "",
        next_seq=epoch[1] if epoch else 1,
        generation=facts.get("generation", 0),
        waiting=waiting,
        waiting_bytes=waiting_bytes,
        waiting_epochs=epochs,
        oldest_waiting_at=_at(oldest_ms),
        delivered=delivered,
        newest_delivered_at=_at(newest_ms),
        last_slot_at=_at(facts.get("last_slot")),
        file_bytes=path.stat().st_size,
        gaps=tuple(gap for _, batch in records for gap in batch.gaps or ()),
        tombstones=tuple(
            batch.tombstone for acked, batch in records if batch.tombstone and not acked
        ),
    )


def _records(db: sqlite3.Connection) -> Iterator[tuple[bool, Batch]]:
    """Whether each was acknowledged, and what it says."""
    rows = db.execute(
        "SELECT acked, payload FROM batches JOIN payloads USING (id) WHERE worth = ?"
        " ORDER BY id DESC LIMIT ?",
        (Worth.RECORD, RECORDS_MAX),
    ).fetchall()
    for acked, payload in reversed(rows):
        try:
            yield bool(acked), decode_batch(payload)
        except MessageError:
            continue  # the gateway replaces a damaged one when it comes to it


def _at(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
