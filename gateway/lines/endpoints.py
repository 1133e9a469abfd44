"""Where a line is: a serial port or a TCP endpoint, and how long things take on its wire.

Values only; opens nothing.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.meters.profile import Parity
from gateway.protocols.iec_characters import Characters

# Modbus over Serial Line V1.02, 2.5.1.1: 3.5 characters of silence between frames, and a fixed
# 1.75 ms above 19,200 baud.
BITS_MAX = 11  # of a character: start, eight data bits, parity or a second stop bit, stop
SILENCE_CHARS = 3.5
SILENCE_FIXED_S = 0.00175
SILENCE_FIXED_ABOVE_BAUD = 19_200


class Framing(StrEnum):
    """How requests are wrapped: Modbus TCP with its header, or RTU with its check sum."""

    TCP = "tcp"
    RTU = "rtu"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A meter, bridge or serial server on TCP; with RTU framing for a transparent one.

    `baud` is that of the line behind it, where it is known.
    """

    host: str
    port: int
    framing: Framing = Framing.TCP
    baud: int | None = None

    def wire_s(self, chars: float) -> float:
        """Seconds that `chars` characters take on the line behind it, with all bits that may be.

        Taken as 0 where the line is not known.
        """
        return 0.0 if self.baud is None else chars * BITS_MAX / self.baud

    @property
    def silence_s(self) -> float:
        """Seconds of silence that must part two frames on the line behind it."""
        if self.baud is None:
            return 0.0
        if self.baud > SILENCE_FIXED_ABOVE_BAUD:
            return SILENCE_FIXED_S
        return self.wire_s(SILENCE_CHARS)

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


@dataclass(frozen=True, slots=True)
class IecEndpoint:
    """A serial port with a line of IEC 62056-21 meters, which all begin at `baud`.

    `baud_max` is the greatest rate that the line carries; without `changeover` the rate never
    changes. `password` replaces that of the meters' profiles.
    """

    device: str
    baud: int = 300
    baud_max: int = 9600
    changeover: bool = True
    characters: Characters = Characters.SEVEN_EVEN
    wake_up: bool = False
    password: str | None = field(default=None, repr=False)

    @property
    def port(self) -> SerialEndpoint:
        """The port as it is opened: always with eight bits, for parity is computed here."""
        return SerialEndpoint(self.device, self.baud)

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.device} {self.baud} {self.characters.value}"


Endpoint = TcpEndpoint | SerialEndpoint
