"""The collector's errors: every failure that a caller is expected to handle, with what to do next.

CollectorError
├── InvalidRequest      the caller asked for something that cannot be (HTTP 422)
│   └── BadRows         rows that were given cannot be taken
├── NotFound            what was named does not exist (HTTP 404)
├── Conflict            it contradicts what is stored (HTTP 409)
├── Stale               what it rests on has changed since (HTTP 412)
├── LedgerUnavailable   the ledger cannot be reached or written now (HTTP 503)
└── LedgerStateError    the ledger is not in a state to work with; a person must act
"""

from collections.abc import Sequence


class CollectorError(Exception):
    """A failure with a stable `code`, a sentence of facts and a `hint` that says what to do."""

    code = "collector_error"

    def __init__(self, text: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(text)
        self.hint = hint
        if code is not None:
            self.code = code


class InvalidRequest(CollectorError):
    """What was asked for cannot be, whatever is stored."""

    code = "invalid_request"


class BadRows(InvalidRequest):
    """Rows cannot be taken, nothing was changed: `faults` are where, and what is wrong there."""

    code = "bad_rows"

    def __init__(self, faults: Sequence[tuple[str, str]], hint: str) -> None:
        where, reason = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"nothing was changed: {where}: {reason}{more}", hint=hint)
        self.faults = tuple(faults)


class NotFound(CollectorError):
    """Something named in the request does not exist."""

    code = "not_found"


class Conflict(CollectorError):
    """The request contradicts what is stored."""

    code = "conflict"


class Stale(CollectorError):
    """What the request rests on has been changed since the caller looked."""

    code = "stale"


class LedgerUnavailable(CollectorError):
    """The ledger cannot be reached or written now; the same call may succeed later."""

    code = "ledger_unavailable"


class LedgerStateError(CollectorError):
    """The ledger's schema or content does not fit; nothing was done and a person must act."""

    code = "ledger_state"
