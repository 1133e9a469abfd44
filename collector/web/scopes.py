"""What an API key may do, for requests of programs and for people who logged in with it.

Owns the order of the scopes; it must not know where a key came from.
"""

from enum import StrEnum

from collector.operations.keys import KeyIdentity
from collector.web.problems import Forbidden


class Scope(StrEnum):
    """What a key may do. Each one includes those before it."""

    READ = "read"
    SNAPSHOT = "snapshot"
    ADMIN = "admin"


def allows(identity: KeyIdentity, scope: Scope) -> bool:
    """Whether the key has `scope` or one that includes it."""
    order = list(Scope)
    return any(held in identity.scopes for held in order[order.index(scope) :])


def require(identity: KeyIdentity, scope: Scope) -> None:
    """Raises Forbidden unless the key has `scope` or one that includes it."""
    if not allows(identity, scope):
        raise Forbidden(
            f"key {identity.name!r} does not have the scope {scope.value!r}",
            hint=f"use a key with it: songlo collector key add NAME --scope {scope.value}",
        )
