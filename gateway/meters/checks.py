"""One check of a probe: something to ask a meter, and what the answer says about its model.

Owns the shape of a check in a profile and its evaluation. It must not know how answers are had.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Annotated

import msgspec

from gateway.meters.attributes import AttributeType, text_of
from gateway.meters.shape import REGS_MAX, Address, Function, Shape, Text
from gateway.meters.wire import Order, Raw, reader

# Modbus Application Protocol V1.1b3, 7: what a meter says to a request that it never understands.
REFUSALS = frozenset({1, 2, 3})


@dataclass(frozen=True, slots=True)
class RegistersQuestion:
    """Read `count` registers from the wire address `address` with that function code."""

    function: int
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class ObjectQuestion:
    """Read one object of the device identification (function 43/14): 0 is the vendor's name."""

    number: int


Question = RegistersQuestion | ObjectQuestion


@dataclass(frozen=True, slots=True)
class Refused:
    """The meter answered with a Modbus exception."""

    code: int


Answer = bytes | Refused | None
"""The bytes of the registers or of the object, an exception, or None for no usable reply."""


class Outcome(Enum):
    """What an answer says: it fits the model, it cannot come from it, or it tells nothing."""

    FITS = "fits"
    CONTRADICTS = "contradicts"
    UNDECIDED = "undecided"


class Check(Shape, frozen=True):
    """One question to a meter, with exactly one condition on the answer.

    It asks for `address` with `type` (a number, or `string` with `regs`), or for the `object` of
    the device identification, which is text. Conditions: `equals` one of these numbers,
    `none_of` them, `starts_with` one of these texts, raw × `scale` is `between` two numbers (both
    included), `not_zero`, `absent`, or `readable` at all (false: refused). A value that is 0 tells
    nothing where `not_zero` is asked, because a new meter has counted nothing. `absent` is what is
    refused, 0 or no number, since models differ in how they answer for what they lack. `says` is
    what a fitting answer shows.
    """

    says: Text
    address: Address | None = None
    object: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    type: AttributeType = AttributeType.U16
    regs: Annotated[int, msgspec.Meta(ge=1, le=REGS_MAX)] | None = None
    order: Order | None = None
    function: Function | None = None
    scale: Decimal = Decimal(1)
    equals: tuple[int, ...] = ()
    none_of: tuple[int, ...] = ()
    starts_with: tuple[Text, ...] = ()
    between: tuple[Decimal, Decimal] | None = None
    not_zero: bool = False
    absent: bool = False
    readable: bool | None = None

    @property
    def is_text(self) -> bool:
        """Whether the answer is text."""
        return self.object is not None or self.type is AttributeType.STRING

    @property
    def identifies(self) -> bool:
        """Whether a fitting answer names the model, and does not only look like it."""
        return bool(self.equals or self.starts_with)

    def question(self, function: int) -> Question:
        """What to ask; `function` is the profile's."""
        if self.object is not None:
            return ObjectQuestion(self.object)
        assert self.address is not None
        wire_type = self.type.wire_type
        count = (self.regs or 1) if wire_type is None else wire_type.regs
        return RegistersQuestion(self.function or function, self.address, count)

    def outcome(self, answer: Answer, order: Order) -> Outcome:
        """What `answer` says about the model; `order` is that of the profile, or one to try."""
        if answer is None:
            return Outcome.UNDECIDED
        if isinstance(answer, Refused):
            return self._of_refusal(answer)
        if self.readable is not None:
            return Outcome.FITS if self.readable else Outcome.CONTRADICTS
        if self.is_text:
            order = Order.ABCD if self.object is not None else self.order or order
            return _fits((text_of(answer, order) or "").startswith(self.starts_with))
        return self._of_number(answer, self.order or order)

    def _of_refusal(self, answer: Refused) -> Outcome:
        if self.object is not None or answer.code not in REFUSALS:
            return Outcome.UNDECIDED  # many a bridge has no device identification
        return _fits(self.absent or self.readable is False)

    def _of_number(self, answer: bytes, order: Order) -> Outcome:
        wire_type = self.type.wire_type
        assert wire_type is not None
        if len(answer) != 2 * wire_type.regs:
            return Outcome.UNDECIDED
        raw = reader(wire_type, order)(answer, 0)[0]
        if self.between is not None:
            return self._of_range(raw, *self.between)
        has_value = math.isfinite(raw) and raw != 0
        if self.not_zero:
            return Outcome.FITS if has_value else Outcome.UNDECIDED
        if self.absent:
            return _fits(not has_value)
        return _fits(raw in self.equals if self.equals else raw not in self.none_of)

    def _of_range(self, raw: Raw, low: Decimal, high: Decimal) -> Outcome:
        if not math.isfinite(raw):
            return Outcome.UNDECIDED
        return _fits(Fraction(low) <= Fraction(raw) * Fraction(self.scale) <= Fraction(high))


def check_faults(check: Check) -> Iterator[tuple[str, str]]:
    """Key and reason of everything in a well-shaped check that makes no sense."""
    conditions = {
        "equals": bool(check.equals),
        "none_of": bool(check.none_of),
        "starts_with": bool(check.starts_with),
        "between": check.between is not None,
        "not_zero": check.not_zero,
        "absent": check.absent,
        "readable": check.readable is not None,
    }
    given = [name for name, is_given in conditions.items() if is_given]
    if len(given) != 1:
        yield "", f"needs exactly one condition, has {', '.join(given) or 'none'}"
    if (check.address is None) == (check.object is None):
        yield "", "needs either address or object"
    if check.type is AttributeType.BITS:
        yield "type", "bits cannot be checked; use u16 with equals or none_of"
    if check.type is AttributeType.STRING and check.address is not None and check.regs is None:
        yield "regs", "text needs the number of its registers"
    for name in given:
        if name != "readable" and check.is_text != (name == "starts_with"):
            yield name, "is for text" if name == "starts_with" else "is for numbers"
    if check.between is not None and not check.between[0] <= check.between[1]:
        yield "between", "its first number is above its second"


def _fits(condition: bool) -> Outcome:
    return Outcome.FITS if condition else Outcome.CONTRADICTS
