"""The daily index: which read stands for the start of each civil day.

1. The read of the scan due at that instant, by a clock that was right.
2. Failing that the nearest in the narrowest window that has one; in a window, a read by a clock
   that was right before one that was not.
3. A read between two days' starts may serve either of them; where both lack an index it serves the
   nearer, the earlier if it is as near to both. So one read never serves two days, and the reads of
   successive days are in their order.

What is chosen for a day depends on the reads from one day before it to one day after it, and on
nothing else: whoever asks for another period gets the same index, and consumptions add up. It must
not know what the index is used for, nor judge whether it is believable.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from collector.vee.reads import DailyIndex, Origin, Read

# Two civil days begin at least 23 hours apart (where clocks are put forward): a read that is nearer
# than this to one start is so to no other.
NEAR_MAX = timedelta(hours=11)

# The widest window: it ends where the days on either side begin.
WIDE_MAX = timedelta(hours=24)

# A zero is passed over if the register stood above zero in this time before it.
ZERO_LOOKBACK = timedelta(hours=24)

_MINUTE = timedelta(minutes=1)
_NOTHING: Mapping[datetime, DailyIndex] = {}

_Key = tuple[int, bool, timedelta, datetime]


def daily_indices(
    reads: Sequence[Read],
    starts: Sequence[datetime],
    windows_min: Sequence[int],
    fixed: Mapping[datetime, DailyIndex] = _NOTHING,
) -> list[DailyIndex | None]:
    """The index at each of `starts` but the first and the last, None where there is none.

    `starts` are the starts of successive days; the two at the ends are only looked at as
    neighbours. `reads` are one register's of one installation, each instant once, in any order.
    `windows_min` widen. What is `fixed` (edits, estimates) stands for its day in place of any read.
    """
    settled = _own(reads, starts, fixed)
    if None not in settled:
        return settled[1:-1]
    believed = _believed(reads, fixed)
    windows = [window * _MINUTE for window in windows_min]
    settled = [
        pick if pick is not None else _near(believed, start, windows)
        for start, pick in zip(starts, settled, strict=True)
    ]
    return [
        settled[place]
        if settled[place] is not None
        else _wide(believed, place, starts, settled, windows)
        for place in range(1, len(starts) - 1)
    ]


def _own(
    reads: Sequence[Read], starts: Sequence[datetime], fixed: Mapping[datetime, DailyIndex]
) -> list[DailyIndex | None]:
    """What is fixed, or read for the very instant by a clock that was right."""
    found: dict[datetime, Read] = {}
    wanted = set(starts)
    zeros = False
    for read in reads:
        slot = read.slot
        if slot not in wanted or read.unsure or abs(read.at - slot) > NEAR_MAX:
            continue
        zeros = zeros or read.value == 0
        other = found.get(slot)
        if other is None or _own_order(read) < _own_order(other):
            found[slot] = read
    if zeros:
        stale = _stale_zeros(reads)
        found = {slot: read for slot, read in found.items() if read.at not in stale}
    picks: list[DailyIndex | None] = []
    for start in starts:
        own = found.get(start)
        if start in fixed:
            picks.append(fixed[start])
        elif own is None:
            picks.append(None)
        else:
            picks.append(DailyIndex(start, own.value, own.at, own.origin))
    return picks


def _own_order(read: Read) -> tuple[bool, timedelta, datetime]:
    return read.value == 0, abs(read.at - read.slot), read.at


def _stale_zeros(reads: Sequence[Read]) -> set[datetime]:
    """The instants of zeros of a register that stood above zero shortly before."""
    counted = sorted(read.at for read in reads if read.value > 0)
    found = set()
    for read in reads:
        if read.value == 0:
            place = bisect_left(counted, read.at)
            if place and read.at - counted[place - 1] <= ZERO_LOOKBACK:
                found.add(read.at)
    return found


def _believed(reads: Sequence[Read], fixed: Mapping[datetime, DailyIndex]) -> list[Read]:
    """What may stand for a day, by instant; a read that was edited away stands for none."""
    stale = _stale_zeros(reads)
    return sorted(read for read in reads if read.at not in stale and read.slot not in fixed)


def _near(
    believed: Sequence[Read], start: datetime, windows: Sequence[timedelta]
) -> DailyIndex | None:
    """The best read in the windows in which no other day competes."""
    near = [window for window in windows if window <= NEAR_MAX]
    if not near:
        return None
    return _best(_between(believed, start - near[-1], start + near[-1]), start, near)


def _wide(
    believed: Sequence[Read],
    place: int,
    starts: Sequence[datetime],
    settled: Sequence[DailyIndex | None],
    windows: Sequence[timedelta],
) -> DailyIndex | None:
    """The best read between the day before and the day after that neither has a better claim to."""
    start = starts[place]
    free = [
        read
        for read in _between(believed, starts[place - 1], starts[place + 1])
        if starts[place - 1] < read.at < starts[place + 1]
        and all(
            _yields(read, start, starts[other], settled[other]) for other in (place - 1, place + 1)
        )
    ]
    return _best(free, start, windows)


def _yields(read: Read, start: datetime, other: datetime, of_other: DailyIndex | None) -> bool:
    """Whether the neighbour that begins at `other` leaves the read to the day of `start`."""
    if of_other is not None:
        # Days in their order have reads in their order.
        return read.at > of_other.read_at if other < start else read.at < of_other.read_at
    own, others = abs(read.at - start), abs(read.at - other)
    return own < others or (own == others and start < other)


def _between(believed: Sequence[Read], from_at: datetime, to_at: datetime) -> Sequence[Read]:
    first = bisect_left(believed, from_at, key=_instant)
    return believed[first : bisect_right(believed, to_at, lo=first, key=_instant)]


def _instant(read: Read) -> datetime:
    return read.at


def _best(
    reads: Sequence[Read], start: datetime, windows: Sequence[timedelta]
) -> DailyIndex | None:
    best: tuple[_Key, Read] | None = None
    for read in reads:
        distance = abs(read.at - start)
        number = bisect_left(windows, distance)
        if number == len(windows):
            continue
        key = (number, read.unsure, distance, read.at)
        if best is None or key < best[0]:
            best = key, read
    if best is None:
        return None
    (number, *_), read = best
    origin = Origin.NEAREST if read.origin is Origin.SLOT else read.origin
    return DailyIndex(start, read.value, read.at, origin, windows[number] // _MINUTE)


def windows_fault(windows_min: Sequence[int]) -> str | None:
    """What is wrong with these windows; None if they can be used."""
    if not windows_min or any(wider <= narrower for narrower, wider in pairwise(windows_min)):
        return "windows must widen: each larger than the one before it"
    if windows_min[0] < 1 or windows_min[-1] * _MINUTE > WIDE_MAX:
        return f"windows are from 1 to {WIDE_MAX // _MINUTE} minutes"
    return None
