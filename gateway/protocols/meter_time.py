"""Dates and times as meters write them: the meter's own local time, with or without a season digit.

Knows texts and civil time. It must not ask what time it is, nor judge whether a meter's is right.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from enum import IntEnum

CENTURY = 2000  # two digits of a year: electronic meters are younger than that

_DATE = re.compile(r"(?P<season>[0-2])?(?P<y>\d\d)(?P<m>\d\d)(?P<d>\d\d)")
_DATE_SEPARATED = re.compile(
    r"(?P<season>[0-2](?=\d\d[-./]))?(?:20)?(?P<y>\d\d)(?P<sep>[-./])(?P<m>\d\d)(?P=sep)(?P<d>\d\d)"
)
_TIME = re.compile(r"(?P<season>[0-2])?(?P<h>\d\d):?(?P<min>\d\d)(?::?(?P<s>\d\d))?")
# Of 10 to 13 digits an odd number begins with a season: no other reading of them fits.
_STAMP = re.compile(
    r"(?P<season>[0-2])?(?P<y>\d\d)(?P<m>\d\d)(?P<d>\d\d)(?P<h>\d\d)(?P<min>\d\d)(?P<s>\d\d)?"
)


class Season(IntEnum):
    """The digit before a time stamp (VDEW requirements for electronic load meters)."""

    NORMAL = 0  # winter
    SUMMER = 1
    UTC = 2


@dataclass(frozen=True, slots=True)
class MeterTime:
    """A date and a time of day on a meter's clock. `season` is None where it does not say."""

    day: date
    time: time
    season: Season | None = None

    def at(self, zone: tzinfo) -> datetime:
        """The instant in UTC, the meter's clock being set to `zone`.

        Of an hour that comes twice it is the first, unless the season says winter.
        """
        if self.season is Season.UTC:
            return datetime.combine(self.day, self.time, UTC)
        fold = 1 if self.season is Season.NORMAL else 0
        local = datetime.combine(self.day, self.time.replace(fold=fold), zone)
        return local.astimezone(UTC)


def parse_date(text: str) -> date | None:
    """`YYMMDD`, also with a season digit before it or with - . / between; None if it is none."""
    match = _DATE.fullmatch(text.strip()) or _DATE_SEPARATED.fullmatch(text.strip())
    return None if match is None else _date(match)


def parse_time(text: str) -> time | None:
    """`hhmmss`, `hhmm`, `hh:mm:ss`, `hh:mm`, also with a season digit; None if it is none.

    Midnight written as 24:00 is none: the day that it belongs to cannot be told.
    """
    match = _TIME.fullmatch(text.strip())
    return None if match is None else _time(match)


def parse_stamp(text: str) -> MeterTime | None:
    """A date and time in one: `YYMMDDhhmm[ss]` with or without a season digit, or two parts.

    The parts are separated by a space, a comma, a semicolon or a `T`. None if it is no time stamp.
    """
    text = text.strip()
    if text.isdecimal() and text.isascii():
        match = _STAMP.fullmatch(text)
        if match is None:
            return None
        season, day, clock = match["season"], _date(match), _time(match)
    else:
        first, *others = re.split(r"[ ,;T]+", text)
        if len(others) != 1:
            return None
        season, day, clock = None, parse_date(first), parse_time(others[0])
    if day is None or clock is None:
        return None
    return MeterTime(day, clock, None if season is None else Season(int(season)))


def _date(match: re.Match[str]) -> date | None:
    try:
        return date(CENTURY + int(match["y"]), int(match["m"]), int(match["d"]))
    except ValueError:
        return None


def _time(match: re.Match[str]) -> time | None:
    try:
        return time(int(match["h"]), int(match["min"]), int(match["s"] or 0))
    except ValueError:
        return None
