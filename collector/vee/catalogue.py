"""All rules, in the order of their numbers.

The only place that knows them all; it must not know what a rule looks at.
"""

from collector.vee.rule import Rule
from collector.vee.rules import (
    v01_missing,
    v02_duplicate,
    v03_negative,
    v04_high_low,
    v05_spike,
    v06_zero,
    v07_inactive,
    v08_sum,
    v09_multiplier,
    v10_unit,
    v11_siblings,
    v12_stuck,
    v13_clock,
    v14_identity,
    v15_prolonged,
    v16_voltage,
    v17_replacement,
)

RULES: tuple[Rule, ...] = tuple(
    module.RULE
    for module in (
        v01_missing,
        v02_duplicate,
        v03_negative,
        v04_high_low,
        v05_spike,
        v06_zero,
        v07_inactive,
        v08_sum,
        v09_multiplier,
        v10_unit,
        v11_siblings,
        v12_stuck,
        v13_clock,
        v14_identity,
        v15_prolonged,
        v16_voltage,
        v17_replacement,
    )
)

BY_ID: dict[str, Rule] = {rule.id: rule for rule in RULES}
