"""What gateways were told to do and what they answered, and the events that they report.

It must not know how commands travel nor what they mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, insert, or_, select, update

from collector.ledger.tables import commands, events, gateways


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """One command. What a gateway answered is null until it has."""

    id: str
    gateway: str
    kind: str
    arguments: Mapping[str, Any]
    issuer: str
    issued_at: datetime
    expires_at: datetime
    published_at: datetime | None = None
    ok: bool | None = None
    code: str | None = None
    text: str | None = None
    detail: Mapping[str, Any] | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as a gateway reported it."""

    at: datetime
    type: str
    line: str | None
    meter: str | None
    detail: str


_COLUMNS = (
    commands.c.id,
    commands.c.gateway,
    commands.c.kind,
    commands.c.arguments,
    commands.c.issuer,
    commands.c.issued_at,
    commands.c.expires_at,
    commands.c.published_at,
    commands.c.ok,
    commands.c.code,
    commands.c.text,
    commands.c.detail,
    commands.c.answered_at,
)


class CommandRepository:
    """Commands and events within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def knows_gateway(self, gateway: str) -> bool:
        """Whether this gateway was ever heard of."""
        query = select(exists().where(gateways.c.gateway == gateway))
        return bool(self._connection.execute(query).scalar_one())

    def add(self, command: StoredCommand) -> None:
        """Record a command before it is sent."""
        self._connection.execute(
            insert(commands).values(
                id=command.id,
                gateway=command.gateway,
                kind=command.kind,
                arguments=dict(command.arguments),
                issuer=command.issuer,
                issued_at=command.issued_at,
                expires_at=command.expires_at,
            )
        )

    def published(self, command: str, at: datetime) -> None:
        """The broker has taken it."""
        self._connection.execute(
            update(commands).where(commands.c.id == command).values(published_at=at)
        )

    def answer(self, command: StoredCommand) -> bool:
        """Record what a gateway answered; only the first answer stands. False for any other."""
        done = self._connection.execute(
            update(commands)
            .where(
                commands.c.id == command.id,
                commands.c.gateway == command.gateway,
                commands.c.answered_at.is_(None),
            )
            .values(
                ok=command.ok,
                code=command.code,
                text=command.text,
                detail=None if command.detail is None else dict(command.detail),
                answered_at=command.answered_at,
            )
        )
        return done.rowcount > 0

    def get(self, gateway: str, command: str) -> StoredCommand | None:
        """One command of a gateway."""
        row = self._connection.execute(
            select(*_COLUMNS).where(commands.c.id == command, commands.c.gateway == gateway)
        ).one_or_none()
        return None if row is None else _stored(row)

    def find(self, command: str) -> StoredCommand | None:
        """One command, whichever gateway it was sent to."""
        row = self._connection.execute(
            select(*_COLUMNS).where(commands.c.id == command)
        ).one_or_none()
        return None if row is None else _stored(row)

    def newest(
        self, gateway: str, limit: int, after: StoredCommand | None = None
    ) -> list[StoredCommand]:
        """The newest commands of a gateway, newest first; those that follow `after`."""
        c = commands.c
        query = select(*_COLUMNS).where(c.gateway == gateway)
        if after is not None:
            same = and_(c.issued_at == after.issued_at, c.id > after.id)
            query = query.where(or_(c.issued_at < after.issued_at, same))
        query = query.order_by(c.issued_at.desc(), c.id).limit(limit)
        return [_stored(row) for row in self._connection.execute(query)]

    def events(self, gateway: str, limit: int) -> list[StoredEvent]:
        """The newest events of a gateway, newest first."""
        e = events.c
        rows = self._connection.execute(
            select(e.at, e.type, e.line, e.meter, e.detail)
            .where(e.gateway == gateway)
            .order_by(e.at.desc(), e.epoch, e.seq.desc(), e.ordinal.desc())
            .limit(limit)
        )
        return [StoredEvent(*row) for row in rows]

    def event_of(self, gateway: str, command: str, since: datetime) -> StoredEvent | None:
        """The event that reports what became of a command, since it was issued."""
        e = events.c
        row = self._connection.execute(
            select(e.at, e.type, e.line, e.meter, e.detail)
            .where(
                e.gateway == gateway,
                e.type == "command",
                e.at >= since,
                e.detail.startswith(f"{command} ", autoescape=True),
            )
            .order_by(e.at.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else StoredEvent(*row)


def _stored(row: Row[*tuple[Any, ...]]) -> StoredCommand:
    return StoredCommand(*row)
