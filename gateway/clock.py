"""Where the gateway's time comes from: the system's clock, or a clock that replays a period.

Implements `gateway.ports.Clock`. It must not know what is done at which time.
"""

import asyncio
import ctypes
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from contract.messages import Clock as ClockState
from contract.messages import Instant

PLAUSIBLE_YEAR = 2024  # the product is younger than this: any earlier time is a clock never set
PLAUSIBLE_CHECK_S = 1.0

# A long sleep is cut up: when the system's clock is stepped, the new time is noticed this soon.
SLEEP_STEP_MAX_S = 5.0
# The clock's own corrections are smaller than this: what is larger was a step.
STEP_MIN_S = 1.0

RECONNECT_S = 0.2
CONNECT_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 4096

_TIMESYNCD_MARK = Path("/run/systemd/timesync/synchronized")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64-bit Linux; all of it zero asks, sets nothing


def system_now() -> datetime:
    """The system's clock, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 this adapter is where the time is read


def system_state() -> ClockState:
    """Whether the system's clock is kept by NTP: the kernel's word, or systemd-timesyncd's mark."""
    if _TIMESYNCD_MARK.exists():
        return ClockState.SYNCED
    libc = ctypes.CDLL(None)
    answer = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return ClockState.SYNCED if 0 <= answer < _TIME_ERROR else ClockState.UNSYNCED


class SystemClock:
    """The computer's own clock."""

    def __init__(
        self,
        now: Callable[[], datetime] = system_now,
        state: Callable[[], ClockState] = system_state,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._state = state
        self._monotonic_s = monotonic_s

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return self._now()

    def state(self) -> ClockState:
        """Whether that instant can be trusted."""
        return self._state()

    def monotonic_s(self) -> float:
        """The kernel's monotonic clock, which counts from the start of the computer."""
        return self._monotonic_s()

    async def sleep_until(self, at: datetime) -> None:
        """Return at `at`, at once if it has passed, and soon after the clock was stepped."""
        begun_at, begun_s = self.now(), self._monotonic_s()
        while (left_s := (at - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left_s, SLEEP_STEP_MAX_S))
            passed_s = self._monotonic_s() - begun_s
            if abs((self.now() - begun_at).total_seconds() - passed_s) > STEP_MIN_S:
                return


class _Answer(msgspec.Struct, frozen=True):
    """What a replay clock says: its time, and whether it has become the real one."""

    now: Instant
    live: bool = False


class ReplayClock:
    """A client of a clock that stands still but for being waited on.

    The wire is TCP, one JSON object a line: `{"op":"now"}` and `{"op":"wait","until":"…Z"}`, each
    answered by `{"now":"…Z","live":false}` once the time has come. Between answers `now()` does
    not move, so everything in one scan has one time. After `"live":true` it is the system's clock.
    A lost connection is made again and the request repeated.
    """

    def __init__(self, host: str, port: int, real: SystemClock | None = None) -> None:
        self._host = host
        self._port = port
        self._real = real or SystemClock()
        self._at: datetime | None = None
        self._began_at: datetime | None = None
        self._live_s: tuple[float, float] | None = None  # ours and the kernel's, when it went live
        self._live = False
        self._asking = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self) -> None:
        """Learn the time; waits for the server. To be called before `now()`."""
        await self._ask({"op": "now"})

    def now(self) -> datetime:
        """The replayed instant, aware, in UTC."""
        if self._live:
            return self._real.now()
        assert self._at is not None, "start() comes first"
        return self._at

    def state(self) -> ClockState:
        """A replayed time is right by definition."""
        return self._real.state() if self._live else ClockState.SYNCED

    def monotonic_s(self) -> float:
        """The replayed seconds since the start, and the real ones after it has gone live."""
        assert self._at is not None, "start() comes first"
        assert self._began_at is not None
        if self._live_s is not None:
            return self._live_s[0] + self._real.monotonic_s() - self._live_s[1]
        return (self._at - self._began_at).total_seconds()

    async def sleep_until(self, at: datetime) -> None:
        """Have the time moved on to `at`, at once if it has passed."""
        while self.now() < at:
            if self._live:
                await self._real.sleep_until(at)
                return
            await self._ask({"op": "wait", "until": at.astimezone(UTC)})

    async def close(self) -> None:
        """Let go of the connection."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()

    async def _ask(self, request: dict[str, object]) -> None:
        line = msgspec.json.encode(request) + b"\n"
        async with self._asking:
            answered = False
            try:
                while not answered:
                    answered = await self._try(line)
            finally:
                # A held answer to a request that was given up must not answer the next one.
                if not answered:
                    await self.close()

    async def _try(self, line: bytes) -> bool:
        """One request and its answer; False when the connection failed and was let go."""
        try:
            reader, writer = self._streams or await self._connect()
            writer.write(line)
            await writer.drain()
            text = await reader.readline()
            answer = msgspec.json.decode(text, type=_Answer)
        except (OSError, TimeoutError, ValueError):
            # ValueError: a line cut short by the connection's end, or longer than any of ours.
            await self.close()
            await asyncio.sleep(RECONNECT_S)
            return False
        now = answer.now.astimezone(UTC)
        if self._began_at is None:
            self._began_at = now
        self._at = now if self._at is None else max(now, self._at)
        if answer.live and self._live_s is None:
            self._live_s = self.monotonic_s(), self._real.monotonic_s()
        self._live = answer.live
        return True

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            streams = await asyncio.open_connection(self._host, self._port, limit=LINE_BYTES_MAX)
        self._streams = streams
        return streams


Clock = SystemClock | ReplayClock
