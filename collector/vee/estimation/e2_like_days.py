"""E2 like days: the average of the same days of the week before.

Oracle Utilities "Interval Averaging"; AEMO 14 and 15 (retrospective average like day); California:
gaps beyond two hours, by the average of selected reference days.
"""

from datetime import date, timedelta

from collector.civil import format_instant
from collector.vee.estimation.wanted import (
    NO_HISTORY,
    NO_START,
    TOO_FAR,
    Answer,
    Days,
    MethodLimits,
    Unusable,
    Wanted,
    shaped,
)


class Limits(MethodLimits, frozen=True, forbid_unknown_fields=True):
    """How many like days are averaged, at least and at most, and how far back they may lie."""

    like_days: Days
    like_days_min: Days
    days_back_max: Days
    days_max: Days


def move(wanted: Wanted, limits: Limits) -> Answer | Unusable:
    """The averages of the days up to `at`, as a share of what was counted if that is known."""
    if wanted.before is None:
        return NO_START
    if not 0 < len(wanted.days_before) <= limits.days_max:
        return TOO_FAR
    used: set[date] = set()
    energies = [_average(wanted, day, limits, used) for day in wanted.days_before]
    later = [_average(wanted, day, limits, used) for day in wanted.days_after]
    if None in energies or None in later:
        return NO_HISTORY
    moved = shaped(wanted, sum(one or 0 for one in energies), sum(one or 0 for one in later))
    if moved is None:
        return Unusable("no_shape")
    return Answer(
        moved,
        {
            "before_at": format_instant(wanted.before.at),
            "before_wh": wanted.before.value,
            "like_days": " ".join(day.isoformat() for day in sorted(used)),
        },
    )


def _average(wanted: Wanted, day: date, limits: Limits, used: set[date]) -> int | None:
    first = wanted.days_before[0]
    earliest = first - timedelta(days=limits.days_back_max)
    like = sorted(
        (
            one
            for one in wanted.history
            if earliest <= one.day < first and one.day.weekday() == day.weekday()
        ),
        reverse=True,
    )[: limits.like_days]
    if len(like) < limits.like_days_min:
        return None
    used.update(one.day for one in like)
    return sum(one.energy_wh for one in like) // len(like)
