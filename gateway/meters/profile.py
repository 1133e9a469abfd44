"""Meter profiles: how one meter model is read, as data.

Owns the shape of a profile. It must not know where files are, nor how requests are sent.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contract.limits import ENERGY_MAX
from contract.registers import BY_OBIS, Register
from gateway.meters.attributes import Attribute
from gateway.meters.checks import Check
from gateway.meters.shape import (
    REGS_MAX,
    Address,
    Evidence,
    Function,
    Milliseconds,
    Name,
    Positive,
    Shape,
    Text,
)
from gateway.meters.wire import Order, WireType


class Parity(StrEnum):
    """The parity of a serial line: none, even, odd."""

    NONE = "N"
    EVEN = "E"
    ODD = "O"


class MappedRegister(Shape, frozen=True):
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
    address: Address
    type: WireType
    scale: Decimal = Decimal(1)
    resolution: Decimal | None = None
    order: Order | None = None
    function: Function | None = None
    sentinels: tuple[int, ...] | None = None
    optional: bool = False
    roll_over: Annotated[int, msgspec.Meta(gt=0, le=ENERGY_MAX)] | None = None
    manual: Text | None = None

    @property
    def end(self) -> int:
        """The address after its last 16-bit register."""
        return self.address + self.type.regs

    @property
    def register(self) -> Register:
        """Its row in the catalogue."""
        return BY_OBIS[self.obis]


class Sentinels(Shape, frozen=True):
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


class Requests(Shape, frozen=True):
    """What one read request may ask for.

    At most `max_regs` registers; at most `max_gap` unwanted ones in a row between wanted ones;
    none of the `forbidden` ranges, each [first, last], both inclusive.
    """

    max_regs: Annotated[int, msgspec.Meta(ge=1, le=REGS_MAX)] = REGS_MAX
    max_gap: Annotated[int, msgspec.Meta(ge=0, le=REGS_MAX)] = 0
    forbidden: tuple[tuple[Address, Address], ...] = ()


class Timing(Shape, frozen=True):
    """How patient one must be with this model; all in milliseconds.

    `response_timeout_ms` is waited for the first byte of a reply, beyond the time on the wire.
    `late_reply_ms` is how late, counted alike, a reply may come at the very worst; until then a
    meter that did not answer is not asked again (default: twice the response timeout).
    `frame_pause_ms` is kept between a reply and the next request, beyond the 3.5 characters of
    the standard; `id_switch_pause_ms` instead of it when the next request is for another address.
    """

    response_timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 500
    late_reply_ms: Milliseconds | None = None
    frame_pause_ms: Milliseconds = 0
    id_switch_pause_ms: Milliseconds = 0

    @property
    def late_after_timeout_s(self) -> float:
        """Seconds after a request was given up until no reply to it can come any more."""
        late_ms = self.late_reply_ms
        if late_ms is None:
            late_ms = 2 * self.response_timeout_ms
        return (late_ms - self.response_timeout_ms) / 1000


class SerialSettings(Shape, frozen=True):
    """What the model's serial port can be set to."""

    baud: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)]
    parity: Annotated[tuple[Parity, ...], msgspec.Meta(min_length=1)]
    stop_bits: tuple[Literal[1, 2], ...] = (1,)


class Rating(Shape, frozen=True):
    """What bounds the energy that a meter can truly count.

    Its phases, the nominal voltage between phase and neutral, the greatest current of a phase.
    """

    phases: Literal[1, 3]
    u_n_v: Decimal
    i_max_a: Decimal


class MeterProfile(Shape, frozen=True):
    """How one meter model is read. `source` says where the facts come from, `status` how good.

    Shapes: `registers` has each OBIS code once; addresses are those of the wire, 0-based.
    `family` groups models in lists; `traps` are what goes wrong with this model, for people.
    `probe` is how it is told from other models, `other_orders` the word orders besides `order`
    to which its users may have set it. `attributes` is what it says about itself.
    """

    profile: Name
    model: Text
    source: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    function: Function
    registers: Annotated[tuple[MappedRegister, ...], msgspec.Meta(min_length=1)]
    order: Order = Order.ABCD
    sentinels: Sentinels = Sentinels()
    requests: Requests = Requests()
    timing: Timing = Timing()
    serial: SerialSettings | None = None
    rating: Rating | None = None
    protocol: Literal["modbus"] = "modbus"
    status: Evidence = Evidence.MAP
    family: Text | None = None
    other_orders: tuple[Order, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    probe: tuple[Check, ...] = ()
    traps: tuple[Text, ...] = ()
    notes: str = ""

    @property
    def name(self) -> str:
        """The name by which station files call it."""
        return self.profile
