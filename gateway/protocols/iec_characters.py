"""Characters of IEC 62056-21 on the wire: seven bits with even parity, control codes, block check.

Knows single characters and sums over them. It must not know messages or who sends what when.
"""

from enum import StrEnum

SOH, STX, ETX, EOT, ACK, NAK = 0x01, 0x02, 0x03, 0x04, 0x06, 0x15
CR_LF = b"\r\n"

# Stands for a character that arrived damaged; no seven-bit character looks like it.
DAMAGED = 0xFF

BITS_PER_CHARACTER = 10  # start, seven bits and parity (or eight bits), one stop: 5.1


class Characters(StrEnum):
    """How characters are sent. `7E1` is the standard's; `8N1` is what some converters make of it.

    Both are ten bits on the wire, and a port set to 8N1 sends and hears 7E1 if parity is computed
    here. So no port needs to know parity, and unlike most drivers this checks what it receives.
    """

    SEVEN_EVEN = "7E1"
    EIGHT_NONE = "8N1"


def _with_even_parity(character: int) -> int:
    return character | (character.bit_count() & 1) << 7


_ENCODE = bytes(_with_even_parity(value & 0x7F) for value in range(256))
_DECODE = {
    Characters.SEVEN_EVEN: bytes(
        DAMAGED if value.bit_count() & 1 else value & 0x7F for value in range(256)
    ),
    Characters.EIGHT_NONE: bytes(value if value < 0x80 else DAMAGED for value in range(256)),
}


def to_wire(text: bytes, characters: Characters) -> bytes:
    """The bytes that a port at 8N1 has to send for the seven-bit `text`."""
    return text.translate(_ENCODE) if characters is Characters.SEVEN_EVEN else text


def from_wire(data: bytes, characters: Characters) -> bytes:
    """The seven-bit characters of what a port at 8N1 received; DAMAGED for each with a wrong bit.

    One wrong bit in a 7E1 character is seen, two are not; the block check sees most of those.
    """
    return data.translate(_DECODE[characters])


def block_check(text: bytes) -> int:
    """The block check character: exclusive or over `text` (6.1; ISO/IEC 1155 with even parity).

    `text` begins after the first SOH or STX and ends with ETX or EOT, inclusive.
    """
    check = 0
    for character in text:
        check ^= character
    return check
