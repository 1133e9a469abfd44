"""Which index stands for a boundary instant of one register: read, interpolated, or far off.

Losses compare a head with a hundred meters, so all of them are taken to the same two instants. Pure
functions over the reads of one register of one installation; it must not know where they are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from collector.vee.impossible_jump import is_impossible
from collector.vee.negative_consumption import Step, step

# What a meter's own clock may be off before anyone is warned (VEE rule V13): to interpolate within
# it would be finer than the instants are known.
EXACT = timedelta(seconds=60)

# A read this near stands for an instant; beyond, the index is flagged.
NEAR = timedelta(minutes=60)

# Beyond this nothing stands for an instant: the window of a billing index, either side.
FAR = timedelta(minutes=1440)

_MICROSECOND = timedelta(microseconds=1)


class How(StrEnum):
    """How an index came to stand for an instant."""

    READ = "read"  # within EXACT, or written down on the spot
    INTERPOLATED = "interpolated"  # between the reads on both sides, the nearer within NEAR
    ALONE = "alone"  # within NEAR, with no read on the other side
    FAR = "far"  # beyond NEAR, interpolated where there are reads on both sides


class BoundaryRead(NamedTuple):
    """One index of a register, in its unit.

    `unsure`: by a clock that was not right. `fixed`: it stands for its instant whatever else was
    read (on the spot at an exchange, or a person's word). `estimated`: computed, not read.
    """

    at: datetime
    value: int
    unsure: bool = False
    fixed: bool = False
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class BoundaryIndex:
    """The index at an instant. `off` is how far the nearest read was, before it below zero.

    `at` is when it was really read, or the instant itself where it is interpolated.
    `low` and `high` are the reads on both sides, between which the true index lies; None where
    there is no read on one side. `high` is counted on over a roll-over.
    """

    value: int
    at: datetime
    how: How
    off: timedelta
    low: int | None = None
    high: int | None = None
    unsure: bool = False
    estimated: bool = False

    @property
    def error_max(self) -> int | None:
        """How far the true index can be from `value`, in the register's unit; None: unbounded."""
        if self.how is How.READ:
            return 0
        if self.low is None or self.high is None:
            return None
        return max(self.value - self.low, self.high - self.value)


def boundary_index(
    reads: Iterable[BoundaryRead], instant: datetime, roll_over: int | None
) -> BoundaryIndex | None:
    """The index of a register at `instant`, from reads of one installation; None without any.

    Interpolation is linear in time between the last read before and the first after, in integers:
    the part of the difference is rounded half up to the register's unit. Reads between which the
    register went backwards, or ran ahead of any line, are not interpolated: the nearer one stands.
    """
    wanted = sorted(read for read in reads if abs(read.at - instant) <= FAR)
    fixed = [read for read in wanted if read.fixed and read.at == instant]
    if fixed:
        last = fixed[-1]
        return BoundaryIndex(
            last.value, instant, How.READ, timedelta(), estimated=last.estimated, unsure=last.unsure
        )
    candidates = _believed(_without_lost_zeros(wanted), instant)
    if not candidates:
        return None
    nearest = min(candidates, key=lambda read: (abs(read.at - instant), read.at))
    off = nearest.at - instant
    if abs(off) <= EXACT:
        return BoundaryIndex(nearest.value, nearest.at, How.READ, off, unsure=nearest.unsure)
    before = [read for read in candidates if read.at < instant]
    after = [read for read in candidates if read.at > instant]
    is_near = abs(off) <= NEAR
    if before and after:
        found = _between(before[-1], after[0], instant, roll_over)
        if found is not None:
            value, low, high = found
            how = How.INTERPOLATED if is_near else How.FAR
            unsure = before[-1].unsure or after[0].unsure
            return BoundaryIndex(value, instant, how, off, low, high, unsure=unsure)
    how = How.ALONE if is_near else How.FAR
    return BoundaryIndex(nearest.value, nearest.at, how, off, unsure=nearest.unsure)


def interpolate(low: int, high: int, part: int, whole: int) -> int:
    """`low` and the share part/whole of the way to `high`, rounded half up; 0 <= part <= whole."""
    return low + (2 * (high - low) * part + whole) // (2 * whole)


def needs_more(reads: Sequence[BoundaryRead], instant: datetime) -> bool:
    """Whether reads beyond NEAR are to be looked at: none is exact, and one side is empty.

    A zero may be a fault that only an earlier read shows; who asks knows whether there is one.
    """
    sure = [read for read in reads if not read.unsure]
    if any(abs(read.at - instant) <= EXACT for read in sure):
        return False
    return not (any(read.at < instant for read in sure) and any(read.at > instant for read in sure))


def _believed(reads: Sequence[BoundaryRead], instant: datetime) -> list[BoundaryRead]:
    """Reads by a right clock; where none of them is near and others are, the others."""
    sure = [read for read in reads if not read.unsure]
    if any(abs(read.at - instant) <= NEAR for read in sure):
        return sure
    unsure = [read for read in reads if read.unsure and abs(read.at - instant) <= NEAR]
    return unsure or sure


def _without_lost_zeros(reads: Sequence[BoundaryRead]) -> list[BoundaryRead]:
    """Without zeros after a value: registers do not lose what they counted."""
    found: list[BoundaryRead] = []
    counted = False
    for read in reads:
        if read.value > 0:
            counted = True
        elif counted:
            continue
        found.append(read)
    return found


def _between(
    before: BoundaryRead, after: BoundaryRead, instant: datetime, roll_over: int | None
) -> tuple[int, int, int] | None:
    """The index between two reads, and the reads with the later one counted on."""
    elapsed = after.at - before.at
    high = after.value
    match step(before.value, after.value, roll_over, elapsed):
        case Step.BACKWARD:
            return None
        case Step.ROLL_OVER:
            assert roll_over is not None, "without a modulus nothing rolls over"
            high += roll_over
        case Step.FORWARD:
            pass
    if is_impossible(high - before.value, elapsed):
        return None
    part = (instant - before.at) // _MICROSECOND
    value = interpolate(before.value, high, part, elapsed // _MICROSECOND)
    if roll_over is not None and value >= roll_over:
        # The instant is after the roll-over: both ends are told as the display showed them.
        return value - roll_over, before.value - roll_over, high - roll_over
    return value, before.value, high
