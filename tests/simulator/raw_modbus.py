"""A Modbus client made of `struct` alone, and small stations to try it on.

Shares no code with the simulator's framing: a mistake there must not agree with itself.
"""

import asyncio
import struct
from datetime import UTC, datetime
from pathlib import Path

from simulator.config import LinesConfig, SimulatorConfig

START_AT = datetime(2026, 1, 4, 17, tzinfo=UTC)  # Monday 00:00 in Ho Chi Minh City
TIMEOUT_S = 5.0


def small_config(directory: Path, **changes: object) -> SimulatorConfig:
    """A station of 14 meters over one day; `changes` are fields of the configuration."""
    fields: dict[str, object] = {
        "start": "2026-01-05",
        "end": "2026-01-06",
        "directory": str(directory),
        "grid": "LV1.101",
        "lines": LinesConfig(),
    }
    return SimulatorConfig(**(fields | changes))  # type: ignore[arg-type]


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS, bit by bit."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


class RawClient:
    """Requests over Modbus TCP, replies as PDUs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._transaction = 0

    @classmethod
    async def connect(cls, host: object, port: object) -> "RawClient":
        assert isinstance(host, str)
        assert isinstance(port, int)
        return cls(*await asyncio.open_connection(host, port))

    def send(self, unit: int, pdu: bytes) -> int:
        """Send one request; returns its transaction number."""
        self._transaction += 1
        header = struct.pack(">HHHB", self._transaction, 0, 1 + len(pdu), unit)
        self._writer.write(header + pdu)
        return self._transaction

    async def receive(self, timeout_s: float = TIMEOUT_S) -> tuple[int, int, bytes]:
        """The next reply: transaction, unit, PDU. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            transaction, protocol, length = struct.unpack(">HHH", await self._reader.readexactly(6))
            assert protocol == 0
            body = await self._reader.readexactly(length)
            return transaction, body[0], body[1:]

    async def read(self, unit: int, function: int, address: int, count: int) -> bytes:
        """The data of a read's reply; its exception code as the only byte if it was refused."""
        sent = self.send(unit, struct.pack(">BHH", function, address, count))
        transaction, replied, pdu = await self.receive()
        assert (transaction, replied) == (sent, unit)
        if pdu[0] == function | 0x80:
            return pdu[1:]
        assert pdu[0] == function
        assert pdu[1] == 2 * count == len(pdu) - 2
        return pdu[2:]

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()
