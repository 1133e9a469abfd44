"""The registry's cells as text: what each kind of column takes, and how it is written again.

Every parser raises ValueError with what is wrong; what a writer gives, its parser takes back.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from enum import StrEnum
from fractions import Fraction
from functools import partial
from typing import TypeVar

from collector.civil import parse_instant, zone_info
from collector.registry.contract_values import ReadingDay
from contract.limits import NAME_CHARS_MAX

TEXT_CHARS_MAX = 500
INT32_MAX = 2**31 - 1

# Large customers are billed up to three times a month; CMIS numbers the periods of one.
READING_DAYS_MAX = 3
# Every month has it; the end of a month is the word `last`.
READING_DAY_MAX = 28
LAST = "last"

SEALS_MAX = 20

# Contracts are older than meters, and nothing is older than these; outside are typing errors, and
# inside no arithmetic with offsets and months can overflow.
YEAR_MIN = 1950
YEAR_MAX = 2199

# Codes of customers have 13 characters; how they begin differs among power companies.
_CUSTOMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{3,31}")
_PHONE = re.compile(r"[0-9][0-9 .-]{5,19}")
_EMAIL = re.compile(r"[A-Za-z0-9][^@\s]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
# RFC 5321, section 4.5.3.1.3, without the brackets.
EMAIL_CHARS_MAX = 254
# What spreadsheets run, however many apostrophes stand before it; some pass over a tab or the end
# of a line first, and take the wide signs of East Asian keyboards for the others.
_FORMULA = re.compile(r"'*[=+@\t\r\n\uff1d\uff0b\uff20\uff0d-]")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?", re.ASCII)
_PERCENT_MAX = 100_00

_YES = {"yes": True, "no": False}

_Cell = TypeVar("_Cell")
_Enum = TypeVar("_Enum", bound=StrEnum)


def name(text: str) -> str:
    """A name of at most 64 characters."""
    if len(text) > NAME_CHARS_MAX:
        raise ValueError(f"longer than {NAME_CHARS_MAX} characters")
    # A spreadsheet that opens an export would run a cell that begins with = + - or @.
    if not text[0].isalnum() or not text.isprintable():
        raise ValueError(f"{text!r} must begin with a letter or digit and be printable")
    return text


def customer_code(text: str) -> str:
    """A customer's code, whichever company's form it has."""
    if not _CUSTOMER.fullmatch(text):
        raise ValueError(f"{text!r} is no code: 4 to 32 letters, digits, dots, - or _")
    return text


def phone(text: str) -> str:
    """A telephone number as it is dialled in Vietnam; no spreadsheet takes it for a formula."""
    if not _PHONE.fullmatch(text):
        raise ValueError(f"{text!r} is no telephone number: 6 to 20 digits, spaces, dots or -")
    return text


def email(text: str) -> str:
    """An e-mail address."""
    if not _EMAIL.fullmatch(text) or len(text) > EMAIL_CHARS_MAX:
        raise ValueError(f"{text!r} is no e-mail address")
    return text


def free_text(text: str) -> str:
    """One line of text as people write it."""
    if len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise ValueError(f"must be printable and at most {TEXT_CHARS_MAX} characters")
    return text


def tame_text(text: str) -> str:
    """One line of text that no spreadsheet takes for a formula."""
    if text[0] in "=+-@":
        raise ValueError(f"must not begin with {text[0]}")
    return free_text(text)


def shielded(text: str) -> str:
    """Free text for a file, so that no spreadsheet takes it for a formula: an apostrophe before it.

    Text that looks shielded already gets one more; `unshielded` takes back exactly what was put.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unshielded(text: str) -> str:
    """Free text as it was before it was shielded."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def choice(kind: type[_Enum], text: str) -> _Enum:
    """One of an enumeration's words."""
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is none of {', '.join(kind)}") from None


def one_of(words: Iterable[str], text: str) -> str:
    """One of these words."""
    if text not in words:
        raise ValueError(f"{text!r} is none of {', '.join(words)}")
    return text


def tame_cell(value: _Cell) -> _Cell | str:
    """A cell of a table for people: text is shielded, a number is as it is, written out too.

    Lines of text end in LF: a carriage return, which the writers of tables do not quote, would
    begin a row.
    """
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return shielded(value.replace("\r\n", "\n").replace("\r", "\n"))
    return value


