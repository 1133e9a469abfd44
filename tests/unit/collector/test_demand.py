"""A period's maximum demand from a register that somebody resets."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from collector.billing.demand import DemandRead, peak

START = datetime(2026, 10, 19, 17, tzinfo=UTC)
ONE = Fraction(1)


def reads(*values: int | None) -> list[DemandRead]:
    """One read a day; None: it is lacking."""
    return [
        DemandRead(START + timedelta(days=number), value)
        for number, value in enumerate(values)
        if value is not None
    ]


def day(number: int) -> datetime:
    return START + timedelta(days=number)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Reset with the billing read: what comes after is lower, or grows.
        ((9_000, 2_000, 2_000, 5_500, 5_500), (5_500, day(2))),
        # Reset at the month's end: what was there on the billing day is of the period before.
        ((9_000, 9_000, 9_400, 1_000, 3_000), (9_400, day(1))),
        ((9_000, 9_000, 9_000, 1_000, 3_000), (3_000, day(3))),
        # Never more than before, never reset: nothing shows what was reached.
        ((9_000, 9_000, 9_000), None),
        ((9_000, None, 9_500), (9_500, None)),
        ((9_000,), None),
        ((), None),
    ],
)
def test_only_what_was_reached_in_the_period_counts(
    values: tuple[int | None, ...], expected: tuple[int, datetime | None] | None
) -> None:
    assert peak(reads(*values), is_new=False, ratio=ONE) == expected
    assert peak(reversed(reads(*values)), is_new=False, ratio=ONE) == expected


def test_a_meter_that_was_put_in_begins_with_its_first_read() -> None:
    assert peak(reads(4_000, 4_000), is_new=True, ratio=ONE) == (4_000, None)
    assert peak(reads(4_000, 4_001), is_new=True, ratio=Fraction(40)) == (160_040, day(0))
