"""The console's languages: texts, numbers and instants as a reader of each expects them.

Owns catalogues and formatting; it must not know which page shows what. Source texts are English;
`i18n/<language>.po` holds the others and is read at start, without a compile step.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from babel import Locale
from babel.core import negotiate_locale
from babel.dates import format_date, format_datetime, format_time
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

LANGUAGES = {"vi": "Tiếng Việt", "en": "English"}
LANGUAGE_DEFAULT = "en"

NOTHING = "–"

# How Babel is asked for each language: British dates are the ones that cannot be misread here.
_BABEL = {"vi": "vi_VN", "en": "en_GB"}
_ACCEPT_PARTS_MAX = 20


def negotiate(cookie: str | None, accept_language: str) -> str:
    """The language to answer in: the one chosen before, else the browser's best that exists."""
    if cookie in LANGUAGES:
        return cookie
    wanted: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:_ACCEPT_PARTS_MAX]:
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        wanted.append((-weight, tag))
    tags = [tag for weight, tag in sorted(wanted, key=lambda pair: pair[0]) if weight < 0]
    return negotiate_locale(tags, list(LANGUAGES), sep="-") or LANGUAGE_DEFAULT


@dataclass(frozen=True, slots=True)
class Speech:
    """One language: its texts and its ways to write numbers, instants and lengths of time."""

    language: str
    locale: Locale
    zone: ZoneInfo
    catalog: Catalog | None

    def gettext(self, text: str) -> str:
        """`text` in this language; the English source where there is no translation."""
        message = self.catalog.get(text) if self.catalog is not None else None
        if message is None or not message.string or message.fuzzy:
            return text
        return message.string if isinstance(message.string, str) else message.string[0]

    def ngettext(self, one: str, many: str, count: int) -> str:
        """The form of a text for `count` things."""
        message = self.catalog.get(one) if self.catalog is not None else None
        if message is None or not isinstance(message.string, tuple) or message.fuzzy:
            return one if count == 1 else many
        forms = message.string
        plural = self.locale.plural_form
        index = 0 if len(forms) == 1 or plural(count) == "one" else 1
        return forms[index] or (one if count == 1 else many)

    def number(self, value: int | float | Decimal | None, digits: int = 0) -> str:
        """A number with this language's separators, rounded to `digits` decimals."""
        if value is None:
            return NOTHING
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        return str(format_decimal(value, format=pattern, locale=self.locale))

    def kwh(self, wh: int | None, digits: int = 1) -> str:
        """Energy in kWh from Wh, without its unit."""
        return NOTHING if wh is None else self.number(Decimal(wh) / 1000, digits)

    def percent(self, text: str | None, digits: int = 2) -> str:
        """A percentage given as decimal text, without its sign."""
        return NOTHING if text is None else self.number(Decimal(text), digits)

    def day(self, value: date | None) -> str:
        """A civil day, as 31/01/2026 in Vietnamese."""
        return NOTHING if value is None else format_date(value, "dd/MM/yyyy", locale=self.locale)

    def weekday(self, value: date) -> str:
        """The short name of a day of the week."""
        return str(format_date(value, "EEE", locale=self.locale))

    def clock(self, value: datetime | None) -> str:
        """The time of day of an instant, in the utility's zone."""
        if value is None:
            return NOTHING
        return str(format_time(value, "HH:mm", tzinfo=self.zone, locale=self.locale))

    def instant(self, value: datetime | None) -> str:
        """An instant to the minute, in the utility's zone."""
        if value is None:
            return NOTHING
        return str(format_datetime(value, "dd/MM/yyyy HH:mm", tzinfo=self.zone, locale=self.locale))

    def ago(self, seconds: float | timedelta | None) -> str:
        """A length of time in its two largest units' precision, as "3 min" or "2 d 4 h"."""
        if seconds is None:
            return NOTHING
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        whole = max(0, int(seconds))
        units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
        for position, (unit, size) in enumerate(units):
            if whole >= size:
                text = f"{whole // size} {self.gettext(unit)}"
                rest = whole % size
                if unit in {"d", "h"}:
                    next_unit, next_size = units[position + 1]
                    if rest >= next_size:
                        text += f" {rest // next_size} {self.gettext(next_unit)}"
                return text
        return f"0 {self.gettext('s')}"


@cache
def speech(language: str, zone: ZoneInfo) -> Speech:
    """The speech of one of LANGUAGES. Raises KeyError for another."""
    return Speech(language, Locale.parse(_BABEL[language]), zone, _catalog(language))


def _catalog(language: str) -> Catalog | None:
    if language == LANGUAGE_DEFAULT:
        return None
    source = files("collector.console").joinpath("i18n", f"{language}.po")
    with source.open("rb") as stream:
        return read_po(stream, locale=language)
