"""Tiers: nothing is lost between bands, more energy never costs less, quotas scale."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.billing.rating.cycle import cycle_days
from collector.billing.rating.rate import rate_bills
from collector.billing.rating.rounding import rounded
from collector.billing.rating.tariff import Tiers
from collector.billing.rating.tiers import pour, widths_kwh
from tests.unit.collector.rating.making import JUNE, MAY, bill, built_in, day, point

kwh = st.integers(0, 3_000)


def household() -> Tiers:
    price = built_in().table("QD-1279-2025").groups["household"].price_at(220)
    assert isinstance(price, Tiers)
    return price


def amount(energy: int, households: int) -> int:
    (preview,) = rate_bills([bill(point(energy, households=households))], built_in())
    return preview.amount_vnd


@given(kwh, st.lists(st.integers(0, 500), max_size=8))
def test_bands_hold_all_energy_in_order(energy: int, widths: list[int]) -> None:
    bands = pour(energy, widths)
    assert sum(bands) == energy
    assert all(0 <= band <= width for band, width in zip(bands, widths, strict=False))
    for index, (band, width) in enumerate(zip(bands, widths, strict=False)):
        if band < width:
            assert not any(bands[index + 1 :])


@given(kwh, st.integers(0, 500), st.integers(1, 12))
def test_more_energy_never_costs_less_and_more_households_never_more(
    energy: int, more: int, households: int
) -> None:
    assert amount(energy, households) <= amount(energy + more, households)
    assert amount(energy, households + 1) <= amount(energy, households)


@given(st.integers(0, 31), st.integers(1, 8), st.integers(1, 4))
def test_bands_of_a_cycles_parts_are_the_whole_ones_but_for_rounding(
    days: int, numerator: int, denominator: int
) -> None:
    quota = (numerator, denominator)
    whole = widths_kwh(household(), quota, 31, 31)
    first = widths_kwh(household(), quota, days, 31)
    second = widths_kwh(household(), quota, 31 - days, 31)
    for total, one, other in zip(whole, first, second, strict=True):
        assert abs(one + other - total) <= 1


@given(st.integers(0, 2_000), st.integers(1, 30))
def test_an_index_on_a_day_without_a_change_changes_nothing(energy: int, days: int) -> None:
    cut = MAY + timedelta(days=days)
    whole = bill(point(energy))
    for first in (0, energy // 3, energy):
        parted = bill(point([first, energy - first], (MAY, cut, JUNE)))
        before, after = rate_bills([whole], built_in()), rate_bills([parted], built_in())
        assert before[0].lines == after[0].lines


@pytest.mark.parametrize(
    ("first", "billing_day", "days"),
    [
        ("2025-04-20", 20, 30),
        ("2025-11-05", 20, 31),
        ("2025-10-20", 20, 31),
        ("2026-01-31", 31, 28),
        ("2024-01-31", "last", 29),
        ("2026-02-28", "last", 31),
        ("2026-12-25", 20, 31),
        ("2026-02-01", 1, 28),
    ],
)
def test_the_cycle_is_the_books_own(first: str, billing_day: int, days: int) -> None:
    assert cycle_days(day(first), billing_day) == days


@given(st.dates(date(2020, 1, 1), date(2035, 12, 31)), st.integers(1, 31))
def test_cycles_follow_each_other_whatever_the_day(first: date, billing_day: int) -> None:
    lengths = [cycle_days(first + timedelta(days=n), billing_day) for n in range(70)]
    assert set(lengths) <= {28, 29, 30, 31}
    # A new length begins only on a reading day: the last of the month at the latest.
    for number, (before, after) in enumerate(pairwise(lengths), 1):
        at = first + timedelta(days=number)
        if before != after:
            assert at.day == billing_day or (at + timedelta(days=1)).day == 1


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"),
    [
        (0, 1, 0),
        (1, 2, 1),
        (3, 2, 2),
        (149, 100, 1),
        (-1, 2, -1),
        (-149, 100, -1),
        (10**30, 3, 333333333333333333333333333333),
    ],
)
def test_halves_are_rounded_away_from_zero(numerator: int, denominator: int, result: int) -> None:
    assert rounded(numerator, denominator) == result
