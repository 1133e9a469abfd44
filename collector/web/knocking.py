"""How a request's key is checked: not while its address has to wait, and not in silence.

The one way to a key for the API and for the console's login; and how much a good key gets.
"""

import contextlib
import logging
import math
from collections.abc import Iterator

from starlette.requests import Request

from collector.errors import CollectorError
from collector.operations import keys
from collector.operations.keys import KeyIdentity, KeyRefused
from collector.web.context import Context

_log = logging.getLogger(__name__)


class TooManyWrongKeys(CollectorError):
    """This address sent too many wrong keys and has to wait (HTTP 429)."""

    code = "too_many_wrong_keys"

    def __init__(self, wait_s: int) -> None:
        super().__init__(
            f"too many wrong keys came from this address: wait {wait_s} s",
            hint="look for the program that sends an old key",
        )
        self.retry_after_s = wait_s


class TooManyRequests(CollectorError):
    """This key asks more than one key may, and has to wait (HTTP 429)."""

    code = "too_many_requests"

    def __init__(self, name: str, wait_s: int) -> None:
        super().__init__(
            f"key {name!r} asks too much at once: wait {wait_s} s",
            hint="ask for more with each request, or for fewer things at once",
        )
        self.retry_after_s = wait_s


@contextlib.contextmanager
def answering(context: Context, identity: KeyIdentity) -> Iterator[None]:
    """While a request of this key is answered. Raises TooManyRequests."""
    wait_s = context.rates.enter(identity.name)
    if wait_s:
        raise TooManyRequests(identity.name, math.ceil(wait_s))
    try:
        yield
    finally:
        context.rates.leave(identity.name)


def check_key_from(request: Request, context: Context, key: str) -> KeyIdentity:
    """Whose key this is. Raises KeyRefused, TooManyWrongKeys, LedgerUnavailable."""
    address = request.client.host if request.client is not None else ""
    now = context.now()
    wait = context.wrong_keys.wait(address, key, now)
    if wait:
        raise TooManyWrongKeys(math.ceil(wait.total_seconds()))
    try:
        identity = keys.check_key(context.ledger, key, now)
    except KeyRefused:
        context.wrong_keys.was_wrong(address, key, now)
        _log.warning("a wrong key came from %s", address)
        raise
    context.wrong_keys.was_good(address, key)
    return identity
