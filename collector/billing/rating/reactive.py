"""The charge for reactive energy: power factor and its per cent, in integers.

It computes cos φ and k; it must not know bills.
"""

from collections.abc import Sequence
from math import isqrt

from collector.billing.rating.determinants import Terms
from collector.billing.rating.rounding import rounded
from collector.billing.rating.tariff import ReactiveRule


def cos_phi_hundredths(active: int, reactive: int) -> int:
    """cos φ = A ÷ √(A² + R²) in hundredths, a half rounded up; 100 where nothing was used.

    Exact: with x = 2·100·A ÷ √(A² + R²) the result is ⌊(⌊x⌋ + 1) ÷ 2⌋, and ⌊x⌋ is the integer root
    of ⌊x²⌋.
    """
    square = active * active + reactive * reactive
    if square == 0:
        return 100
    return (isqrt((200 * active) ** 2 // square) + 1) // 2


def k_percent_hundredths(rule: ReactiveRule, cos_phi: int) -> int:
    """The per cent that is charged at a cos φ in hundredths, itself in hundredths of a per cent."""
    if cos_phi >= rule.required_hundredths:
        return 0
    if cos_phi < rule.floor_hundredths:
        return rule.below_floor_percent_hundredths
    return rounded((rule.required_hundredths - cos_phi) * 100_00, cos_phi)


def is_in_scope(rule: ReactiveRule, terms: Terms, groups: Sequence[str]) -> bool:
    """Whether terms with these groups pay for reactive energy: by use, and by power."""
    if not rule.groups.intersection(groups):
        return False
    if terms.registered_w is not None and terms.registered_w >= rule.least_w:
        return True
    recent = terms.cycle_demands_w[-rule.cycles :]
    return len(recent) == rule.cycles and min(recent) >= rule.least_w
