"""A snapshot's lines turned into determinants: indices floored to what is billed, cut at days.

It knows lines and indices; it must not know prices, nor where either is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction

from collector.billing.rating.determinants import (
    Part,
    PointDeterminants,
    RegisterUse,
    StretchRead,
    Terms,
)
from collector.billing.rating.faults import DeterminantsFault, NotRatable
from collector.billing.values import LineQuality, SnapshotLine
from collector.civil import civil_day

# A reading may be a day early or late: Electricity Law 61/2024/QH15, Article 48(1)đ.
READING_DAYS_OFF_MAX = 1
_HALF_DAY = timedelta(hours=12)

# Registers are in Wh: a billed index has at most three decimals of a kWh.
DECIMALS_MAX = 3
_KILO = 1000


@dataclass(frozen=True, slots=True)
class DayIndex:
    """The index at the start of a civil day: where a period can be cut. `value` is Wh (varh)."""

    meter: str
    register: str
    day: date
    value: int
    at: datetime
    quality: LineQuality = LineQuality.ACTUAL


@dataclass(frozen=True, slots=True)
class Stretch:
    """A line's ends as billed: `end` counts a roll-over in, so that it is never below `start`."""

    meter: str
    start: int
    end: int
    start_at: datetime
    end_at: datetime
    multiplier: Fraction
    quality: LineQuality
    decimals: int

    @property
    def billed_wh(self) -> Fraction:
        """The difference of the billed indices times the multiplier, exactly, in Wh (varh)."""
        return (self._floor(self.end) - self._floor(self.start)) * self.multiplier

    @property
    def billed_kwh(self) -> int:
        """Whole kWh (kvarh): each end is floored after the multiplier, so that stretches and
        periods add up without loss. With a whole multiplier of whole kWh that is `billed_wh`."""
        return self._whole(self.end) - self._whole(self.start)

    def _floor(self, value: int) -> int:
        step: int = 10 ** (DECIMALS_MAX - self.decimals)
        return value // step * step

    def _whole(self, value: int) -> int:
        ratio = self.multiplier
        return self._floor(value) * ratio.numerator // (ratio.denominator * _KILO)


def point_determinants(  # noqa: PLR0913  one parameter per fact
    point: str,
    lines: Iterable[SnapshotLine],
    terms: Sequence[Terms],
    period: tuple[date, date],
    *,
    parent: str | None = None,
    day_indices: Sequence[DayIndex] = (),
    roll_overs_wh: Mapping[str, int | None] | None = None,
    decimals: int = 0,
    decimals_transformed: int | None = None,
) -> PointDeterminants:
    """The determinants of a point from its lines of a snapshot of the same days.

    `day_indices` are indices within the period at which it may be cut; those of other meters than
    the lines' are ignored. `roll_overs_wh` is each meter's modulus, needed for a line that rolled
    over. `decimals` of a kWh are billed (0 to 3), `decimals_transformed` behind a multiplier.

    Raises NotRatable for a line without consumption, DeterminantsFault for what cannot be.
    """
    behind = decimals if decimals_transformed is None else decimals_transformed
    assert 0 <= decimals <= DECIMALS_MAX
    assert 0 <= behind <= DECIMALS_MAX
    moduli = roll_overs_wh or {}
    by_register: dict[str, list[Stretch]] = {}
    for line in lines:
        if line.point == point:
            places = decimals if line.multiplier == 1 else behind
            found = stretch_of(line, moduli.get(line.meter), places)
            by_register.setdefault(line.register, []).append(found)
    if not by_register:
        raise NotRatable(
            f"{point} has no lines in the snapshot", hint="see that a meter is installed there"
        )
    uses = tuple(
        RegisterUse(
            register=register,
            parts=_parts(
                register,
                stretches,
                period,
                [index for index in day_indices if index.register == register],
                moduli,
            ),
        )
        for register, stretches in sorted(by_register.items())
    )
    return PointDeterminants(point=point, registers=uses, terms=tuple(terms), parent=parent)


