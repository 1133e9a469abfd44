"""The stored side of API keys: a prefix to find one by and a hash to check it against.

It must not know what a key looks like, nor ever hold one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from collector.errors import Conflict
from collector.ledger.tables import api_keys

_COLUMNS = (
    api_keys.c.prefix,
    api_keys.c.name,
    api_keys.c.sha256,
    api_keys.c.scopes,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
    api_keys.c.last_used_at,
)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of an API key; `sha256` is the hash of the whole key."""

    prefix: str
    name: str
    sha256: bytes
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class KeyRepository:
    """API keys within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: StoredKey) -> None:
        """Store a key. Raises Conflict where the name (or, by a rare chance, prefix) is taken."""
        try:
            self._connection.execute(
                insert(api_keys).values(
                    prefix=key.prefix,
                    name=key.name,
                    sha256=key.sha256,
                    scopes=list(key.scopes),
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                    revoked_at=key.revoked_at,
                )
            )
        except IntegrityError as error:
            raise Conflict(
                f"there is a key named {key.name!r} already", hint="choose another name"
            ) from error

    def by_prefix(self, prefix: str) -> StoredKey | None:
        """The key with this prefix, revoked or expired or not; None where there is none."""
        row = self._connection.execute(
            select(*_COLUMNS).where(api_keys.c.prefix == prefix)
        ).one_or_none()
        return None if row is None else _stored(row)

    def all(self) -> list[StoredKey]:
        """All keys by name."""
        rows = self._connection.execute(select(*_COLUMNS).order_by(api_keys.c.name))
        return [_stored(row) for row in rows]

    def revoke(self, name: str, at: datetime) -> bool:
        """Revoke the key of this name; False where there is none or it is revoked already."""
        result = self._connection.execute(
            update(api_keys)
            .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )
        return result.rowcount > 0

    def used(self, prefix: str, at: datetime) -> None:
        """The key was used at `at`; an instant before the one that is known changes nothing."""
        last = api_keys.c.last_used_at
        self._connection.execute(
            update(api_keys)
            .where(api_keys.c.prefix == prefix, or_(last.is_(None), last < at))
            .values(last_used_at=at)
        )


def _stored(row: Row[*tuple[Any, ...]]) -> StoredKey:
    prefix, name, sha256, scopes, *times = row
    return StoredKey(prefix, name, bytes(sha256), tuple(scopes), *times)
