"""The billing cycle of a reading book: how many days a quota is meant for.

It computes with dates only; it must not know prices. A month's bands are for the days of the
book's own cycle: from one reading day to the next, 28 to 31 of them.
"""

from datetime import date, timedelta
from typing import Annotated, Literal

import msgspec

BillingDay = Annotated[int, msgspec.Meta(ge=1, le=31)] | Literal["last"]
"""The day of the month on which a book is read; a month without that day is read on its last."""

_LONGEST_MONTH_DAYS = 31


def cycle_days(day: date, billing_day: BillingDay) -> int:
    """The length in days of the book's cycle that contains `day`.

    For a bill from 20 April to 20 May that is 30: the days of the month before the one of the
    reading, as the rule for bands has it. It is the same number for whoever starts within it.
    """
    start = _reading_day(day.year, day.month, billing_day)
    if start > day:
        last_month = day.replace(day=1) - timedelta(days=1)
        start = _reading_day(last_month.year, last_month.month, billing_day)
    next_month = start.replace(day=1) + timedelta(days=_LONGEST_MONTH_DAYS + 1)
    return (_reading_day(next_month.year, next_month.month, billing_day) - start).days


def _reading_day(year: int, month: int, billing_day: BillingDay) -> date:
    next_month = date(year + month // 12, month % 12 + 1, 1)
    last = next_month - timedelta(days=1)
    return (
        last if billing_day == "last" or billing_day > last.day else last.replace(day=billing_day)
    )
