"""Scans in the outbox's file that wait for the time to be known, beside what is to be delivered.

Works within a transaction of its caller. It must not know what a held scan contains.
"""

import sqlite3
from collections.abc import Iterator

# A year and more of half-hours; a scan of a large station takes up to 30 kB, so that the bound of
# the file comes first there. Then the oldest go.
HELD_MAX = 20_000
BOOTS_MAX = 16

SCHEMA = """
    CREATE TABLE held (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        boot TEXT NOT NULL,
        begun_ms INTEGER NOT NULL,         -- of the monotonic clock of that boot
        bytes INTEGER NOT NULL,
        content BLOB NOT NULL
    ) STRICT;
    CREATE TABLE dated_boots (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        boot TEXT NOT NULL UNIQUE          -- the time became known in it
    ) STRICT;
"""


def hold(db: sqlite3.Connection, boot: str, begun_s: float, content: bytes) -> None:
    """Keep one scan."""
    db.execute(
        "INSERT INTO held (boot, begun_ms, bytes, content) VALUES (?, ?, ?, ?)",
        (boot, round(1000 * begun_s), len(content), content),
    )
    db.execute("DELETE FROM held WHERE id <= (SELECT max(id) FROM held) - ?", (HELD_MAX,))


def release(db: sqlite3.Connection, row_id: int) -> None:
    """One scan is kept no longer."""
    db.execute("DELETE FROM held WHERE id = ?", (row_id,))


def know_time(db: sqlite3.Connection, boot: str) -> None:
    """The time has become known in this boot."""
    db.execute("INSERT OR IGNORE INTO dated_boots (boot) VALUES (?)", (boot,))
    db.execute(
        "DELETE FROM dated_boots WHERE id <= (SELECT max(id) FROM dated_boots) - ?", (BOOTS_MAX,)
    )


def give_up_oldest(db: sqlite3.Connection) -> Iterator[int]:
    """Delete held scans, oldest first; the bytes of each."""
    for row_id, size in db.execute("SELECT id, bytes FROM held ORDER BY id").fetchall():
        release(db, row_id)
        yield size
