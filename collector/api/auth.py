"""Who may ask: the API key of a request and the scope that its route needs.

Keys themselves are the ledger's business (`collector.operations.keys`); the console's sessions
are its own (`collector.console.session`).
"""

from collections.abc import Callable, Iterator
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import ContextParameter
from collector.web.knocking import answering, check_key_from
from collector.web.problems import Unauthorized
from collector.web.scopes import require

HEADER = "X-Api-Key"
NO_KEY_HINT = "send 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'"

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="an API key")
_header = APIKeyHeader(
    name=HEADER, auto_error=False, scheme_name="header", description="the same API key"
)


def identify(
    request: Request,
    context: ContextParameter,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
) -> Iterator[KeyIdentity]:
    """Whose key the request carries, until it is answered.

    Raises Unauthorized, or as check_key_from and answering.
    """
    key = bearer.credentials if bearer is not None else header
    if not key:
        raise Unauthorized("this needs an API key", hint=NO_KEY_HINT)
    identity = check_key_from(request, context, key)
    with answering(context, identity):
        yield identity


def needs(scope: Scope) -> Callable[[KeyIdentity], KeyIdentity]:
    """A dependency that lets a request pass if its key allows `scope`; else raises Forbidden."""

    def check(
        identity: Annotated[KeyIdentity, Security(identify, scopes=[scope.value])],
    ) -> KeyIdentity:
        require(identity, scope)
        return identity

    return check
