"""Rating against a second implementation in exact rationals that shares no code with it.

It walks days and tiers in the plainest way: what is left of each band, one band after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.billing.rating.determinants import BillDeterminants, Share
from collector.billing.rating.pieces import PriceSplit
from collector.billing.rating.rate import RatingOptions, rate_bills
from tests.unit.collector.rating.making import bill, built_in, day, point

BANDS = (50, 50, 100, 100, 100)
PRICES = {
    day("2023-11-09"): (1806, 1866, 2167, 2729, 3050, 3151),
    day("2024-10-11"): (1893, 1956, 2271, 2860, 3197, 3302),
    day("2025-05-10"): (1984, 2050, 2380, 2998, 3350, 3460),
}
BUSINESS = 3152


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def length_of_cycle(first: date, billing_day: int) -> int:
    """Walk from the first day to the reading day before it and to the one after it."""

    def is_reading_day(at: date) -> bool:
        last = (at + timedelta(days=1)).day == 1
        return at.day == billing_day or (last and at.day < billing_day)

    start = first
    while not is_reading_day(start):
        start -= timedelta(days=1)
    end = start + timedelta(days=1)
    while not is_reading_day(end):
        end += timedelta(days=1)
    return (end - start).days


def household_vnd(kwh: int, prices: Sequence[int], days: int, cycle: int, quota: Fraction) -> int:
    amount, left = 0, kwh
    for width, price in zip(BANDS, prices, strict=False):
        taken = min(left, half_up(Fraction(width * days, cycle) * quota))
        amount += taken * price
        left -= taken
    return amount + left * prices[-1]


@dataclass(frozen=True)
class Case:
    cuts: tuple[date, ...]
    energies: tuple[int, ...]
    billing_day: int
    quota: dict[str, Any]
    quota_value: Fraction

    @property
    def determinants(self) -> BillDeterminants:
        home = point(self.energies, self.cuts, **self.quota)
        return bill(home, billing_day=self.billing_day)


def expected_vnd(case: Case, split: PriceSplit) -> int:
    """Cut at every known index if it is a day of change, else by days; sum the parts' amounts."""
    first, last = case.cuts[0], case.cuts[-1]
    cycle = length_of_cycle(first, case.billing_day)
    changes = [at for at in PRICES if first < at < last]
    by_index = [at for at in changes if at in case.cuts and split is PriceSplit.INDEX]
    amount = 0
    bounds = [first, *by_index, last]
    for start, end in pairwise(bounds):
        kwh = sum(
            energy
            for at, energy in zip(case.cuts, case.energies, strict=False)
            if start <= at < end
        )
        inner = [start, *(at for at in changes if start < at < end), end]
        spent = 0
        for low, high in pairwise(inner):
            reached = half_up(Fraction(kwh * (high - start).days, (end - start).days))
            prices = PRICES[max(at for at in PRICES if at <= low)]
            days = (high - low).days
            amount += household_vnd(reached - spent, prices, days, cycle, case.quota_value)
            spent = reached
    return amount


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Periods around every change of price, with and without the day's index, and all quotas."""
    change = draw(st.sampled_from([day("2024-10-11"), day("2025-05-10"), day("2025-12-01")]))
    first = change - timedelta(days=draw(st.integers(-40, 60)))
    last = first + timedelta(days=draw(st.integers(1, 100)))
    inner = {change} if draw(st.booleans()) else set()
    inner |= {first + timedelta(days=n) for n in draw(st.sets(st.integers(1, 99), max_size=3))}
    cuts = (first, *sorted(at for at in inner if first < at < last), last)
    energies = tuple(draw(st.integers(0, 1_500)) for _ in cuts[1:])
    kind = draw(st.sampled_from(["households", "renters", "none"]))
    count = draw(st.integers(1, 9))
    values = {"households": Fraction(count), "renters": Fraction(count, 4), "none": Fraction(1)}
    quota = {} if kind == "none" else {kind: count}
    return Case(cuts, energies, draw(st.integers(1, 31)), quota, values[kind])


@settings(max_examples=400)
@given(cases(), st.sampled_from(PriceSplit))
def test_a_household_pays_what_exact_rationals_say(case: Case, split: PriceSplit) -> None:
    (preview,) = rate_bills([case.determinants], built_in(), RatingOptions(split))
    assert preview.amount_vnd == expected_vnd(case, split)
    assert preview.energy_kwh == sum(case.energies)
    assert preview.vat_vnd == half_up(
        Fraction(preview.amount_vnd * preview.vat_percent_hundredths, 10_000)
    )


@given(
    st.integers(0, 100_000),
    st.integers(0, 9_999),
    st.integers(0, 5_000),
    st.integers(1, 50),
)
def test_shares_and_sub_meters_take_what_exact_rationals_say(
    net: int, hundredths: int, behind: int, households: int
) -> None:
    percent = Decimal(10_000 - hundredths).scaleb(-2)
    divided: tuple[Share, ...] = (Share(group="household", percent=percent),)
    if hundredths:
        divided += (Share(group="business", percent=Decimal(hundredths).scaleb(-2)),)
    main = point(net + behind, shares=divided, households=households)
    sub = point(
        behind, name="P2", parent="P1", shares=(Share(group="business", percent=Decimal(100)),)
    )
    (preview,) = rate_bills([bill(main, sub)], built_in())
    home = half_up(Fraction(net * (10_000 - hundredths), 10_000))
    tiers = PRICES[day("2025-05-10")]
    assert preview.amount_vnd == (
        household_vnd(home, tiers, 1, 1, Fraction(households)) + (net - home + behind) * BUSINESS
    )
    assert preview.energy_kwh == net + behind
