"""Meter profiles: how one meter model is read, as data.

Owns the shape of a profile. It must not know where files are, nor how requests are sent.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contract.limits import ENERGY_MAX, NAME_CHARS_MAX
from contract.registers import BY_OBIS, Register

ADDRESS_MAX = 0xFFFF
REGS_MAX = 125  # Modbus Application Protocol V1.1b3, 6.3: a read brings at most 125 registers


class WireType(StrEnum):
    """How a value lies in 16-bit registers."""

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


class Parity(StrEnum):
    """The parity of a serial line: none, even, odd."""

    NONE = "N"
    EVEN = "E"
    ODD = "O"


_Address = Annotated[int, msgspec.Meta(ge=0, le=ADDRESS_MAX)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=60_000)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]*$", max_length=NAME_CHARS_MAX)]
_Function = Literal[3, 4]
_Positive = Annotated[int, msgspec.Meta(gt=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all parts of a profile file have in common: immutable, and no unknown keys."""


class MappedRegister(_Part, frozen=True):
    """A register of the catalogue and where and how this model keeps it.

    `address` is the 0-based address on the wire, never the number that manuals print; that one
    may stand in `manual` for people. The value is raw × `scale`, in the catalogue's unit, exact.
    `resolution` is the step of the meter's own register in the catalogue's unit; values are
    rounded to it. `order`, `function` and `sentinels` stand in for the profile's where given.
    `sentinels` are raw patterns that mean "not available". `roll_over` is the value, in the
    catalogue's unit, at which the register starts again from 0. A register is `optional` where
    some units of the model lack it: an illegal-address exception then means "no value".
    """

    obis: str
    address: _Address
    type: WireType
    scale: Decimal = Decimal(1)
    resolution: Decimal | None = None
    order: Order | None = None
    function: _Function | None = None
    sentinels: tuple[int, ...] | None = None
    optional: bool = False
    roll_over: Annotated[int, msgspec.Meta(gt=0, le=ENERGY_MAX)] | None = None
    manual: _Text | None = None

    @property
    def end(self) -> int:
        """The address after its last 16-bit register."""
        return self.address + self.type.regs

    @property
    def register(self) -> Register:
        """Its row in the catalogue."""
        return BY_OBIS[self.obis]


class Sentinels(_Part, frozen=True):
    """Raw bit patterns that mean "not available", by type; NaN and infinities always do.

    Each is given as its unsigned pattern: 0x7FFFFFFF, 0xFFFFFFFFFFFFFFFF.
    """

    u16: tuple[int, ...] = ()
    i16: tuple[int, ...] = ()
    u32: tuple[int, ...] = ()
    i32: tuple[int, ...] = ()
    u64: tuple[int, ...] = ()
    i64: tuple[int, ...] = ()
    f32: tuple[int, ...] = ()
    f64: tuple[int, ...] = ()

    def of(self, wire_type: WireType) -> tuple[int, ...]:
        """The patterns of one type."""
        patterns: tuple[int, ...] = getattr(self, wire_type.value)
        return patterns


class Requests(_Part, frozen=True):
    """What one read request may ask for.

    At most `max_regs` registers; at most `max_gap` unwanted ones in a row between wanted ones;
    none of the `forbidden` ranges, each [first, last], both inclusive.
    """

    max_regs: Annotated[int, msgspec.Meta(ge=1, le=REGS_MAX)] = REGS_MAX
    max_gap: Annotated[int, msgspec.Meta(ge=0, le=REGS_MAX)] = 0
    forbidden: tuple[tuple[_Address, _Address], ...] = ()


class Timing(_Part, frozen=True):
    """How patient one must be with this model; all in milliseconds.

    `response_timeout_ms` is waited for the first byte of a reply, beyond the time on the wire.
    `late_reply_ms` is how late, counted alike, a reply may come at the very worst; until then a
    meter that did not answer is not asked again (default: twice the response timeout).
    `frame_pause_ms` is kept between a reply and the next request, beyond the 3.5 characters of
    the standard; `id_switch_pause_ms` instead of it when the next request is for another address.
    """

    response_timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 500
    late_reply_ms: _Milliseconds | None = None
    frame_pause_ms: _Milliseconds = 0
    id_switch_pause_ms: _Milliseconds = 0

    @property
    def late_after_timeout_s(self) -> float:
        """Seconds after a request was given up until no reply to it can come any more."""
        late_ms = self.late_reply_ms
        if late_ms is None:
            late_ms = 2 * self.response_timeout_ms
        return (late_ms - self.response_timeout_ms) / 1000


class SerialSettings(_Part, frozen=True):
    """What the model's serial port can be set to."""

    baud: Annotated[tuple[_Positive, ...], msgspec.Meta(min_length=1)]
    parity: Annotated[tuple[Parity, ...], msgspec.Meta(min_length=1)]
    stop_bits: tuple[Literal[1, 2], ...] = (1,)


class Rating(_Part, frozen=True):
    """What bounds the energy that a meter can truly count.

    Its phases, the nominal voltage between phase and neutral, the greatest current of a phase.
    """

    phases: Literal[1, 3]
    u_n_v: Decimal
    i_max_a: Decimal


class MeterProfile(_Part, frozen=True):
    """How one meter model is read. `source` says where the facts come from.

    Shapes: `registers` has each OBIS code once; addresses are those of the wire, 0-based.
    """

    profile: _Name
    model: _Text
    source: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1)]
    function: _Function
    registers: Annotated[tuple[MappedRegister, ...], msgspec.Meta(min_length=1)]
    order: Order = Order.ABCD
    sentinels: Sentinels = Sentinels()
    requests: Requests = Requests()
    timing: Timing = Timing()
    serial: SerialSettings | None = None
    rating: Rating | None = None
    notes: str = ""

    @property
    def name(self) -> str:
        """The name by which station files call it."""
        return self.profile
