"""Quarantine: what could not be taken, kept whole with the reason until a person has looked.

It must not know how to decode a payload, nor decide whether it is good.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from collector.ledger.statements import upsert
from collector.ledger.tables import quarantine

_CODE_CHARS_MAX = 32
_REASON_CHARS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class NewQuarantine:
    """Something to be kept aside. `code` is short and stable, `reason` a sentence for people."""

    topic: str
    payload: bytes
    sha256: bytes
    code: str
    reason: str
    gateway: str | None


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """Something that was kept aside; `resolved_at` once it needs nobody's attention any more."""

    id: int
    topic: str
    payload: bytes
    sha256: bytes
    code: str
    reason: str
    gateway: str | None
    received_at: datetime
    retry_asked_at: datetime | None
    resolved_at: datetime | None


_COLUMNS = (
    quarantine.c.id,
    quarantine.c.topic,
    quarantine.c.payload,
    quarantine.c.sha256,
    quarantine.c.code,
    quarantine.c.reason,
    quarantine.c.gateway,
    quarantine.c.received_at,
    quarantine.c.retry_asked_at,
    quarantine.c.resolved_at,
)


# Asked with every tick of the worker, mostly for nothing.
_TO_RETRY = (
    select(*_COLUMNS)
    .where(quarantine.c.resolved_at.is_(None), quarantine.c.retry_asked_at.is_not(None))
    .order_by(quarantine.c.id)
    .limit(bindparam("limit"))
)


class QuarantineRepository:
    """The quarantine within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, new: Collection[NewQuarantine], now: datetime) -> None:
        """Keep aside; the same thing for the same reason is one entry, open again if resolved."""
        rows = [
            {
                "topic": entry.topic,
                "payload": entry.payload,
                "sha256": entry.sha256,
                "code": entry.code[:_CODE_CHARS_MAX],
                "reason": entry.reason.replace("\0", "\N{REPLACEMENT CHARACTER}")[
                    :_REASON_CHARS_MAX
                ],
                "gateway": entry.gateway,
                "received_at": now,
                "retry_asked_at": None,
                "resolved_at": None,
            }
            for entry in sorted(new, key=lambda e: (e.topic, e.sha256, e.code))
        ]
        if rows:
            self._connection.execute(
                upsert(
                    self._connection,
                    quarantine,
                    update_columns=("reason", "retry_asked_at", "resolved_at"),
                    conflict=("topic", "sha256", "code"),
                ),
                rows,
            )

    def get(self, entry_id: int) -> QuarantineEntry | None:
        """The entry with this id."""
        row = self._connection.execute(
            select(*_COLUMNS).where(quarantine.c.id == entry_id)
        ).one_or_none()
        return None if row is None else _entry(row)

    def open(self, limit: int, *, after_id: int = 0) -> list[QuarantineEntry]:
        """Entries that are not resolved, oldest first, with an id above `after_id`."""
        rows = self._connection.execute(
            select(*_COLUMNS)
            .where(quarantine.c.resolved_at.is_(None), quarantine.c.id > after_id)
            .order_by(quarantine.c.id)
            .limit(limit)
        )
        return [_entry(row) for row in rows]

    def open_counts(self) -> dict[str | None, int]:
        """How many entries are open, by gateway (None: unknown)."""
        rows = self._connection.execute(
            select(quarantine.c.gateway, func.count().label("entries"))
            .where(quarantine.c.resolved_at.is_(None))
            .group_by(quarantine.c.gateway)
        )
        return {row.gateway: row.entries for row in rows}

    def ask_retry(self, entry_id: int, now: datetime) -> None:
        """Have intake try the entry again."""
        self._connection.execute(
            update(quarantine).where(quarantine.c.id == entry_id).values(retry_asked_at=now)
        )

    def to_retry(self, limit: int) -> list[QuarantineEntry]:
        """Open entries that someone asked to be tried again, oldest first."""
        rows = self._connection.execute(_TO_RETRY, {"limit": limit})
        return [_entry(row) for row in rows]

    def resolve(self, ids: Collection[int], now: datetime) -> None:
        """These need nobody's attention any more."""
        if ids:
            self._connection.execute(
                update(quarantine).where(quarantine.c.id.in_(sorted(ids))).values(resolved_at=now)
            )

    def retry_failed(self, entry_id: int, reason: str) -> None:
        """It was tried again and is still no good."""
        self._connection.execute(
            update(quarantine)
            .where(quarantine.c.id == entry_id)
            .values(retry_asked_at=None, reason=reason[:_REASON_CHARS_MAX])
        )


def _entry(row: Sequence[object]) -> QuarantineEntry:
    values = list(row)
    values[2], values[3] = bytes(values[2]), bytes(values[3])  # type: ignore[call-overload]  # as stored
    return QuarantineEntry(*values)  # type: ignore[arg-type]  # in the order of _COLUMNS
