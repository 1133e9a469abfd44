"""Decoding is exact: checked against rational arithmetic, for every type and byte order."""

import struct
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.limits import ENERGY_MAX
from gateway.meters.decode import Value, decode
from gateway.meters.plan import plan_registers
from gateway.meters.profile import MappedRegister, MeterProfile, Sentinels
from gateway.meters.wire import Order, WireType

_CODES = {
    WireType.U16: "H",
    WireType.I16: "h",
    WireType.U32: "I",
    WireType.I32: "i",
    WireType.U64: "Q",
    WireType.I64: "q",
    WireType.F32: "f",
    WireType.F64: "d",
}
ENERGY, VOLTAGE = "1-0:1.8.0", "1-0:32.7.0"


def _words(wire_type: WireType, raw: int | float) -> list[int]:
    data = struct.pack(">" + _CODES[wire_type], raw)
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def _value(mapped: MappedRegister, words: list[int], sentinels: Sentinels | None = None) -> Value:
    profile = MeterProfile(
        "made-up", "Made up", ("a test",), 3, (mapped,), sentinels=sentinels or Sentinels()
    )
    (block,) = plan_registers(profile, profile.registers)
    return decode(profile, block, words)[mapped.obis]


@st.composite
def _integers(draw: st.DrawFn) -> tuple[WireType, int]:
    wire_type = draw(st.sampled_from([t for t in WireType if not t.is_float]))
    low = -(1 << wire_type.bits - 1) if wire_type.value[0] == "i" else 0
    return wire_type, draw(st.integers(low, low + (1 << wire_type.bits) - 1))


_scales = st.decimals("0.0001", "10000", allow_nan=False, places=4).filter(lambda d: d != 0)


@given(_integers(), _scales, st.integers(1, 1000))
def test_an_energy_is_the_nearest_step_of_its_resolution(
    typed: tuple[WireType, int], scale: Decimal, resolution: int
) -> None:
    wire_type, raw = typed
    mapped = MappedRegister(ENERGY, 0, wire_type, scale, Decimal(resolution))
    expected = round(raw * Fraction(scale) / resolution) * resolution
    value = _value(mapped, _words(wire_type, raw))
    assert value == (expected if abs(expected) <= ENERGY_MAX else None)
    assert value is None or type(value) is int


@given(st.floats(0, 1_000_000, width=32), st.sampled_from([1, 10, 100]))
def test_a_float_energy_is_rounded_once_from_its_exact_value(raw: float, resolution: int) -> None:
    mapped = MappedRegister(ENERGY, 0, WireType.F32, Decimal(1000), Decimal(resolution))
    expected = round(Fraction(raw) * 1000 / resolution) * resolution
    assert _value(mapped, _words(WireType.F32, raw)) == expected


@given(_integers(), _scales)
def test_a_momentary_value_is_the_nearest_float_to_the_exact_one(
    typed: tuple[WireType, int], scale: Decimal
) -> None:
    wire_type, raw = typed
    mapped = MappedRegister(VOLTAGE, 0, wire_type, scale)
    assert _value(mapped, _words(wire_type, raw)) == float(raw * Fraction(scale))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order.ABCD, [0x4366, 0x6668]),
        (Order.CDAB, [0x6668, 0x4366]),
        (Order.BADC, [0x6643, 0x6866]),
        (Order.DCBA, [0x6866, 0x6643]),
    ],
)
def test_the_four_byte_orders(order: Order, words: list[int]) -> None:
    assert _value(MappedRegister(VOLTAGE, 0, WireType.F32, order=order), words) == 230.4
    integer = MappedRegister(VOLTAGE, 0, WireType.U32, order=order)
    assert _value(integer, words) == 0x43666668


def _in_order(data: bytes, order: str) -> list[int]:
    """Registers as a meter sends them: the letters say which byte of each 32 bits comes when."""
    if len(data) == 2:
        data = data[::-1] if order in ("BADC", "DCBA") else data
    elif len(data) == 4:
        data = bytes(data["ABCD".index(letter)] for letter in order)
    else:
        letters = {
            "ABCD": "ABCDEFGH",
            "CDAB": "GHEFCDAB",
            "BADC": "BADCFEHG",
            "DCBA": "HGFEDCBA",
        }[order]
        data = bytes(data["ABCDEFGH".index(letter)] for letter in letters)
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


