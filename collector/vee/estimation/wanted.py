"""The index that is to be estimated, and everything that a method may use.

All values are the register's own, of one installation. It must not know any method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec

from collector.vee.negative_consumption import Step, step
from collector.vee.reads import DailyIndex
from collector.vee.values import Energy, Fact

Days = Annotated[int, msgspec.Meta(ge=1, le=400)]


class MethodLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method's section of the limits file."""


class Anchor(NamedTuple):
    """A good index to start from or to arrive at.

    `daily`: it stands for a day's start. `outage`: the supply failed in the interval that it ends.
    """

    at: datetime
    value: int
    daily: bool = True
    outage: bool = False


class DayEnergy(NamedTuple):
    """What a register moved by on one civil day, from `from_at` to `to_at`."""

    day: date
    from_at: datetime
    to_at: datetime
    energy_wh: int


class Agreed(NamedTuple):
    """An index that was agreed on with the customer or set by a person."""

    value: int
    author: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The index of `register` that is wanted for the instant `at`.

    `days_before` are the civil days from the anchor before it to `at`, `days_after` those from `at`
    to the anchor after it. `profile` has what a meter like this one uses on a day, in Wh.
    """

    register: str
    at: datetime
    installed_at: datetime
    removed_at: datetime | None = None
    before: Anchor | None = None
    after: Anchor | None = None
    days_before: Sequence[date] = ()
    days_after: Sequence[date] = ()
    history: Sequence[DayEnergy] = ()
    last_period: Energy | None = None
    last_year: Energy | None = None
    profile: Mapping[date, int] = field(default_factory=dict)
    cycles: Sequence[Energy] = ()  # the last billing periods, newest first
    agreed: Agreed | None = None
    roll_over_wh: int | None = None
    original: DailyIndex | None = None

    def counts(self, at: datetime) -> bool:
        """Whether this installation was there at an instant, both ends included."""
        return self.installed_at <= at and (self.removed_at is None or at <= self.removed_at)

    def within_installation(self) -> "Wanted":
        """The same without anything that another installation may have counted."""
        after = self.after if self.after and self.counts(self.after.at) else None
        return replace(
            self,
            before=self.before if self.before and self.counts(self.before.at) else None,
            after=after,
            days_after=() if after is None else self.days_after,
            history=[
                one for one in self.history if self.counts(one.from_at) and self.counts(one.to_at)
            ],
        )

    def between_wh(self) -> int | None:
        """What the register moved by from anchor to anchor; None: it fell, unexplained."""
        if self.before is None or self.after is None:
            return None
        elapsed = self.after.at - self.before.at
        match step(self.before.value, self.after.value, self.roll_over_wh, elapsed):
            case Step.FORWARD:
                return self.after.value - self.before.value
            case Step.ROLL_OVER:
                assert self.roll_over_wh is not None, "without a modulus nothing rolls over"
                return self.after.value + self.roll_over_wh - self.before.value
            case Step.BACKWARD:
                return None


class Answer(NamedTuple):
    """What a method says: how far beyond the anchor before it the index is, and from what."""

    moved_wh: int
    inputs: Mapping[str, Fact]


class Unusable(NamedTuple):
    """Why a method cannot be used here: a code."""

    reason: str


NO_START = Unusable("no_index_before")
TOO_FAR = Unusable("too_far")
NO_HISTORY = Unusable("no_history")
NOT_GIVEN = Unusable("not_given")

MICROSECOND = timedelta(microseconds=1)


def shaped(wanted: Wanted, before_wh: int, after_wh: int) -> int | None:
    """How much of what lies between two anchors falls before `at`, by weights on either side.

    Without an anchor after it the weight itself. None where the weights say nothing.
    """
    if wanted.after is None:
        return before_wh
    total_wh, weight = wanted.between_wh(), before_wh + after_wh
    return None if total_wh is None or weight == 0 else total_wh * before_wh // weight
