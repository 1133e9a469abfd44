"""Which commands were begun and what became of them, in the outbox's file.

Owns one table and its bound. Its functions take a transaction of the outbox's, so that a result
and the event that reports it are kept together or not at all. It must not know what commands do.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Commands of a day at one a minute; more that are not expired yet are refused.
REMEMBERED_MAX = 1_500

# A result is remembered this much longer than its command is good: a clock may be put back.
REMEMBERED_AFTER = timedelta(hours=1)

SCHEMA = """
    CREATE TABLE commands (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        issuer TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        begun_at INTEGER NOT NULL,
        result BLOB                        -- NULL until it is known what became of it
    ) STRICT;
"""


class MemoryFull(Exception):
    """As many commands as can be are remembered, and none of them has expired."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that was begun; `result` is the payload of its result, None until it has one."""

    id: str
    kind: str
    issuer: str
    expires_at: datetime
    result: bytes | None = None


def find(db: sqlite3.Connection, command: str) -> Begun | None:
    """The command of this id, if it is remembered."""
    row = db.execute(f"{_SELECT} WHERE id = ?", (command,)).fetchone()
    return None if row is None else _begun(row)


def unfinished(db: sqlite3.Connection) -> list[Begun]:
    """Those begun that have no result, in the order in which they were."""
    rows = db.execute(f"{_SELECT} WHERE result IS NULL ORDER BY begun_at, rowid").fetchall()
    return [_begun(row) for row in rows]


def begin(begun: Begun, now: datetime) -> Callable[[sqlite3.Connection], None]:
    """Work that remembers a command before it is carried out. It raises MemoryFull.

    What expired long enough ago is forgotten.
    """

    def work(db: sqlite3.Connection) -> None:
        db.execute(
            "DELETE FROM commands WHERE result IS NOT NULL AND expires_at < ?",
            (_ms(now - REMEMBERED_AFTER),),
        )
        (count,) = db.execute("SELECT count(*) FROM commands").fetchone()
        if count >= REMEMBERED_MAX:
            raise MemoryFull
        db.execute(
            "INSERT INTO commands (id, kind, issuer, expires_at, begun_at) VALUES (?, ?, ?, ?, ?)",
            (begun.id, begun.kind, begun.issuer, _ms(begun.expires_at), _ms(now)),
        )

    return work


def finish(command: str, result: bytes) -> Callable[[sqlite3.Connection], None]:
    """Work that remembers what became of a command."""

    def work(db: sqlite3.Connection) -> None:
        db.execute("UPDATE commands SET result = ? WHERE id = ?", (result, command))

    return work


_SELECT = "SELECT id, kind, issuer, expires_at, result FROM commands"


def _begun(row: tuple[str, str, str, int, bytes | None]) -> Begun:
    command, kind, issuer, expires_ms, result = row
    return Begun(command, kind, issuer, datetime.fromtimestamp(expires_ms / 1000, UTC), result)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