def integer(text: str, *, low: int, high: int) -> int:
    """A whole number within bounds."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(high)):
        raise ValueError(f"{text!r} is no integer from {low} to {high}")
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{text!r} is no integer from {low} to {high}")
    return value


def ratio(text: str) -> Fraction:
    """A multiplier, `n` or `n/d`."""
    numerator, _, denominator = text.partition("/")
    part = partial(integer, low=1, high=INT32_MAX)
    try:
        return Fraction(part(numerator), part(denominator) if "/" in text else 1)
    except ValueError:
        raise ValueError(f"{text!r} is no multiplier: write n or n/d") from None


def percent(text: str) -> int:
    """Hundredths of a per cent, above 0 and at most 100 %."""
    match = _PERCENT.fullmatch(text)
    value = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else 0
    if not 0 < value <= _PERCENT_MAX:
        raise ValueError(f"{text!r} is no per cent above 0 with at most two decimals")
    return value


def percent_text(hundredths: int) -> str:
    """A per cent without superfluous zeros."""
    whole, rest = divmod(hundredths, 100)
    return f"{whole}.{rest:02}".rstrip("0") if rest else str(whole)


def yes_no(text: str) -> bool:
    """`yes` or `no`."""
    if text not in _YES:
        raise ValueError(f"{text!r} is neither yes nor no")
    return _YES[text]


def calendar_day(text: str) -> date:
    """A date, YYYY-MM-DD."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: write YYYY-MM-DD") from None
    _check_year(text, day.year)
    return day


def instant(text: str, zone: str) -> datetime:
    """An instant, or a date: the first instant of that day in the zone."""
    try:
        at = parse_instant(text, zone)
    except OverflowError:
        _check_year(text, YEAR_MAX + 1)
        raise
    _check_year(text, at.year)
    return at


def _check_year(text: str, year: int) -> None:
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise ValueError(f"{text!r} is not in the years {YEAR_MIN} to {YEAR_MAX}")


def midnight(text: str, zone: str) -> datetime:
    """An instant that is the start of a civil day in the zone: what bills can be cut at."""
    at = instant(text, zone)
    if at.astimezone(zone_info(zone)).time() != time():
        raise ValueError(f"{text!r} is not 00:00 in {zone}: there is an index of that instant only")
    return at


def instant_text(at: datetime, zone: str) -> str:
    """A date for the start of a civil day, otherwise RFC 3339 with the zone's offset."""
    local = at.astimezone(zone_info(zone))
    if local.time() == time() and datetime.combine(
        local.date(), time(), tzinfo=local.tzinfo
    ).astimezone(UTC) == at.astimezone(UTC):
        return local.date().isoformat()
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")


def reading_days(text: str) -> tuple[ReadingDay, ...]:
    """One to three days of the month, ascending, separated by semicolons; the last may be `last`.

    A book with several is billed that often a month.
    """
    words = [word.strip() for word in text.split(";")]
    if len(words) > READING_DAYS_MAX:
        raise ValueError(f"more than {READING_DAYS_MAX} days a month")
    days: list[ReadingDay] = []
    for word in words:
        if word == LAST:
            days.append("last")
            continue
        try:
            days.append(integer(word, low=1, high=READING_DAY_MAX))
        except ValueError:
            raise ValueError(
                f"{word!r} is no reading day: 1 to {READING_DAY_MAX}, or {LAST}"
            ) from None
    order = [READING_DAY_MAX + 1 if day == "last" else day for day in days]
    if order != sorted(set(order)):
        raise ValueError(f"{text!r} is not in ascending order")
    return tuple(days)


def reading_days_text(days: Iterable[ReadingDay]) -> str:
    """Reading days separated by semicolons."""
    return ";".join(str(day) for day in days)


def seals(text: str) -> tuple[str, ...]:
    """Numbers of seals, separated by semicolons."""
    found = tuple(name(word.strip()) for word in text.split(";") if word.strip())
    if len(found) > SEALS_MAX:
        raise ValueError(f"more than {SEALS_MAX} seals")
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} has a seal twice")
    return found


def seals_text(found: Iterable[str]) -> str:
    """Numbers of seals separated by semicolons."""
    return ";".join(found)
