"""The quality bits that travel with each meter read.

They say how a read came to be, as the gateway saw it; whether a value is believable is decided
later, by VEE in the collector, and never written back into these bits.
"""

from enum import IntFlag


class Quality(IntFlag):
    """A set of facts about one meter read; 0 is an ordinary read."""

    CLOCK_UNSYNCED = 1 << 0  # the gateway's clock was not synchronised when it was taken
    RESTAMPED = 1 << 1  # dated afterwards, from the monotonic clock of the same boot
    PARTIAL = 1 << 2  # some registers that the meter profile has could not be read
    BACKFILLED = 1 << 3  # taken from the meter's own load profile
    METER_CLOCK_INVALID = 1 << 4  # the meter reports that its own clock is not valid
    LATE = 1 << 5  # read again after the slot's first pass had missed it
