"""E1 linear: on the straight line between two good indices.

Oracle Utilities "Interval Interpolation"; AEMO 17 and 54; California: up to two hours point to
point, and an interval in which the supply failed is no end point.
"""

from datetime import timedelta

from collector.civil import format_instant
from collector.vee.estimation.wanted import (
    MICROSECOND,
    NOT_GIVEN,
    TOO_FAR,
    Answer,
    Days,
    MethodLimits,
    Unusable,
    Wanted,
)


class Limits(MethodLimits, frozen=True, forbid_unknown_fields=True):
    """The widest gap between any two indices, and between two daily ones."""

    gap_max_min: int
    days_max: Days


def move(wanted: Wanted, limits: Limits) -> Answer | Unusable:
    """By time, rounded down: so the rest of the way is never less than its share."""
    before, after = wanted.before, wanted.after
    if before is None or after is None:
        return NOT_GIVEN
    if before.outage or after.outage:
        return Unusable("outage")
    if not before.at <= wanted.at <= after.at or before.at == after.at:
        return Unusable("not_between")
    gap = after.at - before.at
    daily = before.daily and after.daily
    widest = timedelta(days=limits.days_max) if daily else timedelta(minutes=limits.gap_max_min)
    if gap > widest:
        return TOO_FAR
    total_wh = wanted.between_wh()
    if total_wh is None:
        return Unusable("index_fell")
    moved = total_wh * ((wanted.at - before.at) // MICROSECOND) // (gap // MICROSECOND)
    return Answer(
        moved,
        {
            "before_at": format_instant(before.at),
            "before_wh": before.value,
            "after_at": format_instant(after.at),
            "after_wh": after.value,
        },
    )
