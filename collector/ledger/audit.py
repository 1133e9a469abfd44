"""Who did what, when: rows that are added and read, never changed.

It must not know what the actions mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from collector.ledger.tables import audit


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

    def add(self, entry: AuditEntry) -> None:
        """Record an action; it is kept if and only if the transaction that did it commits."""
        self._connection.execute(
            insert(audit).values(
                at=entry.at,
                actor=entry.actor,
                action=entry.action,
                subject=entry.subject,
                detail=dict(entry.detail),
            )
        )

    def of_action(self, action: str) -> list[AuditEntry]:
        """All entries of one action, oldest first."""
        rows = self._connection.execute(
            select(audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail)
            .where(audit.c.action == action)
            .order_by(audit.c.id)
        )
        return [AuditEntry(*row) for row in rows]

    def newest(self, limit: int) -> list[AuditEntry]:
        """The newest entries, newest first."""
        rows = self._connection.execute(
            select(audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail)
            .order_by(audit.c.id.desc())
            .limit(limit)
        )
        return [AuditEntry(*row) for row in rows]
