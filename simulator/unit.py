"""What a line asks of a meter.

The seam between lines and register banks; it must not know either.
"""

from typing import Protocol

from simulator.faults import Fault


class Unit(Protocol):
    """A meter on a line."""

    def answer(self, request: bytes) -> bytes:
        """The reply's PDU to a request's PDU (function code and data)."""
        ...

    def next_fault(self) -> Fault | None:
        """What is to go wrong with the reply that is due now; asked once for each request."""
        ...
