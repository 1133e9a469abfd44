"""Who did what, when: rows that are added and read, never changed, each sealed by its hash.

It must not know what the actions mean. How rows are hashed is `audit_chain`'s.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from collector.ledger.audit_chain import EMPTY, ChainRow, Head, canonical_json, link
from collector.ledger.tables import audit, to_ms

# Any number that nothing else locks (the others are in `unit_of_work` and `registry`).
_CHAIN_LOCK = 736_674

# Rows that are fetched at once while the chain is followed.
_PAGE_ROWS = 5_000

# As bytes where SQLite is asked: it lets any bytes into a text column, and they are to be found.
_ROWS_SQLITE = text(
    "SELECT sequence, at, CAST(actor AS BLOB), CAST(action AS BLOB), CAST(subject AS BLOB),"
    " CAST(detail AS BLOB), CAST(previous_sha256 AS BLOB), CAST(sha256 AS BLOB)"
    " FROM audit WHERE sequence > :after ORDER BY sequence LIMIT :limit"
)
_ROWS_POSTGRESQL = text(
    "SELECT sequence, at, actor, action, subject, detail, previous_sha256, sha256"
    " FROM audit WHERE sequence > :after ORDER BY sequence LIMIT :limit"
)
_BEFORE_ALL = -(2**63)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action: `detail` holds what is needed to understand it later, as JSON values."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


class AuditRepository:
    """The audit trail within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._added: list[AuditEntry] = []

    def add(self, entry: AuditEntry) -> None:
        """Record an action; it is kept if and only if the transaction that did it commits."""
        self._added.append(entry)

    def seal(self) -> None:
        """Write what was added to the end of the chain: the last thing before the commit.

        Writers wait for each other only from here to their commit, and a writer that adds nothing
        (all of intake) waits for none. Nothing is locked after this lock, so that no circle of
        writers can wait for itself.
        """
        if not self._added:
            return
        # SQLite has one writer at a time anyway. PostgreSQL shows what others have committed to
        # the statement after the one that waited.
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(func.pg_advisory_xact_lock(_CHAIN_LOCK)))
        head = self.head()
        rows = []
        for entry in self._added:
            row = link(head, _row(entry))
            head = Head(row.sequence, row.sha256)
            rows.append(row._asdict() | {"at": entry.at})
        self._connection.execute(insert(audit), rows)
        self._added.clear()

    def head(self) -> Head:
        """The last row's number and hash; EMPTY where there is no row."""
        row = self._connection.execute(
            select(audit.c.sequence, audit.c.sha256).order_by(audit.c.sequence.desc()).limit(1)
        ).one_or_none()
        return EMPTY if row is None else Head(*row)

    def of_action(self, action: str) -> list[AuditEntry]:
        """All entries of one action, oldest first."""
        rows = self._connection.execute(
            select(audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail)
            .where(audit.c.action == action)
            .order_by(audit.c.sequence)
        )
        return [
            AuditEntry(at, actor, done, subject, json.loads(detail))
            for at, actor, done, subject, detail in rows
        ]

    def since(self, actions: Collection[str], since: datetime) -> list[AuditEntry]:
        """The entries of some actions from an instant on, oldest first."""
        c = audit.c
        rows = self._connection.execute(
            select(c.at, c.actor, c.action, c.subject, c.detail)
            .where(c.action.in_(sorted(actions)), c.at >= since)
            .order_by(c.sequence)
        )
        return [AuditEntry(*row[:4], json.loads(row.detail)) for row in rows]

    def mentioning(self, actions: Collection[str], name: str) -> list[AuditEntry]:
        """The entries of some actions whose detail has a field of this name, oldest first.

        Few have it; reading all that was ever done to find them would take seconds.
        """
        c = audit.c
        # Quotes within a text are escaped in JSON: only a name stands like this.
        field = f'"{name}":'
        rows = self._connection.execute(
            select(c.at, c.actor, c.action, c.subject, c.detail)
            .where(c.action.in_(sorted(actions)), c.detail.contains(field, autoescape=True))
            .order_by(c.sequence)
        )
        return [AuditEntry(*row[:4], json.loads(row.detail)) for row in rows]

    def of_subject(self, action: str, subject: str) -> AuditEntry | None:
        """The newest entry of an action on just this; it looks from the end of the trail."""
        c = audit.c
        row = self._connection.execute(
            select(c.at, c.actor, c.action, c.subject, c.detail)
            .where(c.action == action, c.subject == subject)
            .order_by(c.sequence.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else AuditEntry(*row[:4], json.loads(row.detail))

    def newest(self, limit: int) -> list[AuditEntry]:
        """The newest entries, newest first."""
        return [entry for _, entry in self.newest_numbered(limit)]

    def newest_numbered(
        self, limit: int, before: int | None = None, action: str | None = None
    ) -> list[tuple[int, AuditEntry]]:
        """The newest entries with their numbers, newest first: below `before`, of one action."""
        c = audit.c
        query = select(c.sequence, c.at, c.actor, c.action, c.subject, c.detail)
        if before is not None:
            query = query.where(c.sequence < before)
        if action is not None:
            query = query.where(c.action == action)
        rows = self._connection.execute(query.order_by(c.sequence.desc()).limit(limit))
        return [
            (number, AuditEntry(at, actor, done, subject, json.loads(detail)))
            for number, at, actor, done, subject, detail in rows
        ]

    def rows(self) -> Iterator[list[ChainRow]]:
        """All rows as they are stored, in the order of their numbers, some thousands at once."""
        query = _ROWS_POSTGRESQL
        if self._connection.dialect.name == "sqlite":
            query = _ROWS_SQLITE
        after = _BEFORE_ALL
        while True:
            found = self._connection.execute(query, {"after": after, "limit": _PAGE_ROWS}).all()
            if not found:
                return
            yield [ChainRow(*map(_value, row)) for row in found]
            after = found[-1][0]


def _row(entry: AuditEntry) -> ChainRow:
    detail = canonical_json(dict(entry.detail))
    at = to_ms(entry.at)
    return ChainRow(None, at, entry.actor, entry.action, entry.subject, detail, None, None)


def _value(stored: object) -> object:
    if isinstance(stored, bytes):
        return stored.decode("utf-8", "surrogateescape")
    return stored
