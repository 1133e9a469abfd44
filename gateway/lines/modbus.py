"""Modbus requests over one connection: the only module that uses pymodbus.

Of pymodbus it takes the framing (RTU with its check sum, Modbus TCP). The connection and the
matching of replies are our own: its client takes a late reply for the answer to the next request
and waits without regard to the line. It must not know of meters, queues or retries.
"""

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import cast

from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from gateway.lines.endpoints import Endpoint, Framing, SerialEndpoint
from gateway.lines.serial import abort_port, open_port, unsent_bytes
from gateway.protocols import device_identification
from gateway.protocols.device_identification import ObjectsReply

OPEN_TIMEOUT_S = 3.0
REQUEST_CHARS = 8  # RTU: address, function, start, count, check sum
REPLY_CHARS = 5  # RTU, besides the registers: address, function, byte count, check sum
EXCEPTION_BIT = 0x80

_BUFFER_BYTES_MAX = 1024  # several frames; more is noise
_RTU_BYTES_MIN = 4
_TRANSACTION_MAX = 0xFFFF
_SIZE_IN_REPLY = -1  # of a reply that says itself how long it is

# It reports every frame that it finds odd as an error; what matters reaches our own log.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ModbusError(Exception):
    """A request that brought no registers."""


class NoReplyError(ModbusError):
    """Nothing whole came in time; `received` is what came instead, on an RTU line."""

    def __init__(self, text: str, received: bytes = b"") -> None:
        super().__init__(text)
        self.received = received


class BadReplyError(ModbusError):
    """A whole frame came in time from the unit that was asked, but not an answer to the request."""


