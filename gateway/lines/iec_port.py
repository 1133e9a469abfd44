"""A serial port as a session of IEC 62056-21 needs it: silence, sending, rates, patience.

Drives one session at a time and bounds how long it may take. It must not know what is asked for,
nor of meters and queues.
"""

import asyncio
from collections.abc import Callable

from contract.messages import MissingReason
from gateway.lines.endpoints import IecEndpoint
from gateway.lines.serial import abort_port, open_port, set_baud, unsent_bytes
from gateway.ports import ReadFailed
from gateway.protocols.iec62056_21 import Session
from gateway.protocols.iec_characters import BITS_PER_CHARACTER
from gateway.protocols.iec_events import Event, Failed, Failure, Finished, Send, SetBaud

OPEN_TIMEOUT_S = 3.0
SESSION_S_MAX = 600.0  # 5 kB at 300 baud take 170 s; anything longer is no readout of a meter
SILENCE_S_MAX = 60.0  # how long a line is waited for that is never silent
SEND_LATE_S_MAX = 2.0  # how much longer than its characters a message may take to leave
DRAIN_POLL_S = 0.005
LATENCY_S = 0.2  # what adapters and the operating system may add to a meter's reaction time
BUFFER_BYTES_MAX = 64 * 1024  # between two looks at it; more is noise at its end


class SessionFailed(Exception):
    """A session that did not bring all that it was begun for; `failure` says of which kind."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class IecPort(asyncio.Protocol):
    """One opened port from its opening to its end.

    `last_byte_at` is the event loop's time at which the latest byte came.
    """

    def __init__(self, endpoint: IecEndpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._baud = endpoint.baud
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self.last_byte_at = self._loop.time()
        self._quiet_since = self._loop.time()  # nothing came or went since, and no session failed
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        """Whether sessions can be held."""
        return self._transport is not None

    async def open(self) -> None:
        """Open the port, once. Raises ReadFailed with the reason."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                self._transport = await open_port(self._endpoint.port, self)
        except TimeoutError as error:
            raise self._down("cannot be opened in time") from error
        except OSError as error:
            raise self._down(error.strerror or str(error)) from error

    def close(self) -> None:
        """Close at once; a session under way fails."""
        transport, self._transport = self._transport, None
        if transport is not None:
            abort_port(transport)
        self._arrived.set()

    async def converse(
        self, session: Session, silence_s: float, *, on_event: Callable[[Event], None]
    ) -> None:
        """Hold `session` to its end once the line has been silent for `silence_s`.

        `on_event` is told everything that it says but what to send. Raises SessionFailed, or
        ReadFailed if the port is lost.
        """
        try:
            async with asyncio.timeout(SESSION_S_MAX):
                await self._silence(silence_s)
                await self._converse(session, on_event)
        except TimeoutError as error:
            detail = f"not over within {SESSION_S_MAX:.0f} s"
            raise SessionFailed(Failure.TOO_LONG, detail) from error
        except SessionFailed:
            # A late answer can come from now on, however long the line has been silent.
            self._quiet_since = self._loop.time()
            raise
        except OSError as error:
            self.close()
            raise self._down(error.strerror or str(error)) from error

    async def _converse(self, session: Session, on_event: Callable[[Event], None]) -> None:
        events = session.start()
        while True:
            for event in events:
                match event:
                    case Send():
                        await self._send(event, session)
                    case SetBaud():
                        self._set_baud(event.baud)
                    case Failed():
                        raise SessionFailed(event.failure, event.detail)
                    case Finished():
                        return
                    case _:
                        on_event(event)
            data = await self._receive(session.timeout_s + LATENCY_S)
            events = session.receive(data) if data else session.expired()

    async def _send(self, event: Send, session: Session) -> None:
        """Send when the line is silent, and change the rate when the last bit is out.

        The device holds the last characters itself and does not say when they are gone, so the
        time that they take is waited for as well.
        """
        await self._silence(event.after_s)
        self._set_baud(event.baud)
        self._buffer.clear()
        session.sending()
        begun_at = self._loop.time()
        self._open_transport().write(event.data)
        wire_s = len(event.data) * BITS_PER_CHARACTER / event.baud
        await asyncio.sleep(wire_s)
        while unsent_bytes(self._open_transport()):
            if self._loop.time() > begun_at + wire_s + SEND_LATE_S_MAX:
                raise SessionFailed(Failure.SILENT, "the port does not send")
            await asyncio.sleep(DRAIN_POLL_S)
        self._quiet_since = self._loop.time()
        self._set_baud(event.then_baud)

    def _set_baud(self, baud: int) -> None:
        if baud != self._baud:
            set_baud(self._open_transport(), baud)
            self._baud = baud

    async def _silence(self, silence_s: float) -> None:
        """Wait until nothing has come for so long; what comes meanwhile answers nothing."""
        give_up_at = self._loop.time() + silence_s + SILENCE_S_MAX
        while True:
            self._open_transport()
            now = self._loop.time()
            remaining = self._quiet_since + silence_s - now
            if remaining <= 0:
                self._buffer.clear()
                return
            if now > give_up_at:
                raise SessionFailed(Failure.GARBLED, "the line is never silent")
            await asyncio.sleep(remaining)

    async def _receive(self, timeout_s: float) -> bytes:
        """The bytes that came, or none if none did for `timeout_s`. Raises ReadFailed."""
        self._open_transport()
        if not self._buffer:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                return b""
        self._open_transport()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise self._down("the port was lost")
        return self._transport

    def _down(self, reason: str) -> ReadFailed:
        return ReadFailed(MissingReason.LINE_DOWN, f"{self._endpoint}: {reason}")

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self.last_byte_at = self._quiet_since = self._loop.time()
        if len(self._buffer) < BUFFER_BYTES_MAX:
            self._buffer += data
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The port is gone."""
        self._transport = None
        self._arrived.set()
        self.on_lost()
