"""What every request may use: the ledger, the reading store, the zone and the clock.

Handed to `create_app` once and found again through the request; it must not know any route.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from threading import Lock
from typing import Annotated, cast
from zoneinfo import ZoneInfo

from fastapi import Depends
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection

from collector.balance.settings import LossSettings
from collector.civil import civil_day, zone_info
from collector.ledger import Ledger
from collector.operations.billing_settings import BillingRules, default_rules
from collector.operations.commands import Sender
from collector.operations.vee_files import load_limits
from collector.readings.port import ReadingStore
from collector.vee.limits import LimitsBook
from collector.web.rates import Rates
from collector.web.wrong_keys import WrongKeys


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that requests share; all of them are safe to use from several threads.

    `intake` tells, by part of it, what is wrong, empty where nothing is; None in a process that
    takes no batches. So does `validation` of the daily one; None where it is off. `sender` sends
    commands to gateways; without it they are refused. `billing` is as the collector file has it.
    `limits` are those of validation, of which a request runs one at a time (`validating`).
    """

    ledger: Ledger
    store: ReadingStore
    zone: str
    now: Callable[[], datetime]
    metrics_registry: CollectorRegistry | None = None
    intake: Callable[[], Mapping[str, str]] | None = None
    validation: Callable[[], Mapping[str, str]] | None = None
    sender: Sender | None = None
    command_lifetime_s: int = 120
    limits: Callable[[], LimitsBook] = lambda: load_limits(None)
    wrong_keys: WrongKeys = field(default_factory=WrongKeys)
    loss_settings: LossSettings = field(default_factory=LossSettings)
    billing: BillingRules | None = None
    rates: Rates = field(default_factory=Rates)
    validating: Lock = field(default_factory=Lock)

    @property
    def zone_info(self) -> ZoneInfo:
        """The utility's zone, in which days begin and end."""
        return zone_info(self.zone)

    @property
    def rules(self) -> BillingRules:
        """By what runs are billed and their bills rated; what is shipped where nothing is said."""
        return self.billing or default_rules(self.zone)

    def today(self) -> date:
        """The present civil day."""
        return civil_day(self.now(), self.zone)


def context_of(connection: HTTPConnection) -> Context:
    """The context of the application that serves this request."""
    return cast(Context, connection.app.state.context)


ContextParameter = Annotated[Context, Depends(context_of)]
