"""Requests that may be sent twice: what the first one made, by who asked and the token it chose.

It must not know what a request is; it keeps a hash of it, to tell another one with the same token.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, tuple_

from collector.errors import Conflict
from collector.ledger.statements import upsert
from collector.ledger.tables import idempotency

# How long a token is remembered: a script that failed on Friday is started again on Monday.
KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is to be done once: who asks, the token they chose, the request's SHA-256."""

    actor: str
    token: str
    sha256: str


class IdempotencyRepository:
    """Tokens within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, once: Once, now: datetime) -> str | None:
        """What the request has made already. Raises Conflict where the token was another's."""
        row = self._connection.execute(
            select(idempotency.c.sha256, idempotency.c.subject).where(
                idempotency.c.actor == once.actor,
                idempotency.c.token == once.token,
                idempotency.c.created_at > now - KEPT,
            )
        ).one_or_none()
        if row is None:
            return None
        sha256, subject = row
        if sha256 != once.sha256:
            raise Conflict(
                "this Idempotency-Key was sent before, with another request",
                hint="choose a new one for each new request",
                code="idempotency_key_reused",
            )
        return str(subject)

    def claim(self, once: Once, subject: str, now: datetime) -> str | None:
        """Note that the request makes `subject`; or what it has made already, then do nothing.

        Of two at the same time one waits here for the other. Raises Conflict as `find` does.
        """
        self._forget(now)
        self._connection.execute(
            upsert(self._connection, idempotency),
            {
                "actor": once.actor,
                "token": once.token,
                "sha256": once.sha256,
                "subject": subject,
                "created_at": now,
            },
        )
        # Subjects are new ids: another one here is of a request that was before.
        found = self.find(once, now)
        return None if found == subject else found

    def forget(self, once: Once | None) -> None:
        """A request that came to nothing: its token is free again."""
        if once is not None:
            c = idempotency.c
            mine = (c.actor == once.actor, c.token == once.token)
            self._connection.execute(delete(idempotency).where(*mine))

    def _forget(self, now: datetime) -> None:
        c = idempotency.c
        # What another one is forgetting is left to it: two that wait for each other help nobody.
        old = select(c.actor, c.token).where(c.created_at <= now - KEPT)
        old = old.with_for_update(skip_locked=True)
        self._connection.execute(delete(idempotency).where(tuple_(c.actor, c.token).in_(old)))
