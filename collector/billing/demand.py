"""The maximum demand of a period (Pmax, OBIS 1.6.0), from a register that somebody resets somewhen.

Pure functions over reads; it must not know where they are kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

_ONE_DAY = timedelta(days=1)


class DemandRead(NamedTuple):
    """What the register showed at an instant: whole W, the multiplier not counted in."""

    at: datetime
    power_w: int


@dataclass(frozen=True, slots=True)
class PeakDemand:
    """A period's maximum demand at a point, by one meter, the multiplier counted in.

    `after` is the read before the one that showed it, where no more than a day lies between:
    it was reached on the day that begins there. None: that is not known.
    """

    point: str
    meter: str
    power_w: int
    after: datetime | None = None


def peak(
    reads: Iterable[DemandRead], *, is_new: bool, ratio: Fraction
) -> tuple[int, datetime | None] | None:
    """The highest power that was reached between the first read and the last: W, `after`.

    The register holds the highest since it was reset, which may have been before the period. So
    a value counts where it grew, or where it fell: then it was reset, and was reached since. With
    `is_new` (the meter was put in within the period) the first read counts too. None: nothing
    shows it.
    """
    found = sorted(reads)
    counted: list[tuple[int, datetime | None]] = []
    if is_new and found:
        counted.append((found[0].power_w, None))
    for before, read in pairwise(found):
        if read.power_w != before.power_w:
            is_near = read.at - before.at <= _ONE_DAY + timedelta(hours=1)
            counted.append((read.power_w, before.at if is_near else None))
    if not counted:
        return None
    power_w, after = max(counted, key=lambda one: one[0])
    return power_w * ratio.numerator // ratio.denominator, after
