"""E6 three cycles: the average a day of the three billing periods before.

What is billed in Viet Nam for a meter that has stopped: energy of three periods over their days,
times the days (the law leaves it to the ministry, 61/2024/QH15 Art. 48(6)). Whoever answers for it
approves it.
"""

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
)


class Limits(MethodLimits, frozen=True, forbid_unknown_fields=True):
    """How many periods are averaged, all of which must be there."""

    cycles: Days
    days_max: Days


def move(wanted: Wanted, limits: Limits) -> Answer | Unusable:
    """All energy over all days, times the days; rounded down once."""
    if wanted.before is None:
        return NO_START
    days = len(wanted.days_before)
    if not 0 < days <= limits.days_max:
        return TOO_FAR
    cycles = wanted.cycles[: limits.cycles]
    if len(cycles) < limits.cycles or any(one.days < 1 for one in cycles):
        return NO_HISTORY
    energy_wh, cycle_days = sum(one.energy_wh for one in cycles), sum(one.days for one in cycles)
    return Answer(
        energy_wh * days // cycle_days,
        {
            "before_at": format_instant(wanted.before.at),
            "before_wh": wanted.before.value,
            "cycles_wh": energy_wh,
            "cycles_days": cycle_days,
            "days": days,
        },
    )
