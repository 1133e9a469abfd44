"""API keys: made, shown once, checked and revoked.

A key is `sgl_<prefix>_<secret>`: the prefix finds it, 160 random bits guard it, and only its
SHA-256 is kept. It must not know which request is allowed what; it says which scopes a key has.
"""

import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from collector.civil import format_instant
from collector.errors import (
    CollectorError,
    InvalidRequest,
    LedgerStateError,
    LedgerUnavailable,
    NotFound,
)
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.ledger.keys import StoredKey


class Scope(StrEnum):
    """What a key may do; `INCLUDED_IN` has which includes which."""

    READ = "readings:read"
    EXPORT = "export:read"
    REGISTRY = "registry:write"
    VEE = "vee:decide"
    SNAPSHOT = "snapshot:create"
    APPROVE = "snapshot:approve"
    COMMAND = "command:send"
    ADMIN = "admin"


# Who decides, bills or commands must see what about. Whoever takes exports or brings the registry
# does not need to see readings.
_SEES = frozenset({Scope.READ, Scope.VEE, Scope.SNAPSHOT, Scope.APPROVE, Scope.COMMAND})

INCLUDED_IN: Mapping[Scope, frozenset[Scope]] = {
    scope: frozenset({scope, Scope.ADMIN}) | (_SEES if scope is Scope.READ else frozenset())
    for scope in Scope
}
"""The scopes of which each is enough for what needs the one that it stands beside."""

BUNDLES: Mapping[str, tuple[Scope, ...]] = {
    "read": (Scope.READ, Scope.EXPORT),
    "snapshot": (Scope.READ, Scope.EXPORT, Scope.SNAPSHOT),
}
"""Names for several scopes: what keys could be given before there were as many."""


_PREFIX_BYTES = 4
_SECRET_BYTES = 20
_SHAPE = re.compile(
    rf"sgl_(?P<prefix>[0-9a-f]{{{2 * _PREFIX_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

# How exactly it is known when a key was used last: not every request is worth a write.
LAST_USE_STEP = timedelta(minutes=1)

# Compared with where no key is found, so that a wrong prefix takes as long as a wrong secret.
_NO_HASH = bytes(32)


class KeyRefused(CollectorError):
    """The key is unknown, wrong, expired or revoked (HTTP 401); which of them is not told."""

    code = "key_refused"


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """Whose key it is and what it may be used for."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as it is listed: never the key itself."""

    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = None


def add_key(
    ledger: Ledger,
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    expires_at: datetime | None = None,
    actor: str = "command",
) -> str:
    """Make a key and return it: the only time it can be seen.

    Raises InvalidRequest for a name, scope or expiry that cannot be, Conflict for a taken name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot name a key", hint="use letters, digits and . _ @ -, at most 64"
        )
    named = [new for scope in scopes for new in BUNDLES.get(scope, (scope,))]
    wanted = tuple(dict.fromkeys(str(scope) for scope in named))
    unknown = [scope for scope in wanted if scope not in frozenset(Scope)]
    if unknown or not wanted:
        raise InvalidRequest(
            f"no such scope: {', '.join(unknown)}" if unknown else "a key needs a scope",
            hint=f"scopes are {', '.join(Scope)}",
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("the key would have expired already", hint="give a later expiry")
    prefix = secrets.token_hex(_PREFIX_BYTES)
    key = f"sgl_{prefix}_{secrets.token_hex(_SECRET_BYTES)}"
    stored = StoredKey(prefix, name, _hash(key), wanted, now, expires_at)
    with ledger.begin() as uow:
        uow.keys.add(stored)
        detail = {
            "scopes": list(wanted),
            "prefix": prefix,
            "expires_at": None if expires_at is None else format_instant(expires_at),
        }
        uow.audit.add(AuditEntry(now, actor, "key.add", name, detail))
    return key


def check_key(ledger: Ledger, key: str, now: datetime) -> KeyIdentity:
    """Whose key this is. Raises KeyRefused unless it is a known key that is good at `now`."""
    shape = _SHAPE.fullmatch(key)
    stored = None
    if shape is not None:
        with ledger.read() as uow:
            stored = uow.keys.by_prefix(shape["prefix"])
    matches = hmac.compare_digest(_hash(key), stored.sha256 if stored else _NO_HASH)
    if stored is None or not matches or not _is_good(stored, now):
        raise KeyRefused(
            "the API key is not valid", hint="make one with: songlo collector key add NAME"
        )
    _note_use(ledger, stored, now)
    return KeyIdentity(stored.name, frozenset(stored.scopes))


def revoke_key(ledger: Ledger, *, name: str, now: datetime, actor: str = "command") -> None:
    """Revoke the key of this name. Raises NotFound where there is none that is still good."""
    with ledger.begin() as uow:
        if not uow.keys.revoke(name, now):
            raise NotFound(f"there is no key {name!r} to revoke", hint="songlo collector key list")
        uow.audit.add(AuditEntry(now, actor, "key.revoke", name, {}))


def list_keys(ledger: Ledger) -> list[KeyView]:
    """All keys by name, revoked and expired ones included."""
    with ledger.read() as uow:
        return [
            KeyView(
                key.name,
                key.prefix,
                tuple(key.scopes),
                key.created_at,
                key.expires_at,
                key.revoked_at,
                key.last_used_at,
            )
            for key in uow.keys.all()
        ]


def _note_use(ledger: Ledger, key: StoredKey, now: datetime) -> None:
    if key.last_used_at is not None and now - key.last_used_at < LAST_USE_STEP:
        return
    # Who only reads must not wait for a writer, nor fail with it: the next request notes it.
    with contextlib.suppress(LedgerUnavailable, LedgerStateError), ledger.begin(wait=False) as uow:
        uow.keys.used(key.prefix, now)


def _is_good(key: StoredKey, now: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def _hash(key: str) -> bytes:
    # 160 random bits need no slow hash: there is nothing to guess.
    return hashlib.sha256(key.encode()).digest()