@given(_integers(), st.sampled_from(Order), st.booleans())
def test_integers_come_back_from_every_type_and_order(
    typed: tuple[WireType, int], order: Order, order_is_the_profiles: bool
) -> None:
    wire_type, raw = typed
    words = _in_order(struct.pack(">" + _CODES[wire_type], raw), order.value)
    own = None if order_is_the_profiles else order
    mapped = MappedRegister(ENERGY, 7, wire_type, resolution=Decimal(1), order=own)
    profile = MeterProfile(
        "made-up",
        "Made up",
        ("a test",),
        3,
        (mapped,),
        order=order if order_is_the_profiles else Order.ABCD,
    )
    (block,) = plan_registers(profile, profile.registers)
    assert decode(profile, block, words)[ENERGY] == (raw if abs(raw) <= ENERGY_MAX else None)


@given(
    st.sampled_from([WireType.F32, WireType.F64]),
    st.sampled_from(Order),
    st.floats(-(2**53), 2**53, width=32),
)
def test_floats_come_back_from_every_type_and_order(
    wire_type: WireType, order: Order, raw: float
) -> None:
    words = _in_order(struct.pack(">" + _CODES[wire_type], raw), order.value)
    mapped = MappedRegister(ENERGY, 7, wire_type, resolution=Decimal(1), order=order)
    assert _value(mapped, words) == round(Fraction(raw))


@given(st.integers(0, 2**64 - 1), st.sampled_from(WireType))
def test_every_sentinel_has_no_value_and_its_neighbour_has_one(
    pattern: int, wire_type: WireType
) -> None:
    pattern %= 1 << wire_type.bits
    data = pattern.to_bytes(wire_type.bits // 8, "big")
    mapped = MappedRegister(VOLTAGE, 0, wire_type, sentinels=(pattern,))
    assert _value(mapped, _in_order(data, "ABCD")) is None
    if not wire_type.is_float:
        other = (pattern ^ 1).to_bytes(wire_type.bits // 8, "big")
        assert _value(mapped, _in_order(other, "ABCD")) is not None


def test_64_bits_with_the_low_word_first() -> None:
    mapped = MappedRegister(ENERGY, 0, WireType.U64, resolution=Decimal(1), order=Order.CDAB)
    assert _value(mapped, [0x7788, 0x5566, 0x3344, 0x1122]) == 0x1122334455667788


@pytest.mark.parametrize("raw", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("wire_type", [WireType.F32, WireType.F64])
@pytest.mark.parametrize("obis", [ENERGY, VOLTAGE])
def test_what_is_no_number_has_no_value(obis: str, wire_type: WireType, raw: float) -> None:
    mapped = MappedRegister(obis, 0, wire_type, resolution=Decimal(1))
    assert _value(mapped, _words(wire_type, raw)) is None


def test_sentinels_of_the_register_stand_in_for_those_of_the_profile() -> None:
    of_profile = Sentinels(i16=(0x7FFF,), u16=(0xFFFF,))
    plain = MappedRegister(VOLTAGE, 0, WireType.I16)
    own = MappedRegister(VOLTAGE, 0, WireType.I16, sentinels=(0x8000,))
    assert _value(plain, [0x7FFF], of_profile) is None
    assert _value(plain, [0xFFFF], of_profile) == -1.0
    assert _value(own, [0x7FFF], of_profile) == 32767.0
    assert _value(own, [0x8000], of_profile) is None


def test_a_momentary_resolution_rounds_to_decimal_steps() -> None:
    mapped = MappedRegister(VOLTAGE, 0, WireType.F32, resolution=Decimal("0.1"))
    assert _value(mapped, _words(WireType.F32, 230.44)) == 230.4
    assert _value(mapped, _words(WireType.F32, -230.46)) == -230.5


def test_a_float_has_no_more_digits_than_its_encoding_and_no_negative_zero() -> None:
    assert _value(MappedRegister(VOLTAGE, 0, WireType.F32), _words(WireType.F32, 231.4)) == 231.4
    zero = _value(MappedRegister(VOLTAGE, 0, WireType.F32), [0x8000, 0])
    assert str(zero) == "0.0"


def test_another_number_of_words_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes for a block of 4"):
        _value(MappedRegister(VOLTAGE, 0, WireType.F32), [0x4366])
