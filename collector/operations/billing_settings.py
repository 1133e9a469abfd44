"""By what is billed and rated, as the collector file says it.

It turns settings into the values of the billing rooms; it must not decide anything.
"""

from dataclasses import dataclass
from functools import cache

from collector.billing.bill_gate import BillLimits
from collector.billing.chain import Steps
from collector.billing.gates import GateLimits
from collector.billing.rating.pieces import PriceSplit
from collector.config import CollectorConfig
from collector.operations.billing_lines import BilledBy
from collector.operations.run_rating import RatedBy
from collector.operations.tariffs import load_tariffs
from collector.operations.vee_files import load_limits

_KILO = 1000


@dataclass(frozen=True, slots=True)
class BillingRules:
    """By what runs are billed and their bills rated."""

    billed: BilledBy
    rated: RatedBy


def billed_by(settings: CollectorConfig) -> BilledBy:
    """By what runs are billed. Raises LimitsError for a faulty file of limits."""
    gate = settings.billing.index_gate
    return BilledBy(
        load_limits(settings.vee.limits_file),
        settings.zone,
        _steps(settings),
        GateLimits(
            high_percent=gate.high_percent,
            very_high_percent=gate.very_high_percent,
            extreme_percent=gate.extreme_percent,
            floor_wh=gate.floor_kwh * _KILO,
            from_nothing_wh=gate.from_nothing_kwh * _KILO,
        ),
    )


def rated_by(settings: CollectorConfig) -> RatedBy:
    """By what bills are rated. Raises TariffFaults for faulty tariff files."""
    gate = settings.billing.bill_gate
    return RatedBy(
        load_tariffs(settings.billing.tariffs),
        settings.zone,
        PriceSplit(settings.billing.split),
        _steps(settings),
        BillLimits(
            high_percent=gate.high_percent,
            very_high_percent=gate.very_high_percent,
            extreme_percent=gate.extreme_percent,
            floor_vnd=gate.floor_vnd,
            from_nothing_vnd=gate.from_nothing_vnd,
        ),
    )


def billing_rules(settings: CollectorConfig) -> BillingRules:
    """Both, for a process that serves the API."""
    return BillingRules(billed_by(settings), rated_by(settings))


@cache
def default_rules(zone: str) -> BillingRules:
    """What is shipped, where no collector file says otherwise."""
    return BillingRules(BilledBy(load_limits(None), zone), RatedBy(load_tariffs(), zone))


def _steps(settings: CollectorConfig) -> Steps:
    return Steps(settings.billing.step_wh, settings.billing.step_transformed_wh)
