"""What the outbox remembers of slots: the last one done, who is still wanted, what was accounted.

Works within a transaction of its caller. It must not know why a slot is done or missed.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.outbox_values import Late, SlotDone

# Spans of accounted slots: one is added each time that the clock is put back.
ACCOUNTED_MAX = 64

SCHEMA = """
    CREATE TABLE accounted (
        after_at INTEGER NOT NULL,         -- every slot later than this …
        until_at INTEGER NOT NULL          -- … up to this one was scanned or listed as a gap
    ) STRICT;
"""


def mark(db: sqlite3.Connection, done: Sequence[SlotDone], late: Late | None, at: datetime) -> None:
    """Keep that slots are done, who is wanted for them still, and who no more."""
    db.execute("DELETE FROM retries WHERE until_at <= ?", (ms(at),))
    for slot in done:
        db.execute(
            "INSERT OR IGNORE INTO facts VALUES ('accounted_after',"
            " coalesce((SELECT value FROM facts WHERE name = 'last_slot'), ?))",
            (ms(slot.slot_at) - 1,),
        )
        set_fact(db, "last_slot", ms(slot.slot_at))
        if slot.until_at is not None and slot.until_at > at:
            db.executemany(
                "INSERT OR IGNORE INTO retries (slot_at, until_at, meter) VALUES (?, ?, ?)",
                [(ms(slot.slot_at), ms(slot.until_at), meter) for meter in slot.retry],
            )
    if late is not None:
        db.executemany(
            "DELETE FROM retries WHERE slot_at = ? AND meter = ?",
            [(ms(late.slot_at), meter) for meter in late.meters],
        )


def begin_after(db: sqlite3.Connection, to_at: datetime) -> None:
    """Go on after `to_at`, remembering what was accounted for until then; nobody is wanted."""
    db.execute(
        "INSERT INTO accounted SELECT a.value, b.value FROM facts a, facts b"
        " WHERE a.name = 'accounted_after' AND b.name = 'last_slot' AND a.value < b.value"
    )
    db.execute(
        "DELETE FROM accounted WHERE rowid <= (SELECT max(rowid) FROM accounted) - ?",
        (ACCOUNTED_MAX,),
    )
    set_fact(db, "accounted_after", ms(to_at))
    set_fact(db, "last_slot", ms(to_at))
    db.execute("DELETE FROM retries")


def set_fact(db: sqlite3.Connection, name: str, value: int) -> None:
    """Remember one number."""
    db.execute(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def ms(at: datetime) -> int:
    """An instant as the file has it: milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def instant(milliseconds: int) -> datetime:
    """What `ms` made of an instant."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
