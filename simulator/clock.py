"""The clock of a replay, and the server through which a gateway lives by it.

Owns what time it is for everything in the simulated world. It must not know what happens at any
time.

The protocol is one JSON object a line over TCP. `{"op":"now"}` is answered with
`{"now":"2026-01-01T00:00:00.000Z","live":false}`; `{"op":"wait","until":"…Z"}` with the same once
the clock has got there; `{"op":"extend","end":"…Z"}` and `{"op":"live"}` at once. A request that
cannot be understood is answered with `{"error":"…"}`.
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from simulator.errors import SimulatorError
from simulator.truth import from_ms, to_ms

REQUEST_BYTES_MAX = 4096
REQUESTS_WAITING_MAX = 64
CONNECTIONS_MAX = 64

# A real meter refreshes its registers a few times a second; live, so do the simulated ones.
LIVE_STEP_MS = 100

# A live wait is looked at again at least this often, so that a changed system clock is noticed.
LIVE_WAIT_S = 1.0


def system_ms() -> int:
    """The real time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000  # time_ns is exact; this is the adapter that reads it


class ReplayClock:
    """Time that stands still until someone waits, and can be let go to run with the real time.

    A wait up to `end` moves it at once; one beyond is held until `extend` or `live`. It never goes
    backwards. Instants are milliseconds since 1970.
    """

    def __init__(
        self, start_ms: int, end_ms: int, *, real_ms: Callable[[], int] = system_ms
    ) -> None:
        self._now_ms = start_ms
        self._end_ms = end_ms
        self.real_ms = real_ms
        self._live = False
        self._held: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def live(self) -> bool:
        """Whether it runs with the real time."""
        return self._live

    def now_ms(self) -> int:
        """The present instant; live, it moves in steps of 100 ms."""
        if self._live:
            self._now_ms = max(self._now_ms, self.real_ms() // LIVE_STEP_MS * LIVE_STEP_MS)
        return self._now_ms

    def wait(self, until_ms: int, reached: Callable[[], None]) -> int:
        """Call `reached` when the clock has got to `until_ms`: now, or when it is held, later.

        Returns a number for `forget`. While it is live, `tick` must be called for time to be seen.
        """
        self._count += 1
        if until_ms <= self.now_ms():
            reached()
        elif not self._live and until_ms <= self._end_ms:
            self._now_ms = until_ms
            reached()
        else:
            heapq.heappush(self._held, (until_ms, self._count, reached))
        return self._count

    def forget(self, number: int) -> None:
        """Drop a held wait: whoever asked is gone, and the clock is not to be moved for it."""
        self._held = [held for held in self._held if held[1] != number]
        heapq.heapify(self._held)

    def extend(self, end_ms: int) -> None:
        """Let the replay go on up to `end_ms`; an end before the present one changes nothing."""
        self._end_ms = max(self._end_ms, end_ms)
        while not self._live and self._held and self._held[0][0] <= self._end_ms:
            until_ms, _, reached = heapq.heappop(self._held)
            self._now_ms = max(self._now_ms, until_ms)
            reached()

    def go_live(self) -> None:
        """From now on, run with the real time (standing still until that has caught up)."""
        self._live = True
        self.tick()

    def tick(self) -> float | None:
        """Call what has become due, live; returns seconds until the next, None if there is none."""
        if not self._live:
            return None
        while self._held:
            left_ms = self._held[0][0] - self.real_ms()
            if left_ms > 0:
                return min(left_ms / 1000, LIVE_WAIT_S)
            self._now_ms = max(self._now_ms, self._held[0][0])
            heapq.heappop(self._held)[2]()
        return None


class _Now(msgspec.Struct, tag_field="op", tag="now"):
    pass


class _Wait(msgspec.Struct, tag_field="op", tag="wait"):
    until: Annotated[datetime, msgspec.Meta(tz=True)]


class _Extend(msgspec.Struct, tag_field="op", tag="extend"):
    end: Annotated[datetime, msgspec.Meta(tz=True)]


class _Live(msgspec.Struct, tag_field="op", tag="live"):
    pass


_requests = msgspec.json.Decoder(_Now | _Wait | _Extend | _Live)


class ClockServer:
    """Serves a `ReplayClock` over TCP to any number of gateways and a supervisor, up to 64.

    `before_live` is called before the clock is let go, to get ready for the time it jumps to.
    """

    def __init__(self, clock: ReplayClock, before_live: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self.before_live = before_live
        self._connections: set[_Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address in use (port 0 takes a free one)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drop()

    def admit(self, connection: "_Connection") -> bool:
        """Count a new connection; False if there are too many."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def release(self, connection: "_Connection") -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def arm(self) -> None:
        """See to it that live waits are answered when their time comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seconds = self.clock.tick()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.arm)


class _Connection(asyncio.Protocol):
    """One client: its requests are answered one after the other, a held wait holds the rest."""

    def __init__(self, server: ClockServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._requests: deque[bytes] = deque()
        self._held: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._server.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.release(self)
        if self._held is not None:
            self._server.clock.forget(self._held)
            self._held = None

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self._requests.extend(lines)
        if len(self._buffer) > REQUEST_BYTES_MAX or len(self._requests) > REQUESTS_WAITING_MAX:
            self.drop()
            return
        self._serve()

    def _serve(self) -> None:
        while self._held is None and self._requests and self._transport is not None:
            line = self._requests.popleft()
            if line.strip():
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        clock = self._server.clock
        try:
            request = _requests.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._send({"error": str(error)})
            return
        if isinstance(request, _Wait):
            # Rounded up to the millisecond: never answered before the instant that was asked for.
            self._wait(to_ms(request.until + timedelta(microseconds=999)))
            return
        if isinstance(request, _Extend):
            clock.extend(to_ms(request.end))
        elif isinstance(request, _Live):
            try:
                self._server.before_live()
            except SimulatorError as error:
                self._send({"error": str(error)})
                return
            clock.go_live()
            self._server.arm()
        self._send_now()

    def _wait(self, until_ms: int) -> None:
        answered = False

        def reached() -> None:
            nonlocal answered
            answered = True
            self._send_now()
            if self._held is not None:
                self._held = None
                asyncio.get_running_loop().call_soon(self._serve)

        number = self._server.clock.wait(until_ms, reached)
        if not answered:
            self._held = number
            if self._server.clock.live:
                self._server.arm()

    def _send_now(self) -> None:
        clock = self._server.clock
        now = from_ms(clock.now_ms()).astimezone(UTC).isoformat(timespec="milliseconds")
        self._send({"now": now.replace("+00:00", "Z"), "live": clock.live})

    def _send(self, answer: dict[str, object]) -> None:
        if self._transport is not None:
            self._transport.write(msgspec.json.encode(answer) + b"\n")
