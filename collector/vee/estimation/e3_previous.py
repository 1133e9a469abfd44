"""E3 previous period or year: as much a day as then.

Oracle Utilities "Scalar Estimation"; AEMO 61 (previous year), 62 (previous read).
"""

from typing import Literal

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
    """Which is taken first; how many days the reference must have."""

    prefer: tuple[Literal["last_period", "last_year"], ...]
    days_min: Days
    days_max: Days


def move(wanted: Wanted, limits: Limits) -> Answer | Unusable:
    """The reference's energy times days over its days, rounded down."""
    if wanted.before is None:
        return NO_START
    days = len(wanted.days_before)
    if not 0 < days <= limits.days_max:
        return TOO_FAR
    for name in limits.prefer:
        reference = wanted.last_period if name == "last_period" else wanted.last_year
        if reference is not None and reference.days >= limits.days_min:
            return Answer(
                reference.energy_wh * days // reference.days,
                {
                    "before_at": format_instant(wanted.before.at),
                    "before_wh": wanted.before.value,
                    "reference": name,
                    "reference_wh": reference.energy_wh,
                    "reference_days": reference.days,
                    "days": days,
                },
            )
    return NO_HISTORY
