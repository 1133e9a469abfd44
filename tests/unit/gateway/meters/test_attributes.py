"""What a meter says about itself: text in both packings, flags, numbers, hexadecimal digits."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meters.attributes import Attribute, AttributeType, Flag, attribute_value
from gateway.meters.wire import Order


def _text(regs: int, chars_per_reg: int = 2) -> Attribute:
    return Attribute("type", 0, AttributeType.STRING, regs=regs, chars_per_reg=chars_per_reg)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"B23 112-100\0", "B23 112-100"),
        (b"  B23\0\0\0\0\0\0\0", "B23"),
        (b"\0" * 12, None),
        (b" " * 12, None),
        (b"B23\0rubbish!", "B23"),
        (b"B\xff\x07         ", "B\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_text_is_ascii_and_ends_at_its_padding(payload: bytes, expected: str | None) -> None:
    assert attribute_value(_text(6), payload, Order.ABCD) == expected


def test_text_with_one_character_in_each_register() -> None:
    payload = b"".join(bytes((0, char)) for char in b"KY12345")
    assert attribute_value(_text(7, 1), payload, Order.CDAB) == "KY12345"


@given(st.text("ABCXYZ0189", min_size=1, max_size=8), st.sampled_from(Order))
def test_text_keeps_its_registers_in_their_order_whatever_that_of_numbers_is(
    text: str, order: Order
) -> None:
    payload = text.encode().ljust(8, b"\0")
    if order.swaps_bytes:
        payload = b"".join(payload[i : i + 2][::-1] for i in range(0, 8, 2))
    assert attribute_value(_text(4), payload, order) == text


def test_flags_are_named_and_those_without_a_name_are_counted() -> None:
    flags = (Flag(8, "active"), Flag(17, "reversed"))
    alarm = Attribute("alarm", 0, AttributeType.BITS, regs=2, flags=flags)
    assert attribute_value(alarm, bytes.fromhex("00020109"), Order.ABCD) == (
        "bit 0",
        "bit 3",
        "active",
        "reversed",
    )
    assert attribute_value(alarm, bytes.fromhex("01090002"), Order.CDAB) == (
        "bit 0",
        "bit 3",
        "active",
        "reversed",
    )
    assert attribute_value(alarm, bytes(4), Order.ABCD) == ()


def test_numbers_are_scaled_exactly_and_stay_whole_where_they_can() -> None:
    ratio = Attribute("ratio", 0, AttributeType.I16, scale=Decimal("0.1"))
    assert attribute_value(ratio, b"\x00\x0a", Order.ABCD) == 1
    assert attribute_value(ratio, b"\x00\x0f", Order.ABCD) == 1.5
    assert attribute_value(ratio, b"\xff\xf6", Order.ABCD) == -1
    fine = Attribute("f", 0, AttributeType.F32)
    assert attribute_value(fine, b"\x7f\xc0\x00\x00", Order.ABCD) is None


def test_an_attribute_may_have_an_order_of_its_own() -> None:
    own = Attribute("n", 0, AttributeType.U32, order=Order.CDAB)
    assert attribute_value(own, b"\x00\x01\x00\x02", Order.ABCD) == 0x0002_0001


def test_digits_that_are_meant_hexadecimally() -> None:
    serial = Attribute("serial", 0, AttributeType.U32, hex=True)
    assert attribute_value(serial, bytes.fromhex("15060001"), Order.ABCD) == "15060001"
    assert attribute_value(serial, bytes.fromhex("00010506"), Order.CDAB) == "05060001"


def test_another_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes for 6 registers"):
        attribute_value(_text(6), b"B23 ", Order.ABCD)
