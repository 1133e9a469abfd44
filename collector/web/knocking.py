"""How a request's key is checked: not while its address has to wait, and not in silence.

The one way to a key for the API and for the console's login.
"""

import logging
import math

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
