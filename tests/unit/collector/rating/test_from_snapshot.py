"""A snapshot's lines as determinants: floors, exchanges, multipliers, roll-overs, cuts at days."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.billing.rating.determinants import Part, PointDeterminants, Terms
from collector.billing.rating.faults import DeterminantsFault, NotRatable
from collector.billing.rating.from_snapshot import (
    DayIndex,
    days_read,
    point_determinants,
    stretch_of,
)
from collector.billing.values import LineQuality, SnapshotLine
from contract.registers import IMPORT_ACTIVE
from tests.unit.collector.rating.making import JUNE, MAY, shares

TERMS = (Terms(from_day=MAY, shares=shares(household=100)),)
HOUR = timedelta(hours=1)


def midnight(day: date) -> datetime:
    """Local midnight in Vietnam."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - 7 * HOUR


def line(
    start: int,
    end: int,
    *,
    meter: str = "M1",
    start_at: datetime | None = None,
    end_at: datetime | None = None,
    multiplier: Fraction | int = 1,
    quality: LineQuality = LineQuality.ACTUAL,
    consumption: int | None = 0,
) -> SnapshotLine:
    return SnapshotLine(
        point="P1",
        meter=meter,
        register=IMPORT_ACTIVE,
        index_from=start,
        index_to=end,
        read_from_at=start_at or midnight(MAY),
        read_to_at=end_at or midnight(JUNE),
        multiplier=Fraction(multiplier),
        consumption=consumption,
        quality=quality,
    )


def made(*lines: SnapshotLine, **more: object) -> PointDeterminants:
    return point_determinants("P1", lines, TERMS, (MAY, JUNE), **more)  # type: ignore[arg-type]


def only_parts(found: PointDeterminants) -> tuple[Part, ...]:
    (use,) = found.registers
    return use.parts


def test_an_exchange_floors_every_end_and_is_whole() -> None:
    changed = midnight(MAY) + 250 * HOUR
    (part,) = only_parts(
        made(
            line(12_345_600, 12_398_200, end_at=changed),
            line(300, 101_900, meter="M2", start_at=changed),
        )
    )
    assert part.energy == 154, "rounding each segment's consumption would say 155"
    assert [(read.meter, read.energy) for read in part.reads] == [("M1", 53), ("M2", 101)]


def test_a_changed_multiplier_makes_segments_and_a_corrected_one_recomputes() -> None:
    changed = midnight(MAY) + 250 * HOUR
    first = stretch_of(line(1_200_000, 1_234_560, end_at=changed, multiplier=20), None, 2)
    second = stretch_of(line(1_234_560, 1_260_060, start_at=changed, multiplier=40), None, 2)
    assert first.billed_wh + second.billed_wh == 1_711_200
    assert first.billed_kwh + second.billed_kwh == 1_711
    corrected = stretch_of(line(1_200_000, 1_260_060, multiplier=40), None, 2)
    assert corrected.billed_wh == 2_402_400


def test_an_index_is_floored_to_the_decimals_that_are_billed_before_it_is_multiplied() -> None:
    billed = [
        stretch_of(line(1_200_900, 1_260_060, multiplier=20), None, decimals).billed_kwh
        for decimals in (0, 1, 2, 3)
    ]
    assert billed == [60 * 20, 1_182, 1_183, 1_183]


def test_the_chain_bills_250_then_150() -> None:
    """The estimate that was exported is the next opening; the later true read changes nothing."""
    first = made(line(1_000_000, 1_250_000, quality=LineQuality.ESTIMATED))
    second = made(line(1_250_000, 1_400_000))
    assert [only_parts(found)[0].energy for found in (first, second)] == [250, 150]
    assert only_parts(first)[0].reads[0].quality is LineQuality.ESTIMATED


def test_a_roll_over_is_counted_through() -> None:
    (part,) = only_parts(made(line(99_850_000, 120_000), roll_overs_wh={"M1": 100_000_000}))
    assert part.energy == 270
    with pytest.raises(DeterminantsFault, match="where it rolls over is not known"):
        made(line(99_850_000, 120_000))


