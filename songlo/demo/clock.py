"""The demo's hand on the simulator's clock: look at it, let it go further, let it run live.

Speaks the line protocol of the simulator's clock server; keeps no time of its own.
"""

import json
import socket
from datetime import UTC, datetime


def instant_text(at: datetime) -> str:
    """An instant as files, clock and API take it: RFC 3339 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ClockControl:
    """A connection to the clock server of a simulator."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        """`address` is HOST:PORT as the simulator printed it. Raises OSError."""
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self._lines = self._socket.makefile("rb")

    def now(self) -> datetime:
        """The simulated instant, UTC."""
        return self._instant(self._ask({"op": "now"}))

    def extend(self, end_at: datetime) -> None:
        """Let the replay go on up to `end_at`."""
        self._ask({"op": "extend", "end": instant_text(end_at)})

    def live(self) -> None:
        """From now on the clock is the real one."""
        self._ask({"op": "live"})

    def close(self) -> None:
        """Drop the connection."""
        self._lines.close()
        self._socket.close()

    def _ask(self, request: dict[str, str]) -> dict[str, object]:
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._lines.readline())
        assert isinstance(answer, dict)
        return answer

    @staticmethod
    def _instant(answer: dict[str, object]) -> datetime:
        return datetime.fromisoformat(str(answer["now"]))
