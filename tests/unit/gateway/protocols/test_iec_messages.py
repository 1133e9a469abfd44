"""Single messages of IEC 62056-21, against examples worked out by hand from the standard."""

import pytest

from gateway.protocols.iec_characters import DAMAGED, Characters, block_check, from_wire, to_wire
from gateway.protocols.iec_messages import (
    BREAK,
    CommandType,
    Identification,
    Mode,
    Option,
    baud_to_choose,
    command,
    is_address,
    option_select,
    parse_identification,
    sign_on,
)


def test_the_block_check_is_an_exclusive_or() -> None:
    assert block_check(b"B0\x03") == 0x42 ^ 0x30 ^ 0x03 == 0x71
    assert BREAK == b"\x01B0\x03q"
    assert command(CommandType.READ, "1.8.0()")[:-1] == b"\x01R1\x021.8.0()\x03"


def test_parity_is_made_checked_and_taken_away() -> None:
    assert to_wire(b"A", Characters.SEVEN_EVEN) == b"A"  # 0x41 has two bits
    assert to_wire(b"C", Characters.SEVEN_EVEN) == b"\xc3"  # 0x43 has three
    assert from_wire(b"A\xc3", Characters.SEVEN_EVEN) == b"AC"
    assert from_wire(b"\xc1C", Characters.SEVEN_EVEN) == bytes([DAMAGED, DAMAGED])
    assert from_wire(b"C\xc3", Characters.EIGHT_NONE) == bytes([0x43, DAMAGED])
    for value in range(128):
        text = bytes([value])
        wire = to_wire(text, Characters.SEVEN_EVEN)
        assert from_wire(wire, Characters.SEVEN_EVEN) == text
        for bit in range(8):
            damaged = bytes([wire[0] ^ 1 << bit])
            assert from_wire(damaged, Characters.SEVEN_EVEN) == bytes([DAMAGED])


def test_sign_on_and_option_select() -> None:
    assert sign_on("") == b"/?!\r\n"
    assert sign_on("12345678") == b"/?12345678!\r\n"
    assert option_select(Option.READOUT, 300) == b"\x06000\r\n"
    assert option_select(Option.PROGRAMMING, 9600) == b"\x06051\r\n"
    assert option_select(Option.READOUT, 2400, procedure="1") == b"\x06130\r\n"


@pytest.mark.parametrize("text", ["12345678", "", "ABC 12", "0" * 32])
def test_what_can_be_a_device_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize("text", ["1!", "0" * 33, "é", "1\r\n", "(1)"])
def test_what_cannot_be_a_device_address(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("line", "expected", "mode", "baud"),
    [
        (b"/LGZ5\\2ZMD4054407.B32", ("LGZ", "5", "ZMD4054407.B32", "2"), Mode.C, 9600),
        (b"/EMH4\\@01LZQJL0014E", ("EMH", "4", "01LZQJL0014E", "@"), Mode.C, 4800),
        (b"/ISk5MT174-0001", ("ISk", "5", "MT174-0001", ""), Mode.C, 9600),
        (b"/PAF5EC3gr00006", ("PAF", "5", "EC3gr00006", ""), Mode.C, 9600),
        (b"/ESY0METER", ("ESY", "0", "METER", ""), Mode.C, 300),
        (b"/ABCEOLD", ("ABC", "E", "OLD", ""), Mode.B, 9600),
        (b"/ABC!OLD", ("ABC", "!", "OLD", ""), Mode.A, None),
        (b"/ABC 1", ("ABC", " ", "1", ""), Mode.A, None),
        (b"/ABC5", ("ABC", "5", "", ""), Mode.C, 9600),
    ],
)
def test_identifications(
    line: bytes, expected: tuple[str, str, str, str], mode: Mode, baud: int | None
) -> None:
    identification = parse_identification(line)
    assert identification == Identification(*expected)
    assert (identification.mode, identification.baud) == (mode, baud)


@pytest.mark.parametrize(
    "line", [b"", b"/", b"/AB", b"/?1", b"LGZ5X", b"/L1Z5X", b"/LGZ5\xff", b"/LGZ5" + b"x" * 99]
)
def test_what_is_no_identification(line: bytes) -> None:
    assert parse_identification(line) is None


def test_the_third_letter_says_how_fast_a_meter_is() -> None:
    slow, fast = parse_identification(b"/LGZ5X"), parse_identification(b"/LGz5X")
    assert slow is not None
    assert fast is not None
    assert (slow.reaction_min_s, fast.reaction_min_s) == (0.2, 0.02)


@pytest.mark.parametrize(
    ("offered", "most", "chosen"), [(9600, 19200, 9600), (19200, 9600, 9600), (4800, 100, 300)]
)
def test_the_rate_is_the_greatest_that_both_can(offered: int, most: int, chosen: int) -> None:
    assert baud_to_choose(offered, most) == chosen
