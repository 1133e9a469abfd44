"""A register's reads as energies of half-hours, each from what was read at its two ends.

Pure functions over reads; it must not know where they come from. Nothing is estimated here: a
half-hour without both ends is not there.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from collector.billing.exports.espi import Interval, Quality
from collector.billing.exports.intervals import Known, intervals_of
from collector.civil import day_start
from collector.registry.values import Multiplier
from collector.vee.daily_index import ZERO_LOOKBACK

HALF_HOUR = timedelta(minutes=30)
_DAY = timedelta(days=1)

# A read this far from its slot is as near to the next one: it says nothing of either.
OFF_MAX = timedelta(minutes=15)


class Due(NamedTuple):
    """A register's value, when it was read, and the slot that it was read for.

    `unsure`: the clock that dated it was not known to be right. `again`: it was read again after
    the first pass had missed it.
    """

    at: datetime
    value: int
    slot: datetime
    unsure: bool = False
    again: bool = False


def half_hours(first_day: date, last_day: date, zone: str) -> list[datetime]:
    """The ends of the half-hours of these days, both days included, counted from each midnight."""
    found: list[datetime] = []
    day = first_day
    while day <= last_day:
        at, end = day_start(day, zone), day_start(day + _DAY, zone)
        while at < end:
            found.append(at)
            at += HALF_HOUR
        day += _DAY
    return [*found, day_start(day, zone)]


def ends_of(reads: Iterable[Due], starts: Collection[datetime]) -> dict[datetime, Known]:
    """What was read for each of `starts`, of one register of one meter.

    A zero is passed over where the register stood above zero within the day before it, as daily
    indices have it; so is what a wrong clock dated, and what was read nearer to another half-hour.
    """
    found: dict[datetime, Due] = {}
    counted_at: datetime | None = None
    for read in sorted(reads):
        if read.value > 0:
            counted_at = read.at
        elif counted_at is not None and read.at - counted_at <= ZERO_LOOKBACK:
            continue
        if read.unsure or read.slot not in starts or abs(read.at - read.slot) >= OFF_MAX:
            continue
        other = found.get(read.slot)
        if other is None or _order(read) < _order(other):
            found[read.slot] = read
    return {
        slot: Known(slot, read.value, Quality.DERIVED if read.again else Quality.VALID)
        for slot, read in found.items()
    }


def half_hour_intervals(
    indices: Iterable[Known],
    starts: Sequence[datetime],
    ratios: Sequence[Multiplier],
    roll_over: int | None,
) -> list[Interval]:
    """What one meter counted between successive indices within a half-hour, in order of time.

    `starts` are ascending. An exchange cuts a half-hour; over a lacking index there is no interval.
    """
    found = []
    for one in intervals_of(list(indices), ratios, roll_over):
        place = bisect_right(starts, one.from_at)
        if place < len(starts) and one.to_at <= starts[place]:
            found.append(one)
    return found


def _order(read: Due) -> tuple[bool, bool, timedelta, datetime]:
    return read.value == 0, read.again, abs(read.at - read.slot), read.at
