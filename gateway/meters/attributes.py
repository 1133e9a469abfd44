"""What a meter says about itself: serial number, model, firmware, ratios, alarms.

Owns their shape in a profile and their decoding. They are for people and for telling models
apart; nothing here is ever a read, which is what registers of the catalogue are for.
"""

import math
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Literal

import msgspec

from gateway.meters.shape import REGS_MAX, Address, Function, Shape, Text
from gateway.meters.wire import Order, WireType, in_order, reader

AttributeValue = str | int | float | tuple[str, ...] | None

_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


class AttributeType(StrEnum):
    """How an attribute lies in its registers: a number, text, or bits that each mean something."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    STRING = "string"
    BITS = "bits"

    @property
    def wire_type(self) -> WireType | None:
        """The type of a number; None for text and bits."""
        is_number = self not in (AttributeType.STRING, AttributeType.BITS)
        return WireType(self.value) if is_number else None


class Flag(Shape, frozen=True):
    """One bit of an attribute of type `bits`; bit 0 is the least significant."""

    bit: Annotated[int, msgspec.Meta(ge=0, le=63)]
    name: Text


class Attribute(Shape, frozen=True):
    """One thing that a meter says about itself.

    `regs` is how many registers text (1 to 125) or bits (1, 2 or 4) take. Text has two characters
    in each register, the first in the high byte, or one in the low byte with `chars_per_reg` 1;
    it is ASCII, padded with NUL or blanks. Numbers are raw × `scale`; where `hex` is true the
    hexadecimal digits are what is meant, as in serial numbers. A name that begins with
    `serial` is what a dump leaves out.
    """

    name: Text
    address: Address
    type: AttributeType
    regs: Annotated[int, msgspec.Meta(ge=1, le=REGS_MAX)] | None = None
    order: Order | None = None
    function: Function | None = None
    scale: Decimal = Decimal(1)
    hex: bool = False
    chars_per_reg: Literal[1, 2] = 2
    flags: tuple[Flag, ...] = ()
    manual: Text | None = None

    @property
    def count(self) -> int:
        """How many 16-bit registers it takes."""
        wire_type = self.type.wire_type
        return (self.regs or 1) if wire_type is None else wire_type.regs

    @property
    def end(self) -> int:
        """The address after its last 16-bit register."""
        return self.address + self.count


def attribute_value(attribute: Attribute, payload: bytes, order: Order) -> AttributeValue:
    """What the 2 × `count` bytes of a reply say; `order` is the profile's.

    Text, a number, or the names of the bits that are set (`bit 5` for one without a name); None
    for empty text and for what is no number. Raises ValueError for another number of bytes.
    """
    if len(payload) != 2 * attribute.count:
        raise ValueError(f"{len(payload)} bytes for {attribute.count} registers")
    order = attribute.order or order
    wire_type = attribute.type.wire_type
    if wire_type is not None:
        raw = reader(wire_type, order)(payload, 0)[0]
        if not math.isfinite(raw):
            return None
        if attribute.hex:
            return in_order(payload, order).hex()
        value = Fraction(raw) * Fraction(attribute.scale)
        return value.numerator if value.denominator == 1 else float(value)
    if attribute.type is AttributeType.STRING:
        return text_of(payload, order, attribute.chars_per_reg)
    return _flags(attribute, int.from_bytes(in_order(payload, order), "big"))


def text_of(payload: bytes, order: Order, chars_per_reg: int = 2) -> str | None:
    """The ASCII text in `payload` up to its padding; None for none."""
    # The order of words never reaches text: its registers follow each other as it is read.
    words = [payload[i : i + 2] for i in range(0, len(payload), 2)]
    if order.swaps_bytes:
        words = [word[::-1] for word in words]
    characters = b"".join(word[2 - chars_per_reg :] for word in words)
    text = characters.partition(b"\0")[0].decode("ascii", "replace").strip()
    return "".join(char if char.isprintable() else _UNPRINTABLE for char in text) or None


def _flags(attribute: Attribute, pattern: int) -> tuple[str, ...]:
    names = {flag.bit: flag.name for flag in attribute.flags}
    return tuple(
        names.get(bit, f"bit {bit}") for bit in range(pattern.bit_length()) if pattern >> bit & 1
    )
