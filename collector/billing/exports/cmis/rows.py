"""A snapshot's lines as CMIS counts them: one row per point and register of its closed list.

It computes; it must not know a file's form.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import Protocol, TypeVar

from collector.billing.exports.cmis.values import CmisContext, CmisRow, Reason
from collector.billing.rating.faults import DeterminantsFault, NotRatable
from collector.billing.rating.from_snapshot import Stretch, stretch_of
from collector.billing.values import LineQuality, SnapshotLine
from contract.registers import BY_OBIS, IMPORT_ACTIVE

# A one-rate meter has KT; beside BT, CD and TD the same register is SG, and KT is never there too:
# CMIS adds up BT, CD, TD and KT.
ONE_RATE, TOTAL = "KT", "SG"
RATES = ("BT", "CD", "TD")
ORDER = (ONE_RATE, *RATES, TOTAL, "SN", "BN", "CN", "TN", "VC", "VN")
IMPORTED = frozenset((ONE_RATE, *RATES, TOTAL))

_KILO = 1000
WORST_FIRST = (
    LineQuality.NONE,
    LineQuality.ESTIMATED,
    LineQuality.SUBSTITUTED,
    LineQuality.ACTUAL,
)


class _OfRegister(Protocol):
    @property
    def point(self) -> str: ...

    @property
    def register(self) -> str: ...


_Line = TypeVar("_Line", bound=_OfRegister)


def cmis_rows(lines: Iterable[SnapshotLine], context: CmisContext) -> Iterator[CmisRow]:
    """The rows by point, in the snapshot's order, and by register in CMIS's.

    `lines` are in the snapshot's order, by point, register and time; a point's are held at once.
    """
    for point, of_point in groupby(lines, key=attrgetter("point")):
        yield from _point_rows(point, list(of_point), context)


def with_codes(lines: Iterable[_Line]) -> Iterator[tuple[_Line, str | None]]:
    """The lines with their LOAI_BCS, in their order; None where CMIS has no code.

    `lines` are in the order of points; a point's are held at once.
    """
    for _, of_point in groupby(lines, key=attrgetter("point")):
        yield from coded(list(of_point))


def coded(lines: Sequence[_Line]) -> Iterator[tuple[_Line, str | None]]:
    """The lines of one point with their LOAI_BCS."""
    has_rates = any(BY_OBIS[line.register].cmis in RATES for line in lines)
    for line in lines:
        is_total = line.register == IMPORT_ACTIVE and has_rates
        yield line, TOTAL if is_total else BY_OBIS[line.register].cmis


def exact_decimal(value: Fraction) -> str | None:
    """The value in decimal digits, exactly and without zeros at the end; None if none says it."""
    scale = 0
    while value.denominator != 1:
        # What no decimal says exactly keeps a factor that is neither 2 nor 5.
        if scale == _SCALE_MAX:
            return None
        value *= 10
        scale += 1
    if not scale:
        return str(value.numerator)
    digits = f"{abs(value.numerator):0{scale + 1}}"
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


# A multiplier's denominator fits 32 bits: 31 halvings at most.
_SCALE_MAX = 31 + 3


def _point_rows(
    point: str, lines: Sequence[SnapshotLine], context: CmisContext
) -> Iterator[CmisRow]:
    by_code: dict[str, list[SnapshotLine]] = {}
    for line, code in coded(lines):
        if code is not None:
            by_code.setdefault(code, []).append(line)
    parts_max = max((len(found) for found in by_code.values()), default=0)
    rates_there = sum(code in by_code for code in RATES)
    for code in ORDER:
        if code not in by_code:
            continue
        row = _row(point, code, by_code[code], context)
        if row.lack is None and row.parts != parts_max:
            row = replace(row, lack=Reason.REGISTERS_CHANGED)
        if row.lack is None and code in IMPORTED and rates_there not in (0, len(RATES)):
            row = replace(row, lack=Reason.SIBLING_MISSING)
        yield row


def _row(point: str, code: str, lines: Sequence[SnapshotLine], context: CmisContext) -> CmisRow:
    last = lines[-1]
    row = CmisRow(
        point=point,
        code=code,
        meter=last.meter,
        multiplier=last.multiplier,
        index_from_kwh=_whole(last.index_from),
        index_to_kwh=_whole(last.index_to),
        energy_kwh=None,
        removed_kwh=Fraction(0),
        parts=len(lines),
        rolled_over=False,
        quality=min((line.quality for line in lines), key=WORST_FIRST.index),
        demand=context.demands.get((point, code)),
    )
    try:
        stretches = [stretch_of(line, context.roll_overs_wh.get(line.meter), 0) for line in lines]
    except NotRatable:
        return replace(row, lack=Reason.NO_CONSUMPTION)
    except DeterminantsFault:
        return replace(row, lack=Reason.ROLL_OVER_UNKNOWN)
    *before, current = map(_billed_kwh, stretches)
    removed = sum(before, Fraction(0))
    if None in map(exact_decimal, (current, removed, last.multiplier)):
        return replace(row, lack=Reason.NOT_DECIMAL)
    # A stretch's end counts a roll-over in, the line's does not.
    rolled_over = stretches[-1].end != last.index_to
    return replace(row, energy_kwh=current, removed_kwh=removed, rolled_over=rolled_over)


def _billed_kwh(stretch: Stretch) -> Fraction:
    return stretch.billed_wh * Fraction(1, _KILO)


def _whole(value_wh: int | None) -> Fraction | None:
    return None if value_wh is None else Fraction(value_wh // _KILO)
