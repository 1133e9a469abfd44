"""How far an application for supply has come.

Pure functions over the registry's values; it must not know where they are kept.
"""

from collections.abc import Iterable
from enum import StrEnum

from collector.civil import day_start
from collector.registry.contract_values import SupplyApplication
from collector.registry.values import Installation


class ApplicationState(StrEnum):
    """What was done last of an application."""

    RECEIVED = "received"  # tiếp nhận
    SURVEYED = "surveyed"  # đã khảo sát
    CONTRACTED = "contracted"  # đã ký hợp đồng
    ENERGISED = "energised"  # đã treo công tơ, có chỉ số đầu: closed
    WITHDRAWN = "withdrawn"  # khách hàng rút: closed


def first_installation(
    row: SupplyApplication, installations: Iterable[Installation], zone: str
) -> Installation | None:
    """The installation that closes it: the first at its point since it came, with an index."""
    since = day_start(row.received_on, zone)
    found = [
        one
        for one in installations
        if one.point == row.point and one.installed_at >= since and one.install_indices
    ]
    return min(found, key=lambda one: one.installed_at, default=None)


def state_of(
    row: SupplyApplication, installations: Iterable[Installation], zone: str
) -> ApplicationState:
    """How far it has come."""
    if row.withdrawn_on is not None:
        return ApplicationState.WITHDRAWN
    if first_installation(row, installations, zone) is not None:
        return ApplicationState.ENERGISED
    if row.contract is not None:
        return ApplicationState.CONTRACTED
    return ApplicationState.RECEIVED if row.surveyed_on is None else ApplicationState.SURVEYED