def days_read(
    lines: Iterable[SnapshotLine], period: tuple[date, date], zone: str
) -> tuple[date, date]:
    """The days at whose starts a point was really read, in place of the period's own.

    For utilities whose days of a bill follow the reading where it was a day early or late; the
    others keep the calendar's, and indices that stand in. The day is the one whose start is
    nearest to the read.

    Raises NotRatable for lines without reads, and for a reading more than a day off.
    """
    found = list(lines)
    starts = [line.read_from_at for line in found if line.read_from_at is not None]
    ends = [line.read_to_at for line in found if line.read_to_at is not None]
    if not starts or not ends:
        raise NotRatable("no read says when the point was read", hint="enter or estimate one")
    read = (
        civil_day(min(starts) + _HALF_DAY, zone),
        civil_day(max(ends) + _HALF_DAY, zone),
    )
    for meant, really in zip(period, read, strict=True):
        if abs((really - meant).days) > READING_DAYS_OFF_MAX:
            raise NotRatable(
                f"{found[0].point} was read for {really}, which is more than"
                f" {READING_DAYS_OFF_MAX} day from {meant}",
                hint="estimate the index of the reading day, or bill the days that were read",
            )
    return read


def stretch_of(line: SnapshotLine, roll_over_wh: int | None, decimals: int) -> Stretch:
    """A line as billed. Raises NotRatable where it says no consumption."""
    if (
        line.consumption is None
        or line.index_from is None
        or line.index_to is None
        or line.read_from_at is None
        or line.read_to_at is None
    ):
        raise NotRatable(
            f"{line.register} of {line.point} (meter {line.meter}) has no consumption",
            hint="enter or estimate the index that is lacking, then make the snapshot again",
        )
    end = line.index_to
    if end < line.index_from:
        if roll_over_wh is None or end + roll_over_wh < line.index_from:
            raise DeterminantsFault(
                f"{line.register} of meter {line.meter} rolled over from {line.index_from} to"
                f" {end} Wh, and where it rolls over is not known",
                hint="give the meter's roll_over_wh in the registry",
            )
        end += roll_over_wh
    return Stretch(
        line.meter,
        line.index_from,
        end,
        line.read_from_at,
        line.read_to_at,
        line.multiplier,
        line.quality,
        decimals,
    )


def _parts(
    register: str,
    stretches: Sequence[Stretch],
    period: tuple[date, date],
    indices: Sequence[DayIndex],
    moduli: Mapping[str, int | None],
) -> tuple[Part, ...]:
    from_day, to_day = period
    left = list(stretches)
    parts: list[Part] = []
    start = from_day
    for index in sorted(indices, key=lambda one: one.day):
        if not start < index.day < to_day:
            continue
        position = next(
            (
                number
                for number, one in enumerate(left)
                if one.meter == index.meter and one.start_at < index.at <= one.end_at
            ),
            None,
        )
        if position is None:
            continue
        first, rest = _split(left[position], index, moduli.get(index.meter), register)
        parts.append(_part(register, start, index.day, [*left[:position], first]))
        left = [*([] if rest is None else [rest]), *left[position + 1 :]]
        start = index.day
    parts.append(_part(register, start, to_day, left))
    return tuple(parts)


def _split(
    stretch: Stretch, index: DayIndex, roll_over_wh: int | None, register: str
) -> tuple[Stretch, Stretch | None]:
    """A stretch cut at an index; nothing is left of it where the index is its own end."""
    value = index.value
    if value < stretch.start and roll_over_wh is not None:
        value += roll_over_wh
    if not stretch.start <= value <= stretch.end:
        raise DeterminantsFault(
            f"{register} of meter {index.meter} has {index.value} Wh on {index.day}, which is not"
            f" between its indices {stretch.start} and {stretch.end} Wh",
            hint="one of the three is wrong: look at the findings of that day",
        )
    ends_here = index.at == stretch.end_at and value == stretch.end
    quality = stretch.quality if stretch.quality is not LineQuality.ACTUAL else index.quality
    first = replace(stretch, end=value, end_at=index.at, quality=quality)
    rest = replace(stretch, start=value, start_at=index.at, quality=quality)
    return first, None if ends_here else rest


def _part(register: str, from_day: date, to_day: date, stretches: Sequence[Stretch]) -> Part:
    reads = tuple(
        StretchRead(
            meter=one.meter,
            register=register,
            from_at=one.start_at,
            to_at=one.end_at,
            index_from_wh=one.start,
            index_to_wh=one.end,
            multiplier=str(one.multiplier),
            energy=one.billed_kwh,
            quality=one.quality,
        )
        for one in stretches
    )
    energy = sum(one.billed_kwh for one in stretches)
    return Part(from_day=from_day, to_day=to_day, energy=energy, reads=reads)
