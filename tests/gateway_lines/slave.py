"""A small Modbus slave with many units, on a pseudo-terminal or TCP, that can misbehave.

Written apart from the product: it has its own framing and its own check sum.
"""

import asyncio
import os
import pty
import struct
import tty
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

READ_FUNCTIONS = (3, 4)
IDENTIFY = 0x2B


@dataclass(frozen=True)
class Fault:
    """How one request is answered instead of properly."""

    kind: str
    delay_s: float = 0.0
    code: int = 0


@dataclass(frozen=True)
class Request:
    """What a unit was asked, and the event loop's time at which the request had arrived."""

    unit: int
    function: int
    address: int
    count: int
    at: float


def crc(data: bytes) -> bytes:
    """The CRC of Modbus RTU, bit by bit as the standard describes it."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def word(unit: int, address: int) -> int:
    """What the register at `address` of `unit` holds; different everywhere."""
    return (unit * 4099 + address * 257 + 7) & 0x7FFF


@dataclass
class Slave:
    """Units that answer with `word`. `script` has faults for the next requests to a unit.

    `always` has a fault for every request to a unit; `refuses` says which reads are exception 2.
    """

    units: range | list[int]
    script: dict[int, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[int, Fault] = field(default_factory=dict)
    refuses: Callable[[Request], bool] = lambda request: False
    words: Callable[[int, int], int] = word
    requests: list[Request] = field(default_factory=list)
    objects: dict[int, dict[int, bytes]] = field(default_factory=dict)
    identified: list[int] = field(default_factory=list)

    def asked(self, unit: int) -> list[Request]:
        """The requests to one unit."""
        return [request for request in self.requests if request.unit == unit]

    def identify(self, unit: int, number: int) -> tuple[Fault, int, bytes] | None:
        """The answer to function 43/14: `objects` of the unit from `number` on, or exception 1."""
        self.identified.append(unit)
        if unit not in self.units or self.always.get(unit, Fault("none")).kind == "silent":
            return None
        objects = {key: text for key, text in self.objects.get(unit, {}).items() if key >= number}
        if not objects:
            return Fault("none"), unit, bytes([IDENTIFY | 0x80, 1])
        body = b"".join(bytes([key, len(text)]) + text for key, text in objects.items())
        head = bytes([IDENTIFY, 0x0E, 1, 0x81, 0, 0, len(objects)])
        return Fault("none"), unit, head + body

    def answer(self, request: Request) -> tuple[Fault, int, bytes] | None:
        """The fault, the unit that answers and its PDU; None for silence."""
        self.requests.append(request)
        if request.unit not in self.units:
            return None
        script = self.script[request.unit]
        fault = script.popleft() if script else self.always.get(request.unit, Fault("none"))
        function, unit = request.function, request.unit
        if fault.kind == "silent":
            return None
        if fault.kind == "exception" or self.refuses(request):
            return fault, unit, bytes([function | 0x80, fault.code or 2])
        words = [self.words(unit, request.address + i) for i in range(request.count)]
        if fault.kind == "short":
            words.pop()
        if fault.kind == "wrong_function":
            function ^= 7
        if fault.kind == "wrong_unit":
            unit += 100
        body = struct.pack(f">{len(words)}H", *words)
        return fault, unit, bytes([function, len(body)]) + body


class _RtuFrames:
    """Cuts requests out of the bytes that come, and writes replies as they would go on a wire."""

    def __init__(self, slave: Slave, write: Callable[[bytes], None], line: "Wire") -> None:
        self._slave = slave
        self._write = write
        self._line = line
        self._buffer = self._heard = b""
        self._timers: list[asyncio.TimerHandle] = []

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= (length := 7 if self._buffer[1:2] == bytes([IDENTIFY]) else 8):
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            assert crc(frame[:-2]) == frame[-2:], f"bad request {frame.hex()}"
            self._heard = frame
            if length == 7:
                arrived_at = asyncio.get_running_loop().time() + self._line.chars_s(7)
                if (said := self._slave.identify(frame[0], frame[4])) is not None:
                    self._reply(*said, arrived_at)
                continue
            unit, function, address, count = struct.unpack(">BBHH", frame[:6])
            arrived_at = asyncio.get_running_loop().time() + self._line.chars_s(8)
            request = Request(unit, function, address, count, arrived_at)
            if (answer := self._slave.answer(request)) is not None:
                self._reply(*answer, arrived_at)

    def _reply(self, fault: Fault, unit: int, pdu: bytes, arrived_at: float) -> None:
        frame = bytes([unit]) + pdu
        frame += crc(frame)
        if fault.kind == "bad_crc":
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        if fault.kind == "damaged":  # the check sum is that of what was sent
            frame = frame[:3] + bytes(byte ^ 1 for byte in frame[3:-2]) + frame[-2:]
        if fault.kind == "truncated":
            frame = frame[: len(frame) // 2]
        if fault.kind == "noise":
            frame = b"\x00\xff\x13" + frame + b"\x00"
        if fault.kind == "echo":
            frame = self._heard + frame
        begin = arrived_at + self._line.turnaround_s + fault.delay_s
        if fault.kind == "duplicate":  # the copy after half the silence that parts frames
            begin = arrived_at + self._line.turnaround_s
            self._at(begin + self._line.chars_s(len(frame)) + (fault.delay_s or 1e-5), frame)
        chunk = 1 if fault.kind == "bytewise" else self._line.chunk
        for start in range(0, len(frame), chunk):
            part = frame[start : start + chunk]
            # The microseconds keep the order: timers of one instant come in any.
            self._at(begin + self._line.chars_s(start + len(part)) + start * 1e-6, part)

    def _at(self, when: float, part: bytes) -> None:
        self._timers.append(asyncio.get_running_loop().call_at(when, self._write, part))

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()


@dataclass(frozen=True)
class Wire:
    """How long things take; `baud` None is no time at all. 8N1: ten bits a character."""

    baud: int | None = None
    turnaround_s: float = 0.001
    chunk: int = 16

    def chars_s(self, chars: float) -> float:
        return 0.0 if self.baud is None else chars * 10 / self.baud


class PtySlave:
    """A slave on a pseudo-terminal, reachable at the stable path `device`."""

    def __init__(self, slave: Slave, device: Path, wire: Wire = Wire()) -> None:
        self.slave = slave
        self.device = device
        self._wire = wire
        self._master = -1
        self._frames: _RtuFrames | None = None

    def plug(self) -> None:
        self._master, terminal = pty.openpty()
        tty.setraw(terminal)
        os.set_blocking(self._master, False)
        self._frames = _RtuFrames(self.slave, self._write, self._wire)
        self.device.unlink(missing_ok=True)
        self.device.symlink_to(os.ttyname(terminal))
        # Kept open, or the pseudo-terminal is gone when its last user closes it.
        self._terminal = terminal
        asyncio.get_running_loop().add_reader(self._master, self._read)

    @property
    def terminal(self) -> int:
        """The side of the gateway, as a file descriptor."""
        return self._terminal

    def unplug(self) -> None:
        if self._master < 0:
            return
        assert self._frames is not None
        self._frames.close()
        asyncio.get_running_loop().remove_reader(self._master)
        self.device.unlink()
        os.close(self._master)
        os.close(self._terminal)
        self._master = -1

    def _read(self) -> None:
        assert self._frames is not None
        self._frames.feed(os.read(self._master, 4096))

    def _write(self, data: bytes) -> None:
        if self._master >= 0:
            os.write(self._master, data)

    def __enter__(self) -> "PtySlave":
        self.plug()
        return self

    def __exit__(self, *error: object) -> None:
        self.unplug()


class _RtuOverTcp(asyncio.Protocol):
    def __init__(self, server: "TcpSlave") -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._server.connections.append(transport)
        self._frames = _RtuFrames(self._server.slave, transport.write, Wire())

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)


class _ModbusTcp(asyncio.Protocol):
    def __init__(self, server: "TcpSlave") -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._server.connections.append(transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        loop = asyncio.get_running_loop()
        while len(self._buffer) >= (length := 11 if self._buffer[7:8] == bytes([IDENTIFY]) else 12):
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            if length == 11:
                self._identify(frame)
                continue
            number, protocol, size, unit, function, address, count = struct.unpack(
                ">HHHBBHH", frame
            )
            assert (protocol, size) == (0, 6)
            request = Request(unit, function, address, count, loop.time())
            if (answer := self._server.slave.answer(request)) is None:
                continue
            fault, unit, pdu = answer
            if fault.kind == "wrong_number":
                number ^= 1
            reply = struct.pack(">HHHB", number, 0, len(pdu) + 1, unit) + pdu
            if fault.kind == "truncated":
                reply = reply[: len(reply) // 2]
            if fault.kind == "disconnect":
                self._transport.abort()
            if fault.kind == "duplicate":
                reply += reply
            if fault.kind == "bytewise":
                for at, byte in enumerate(reply):
                    loop.call_later(0.0005 * at, self._transport.write, bytes([byte]))
            else:
                loop.call_later(fault.delay_s, self._transport.write, reply)

    def _identify(self, frame: bytes) -> None:
        said = self._server.slave.identify(frame[6], frame[10])
        if said is not None:
            _, unit, pdu = said
            self._transport.write(frame[:4] + struct.pack(">HB", len(pdu) + 1, unit) + pdu)


class TcpSlave:
    """A slave on TCP: Modbus TCP, or RTU frames as a transparent serial server passes them on."""

    def __init__(self, slave: Slave, *, rtu: bool = False, port: int = 0) -> None:
        self.slave = slave
        self.port = port
        self.connections: list[asyncio.Transport] = []
        self._protocol = _RtuOverTcp if rtu else _ModbusTcp

    async def __aenter__(self) -> "TcpSlave":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._protocol(self), "127.0.0.1", self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        """Close every connection."""
        for transport in self.connections:
            transport.abort()
        self.connections.clear()
