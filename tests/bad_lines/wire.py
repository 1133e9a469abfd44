"""A serial line without a device: what a port's transport is to the code that owns a line.

Bytes that are written reach `heard` when the last of them would have left; `say` brings bytes to
the product at the pace of the line. It must not know what is spoken.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from gateway.lines import iec_port, modbus
from gateway.lines.endpoints import SerialEndpoint


class _Port:
    """What the product asks of pyserial's port."""

    name = "virtual"
    is_open = False  # nothing has to be thrown away when it is closed
    out_waiting = 0

    def __init__(self, baud: int) -> None:
        self.baudrate = baud


class Wire(asyncio.Transport):
    """One line. `character_bits` is what a character takes on it."""

    def __init__(self, heard: Callable[[bytes], None], character_bits: int = 10) -> None:
        super().__init__()
        self._heard = heard
        self._bits = character_bits
        self._protocol: asyncio.Protocol | None = None
        self.port = _Port(9600)

    @property
    def baud(self) -> int:
        """The rate to which the product has set the port."""
        return self.port.baudrate

    def chars_s(self, chars: float) -> float:
        """Seconds that characters take at the present rate."""
        return chars * self._bits / self.baud

    def put(self, data: bytes) -> None:
        """Bytes that the product hears now."""
        if self._protocol is not None and data:
            self._protocol.data_received(data)

    def say(self, data: bytes, after_s: float, chunk: int = 16) -> None:
        """Bytes at the line's pace, `chunk` at a time, the first beginning after `after_s`."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), chunk):
            part = data[start : start + chunk]
            # The nanoseconds keep the order: timers of one instant come in any.
            at = after_s + self.chars_s(start + len(part)) + start * 1e-9
            loop.call_later(at, self.put, part)

    # -- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self.chars_s(len(data)), self._heard, bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.port if name == "serial" else default

    def close(self) -> None:
        self._protocol = None

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._protocol is None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have the product find this line behind every port that it opens."""

        async def open_port(
            endpoint: SerialEndpoint, protocol: asyncio.Protocol
        ) -> asyncio.Transport:
            self.port.baudrate = endpoint.baud
            self._protocol = protocol
            protocol.connection_made(cast("asyncio.BaseTransport", self))
            return self

        patch.setattr(modbus, "open_port", open_port)
        patch.setattr(iec_port, "open_port", open_port)
