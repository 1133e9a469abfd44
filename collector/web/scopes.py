"""Whether an API key may do what is asked, for programs and for people who logged in with it.

Owns that a scope includes those before it; it must not know where a key came from.
"""

from collector.operations.keys import KeyIdentity, Scope
from collector.web.problems import Forbidden


def require(identity: KeyIdentity, scope: Scope) -> None:
    """Raises Forbidden unless the key has `scope` or one that includes it."""
    order = list(Scope)
    if not any(held in identity.scopes for held in order[order.index(scope) :]):
        raise Forbidden(
            f"key {identity.name!r} does not have the scope {scope.value!r}",
            hint=f"use a key with it: songlo collector key add NAME --scope {scope.value}",
        )
