"""Figure `bill_previews_10k`: 10,000 bill previews over a change of price, with their hashes.

Nine tenths are households, a ninth of them over a change of price that is prorated by days; the
rest are businesses, production by rates with reactive energy, and meters of two price groups. From
a snapshot's lines to hashes: determinants, rating, canonical form, SHA-256.
"""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

from bench.figure import Figure, Requirement
from bench.isolated import collector_like_gc, run_isolated
from collector.billing.rating.determinants import (
    RATE_REGISTERS,
    REACTIVE_REGISTER,
    BillDeterminants,
    Share,
    Terms,
)
from collector.billing.rating.from_snapshot import point_determinants
from collector.billing.rating.preview import canonical_json, preview_hash
from collector.billing.rating.rate import rate_bills
from collector.billing.values import LineQuality, SnapshotLine
from collector.operations.tariffs import load_tariffs
from contract.registers import IMPORT_ACTIVE

BILLS = 10_000
RUNS = 5

# The period of most, and one that the change of price of 10 May 2025 cuts.
WHOLE = (date(2026, 5, 20), date(2026, 6, 20))
CUT = (date(2025, 4, 20), date(2025, 5, 20))

_HOUSEHOLD = (Share(group="household", percent=Decimal(100)),)
_BUSINESS = (Share(group="business", percent=Decimal(100)),)
_PRODUCTION = (Share(group="production", percent=Decimal(100)),)
_SHARED = (
    Share(group="household", percent=Decimal(70)),
    Share(group="business", percent=Decimal(30)),
)


def measure() -> Figure:
    """The figure: the median over runs, tariffs read once before."""
    seconds, count, size = run_isolated(_previews)
    return Figure(
        "bill_previews_10k",
        statistics.median(seconds),
        "s",
        requirement=Requirement("value", "<=", 5.0),
        detail={
            "runs": [round(value, 3) for value in seconds],
            "previews": count,
            "canonical_mb": round(size / 1e6, 1),
            "mix": "80 % household, 10 % household cut by days, 5 % business, 2.5 % production by"
            " rates with reactive energy, 2.5 % of two groups",
        },
    )


def _previews() -> tuple[list[float], int, int]:
    book = load_tariffs()
    lines = [_lines(number) for number in range(BILLS)]
    seconds: list[float] = []
    size = count = 0
    with collector_like_gc():
        for _ in range(RUNS):
            started = time.perf_counter()
            bills = [_bill(number, lines[number]) for number in range(BILLS)]
            previews = rate_bills(bills, book)
            hashes = {preview_hash(preview) for preview in previews}
            seconds.append(time.perf_counter() - started)
            count = len(hashes)
            assert count == BILLS
            size = sum(len(canonical_json(preview)) for preview in previews)
    return seconds, count, size


def _kind(number: int) -> int:
    """Of each forty: 32 whole households, 4 cut ones, 2 businesses, one by rates, one shared."""
    return number % 40


def _period(number: int) -> tuple[date, date]:
    return CUT if 32 <= _kind(number) < 36 else WHOLE


def _lines(number: int) -> list[SnapshotLine]:
    by_rates = _kind(number) == 38
    registers = (*RATE_REGISTERS, REACTIVE_REGISTER) if by_rates else (IMPORT_ACTIVE,)
    from_at, to_at = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in _period(number))
    used = 50_000 + 173 * number % 700_000
    start = 1_000_000 + number
    return [
        SnapshotLine(
            point=f"PA25SL{number:07}001",
            meter=f"2026{number:06}",
            register=register,
            index_from=start,
            index_to=start + used,
            read_from_at=from_at,
            read_to_at=to_at,
            multiplier=Fraction(1),
            consumption=used,
            quality=LineQuality.ACTUAL,
        )
        for register in registers
    ]


def _bill(number: int, lines: list[SnapshotLine]) -> BillDeterminants:
    from_day, to_day = period = _period(number)
    point = point_determinants(lines[0].point, lines, tuple(_terms(number, from_day)), period)
    return BillDeterminants(
        bill=lines[0].point,
        from_day=from_day,
        to_day=to_day,
        billing_day=20,
        tax_point=to_day,
        points=(point,),
    )


def _terms(number: int, from_day: date) -> Iterator[Terms]:
    match _kind(number):
        case kind if kind < 36:
            yield Terms(from_day=from_day, shares=_HOUSEHOLD, households=1 + number % 3)
        case 36 | 37:
            yield Terms(from_day=from_day, shares=_BUSINESS)
        case 38:
            yield Terms(
                from_day=from_day,
                shares=_PRODUCTION,
                rates="three",
                voltage_v=400,
                registered_w=60_000,
            )
        case _:
            yield Terms(from_day=from_day, shares=_SHARED)
