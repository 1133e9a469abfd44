"""Civil days in the utility's zone, and instants as text.

It computes only; it must not know what a day is billed or read for.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from collector.errors import InvalidRequest

DEFAULT_ZONE = "Asia/Ho_Chi_Minh"


@cache
def zone_info(zone: str) -> ZoneInfo:
    """The zone of this IANA name. Raises InvalidRequest for an unknown one."""
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidRequest(
            f"{zone!r} is no time zone", hint=f"use an IANA name such as {DEFAULT_ZONE}"
        ) from error


def day_start(day: date, zone: str) -> datetime:
    """The first instant of a civil day, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone_info(zone)).astimezone(UTC)


def day_bounds(day: date, zone: str) -> tuple[datetime, datetime]:
    """The first instant of a civil day and that of the next one."""
    return day_start(day, zone), day_start(day + timedelta(days=1), zone)


def civil_day(at: datetime, zone: str) -> date:
    """The civil day that an instant belongs to."""
    return at.astimezone(zone_info(zone)).date()


def days(first_day: date, last_day: date) -> Iterator[date]:
    """Every day from the first to the last, both included."""
    for number in range((last_day - first_day).days + 1):
        yield first_day + timedelta(days=number)


def next_month(first: date) -> date:
    """The first day of the month after the one that begins on `first`."""
    return (first + timedelta(days=31)).replace(day=1)


def parse_instant(text: str, zone: str) -> datetime:
    """The instant that `text` says: RFC 3339 with an offset, or a date (its first instant).

    Raises ValueError, with what is wrong, for anything else; more than milliseconds is refused.
    """
    try:
        return day_start(date.fromisoformat(text), zone)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither an instant (RFC 3339) nor a date") from error
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: end it in Z or +07:00")
    if at.microsecond % 1000:
        raise ValueError(f"{text!r} is finer than a millisecond")
    return at.astimezone(UTC)


def format_instant(at: datetime) -> str:
    """RFC 3339 in UTC with Z; milliseconds only where they are not zero."""
    timespec = "milliseconds" if at.microsecond >= 1000 else "seconds"
    return at.astimezone(UTC).isoformat(timespec=timespec)[:-6] + "Z"
