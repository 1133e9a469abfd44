"""Tiers: a quota's bands for a number of days, and energy poured into them.

It knows bands and integers; it must not know whose they are.
"""

from collections.abc import Sequence
from functools import lru_cache

from collector.billing.rating.rounding import rounded
from collector.billing.rating.tariff import Tier, Tiers

# Whole months of a district have a handful of lengths and quotas; changes of price some more.
_KEPT = 4_096


@lru_cache(maxsize=_KEPT)
def widths_kwh(
    bounds: Tiers, quota: tuple[int, int], days: int, cycle_days: int
) -> tuple[int, ...]:
    """The bands' widths in whole kWh; the last band has no end and no width.

    A band of M kWh a month is M ÷ T × N × h wide: T the days of the book's cycle, N those billed,
    h the quota (numerator, denominator); each is rounded by itself. Rule: EVNCPC, customers'
    pages on bills over a change of price (2016). With N = T and h = 1 it is M.
    """
    numerator, denominator = quota
    return tuple(
        rounded((tier.up_to_kwh - tier.above_kwh) * days * numerator, cycle_days * denominator)
        for tier in bounds.tiers
        if tier.up_to_kwh is not None
    )


def pour(energy: int, widths: Sequence[int]) -> list[int]:
    """The energy in each band, from the first on; what is left is in the last, which has no end."""
    bands: list[int] = []
    for width in widths:
        taken = min(energy, width)
        bands.append(taken)
        energy -= taken
    bands.append(energy)
    return bands


def tier_of(tiers: Tiers, above_kwh: int) -> tuple[int, Tier]:
    """The tier in which the kWh after `above_kwh` lies, and its number from 1."""
    for number, tier in enumerate(tiers.tiers, 1):
        if tier.up_to_kwh is None or above_kwh < tier.up_to_kwh:
            return number, tier
    raise AssertionError("the last tier has no end")
