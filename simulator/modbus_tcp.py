"""Meters behind a Modbus TCP socket: many unit ids on one port, requests pipelined at will.

Owns the MBAP framing (Modbus Messaging on TCP/IP 1.0b) and how faults look on a socket. It must not
know what is in a meter's registers.
"""

import asyncio
import struct
from collections.abc import Mapping

from simulator.faults import Fault, FaultKind
from simulator.unit import Unit

# Exception "gateway target device failed to respond", for a unit that is not there.
GATEWAY_NO_RESPONSE = 0x0B

_HEADER = struct.Struct(">HHHB")
_LENGTH_MAX = 254  # unit id and a PDU of at most 253 bytes


class ModbusTcpLine:
    """One listening socket with the meters behind it, by unit id."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = dict(units)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address in use (port 0 takes a free one)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drop()

    def join(self, connection: "_Connection") -> None:
        """A connection was made."""
        self._connections.add(connection)

    def leave(self, connection: "_Connection") -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def reply(self, transaction: int, unit: int, request: bytes) -> tuple[bytes, Fault | None]:
        """The whole reply to one request, and what is to go wrong with it."""
        device = self._units.get(unit)
        if device is None:
            pdu = bytes(((request[0] if request else 0) | 0x80, GATEWAY_NO_RESPONSE))
            return _HEADER.pack(transaction, 0, 3, unit) + pdu, None
        pdu = device.answer(request)
        reply = _HEADER.pack(transaction, 0, 1 + len(pdu), unit) + pdu
        return reply, device.next_fault()


class _Connection(asyncio.Protocol):
    """One client; replies to all whole requests of one piece of input leave in one write."""

    def __init__(self, line: ModbusTcpLine) -> None:
        self._line = line
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._line.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._line.leave(self)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        start, replies = 0, []
        while len(buffer) - start >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer, start)
            if protocol != 0 or not 2 <= length <= _LENGTH_MAX:
                self.drop()
                return
            end = start + _HEADER.size - 1 + length
            if len(buffer) < end:
                break
            reply, fault = self._line.reply(transaction, unit, buffer[start + 7 : end])
            replies.append(reply if fault is None else self._spoil(reply, fault))
            start = end
        self._buffer = buffer[start:]
        if replies and self._transport is not None:
            self._transport.write(b"".join(replies))

    def _spoil(self, reply: bytes, fault: Fault) -> bytes:
        """What is to be sent at once of a reply that goes wrong."""
        match fault.kind:
            case FaultKind.SILENT:
                return b""
            case FaultKind.LATE:
                asyncio.get_running_loop().call_later(fault.late_s, self._send, reply)
                return b""
            case FaultKind.DUPLICATE:
                return reply + reply
            case FaultKind.CORRUPT:
                return bytes((reply[0] ^ 0x40,)) + reply[1:]
            case FaultKind.TRUNCATED:
                return reply[: len(reply) // 2]
            case FaultKind.WRONG_UNIT:
                return reply[:6] + bytes((reply[6] % 247 + 1,)) + reply[7:]

    def _send(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)
