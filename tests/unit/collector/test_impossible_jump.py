"""A misread index far ahead of what any line can carry never becomes consumption."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from collector.billing.snapshot import IndexAt, consumption
from collector.vee.impossible_jump import is_impossible
from contract.limits import ENERGY_MAX

MONTH = timedelta(days=30)
START = datetime(2026, 9, 19, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("energy_wh", "elapsed", "expected"),
    [
        (0, timedelta(0), False),
        # 10 MW for one hour more than elapsed, to the Wh.
        (10_000_000, timedelta(0), False),
        (10_000_001, timedelta(0), True),
        (7_210_000_000, MONTH, False),
        (7_210_000_001, MONTH, True),
        # A 2,500 kVA transformer at its limit.
        (1_800_000_000, MONTH, False),
        (2**32 * 10, MONTH, True),
    ],
)
def test_the_bound(energy_wh: int, elapsed: timedelta, expected: bool) -> None:
    assert is_impossible(energy_wh, elapsed) is expected


@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(40), Fraction(2**31 - 1)])
def test_a_misread_word_is_not_billed_nor_too_large_to_store(ratio: Fraction) -> None:
    start = IndexAt(100, START, actual=True)
    misread = IndexAt(ENERGY_MAX, START + MONTH, actual=True)
    assert consumption(start, misread, ratio, None) is None


def test_what_no_store_can_hold_is_not_billed() -> None:
    start = IndexAt(0, START, actual=True)
    end = IndexAt(7_000_000_000, START + MONTH, actual=True)
    assert consumption(start, end, Fraction(40), None) == 280_000_000_000
    assert consumption(start, end, Fraction(2**31 - 1), None) is None
