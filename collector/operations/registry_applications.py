"""Applications for supply that wait: how far each has come, and for how long.

It fetches; the state is decided by `collector.registry.applying`.
"""

from dataclasses import dataclass
from datetime import datetime

from collector.civil import civil_day
from collector.ledger import Ledger
from collector.registry.applying import ApplicationState, state_of
from collector.registry.contract_values import SupplyApplication
from collector.registry.values import Installation

_CLOSED = {ApplicationState.ENERGISED, ApplicationState.WITHDRAWN}


@dataclass(frozen=True, slots=True)
class OpenApplication:
    """An application that is not closed, and for how many days it has waited."""

    application: SupplyApplication
    state: ApplicationState
    days: int


def open_applications(
    ledger: Ledger, now: datetime, zone: str, *, longer_than_days: int = 0
) -> list[OpenApplication]:
    """The applications that have waited for more than so many days, the oldest first."""
    with ledger.read() as uow:
        applications = uow.contracts.applications()
        installed = uow.registry.installations()
    by_point: dict[str | None, list[Installation]] = {}
    for row in installed:
        by_point.setdefault(row.point, []).append(row)
    today = civil_day(now, zone)
    found = [
        OpenApplication(
            row, state_of(row, by_point.get(row.point, ()), zone), (today - row.received_on).days
        )
        for row in applications
    ]
    waiting = [one for one in found if one.state not in _CLOSED and one.days > longer_than_days]
    return sorted(waiting, key=lambda one: (-one.days, one.application.application))
