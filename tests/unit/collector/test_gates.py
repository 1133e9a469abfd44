"""The gates: compared with the last period and with last year's, in integers, with floors."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest

from collector.billing.bill_gate import BillCause, BillLimits, bill_exceptions
from collector.billing.bill_values import BillRow, StoredRefusal
from collector.billing.gates import (
    Cause,
    ExceptionFilter,
    GateLimits,
    Reference,
    RunException,
    exceptions,
)
from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from contract.registers import IMPORT_ACTIVE

START = datetime(2026, 6, 19, 17, tzinfo=UTC)


def line(kwh: int, days: int = 30) -> RunLine:
    end = START + timedelta(days=days)
    return RunLine(
        "P", "M", IMPORT_ACTIVE, LineKind.CONSUMPTION, START, end, 0, kwh * 1000, START, end,
        Fraction(1), kwh * 1000, LineQuality.ACTUAL,
    )  # fmt: skip


def found(
    now: RunLine,
    before: RunLine | None,
    year: RunLine | None = None,
    limits: GateLimits | None = None,
) -> tuple[Cause, Reference | None, bool] | None:
    told = exceptions(
        [now],
        [] if before is None else [before],
        limits or GateLimits(),
        [] if year is None else [year],
    )
    assert len(told) <= 1
    return (told[0].cause, told[0].reference, told[0].blocks) if told else None


@pytest.mark.parametrize(
    ("now", "before", "year", "expected"),
    [
        (130, 100, None, None),
        (131, 100, None, (Cause.HIGH, Reference.PERIOD, False)),
        (151, 100, None, (Cause.VERY_HIGH, Reference.PERIOD, False)),
        (400, 100, None, (Cause.VERY_HIGH, Reference.PERIOD, False)),
        (401, 100, None, (Cause.EXTREME, Reference.PERIOD, True)),
        # June is above May and no more than last June: told, as the period says it.
        (140, 100, 138, (Cause.HIGH, Reference.PERIOD, False)),
        # Below the period before, and far above last year: told, and never blocking.
        (90, 100, 60, (Cause.HIGH, Reference.YEAR, False)),
        (500, 490, 100, (Cause.VERY_HIGH, Reference.YEAR, False)),
        (140, 100, 60, (Cause.VERY_HIGH, Reference.YEAR, False)),
        (500, 100, 60, (Cause.EXTREME, Reference.PERIOD, True)),
        # A point that is new here has last year's at most.
        (90, None, 60, (Cause.HIGH, Reference.YEAR, False)),
        (0, 100, 100, (Cause.STOPPED, Reference.PERIOD, False)),
        (0, 0, 100, None),
        # Less than the floor before: from nothing, whatever a year ago.
        (201, 10, None, (Cause.FROM_NOTHING, Reference.PERIOD, True)),
        (200, 10, None, None),
        (201, 0, 180, (Cause.FROM_NOTHING, Reference.PERIOD, True)),
        (49, 50, 1, None),
    ],
)
def test_the_worse_of_both_references(
    now: int, before: int | None, year: int | None, expected: object
) -> None:
    rows = (None if before is None else line(before), None if year is None else line(year))
    assert found(line(now), *rows) == expected


def test_days_count_and_limits_are_the_site_s() -> None:
    assert found(line(260, days=60), line(100)) is None
    limits = GateLimits(high_percent=110, very_high_percent=111, extreme_percent=112, floor_wh=1)
    assert found(line(113), line(100), limits=limits) == (Cause.EXTREME, Reference.PERIOD, True)


def test_a_mark_that_forces_zero_stands_against_what_was_counted() -> None:
    told = exceptions([line(1)], [line(1)], marks={"P": "D"})
    assert [(one.cause, one.detail, one.blocks) for one in told] == [(Cause.ZERO_MARK, "D", True)]
    assert exceptions([line(0)], [line(1)], marks={"P": "D"}) == []
    assert exceptions([line(1)], [line(1)], marks={"P": "K"}) == []


@pytest.mark.parametrize(
    ("now", "installed", "expected"),
    [
        # Of 60 days before: as much a day, and four times as much.
        (100, (200_000, 1440), None),
        (401, (200_000, 1440), (Cause.EXTREME, Reference.INSTALLATION, True, 200_000, "")),
        (151, (200_000, 1440), (Cause.VERY_HIGH, Reference.INSTALLATION, False, 200_000, "")),
        (201, (0, 1440), (Cause.FROM_NOTHING, Reference.INSTALLATION, True, 0, "")),
        (0, None, (Cause.FIRST, None, True, None, "")),
        (100, (-5_000, 1440), (Cause.FIRST, None, True, None, "5000 Wh below installation")),
    ],
)
def test_a_first_bill_is_compared_with_what_was_counted_since_the_installation(
    now: int, installed: tuple[int, int] | None, expected: object
) -> None:
    known = None if installed is None else {("P", IMPORT_ACTIVE): installed}
    told = [
        (one.cause, one.reference, one.blocks, one.before, one.detail)
        for one in exceptions([line(now)], [], installed=known)
    ]
    assert told == ([] if expected is None else [expected])
    # Once it was billed, that is what counts.
    assert exceptions([line(100)], [line(100)], installed=known) == []


def test_a_filter_takes_what_fits_every_part_of_it() -> None:
    one = RunException("P", IMPORT_ACTIVE, Cause.EXTREME, True, 500, 100)
    assert ExceptionFilter().takes(one)
    assert ExceptionFilter(frozenset({Cause.EXTREME}), frozenset({"P"}), 500, 500).takes(one)
    for other in (
        ExceptionFilter(causes=frozenset({Cause.HIGH})),
        ExceptionFilter(points=frozenset({"Q"})),
        ExceptionFilter(billed_max=499),
        ExceptionFilter(percent_max=499),
    ):
        assert not other.takes(one)
    nothing = RunException("P", IMPORT_ACTIVE, Cause.FINDING, True)
    assert not ExceptionFilter(billed_max=10**9).takes(nothing)
    assert not ExceptionFilter(percent_max=10**9).takes(nothing)


def bill(amount: int, *, adjustments: int = 0) -> BillRow:
    days = (date(2026, 5, 20), date(2026, 6, 20))
    return BillRow("H", "P", "P", *days, 1, amount, 0, adjustments, amount + adjustments, "0" * 64)


@pytest.mark.parametrize(
    ("now", "before", "year", "expected"),
    [
        (130_000, 100_000, None, None),
        (130_001, 100_000, None, (BillCause.HIGH, Reference.PERIOD, False)),
        (400_001, 100_000, None, (BillCause.EXTREME, Reference.PERIOD, True)),
        (400_001, 390_000, 100_000, (BillCause.VERY_HIGH, Reference.YEAR, False)),
        (500_001, 99_999, None, (BillCause.FROM_NOTHING, Reference.PERIOD, True)),
        (99_999, 100_000, 100_000, None),
    ],
)
def test_the_same_of_money(now: int, before: int, year: int | None, expected: object) -> None:
    last = {} if year is None else {"H": bill(year)}
    told = bill_exceptions([bill(now)], [], {"H": bill(before)}, last, BillLimits())
    assert [(one.cause, one.reference, one.blocks) for one in told] == (
        [] if expected is None else [expected]
    )


def test_what_is_given_back_and_what_has_no_preview_is_told() -> None:
    refused = StoredRefusal("Q", None, "not_ratable", "no contract", "add it")
    told = bill_exceptions([bill(0, adjustments=-5)], [refused], {}, {})
    assert [(one.bill, one.cause, one.blocks) for one in told] == [
        ("H", BillCause.ADJUSTED, False),
        ("H", BillCause.BELOW_ZERO, True),
        ("Q", BillCause.REFUSED, True),
    ]
