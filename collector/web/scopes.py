"""Whether an API key may do what is asked, for programs and for people who logged in with it.

It must not know where a key came from.
"""

from collector.operations.keys import INCLUDED_IN, KeyIdentity, Scope
from collector.web.problems import Forbidden


def allows(identity: KeyIdentity, scope: Scope) -> bool:
    """Whether the key has `scope` or one that includes it."""
    return bool(INCLUDED_IN[scope] & identity.scopes)


def require(identity: KeyIdentity, scope: Scope) -> None:
    """Raises Forbidden unless the key has `scope` or one that includes it."""
    if not allows(identity, scope):
        raise Forbidden(
            f"key {identity.name!r} does not have the scope {scope.value!r}",
            hint=f"use a key with it: songlo collector key add NAME --scope {scope.value}",
        )
