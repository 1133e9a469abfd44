"""A billing run's lines as CMIS counts them: the chain's indices, and all that the run bills.

SL_MOI and SL_THAO together are what the run bills of a register; nothing is worked out again. It
must not know a file's form.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from itertools import groupby
from operator import attrgetter

from collector.billing.exports.cmis.rows import (
    IMPORTED,
    ORDER,
    RATES,
    WORST_FIRST,
    coded,
    exact_decimal,
)
from collector.billing.exports.cmis.values import ZERO_MARKS, CmisContext, CmisRow, Reason
from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from collector.civil import civil_day

_KILO = 1000


def run_rows(lines: Iterable[RunLine], context: CmisContext, zone: str) -> Iterator[CmisRow]:
    """The rows by point, in the lines' order, and by register in CMIS's.

    `lines` are by point, within it by register and time; a point's are held at once.
    """
    for point, of_point in groupby(lines, key=attrgetter("point")):
        yield from _point_rows(point, list(of_point), context, zone)


def _point_rows(
    point: str, lines: Sequence[RunLine], context: CmisContext, zone: str
) -> Iterator[CmisRow]:
    by_code: dict[str, list[RunLine]] = {}
    for line, code in coded(lines):
        if code is not None:
            by_code.setdefault(code, []).append(line)
    meters = {code: _meters(found) for code, found in by_code.items()}
    longest = max(meters.values(), key=len, default=())
    rates_there = sum(code in by_code for code in RATES)
    for code in ORDER:
        if code not in by_code:
            continue
        row = _row(point, code, by_code[code], context, zone)
        if row.lack is None and meters[code] != longest:
            row = replace(row, lack=Reason.REGISTERS_CHANGED)
        if row.lack is None and code in IMPORTED and rates_there not in (0, len(RATES)):
            row = replace(row, lack=Reason.SIBLING_MISSING)
        yield row


def _row(
    point: str, code: str, lines: Sequence[RunLine], context: CmisContext, zone: str
) -> CmisRow:
    counted = sorted((line for line in lines if line.kind is not LineKind.CORRECTION), key=_from_at)
    corrected = _kilo(sum(line.billed or 0 for line in lines if line.kind is LineKind.CORRECTION))
    last = counted[-1] if counted else lines[-1]
    row = CmisRow(
        point=point,
        code=code,
        meter=last.meter,
        multiplier=last.multiplier,
        index_from_kwh=None if last.index_from is None else _kilo(last.index_from),
        index_to_kwh=None if last.index_to is None else _kilo(last.index_to),
        energy_kwh=None,
        removed_kwh=Fraction(0),
        parts=len(counted),
        rolled_over=False,
        quality=min((line.quality for line in lines), key=WORST_FIRST.index),
        demand=context.demands.get((point, code)),
        first_day=civil_day(counted[0].from_at, zone) if counted else None,
        mark=context.marks.get(point, ""),
    )
    if not counted:
        # Nothing but a correction: no index belongs to it.
        return replace(
            row,
            energy_kwh=Fraction(0),
            removed_kwh=corrected,
            lack=Reason.CREDIT if corrected < 0 else Reason.NO_CONSUMPTION,
        )
    if any(line.kind is LineKind.HELD for line in counted):
        return replace(row, lack=Reason.HELD, quality=LineQuality.NONE)
    if any(line.billed is None for line in counted):
        return replace(row, lack=Reason.NO_CONSUMPTION)
    *before, current = (_kilo(line.billed or 0) for line in counted)
    row = replace(
        row,
        energy_kwh=current,
        removed_kwh=sum(before, corrected),
        corrected_kwh=corrected,
        rolled_over=_rolled_over(last),
    )
    if current < 0 or row.removed_kwh < 0:
        # A reading cannot take back what was billed: that is an adjustment that a person makes.
        return replace(row, lack=Reason.CREDIT)
    lack = None
    if exact_decimal(last.multiplier) is None:
        lack = Reason.NOT_DECIMAL
    elif row.mark in ZERO_MARKS and current:
        lack = Reason.MARK_REFUSED
    return replace(row, lack=lack)


def _rolled_over(line: RunLine) -> bool:
    """Billed although the index went down: only a register that began again at zero is."""
    assert line.index_from is not None, "what is billed has both indices"
    assert line.index_to is not None, "what is billed has both indices"
    return line.kind is LineKind.CONSUMPTION and line.index_to < line.index_from


def _meters(lines: Sequence[RunLine]) -> tuple[str, ...]:
    """The meters that counted a register, in their order; a correction names none of its own."""
    counted = sorted((line for line in lines if line.kind is not LineKind.CORRECTION), key=_from_at)
    return tuple(dict.fromkeys(line.meter for line in counted))


def _from_at(line: RunLine) -> datetime:
    return line.from_at


def _kilo(value: int) -> Fraction:
    return Fraction(value, _KILO)
