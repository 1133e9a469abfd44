"""What speaks for a meter profile, in words with the values that the meter gave.

For people who must decide; the decision itself is `gateway.meters.probe`'s. It must not know how
answers are had.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from contract.registers import Register
from gateway.meters.attributes import text_of
from gateway.meters.checks import Answer, Check, Outcome, Question, RegistersQuestion
from gateway.meters.profile import MeterProfile
from gateway.meters.wire import Order, reader

_DIGITS = 6
_KILO_DECIMALS = 3


def evidence(
    profile: MeterProfile, order: Order, answers: Mapping[Question, Answer]
) -> tuple[str, ...]:
    """Each check that fits, as `phase 1 has a voltage (231.4)`; those that name the model first."""
    fitting = [
        (check, answer)
        for check in profile.probe
        if check.outcome(answer := answers.get(check.question(profile.function)), order)
        is Outcome.FITS
    ]
    fitting.sort(key=lambda pair: not pair[0].identifies)
    return tuple(_said(check, answer, order) for check, answer in fitting)


def displayed(value: int, register: Register, resolution: Decimal | None) -> str:
    """An energy as displays show it: in thousands, with the decimals of the meter's own step."""
    step = Decimal(1) if resolution is None else resolution
    decimals = max(0, _KILO_DECIMALS - max(0, step.adjusted()))
    return f"{Decimal(value).scaleb(-_KILO_DECIMALS):.{decimals}f} k{register.unit.value}"


def _said(check: Check, answer: Answer, order: Order) -> str:
    value = _value(check, answer, order)
    return f"{check.says} ({value})" if value else check.says


def _value(check: Check, answer: Answer, order: Order) -> str:
    if not isinstance(answer, bytes) or check.absent or check.readable is not None:
        return ""
    order = check.order or order
    if check.is_text:
        if isinstance(check.question(0), RegistersQuestion):
            return text_of(answer, order) or ""
        return answer.decode("ascii", "replace").strip()
    wire_type = check.type.wire_type
    assert wire_type is not None, "checks are of numbers or text"
    raw = reader(wire_type, order)(answer, 0)[0]
    if not math.isfinite(raw):
        return ""
    value = Fraction(raw) * Fraction(check.scale)
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.{_DIGITS}g}"
