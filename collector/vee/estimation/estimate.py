"""The chain of methods: which is tried when, and what holds of every estimate.

An estimate lies between the good indices around it, is made of one installation's values alone,
says its method and inputs, and carries what was read in its place. It must not know how a method
computes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from collector.vee.estimation import (
    e1_linear,
    e2_like_days,
    e3_previous,
    e4_profile,
    e5_agreed,
    e6_three_cycles,
)
from collector.vee.estimation.wanted import Answer, Unusable, Wanted
from collector.vee.reads import DailyIndex
from collector.vee.rule import mark as _
from collector.vee.values import Fact

Method = Literal["E1", "E2", "E3", "E4", "E5", "E6"]

METHODS: Mapping[Method, Callable[[Wanted, Any], Answer | Unusable]] = {
    "E1": e1_linear.move,
    "E2": e2_like_days.move,
    "E3": e3_previous.move,
    "E4": e4_profile.move,
    "E5": e5_agreed.move,
    "E6": e6_three_cycles.move,
}

# What is approved by a person who answers for it, whoever had it computed.
APPROVED = frozenset({"E5", "E6"})

TITLES: Mapping[Method, str] = {
    "E1": _("On the line between two good indices"),
    "E2": _("Average of the same days of the week"),
    "E3": _("As in the previous period, or a year ago"),
    "E4": _("As the meters of the same price group and station"),
    "E5": _("Agreed, or given by a person"),
    "E6": _("Average of the three billing periods before"),
}


class EstimationLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chain of preference, and each method's limits."""

    chain: tuple[Method, ...]
    E1: e1_linear.Limits
    E2: e2_like_days.Limits
    E3: e3_previous.Limits
    E4: e4_profile.Limits
    E6: e6_three_cycles.Limits


@dataclass(frozen=True, slots=True)
class Estimate:
    """An index in the register's unit, with how it came about.

    `original` is what stood for the instant before; it is kept. `approval`: it counts only when a
    person who answers for it has approved it.
    """

    method: Method
    register: str
    at: datetime
    value: int
    inputs: Mapping[str, Fact]
    original: DailyIndex | None
    approval: bool


@dataclass(frozen=True, slots=True)
class NotEstimable:
    """No method could be used: why, by method; by `""` where none was tried."""

    reasons: Mapping[str, str]


def estimate(
    wanted: Wanted, limits: EstimationLimits, chain: Sequence[Method] | None = None
) -> Estimate | NotEstimable:
    """The answer of the first method that can be used; of `chain` if one is given."""
    if not wanted.counts(wanted.at):
        return NotEstimable({"": "not_installed"})
    known = wanted.within_installation()
    total_wh = known.between_wh()
    if known.before is not None and known.after is not None and total_wh is None:
        return NotEstimable({"": "index_fell"})
    reasons: dict[str, str] = {}
    for method in limits.chain if chain is None else chain:
        answer = METHODS[method](known, getattr(limits, method, None))
        if isinstance(answer, Unusable):
            reasons[method] = answer.reason
        elif answer.moved_wh < 0:
            reasons[method] = "index_fell"
        elif total_wh is not None and answer.moved_wh > total_wh:
            reasons[method] = "beyond_next_index"
        else:
            assert known.before is not None, "every method starts from an index"
            return Estimate(
                method,
                wanted.register,
                wanted.at,
                _shown(known.before.value + answer.moved_wh, wanted.roll_over_wh),
                answer.inputs,
                wanted.original,
                method in APPROVED,
            )
    return NotEstimable(reasons or {"": "no_method"})


def _shown(value: int, roll_over_wh: int | None) -> int:
    """What the register would show, past its highest value too."""
    return value if roll_over_wh is None else value % roll_over_wh
