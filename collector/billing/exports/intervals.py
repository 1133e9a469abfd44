"""A register's daily indices as energies of days, over exchanges and changes of multiplier.

Pure functions over indices; it must not know where they come from.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from collector.billing.exports.espi import WORST_FIRST, Interval, Quality
from collector.billing.snapshot import IndexAt, consumption
from collector.registry.values import Multiplier

_ONE = Fraction(1)


class Known(NamedTuple):
    """An index that stands for an instant, and what it rests on."""

    at: datetime
    value: int
    quality: Quality


def intervals_of(
    indices: Sequence[Known], ratios: Sequence[Multiplier], roll_over: int | None
) -> list[Interval]:
    """What one meter counted between successive indices, in order of time.

    A day without its index lengthens the interval before it: nothing is left out, and nothing is
    made up. What cannot be told (an index went backwards, the multiplier changed in between) has
    no interval.
    """
    found: list[Interval] = []
    for first, last in pairwise(sorted(indices)):
        ratio = _ONE
        for row in sorted(ratios, key=lambda row: row.from_at):
            if row.from_at <= first.at:
                ratio = row.ratio
        if any(first.at < row.from_at < last.at and row.ratio != ratio for row in ratios):
            continue
        start = IndexAt(first.value, first.at, actual=True)
        end = IndexAt(last.value, last.at, actual=True)
        energy = consumption(start, end, ratio, roll_over)
        if energy is not None:
            quality = worse(first.quality, last.quality)
            found.append(Interval(first.at, last.at, energy, quality))
    return found


def joined(intervals: Iterable[Interval], starts: Sequence[datetime]) -> list[Interval]:
    """The intervals of successive meters, those that share a day as one interval."""
    bounds = set(starts)
    found: list[Interval] = []
    for one in sorted(intervals, key=lambda one: one.from_at):
        last = found[-1] if found else None
        if last is not None and last.to_at == one.from_at and one.from_at not in bounds:
            quality = worse(last.quality, one.quality)
            found[-1] = Interval(last.from_at, one.to_at, last.energy + one.energy, quality)
        else:
            found.append(one)
    return found


def worse(one: Quality, other: Quality) -> Quality:
    """The one that rests on less."""
    return min(one, other, key=WORST_FIRST.index)
