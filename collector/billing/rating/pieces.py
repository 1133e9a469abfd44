"""A point's period cut into pieces that each have one contract, one price table and one energy.

Where a day within the period has an index, the cut is by index; a price change without one is
prorated by days. It knows determinants and days; it must not know prices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise

from collector.billing.rating.determinants import (
    RATE_REGISTERS,
    Part,
    PointDeterminants,
    RegisterUse,
    StretchRead,
    Terms,
)
from collector.billing.rating.faults import DeterminantsFault, NotRatable
from collector.billing.rating.rounding import rounded
from contract.registers import IMPORT_ACTIVE


class PriceSplit(StrEnum):
    """How a period is cut where prices change within it."""

    INDEX = "index"  # by the day's index where there is one, else by days
    DAYS = "days"  # by days always


@dataclass(frozen=True, slots=True)
class Segment:
    """One register's energy between two days that have an index of their own.

    `energy` is what was measured less what the sub-meters behind the point measured.
    """

    register: str
    from_day: date
    to_day: date
    measured: int
    minus: tuple[tuple[str, int], ...]
    energy: int
    reads: tuple[StretchRead, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Days under one contract and one price table: per register, the segment and its share here."""

    from_day: date
    to_day: date
    terms: Terms
    energies: tuple[tuple[Segment, int], ...]

    @property
    def days(self) -> int:
        """The civil days of the piece."""
        return (self.to_day - self.from_day).days


def registers_of(terms: Terms) -> tuple[str, ...]:
    """The registers of active energy that are billed under these terms."""
    return RATE_REGISTERS if terms.rates == "three" else (IMPORT_ACTIVE,)


def cut(
    point: PointDeterminants,
    children: Sequence[PointDeterminants],
    period: tuple[date, date],
    changes: Sequence[date],
    split: PriceSplit,
) -> list[Piece]:
    """The pieces of a period, in time; together they have all its energy and days.

    `changes` are the days within the period on which prices change. `S` kWh over `T` days give a
    piece of `N` days S × N ÷ T, rounded so that the pieces add up to S exactly. Rule: EVNCPC,
    customers' pages on bills over a change of price without a reading (2016).

    Raises NotRatable where an index is lacking, and DeterminantsFault where sub-meters measured
    more than the meter that they are behind.
    """
    from_day, to_day = period
    terms_days = [terms.from_day for terms in point.terms if from_day < terms.from_day < to_day]
    indexed = {*terms_days}
    if split is PriceSplit.INDEX:
        family = (point, *children)
        indexed.update(day for day in changes if _has_index(family, _terms_on(point, day), day))
    pieces: list[Piece] = []
    for start, end in pairwise([from_day, *sorted(indexed), to_day]):
        terms = _terms_on(point, start)
        segments = [
            _segment(point, children, register, start, end) for register in registers_of(terms)
        ]
        soft = [day for day in changes if start < day < end]
        pieces += _prorated(terms, segments, [start, *soft, end])
    return pieces


def measured(point: PointDeterminants, register: str, start: date, end: date) -> int:
    """What a register counted between two days. Raises NotRatable where one has no index."""
    return sum(part.energy for part in _parts(point, register, start, end))


def _prorated(terms: Terms, segments: Sequence[Segment], days: Sequence[date]) -> Iterator[Piece]:
    total = (days[-1] - days[0]).days
    for start, end in pairwise(days):
        before, until = (start - days[0]).days, (end - days[0]).days
        energies = tuple(
            (
                segment,
                rounded(segment.energy * until, total) - rounded(segment.energy * before, total),
            )
            for segment in segments
        )
        yield Piece(start, end, terms, energies)


def _segment(
    point: PointDeterminants,
    children: Sequence[PointDeterminants],
    register: str,
    start: date,
    end: date,
) -> Segment:
    parts = _parts(point, register, start, end)
    total = sum(part.energy for part in parts)
    minus = tuple((child.point, _behind(child, register, start, end)) for child in children)
    energy = total - sum(amount for _, amount in minus)
    if energy < 0:
        behind = ", ".join(f"{name} {amount}" for name, amount in minus)
        raise DeterminantsFault(
            f"{register} of {point.point} counted {total} kWh from {start} to {end}, the"
            f" sub-meters behind it more: {behind}",
            hint="look for a wrong multiplier, a wrong parent or an estimate among them",
        )
    reads = tuple(read for part in parts for read in part.reads)
    return Segment(register, start, end, total, minus, energy, reads)


def _behind(child: PointDeterminants, register: str, start: date, end: date) -> int:
    """What a sub-meter takes from its parent's register: its own, or the sum of its rates."""
    if register == IMPORT_ACTIVE and child.use(register) is None:
        return sum(measured(child, rate, start, end) for rate in RATE_REGISTERS)
    return measured(child, register, start, end)


def _parts(point: PointDeterminants, register: str, start: date, end: date) -> tuple[Part, ...]:
    use = point.use(register)
    if use is None:
        raise NotRatable(
            f"{point.point} has no {register}, which its terms bill from {start} to {end}",
            hint="give the register's parts, or set `rates` of the terms to what is measured",
        )
    found = tuple(part for part in use.parts if part.from_day >= start and part.to_day <= end)
    if not found or found[0].from_day != start or found[-1].to_day != end:
        known = sorted(_days(use))
        missing = next((day for day in (start, end) if day not in known), start)
        raise NotRatable(
            f"{register} of {point.point} has no index on {missing}",
            hint="contracts, periods and sub-meters are cut by an index on the day; read, enter or"
            " estimate it",
        )
    return found


def _has_index(family: Sequence[PointDeterminants], terms: Terms, day: date) -> bool:
    for point in family:
        registers = registers_of(terms)
        if point.use(registers[0]) is None:
            registers = RATE_REGISTERS
        for register in registers:
            use = point.use(register)
            if use is None or day not in _days(use):
                return False
    return True


def _days(use: RegisterUse) -> set[date]:
    return {use.parts[0].from_day, *(part.to_day for part in use.parts)}


def _terms_on(point: PointDeterminants, day: date) -> Terms:
    held = point.terms[0]
    for terms in point.terms:
        if terms.from_day <= day:
            held = terms
    return held
