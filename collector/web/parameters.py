"""The types of what callers write into a URL or a body: instants, names, ranges.

Checks form only and says how to write it right; it must not know what exists.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from collector.errors import InvalidRequest
from contract.limits import NAME_CHARS_MAX

# Instants outside are typing errors; inside, arithmetic with offsets cannot overflow.
FIRST_YEAR = 2000
LAST_YEAR = 2200

# The longest range that one request may ask for, in days: a year and its leap day.
RANGE_DAYS_MAX = 366

# RFC 3339 section 5.6; a space may stand for the T, as the RFC allows.
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# What is left of "+07:00" when nobody escaped the plus sign in a URL.
_LOST_PLUS = re.compile(r".*[T ]\d\d:\d\d(:\d\d(\.\d+)?)? \d\d:\d\d")

INSTANT_HINT = (
    "write an instant with its offset, as 2026-01-01T00:00:00+07:00 (in a URL: %2B07:00) "
    "or 2025-12-31T17:00:00Z"
)
DAY_HINT = "write a day as 2026-01-31"


def _instant_text(value: object) -> object:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        if isinstance(value, str) and _LOST_PLUS.fullmatch(value):
            raise PydanticCustomError("instant", "has an offset without its sign")
        raise PydanticCustomError("instant", "is not an RFC 3339 instant")
    return value


def _instant_aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("instant", "has no offset")
    if not FIRST_YEAR <= value.year < LAST_YEAR:
        raise PydanticCustomError(
            "instant",
            "is not between the years {first} and {last}",
            {"first": FIRST_YEAR, "last": LAST_YEAR},
        )
    at = value.astimezone(UTC)
    if at.microsecond % 1000:
        raise PydanticCustomError("instant", "is finer than a millisecond")
    return at


def _day_text(value: object) -> object:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise PydanticCustomError("day", "is not a day")
    return value


def _day_bounded(value: date) -> date:
    if not FIRST_YEAR <= value.year < LAST_YEAR:
        raise PydanticCustomError(
            "day",
            "is not between the years {first} and {last}",
            {"first": FIRST_YEAR, "last": LAST_YEAR},
        )
    return value


Instant = Annotated[
    datetime,
    BeforeValidator(_instant_text),
    AfterValidator(_instant_aware),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An aware instant, in UTC, with millisecond resolution."""

Day = Annotated[
    date,
    BeforeValidator(_day_text),
    AfterValidator(_day_bounded),
    WithJsonSchema({"type": "string", "format": "date"}),
]
"""A civil day in the utility's zone."""

FromQuery = Annotated[Instant, Query(alias="from", description="first instant, inclusive")]
ToQuery = Annotated[Instant, Query(alias="to", description="last instant, exclusive")]
NamePath = Annotated[str, Path(min_length=1, max_length=NAME_CHARS_MAX)]
NameQuery = Annotated[str | None, Query(min_length=1, max_length=NAME_CHARS_MAX)]


def check_range(from_at: datetime, to_at: datetime) -> None:
    """Raises InvalidRequest unless from < to and the range is at most RANGE_DAYS_MAX days."""
    if from_at >= to_at:
        raise InvalidRequest(
            f"'from' ({from_at.isoformat()}) is not before 'to' ({to_at.isoformat()})",
            hint="swap them, or give a range of at least one millisecond",
        )
    if to_at - from_at > timedelta(days=RANGE_DAYS_MAX):
        raise InvalidRequest(
            f"the range is {(to_at - from_at).days} days long, at most {RANGE_DAYS_MAX} are"
            " allowed",
            hint="ask for it in several parts",
        )
