"""How a number lies in 16-bit registers: its type, the order of its bytes, and reading it.

Pure arithmetic on bytes. It must not know registers, profiles or units.
"""

import struct
from collections.abc import Callable
from enum import StrEnum

Raw = int | float
Reader = Callable[[bytes, int], tuple[Raw]]
"""From the bytes of a reply and an offset into them to the number there, in a tuple of one."""


class WireType(StrEnum):
    """How a number lies in 16-bit registers."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"

    @property
    def bits(self) -> int:
        """16, 32 or 64."""
        return int(self.value[1:])

    @property
    def regs(self) -> int:
        """How many 16-bit registers it takes: 1, 2 or 4."""
        return self.bits // 16

    @property
    def is_float(self) -> bool:
        """Whether it is IEEE 754 binary floating point."""
        return self.value[0] == "f"


class Order(StrEnum):
    """The order of the bytes of a value on the wire; A is the most significant byte of 32 bits.

    64-bit values follow the same pattern: CDAB sends the least significant word first.
    """

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"

    @property
    def low_word_first(self) -> bool:
        """Whether the least significant 16-bit register comes first."""
        return self in (Order.CDAB, Order.DCBA)

    @property
    def swaps_bytes(self) -> bool:
        """Whether the two bytes within each register are swapped."""
        return self in (Order.BADC, Order.DCBA)


_FORMATS = {
    WireType.U16: ">H",
    WireType.I16: ">h",
    WireType.U32: ">I",
    WireType.I32: ">i",
    WireType.U64: ">Q",
    WireType.I64: ">q",
    WireType.F32: ">f",
    WireType.F64: ">d",
}


def reader(wire_type: WireType, order: Order) -> Reader:
    """What reads a number of that type and order; made once, used for every reply."""
    unpacker = struct.Struct(_FORMATS[wire_type])
    if order is Order.ABCD:
        return unpacker.unpack_from

    def read(payload: bytes, offset: int) -> tuple[Raw]:
        raw: tuple[Raw] = unpacker.unpack(in_order(payload[offset : offset + unpacker.size], order))
        return raw

    return read


def in_order(value: bytes, order: Order) -> bytes:
    """The bytes of one value, most significant first, from how `order` sent them."""
    words = [value[i : i + 2] for i in range(0, len(value), 2)]
    if order.low_word_first:
        words.reverse()
    if order.swaps_bytes:
        words = [word[::-1] for word in words]
    return b"".join(words)


def from_pattern(pattern: int, wire_type: WireType) -> Raw:
    """The number that an unsigned bit pattern means in that type: 0xFFFF is -1 in i16."""
    unpacker = struct.Struct(_FORMATS[wire_type])
    raw: Raw = unpacker.unpack(pattern.to_bytes(unpacker.size, "big"))[0]
    return raw