class ExceptionReplyError(ModbusError):
    """The unit answered with an exception; `code` as in the protocol's section 7."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}{_EXCEPTION_NAMES.get(code, '')}")
        self.code = code


class DisconnectedError(ModbusError):
    """The port or connection could not be opened, or was lost."""


_EXCEPTION_NAMES = {
    1: ", illegal function",
    2: ", illegal data address",
    3: ", illegal data value",
    4: ", device failure",
    5: ", acknowledge",
    6: ", device busy",
    10: ", gateway path unavailable",
    11: ", gateway target did not respond",
}


class ModbusConnection(asyncio.Protocol):
    """One port or TCP connection from its opening to its end, with one request at a time.

    `last_byte_at` is the event loop's time at which the latest byte came or went.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._is_rtu = endpoint.framing is Framing.RTU
        decoder = DecodePDU(is_server=False)
        self._framer: FramerBase = (FramerRTU if self._is_rtu else FramerSocket)(decoder)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._made: asyncio.Future[None] = self._loop.create_future()
        self._buffer = b""
        self._reply: asyncio.Future[bytes] | None = None
        self._expected = (0, 0, 0)
        self._transaction = 0
        self._mismatch = ""
        self.last_byte_at = self._loop.time()
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._transport is not None

    async def open(self) -> None:
        """Open the port or connection, once. Raises DisconnectedError with the reason."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                if isinstance(self._endpoint, SerialEndpoint):
                    await open_port(self._endpoint, self)
                else:
                    host, port = self._endpoint.host, self._endpoint.port
                    await self._loop.create_connection(lambda: self, host, port)
                await self._made
        except TimeoutError as error:
            raise DisconnectedError(f"{self._endpoint}: no connection in time") from error
        except OSError as error:
            raise DisconnectedError(f"{self._endpoint}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close at once; a request under way fails with DisconnectedError."""
        transport, self._transport = self._transport, None
        if transport is not None:
            if isinstance(self._endpoint, SerialEndpoint):
                abort_port(transport)
            else:
                transport.abort()
        self._fail(DisconnectedError(f"{self._endpoint}: closed"))

    async def read(
        self, unit: int, function: int, address: int, count: int, timeout_s: float
    ) -> bytes:
        """The 2 × `count` bytes of registers from the wire address `address` of `unit`.

        Only a frame of that unit and function with that many registers is an answer, and over TCP
        one with the request's transaction number; others are passed over. Raises NoReplyError,
        BadReplyError (other frames of that unit came), ExceptionReplyError, DisconnectedError.
        """
        pdu = struct.pack(">BHH", function, address, count)
        return await self._exchange(unit, pdu, 2 * count, timeout_s)

    async def identify(self, unit: int, number: int, timeout_s: float) -> ObjectsReply:
        """Device identification objects of `unit` from `number` on (function 43/14).

        Raises what `read` raises.
        """
        pdu = device_identification.request(number)
        reply = await self._exchange(unit, pdu, _SIZE_IN_REPLY, timeout_s)
        objects = device_identification.parse(reply)
        if objects is None:
            raise BadReplyError("no device identification")
        return objects

    async def _exchange(self, unit: int, pdu: bytes, size: int, timeout_s: float) -> bytes:
        """The reply to `pdu`: the `size` bytes of its registers, or its whole PDU."""
        transport = self._transport
        if transport is None:
            raise DisconnectedError(f"{self._endpoint}: not connected")
        assert self._reply is None, "one request at a time"
        if isinstance(self._endpoint, SerialEndpoint) and unsent_bytes(transport):
            # The one before has had its time. What piles up here would all be sent, and answered,
            # when the adapter goes on: as if it were the answers to later requests.
            self.close()
            raise DisconnectedError(f"{self._endpoint}: the port does not send")
        self._transaction = self._transaction % _TRANSACTION_MAX + 1
        self._expected = (unit, pdu[0], size)
        self._mismatch = ""
        if self._is_rtu:
            self._buffer = b""
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._reply = reply
        transport.write(self._framer.encode(pdu, unit, self._transaction))
        self.last_byte_at = self._loop.time()
        timer = self._loop.call_later(timeout_s, self._expire)
        try:
            return await reply
        finally:
            timer.cancel()
            self._reply = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # No isinstance: the serial transport is one in all but name.
        self._transport = cast("asyncio.Transport", transport)
        if not self._made.done():
            self._made.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._transport = None
        self._fail(DisconnectedError(f"{self._endpoint}: connection lost ({exc or 'closed'})"))
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self.last_byte_at = self._loop.time()
        if self._is_rtu:
            if self._reply is not None:  # else an answer to a request that was given up, or noise
                self._buffer = self._buffer[-_BUFFER_BYTES_MAX:] + data
                self._find_rtu_reply()
        else:
            self._buffer += data
            self._cut_tcp_frames()

    def _find_rtu_reply(self) -> None:
        """Look for the reply among what came: its beginning and its length are known.

        Noise and echoes before it do no harm; the check sum decides.
        """
        unit, function, size = self._expected
        mark = device_identification.MEI_TYPE if size == _SIZE_IN_REPLY else size
        own_length = _SIZE_IN_REPLY if size == _SIZE_IN_REPLY else size + 5
        for head, length in (
            (bytes((unit, function, mark)), own_length),
            (bytes((unit, function | EXCEPTION_BIT)), 5),
        ):
            start = self._buffer.find(head)
            while start >= 0:
                frame = self._frame_at(start, length)
                if frame and is_whole_frame(frame):
                    self._take(unit, frame[1:-2])
                    return
                start = self._buffer.find(head, start + 1)

    def _frame_at(self, start: int, length: int) -> bytes:
        """The `length` bytes from `start` on, empty while they are not all there."""
        if length == _SIZE_IN_REPLY:
            pdu_bytes = device_identification.reply_bytes(self._buffer[start + 1 :])
            if pdu_bytes is None:
                return b""
            length = pdu_bytes + 3
        frame = self._buffer[start : start + length]
        return frame if len(frame) == length else b""

    def _cut_tcp_frames(self) -> None:
        while self._buffer:
            used, unit, transaction, pdu = self._framer.decode(self._buffer)
            if not used:
                break  # the rest of the frame is still to come
            self._buffer = self._buffer[used:]
            if transaction == self._transaction and pdu:
                self._take(unit, pdu)

    def _take(self, unit: int, pdu: bytes) -> None:
        """Accept one whole frame as the reply, or pass it over."""
        reply = self._reply
        expected_unit, function, size = self._expected
        if reply is None or reply.done() or unit != expected_unit:
            return
        if pdu[0] == function | EXCEPTION_BIT and len(pdu) == 2:
            reply.set_exception(ExceptionReplyError(pdu[1]))
        elif pdu[0] == function and size == _SIZE_IN_REPLY:
            reply.set_result(pdu)
        elif pdu[0] == function and len(pdu) == size + 2 and pdu[1] == size:
            reply.set_result(pdu[2:])
        else:
            self._mismatch = _difference(pdu, function, size)

    def _expire(self) -> None:
        if self._is_rtu:
            self._mismatch = self._rtu_mismatch()
        if self._mismatch:
            self._fail(BadReplyError(self._mismatch))
        else:
            part = f" ({len(self._buffer)} bytes that are no answer)" if self._buffer else ""
            self._fail(NoReplyError(f"no reply in time{part}", self._buffer))
        if self._buffer and not self._is_rtu:
            self.close()  # in the middle of a frame a byte stream does not recover

    def _rtu_mismatch(self) -> str:
        """What was wrong with a whole frame from the unit that was asked, if that is what came."""
        unit, function, size = self._expected
        frame = self._buffer
        if len(frame) < _RTU_BYTES_MIN or frame[0] != unit or not is_whole_frame(frame):
            return ""
        return _difference(frame[1:-2], function, size)

    def _fail(self, error: ModbusError) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)


def is_whole_frame(frame: bytes) -> bool:
    """Whether an RTU frame ends with the check sum of what is before."""
    return FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))


def _difference(pdu: bytes, function: int, size: int) -> str:
    if pdu[0] != function:
        return f"function {pdu[0]} instead of {function}"
    if size == _SIZE_IN_REPLY:
        return "no device identification"
    return f"{len(pdu) - 2} bytes instead of {size}"
