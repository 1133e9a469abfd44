"""Messages of IEC 62056-21: the sign-on, the identification, the option select, commands, break.

Builds and reads single messages as seven-bit text. It must not know their order in a session, nor
what data blocks contain.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from gateway.protocols.iec_characters import ACK, CR_LF, ETX, SOH, STX, block_check

ADDRESS_CHARS_MAX = 32  # 6.3.1
BAUD_INITIAL = 300
BAUD_RATES = (300, 600, 1200, 2400, 4800, 9600, 19_200)

REACTION_MIN_S = 0.2  # 6.3.2: the least time before an answer, of either side …
REACTION_MIN_FAST_S = 0.02  # … and with a manufacturer's code whose third letter is small

_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})([ -~])([ -~]{0,40})")
_ESCAPE = re.compile(r"\\(.)")
_ADDRESS = re.compile(r"[0-9A-Za-z ]*")  # 6.3.1, 12)
_BAUD_OF_MODE_C = {str(index): baud for index, baud in enumerate(BAUD_RATES)}
_BAUD_OF_MODE_B = {"ABCDEF"[index]: baud for index, baud in enumerate(BAUD_RATES[1:])}


class Mode(StrEnum):
    """The protocol modes that begin with a request, as the baud rate character tells them apart."""

    A = "A"  # data at once, no other baud rate
    B = "B"  # data at once, at the baud rate of the identification
    C = "C"  # the reader chooses what comes, and the baud rate with it


class Option(StrEnum):
    """What the reader of a mode C meter chooses (6.3.3, mode control character Y)."""

    READOUT = "0"
    PROGRAMMING = "1"


class CommandType(StrEnum):
    """Command messages of a session (6.3.5)."""

    PASSWORD = "P1"  # noqa: S105 the command's name
    PASSWORD_ENCRYPTED = "P2"  # noqa: S105 the command's name
    READ = "R1"
    READ_FORMATTED = "R3"
    READ_FORMATTED_BLOCKS = "R4"
    READ_PROFILE = "R5"  # the national form: load profiles, in one block
    READ_PROFILE_BLOCKS = "R6"  # the same in partial blocks
    WRITE = "W1"
    WRITE_FORMATTED = "W5"  # the national form
    BREAK = "B0"


@dataclass(frozen=True, slots=True)
class Identification:
    """How a meter introduces itself (6.3.2).

    `manufacturer` is its three letters, `product` the rest without escapes; `escapes` has the
    characters that followed a backslash: `2` offers HDLC (mode E).
    """

    manufacturer: str
    baud_character: str
    product: str
    escapes: str = ""

    @property
    def mode(self) -> Mode:
        """Which mode it is in."""
        if self.baud_character in _BAUD_OF_MODE_C:
            return Mode.C
        return Mode.B if self.baud_character in _BAUD_OF_MODE_B else Mode.A

    @property
    def baud(self) -> int | None:
        """The baud rate that it offers (mode C) or goes on with (mode B); None in mode A."""
        character = self.baud_character
        return _BAUD_OF_MODE_C.get(character) or _BAUD_OF_MODE_B.get(character)

    @property
    def reaction_min_s(self) -> float:
        """The least time, in seconds, after which it may answer and be answered."""
        return REACTION_MIN_FAST_S if self.manufacturer[2].islower() else REACTION_MIN_S


def is_address(text: str) -> bool:
    """Whether `text` can be a device address; the empty one speaks to whoever is alone."""
    return len(text) <= ADDRESS_CHARS_MAX and _ADDRESS.fullmatch(text) is not None


def sign_on(address: str) -> bytes:
    """The request message to the device `address`, or to the only one if it is empty."""
    assert is_address(address)
    return b"/?" + address.encode("ascii") + b"!" + CR_LF


def option_select(option: Option, baud: int, procedure: str = "0") -> bytes:
    """The acknowledgement that chooses what follows and at which of BAUD_RATES.

    `procedure` is the protocol control character: 0 normal, 1 secondary (6.3.3).
    """
    baud_character = str(BAUD_RATES.index(baud))
    choice = procedure + baud_character + option.value
    return bytes((ACK,)) + choice.encode("ascii") + CR_LF


def command(kind: CommandType, data: str | None = None) -> bytes:
    """A command message with its block check; `data` is a data set such as `1.8.0()`."""
    text = kind.value.encode("ascii")
    if data is not None:
        text += bytes((STX,)) + data.encode("ascii")
    text += bytes((ETX,))
    return bytes((SOH,)) + text + bytes((block_check(text),))


BREAK = command(CommandType.BREAK)


def parse_identification(line: bytes) -> Identification | None:
    """The identification in `line`, from its `/` to before CR LF; None if it is none."""
    match = _IDENTIFICATION.fullmatch(line)
    if match is None:
        return None
    manufacturer, baud_character, product = (part.decode("ascii") for part in match.groups())
    escapes = "".join(_ESCAPE.findall(product))
    return Identification(manufacturer, baud_character, _ESCAPE.sub("", product), escapes)


def baud_to_choose(offered: int, baud_max: int) -> int:
    """The greatest of BAUD_RATES up to both what the meter offers and `baud_max`."""
    return max((baud for baud in BAUD_RATES if baud <= min(offered, baud_max)), default=300)