def test_a_line_without_consumption_is_not_billed() -> None:
    with pytest.raises(NotRatable, match=r"1-0:1\.8\.0 of P1 \(meter M1\) has no consumption"):
        made(line(1, 2, consumption=None, quality=LineQuality.NONE))
    with pytest.raises(NotRatable, match="P1 has no lines"):
        made()


def index(day: date, value: int, meter: str = "M1") -> DayIndex:
    return DayIndex(meter, IMPORT_ACTIVE, day, value, midnight(day))


CUT = date(2026, 6, 1)


def test_a_days_index_cuts_the_period_and_nothing_is_lost() -> None:
    found = only_parts(
        made(
            line(1_000_400, 1_300_900),
            day_indices=[index(CUT, 1_180_700), index(date(2026, 7, 1), 1), index(MAY, 1_000_400)],
        )
    )
    assert [(part.from_day, part.to_day, part.energy) for part in found] == [
        (MAY, CUT, 180),
        (CUT, JUNE, 120),
    ]
    assert found[0].reads[0].index_to_wh == found[1].reads[0].index_from_wh == 1_180_700


def test_an_index_of_the_meter_that_was_there_then_cuts_an_exchange() -> None:
    changed = midnight(CUT) + 30 * HOUR
    lines = (line(0, 90_000, end_at=changed), line(5_000, 25_000, meter="M2", start_at=changed))
    found = only_parts(made(*lines, day_indices=[index(CUT, 60_000), index(CUT, 1, "M9")]))
    assert [part.energy for part in found] == [60, 30 + 20]


def test_a_multiplier_that_changes_at_a_days_start_is_cut_there_once() -> None:
    lines = (
        line(0, 60_000, end_at=midnight(CUT), multiplier=20),
        line(60_000, 90_000, start_at=midnight(CUT), multiplier=40),
    )
    found = only_parts(made(*lines, day_indices=[index(CUT, 60_000)]))
    assert [part.energy for part in found] == [1_200, 1_200]
    assert [len(part.reads) for part in found] == [1, 1]


def test_an_index_that_is_not_between_is_refused() -> None:
    with pytest.raises(DeterminantsFault, match="400000 Wh on 2026-06-01, which is not between"):
        made(line(0, 300_000), day_indices=[index(CUT, 400_000)])


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (0, 0, (MAY, JUNE)),
        (-11, 11, (MAY, JUNE)),
        (24, -24, (date(2026, 5, 21), date(2026, 6, 19))),
        (-20, 35, (date(2026, 5, 19), date(2026, 6, 21))),
    ],
)
def test_the_days_of_a_bill_can_follow_the_reading(
    start: int, end: int, days: tuple[date, date]
) -> None:
    """Hours off the local midnights of the period."""
    read = line(0, 1, start_at=midnight(MAY) + start * HOUR, end_at=midnight(JUNE) + end * HOUR)
    assert days_read([read], (MAY, JUNE), "Asia/Ho_Chi_Minh") == days


def test_a_reading_more_than_a_day_off_is_told() -> None:
    late = line(0, 1, end_at=midnight(JUNE) + 37 * HOUR)
    with pytest.raises(NotRatable, match="P1 was read for 2026-06-22, which is more than 1 day"):
        days_read([late], (MAY, JUNE), "Asia/Ho_Chi_Minh")
    with pytest.raises(NotRatable, match="no read says when"):
        days_read([], (MAY, JUNE), "Asia/Ho_Chi_Minh")


@given(
    st.lists(st.integers(0, 5_000_000), min_size=2, max_size=6),
    st.fractions(min_value=Fraction(1, 100), max_value=4_000, max_denominator=1_000),
    st.integers(0, 3),
)
def test_periods_telescope(steps: list[int], multiplier: Fraction, decimals: int) -> None:
    """However a span is cut into periods, the billed kWh add up to the span's."""
    indices = [sum(steps[: n + 1]) for n in range(len(steps))]
    whole = stretch_of(line(indices[0], indices[-1], multiplier=multiplier), None, decimals)
    pieces = [
        stretch_of(line(a, b, multiplier=multiplier), None, decimals) for a, b in pairwise(indices)
    ]
    assert sum(piece.billed_kwh for piece in pieces) == whole.billed_kwh
    assert abs(whole.billed_kwh * 1000 - whole.billed_wh) < 1000
