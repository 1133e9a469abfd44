"""Where a line is: a serial port or a TCP endpoint, and how long things take on its wire.

Values only; opens nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

from gateway.meters.profile import Parity

# Modbus over Serial Line V1.02, 2.5.1.1: 3.5 characters of silence between frames, and a fixed
# 1.75 ms above 19,200 baud.
SILENCE_CHARS = 3.5
SILENCE_FIXED_S = 0.00175
SILENCE_FIXED_ABOVE_BAUD = 19_200


class Framing(StrEnum):
    """How requests are wrapped: Modbus TCP with its header, or RTU with its check sum."""

    TCP = "tcp"
    RTU = "rtu"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A meter, bridge or serial server on TCP; with RTU framing for a transparent one."""

    host: str
    port: int
    framing: Framing = Framing.TCP

    def wire_s(self, chars: float) -> float:
        """Seconds that `chars` characters take on the wire: not known, taken as 0."""
        return 0.0

    @property
    def silence_s(self) -> float:
        """Seconds of silence that must part two frames: none that we could keep."""
        return 0.0

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SerialEndpoint:
    """A serial port with an RS-485 line on it."""

    device: str
    baud: int = 9600
    parity: Parity = Parity.NONE
    stop_bits: int = 1

    @property
    def framing(self) -> Framing:
        """Always RTU."""
        return Framing.RTU

    def wire_s(self, chars: float) -> float:
        """Seconds that `chars` characters take, start, parity and stop bits included."""
        bits = 1 + 8 + (self.parity is not Parity.NONE) + self.stop_bits
        return chars * bits / self.baud

    @property
    def silence_s(self) -> float:
        """Seconds of silence that must part two frames (t3.5)."""
        if self.baud > SILENCE_FIXED_ABOVE_BAUD:
            return SILENCE_FIXED_S
        return self.wire_s(SILENCE_CHARS)

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.device} {self.baud} 8{self.parity.value}{self.stop_bits}"


Endpoint = TcpEndpoint | SerialEndpoint
