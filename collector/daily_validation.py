"""The validation of each day, once it is over: a part of a running collector.

Owns when it is due and what is told of it; what is looked for is `collector.operations.vee`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from collector.civil import civil_day, day_start
from collector.errors import CollectorError
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations.vee import ACTION, DAYS_MAX, Stopped, VeeReport, VeeRun, run_vee
from collector.vee.limits import LimitsBook

# Who has validated, in the audit trail.
ACTOR = "collector:daily"

# How often it is looked whether a day is over, and how long after a failure it is tried again.
TICK_S = 60.0

_DAY = timedelta(days=1)

# Days that passed while no collector ran are caught up with, as many as are validated at once.
_BACK_MAX = timedelta(days=DAYS_MAX)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Daily:
    """When, and what: `after` the start of a day, the `days` days before it, by these limits."""

    zone: str
    after: timedelta
    days: int
    limits: Callable[[], LimitsBook]


class DailyValidation:
    """Validates the days that are over; what was done it asks of the audit trail.

    So a collector that is started again goes on, and of two that run both may do it: what is found
    twice is one finding.
    """

    def __init__(
        self, ledger: Ledger, metrics: Metrics, now: Callable[[], datetime], daily: Daily
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._now = now
        self._daily = daily
        self._stop = threading.Event()
        self._trouble = ""
        self._known: date | None = None

    def run(self) -> None:
        """Work until stopped."""
        while not self._stop.is_set():
            self.look()
            self._stop.wait(TICK_S)

    def stop(self) -> None:
        """Have `run` return after the station in hand; may be called from any thread."""
        self._stop.set()

    def troubles(self) -> dict[str, str]:
        """What keeps days from being validated, empty where nothing does; from any thread."""
        return {"validation": self._trouble}

    def look(self) -> VeeReport | None:
        """Validate what is due now, if anything is; a failure is told, and tried again later."""
        try:
            report = self._validate(self._now())
        except Stopped:
            return None
        except CollectorError as error:
            self._trouble = f"the days before today were not validated: {error}; {error.hint}"
            self._metrics.daily_validations.labels("failed").inc()
            _log.warning("daily_validation_failed", error=str(error), hint=error.hint)
            return None
        self._trouble = ""
        return report

    def _validate(self, now: datetime) -> VeeReport | None:
        daily = self._daily
        today = civil_day(now, daily.zone)
        if now < day_start(today, daily.zone) + daily.after:
            return None
        yesterday = today - _DAY
        if self._known == yesterday:
            return None
        done = self._done(now)
        if done is not None and done >= yesterday:
            self._known = yesterday
            return None
        with self._ledger.read() as uow:
            if not uow.registry.stations():
                return None
        first = yesterday - (daily.days - 1) * _DAY
        if done is not None:
            first = max(min(first, done + _DAY), yesterday - _BACK_MAX + _DAY)
        wanted = VeeRun(first, yesterday, daily.zone, daily.limits())
        report = run_vee(self._ledger, wanted, actor=ACTOR, now=now, stopping=self._stop.is_set)
        self._metrics.daily_validations.labels("done").inc()
        self._metrics.daily_validated_at.set(now.timestamp())
        self._metrics.daily_found.set(report.new)
        _log.info(
            "daily_validation_done",
            first_day=first.isoformat(),
            last_day=yesterday.isoformat(),
            meters=report.meters,
            found=report.found.total(),
            new=report.new,
        )
        return report

    def _done(self, now: datetime) -> date | None:
        """The last day that was validated by itself, not longer ago than is caught up with."""
        with self._ledger.read() as uow:
            entries = uow.audit.since((ACTION,), now - _BACK_MAX)
            last = [
                date.fromisoformat(entry.detail["last_day"])
                for entry in entries
                if entry.actor == ACTOR
            ]
        return max(last, default=None)
