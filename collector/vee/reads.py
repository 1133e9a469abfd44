"""Reads and daily indices as the rules see them.

Facts about one register of one installation; it must not know where they are stored.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class Origin(StrEnum):
    """Where an index comes from."""

    SLOT = "slot"  # the read of the scan due at that very instant, by a clock that was right
    NEAREST = "nearest"  # the nearest read within a window
    SPOT = "spot"  # written down at an exchange
    HAND = "hand"  # read by a person, who has put name and time to it
    EDIT = "edit"  # put in the place of what was read, with a reason
    ESTIMATE = "estimate"  # computed


class Read(NamedTuple):
    """A register's value in its unit at the instant `at`, and the slot that it was read for.

    `unsure`: the clock that dated it was not known to be right.
    """

    at: datetime
    value: int
    slot: datetime
    unsure: bool = False
    origin: Origin = Origin.SLOT


class DailyIndex(NamedTuple):
    """The index that stands for the start of a civil day, `at`, and when it was really read.

    `window_min` is the window, in minutes, that it was found in; None for what needed none.
    """

    at: datetime
    value: int
    read_at: datetime
    origin: Origin
    window_min: int | None = None

    @property
    def distance(self) -> timedelta:
        """How long after the day's start it was read; negative: before."""
        return self.read_at - self.at

    @property
    def measured(self) -> bool:
        """Whether a register showed it, to the gateway or to a person."""
        return self.origin not in {Origin.EDIT, Origin.ESTIMATE}
