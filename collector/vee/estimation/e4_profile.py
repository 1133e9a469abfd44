"""E4 profile: as the meters of the same price group at the same station on the same days.

Oracle Utilities "Interval and Scalar Profile Estimation"; AEMO 57 and 63 (customer class).
"""

from collector.civil import format_instant
from collector.vee.estimation.wanted import (
    NO_START,
    NOT_GIVEN,
    TOO_FAR,
    Answer,
    Days,
    MethodLimits,
    Unusable,
    Wanted,
    shaped,
)


class Limits(MethodLimits, frozen=True, forbid_unknown_fields=True):
    """How many days it may bridge."""

    days_max: Days


def move(wanted: Wanted, limits: Limits) -> Answer | Unusable:
    """The profile's days up to `at`, as a share of what was counted if that is known."""
    if wanted.before is None:
        return NO_START
    if not 0 < len(wanted.days_before) <= limits.days_max:
        return TOO_FAR
    if any(day not in wanted.profile for day in (*wanted.days_before, *wanted.days_after)):
        return NOT_GIVEN
    before_wh = sum(wanted.profile[day] for day in wanted.days_before)
    after_wh = sum(wanted.profile[day] for day in wanted.days_after)
    moved = shaped(wanted, before_wh, after_wh)
    if moved is None:
        return Unusable("no_shape")
    return Answer(
        moved,
        {
            "before_at": format_instant(wanted.before.at),
            "before_wh": wanted.before.value,
            "profile_before_wh": before_wh,
            "profile_after_wh": after_wh,
        },
    )
