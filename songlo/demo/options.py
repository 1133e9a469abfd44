"""What a demo run is asked to do, checked and with every default filled in.

Pure: it reads no clock and no file; today's date is an argument.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

ZONE = "Asia/Ho_Chi_Minh"
DAY_MINUTES = 24 * 60
DAYS_MAX = 366


class Transport(StrEnum):
    """How the simulated meters are reached."""

    TCP = "tcp"
    RTU = "rtu"  # pseudo-terminals paced at 9600 baud: as slow as the real thing


class OptionsError(ValueError):
    """An option that cannot be; the text says which and what would do."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """A demo run. `start_at` and `end_at` are slots; the snapshot is taken between them.

    `broker`, `ledger_url` and `readings` replace the embedded parts by existing servers:
    (host, port), an SQLAlchemy URL, and the `readings` section of a collector file.
    """

    start_at: datetime
    end_at: datetime
    interval_min: int = 30
    grid: Path | None = None
    load: Path | None = None
    transport: Transport = Transport.TCP
    model: str | None = None
    line_count: int = 4
    api_port: int = 8000
    broker: tuple[str, int] | None = None
    ledger_url: str | None = None
    readings: dict[str, object] = field(default_factory=dict)
    shared_group: str | None = None
    resend_after_s: int = 30

    @property
    def zone(self) -> ZoneInfo:
        """The utility's civil time."""
        return ZoneInfo(ZONE)

    @property
    def slot_count(self) -> int:
        """Slots from `start_at` to `end_at`, both included."""
        return int((self.end_at - self.start_at) / timedelta(minutes=self.interval_min)) + 1


def period(
    start: date | None, days: int, hours: int | None, interval_min: int, today: date
) -> tuple[datetime, datetime]:
    """The first and last slot of the replay, in civil time.

    `start` defaults to `days` before `today`; `hours`, where given, replaces `days`.
    Raises OptionsError.
    """
    if not 1 <= interval_min <= DAY_MINUTES or DAY_MINUTES % interval_min:
        raise OptionsError(f"--interval {interval_min}: a day must be a whole number of intervals")
    if not 1 <= days <= DAYS_MAX:
        raise OptionsError(f"--days {days}: from 1 to {DAYS_MAX} days can be replayed")
    if hours is not None and (not 1 <= hours <= 24 or hours * 60 % interval_min):
        raise OptionsError(f"--hours {hours}: from 1 to 24 and a whole number of intervals")
    first = start if start is not None else today - timedelta(days=days)
    start_at = datetime.combine(first, time(), ZoneInfo(ZONE))
    if hours is not None:
        end_at = start_at + timedelta(hours=hours)
    else:
        end_at = datetime.combine(first + timedelta(days=days), time(), ZoneInfo(ZONE))
    if end_at.date() > today:
        raise OptionsError(
            f"--start {first}: the period would end on {end_at.date()}, after today ({today}); "
            "indices of the future cannot be read"
        )
    return start_at, end_at
