"""How long bytes take on an asynchronous serial line, and the checksum of its frames.

Owns the arithmetic of Modbus over Serial Line 1.02, sections 2.5.1 and 6.2.2. It must not know the
time of day nor what is in a frame.
"""

from dataclasses import dataclass
from typing import Literal

# Above this speed the silence between frames is a fixed time.
FAST_BAUD = 19_200
FAST_GAP_S = 0.001_75
GAP_CHARACTERS = 3.5


@dataclass(frozen=True, slots=True)
class WireTiming:
    """The speed of a line and how long its meters think before they reply, in seconds."""

    baud: int
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: int = 1
    turnaround_s: float = 0.02

    @property
    def character_s(self) -> float:
        """One character: start bit, eight data bits, parity if any, stop bits."""
        return (1 + 8 + (self.parity != "N") + self.stop_bits) / self.baud

    @property
    def gap_s(self) -> float:
        """The silence that ends a frame (t3.5)."""
        return FAST_GAP_S if self.baud > FAST_BAUD else GAP_CHARACTERS * self.character_s


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        remainder = value
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0xA001 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_TABLE = _table()


def crc16(data: bytes) -> bytes:
    """The two bytes, low one first, that end an RTU frame."""
    remainder = 0xFFFF
    for byte in data:
        remainder = (remainder >> 8) ^ _TABLE[(remainder ^ byte) & 0xFF]
    return remainder.to_bytes(2, "little")
