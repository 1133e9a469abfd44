"""Languages: which one a reader gets, how it writes figures, and that no text is left out."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.extract import extract_from_dir

import collector.console
from collector.console.locale import Speech, negotiate, speech

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
FOLDER = Path(collector.console.__file__).parent
METHODS = [
    ("templates/**.html", "jinja2"),
    ("*.py", "python"),
]


def vi() -> Speech:
    return speech("vi", ZONE)


def en() -> Speech:
    return speech("en", ZONE)


@pytest.mark.parametrize(
    ("cookie", "accept", "language"),
    [
        (None, "", "en"),
        (None, "vi-VN,vi;q=0.9,en;q=0.8", "vi"),
        (None, "fr-FR,fr;q=0.9,vi;q=0.3", "vi"),
        (None, "en;q=0.4,vi;q=0.5", "vi"),
        (None, "vi;q=0,en;q=0.1", "en"),
        (None, "de,*;q=0.1,;;q=x", "en"),
        ("en", "vi", "en"),
        ("xx", "vi", "vi"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_browsers_best(
    cookie: str | None, accept: str, language: str
) -> None:
    assert negotiate(cookie, accept) == language


def test_numbers_are_written_as_the_reader_writes_them() -> None:
    assert vi().number(1234567.891, 1) == "1.234.567,9"
    assert en().number(1234567.891, 1) == "1,234,567.9"
    assert vi().kwh(1_234_500) == "1.234,5"
    assert vi().kwh(None) == "–"
    # 2**63 Wh: a float would have lost its last digits.
    assert en().kwh(9223372036854775807, 3) == "9,223,372,036,854,775.807"
    assert vi().percent("5.2345") == "5,23"


def test_instants_are_told_in_the_utilitys_zone() -> None:
    at = datetime(2025, 12, 31, 17, 5, tzinfo=UTC)
    assert vi().instant(at) == "01/01/2026 00:05"
    assert en().clock(at) == "00:05"
    assert vi().day(date(2026, 1, 31)) == "31/01/2026"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (183_600, "2 d 3 h"),
    ],
)
def test_lengths_of_time(seconds: int, text: str) -> None:
    assert en().ago(seconds) == text
    assert en().ago(timedelta(seconds=seconds)) == text
    assert en().ago(None) == "–"


def texts() -> set[str]:
    found: set[str] = set()
    for _file, _line, message, _comments, _context in extract_from_dir(
        FOLDER, METHODS, keywords={"_": None, "gettext": None, "ngettext": (1, 2)}
    ):
        found.add(message if isinstance(message, str) else message[0])
    return found


def test_every_text_is_translated_and_no_translation_is_stale() -> None:
    catalog = vi().catalog
    assert catalog is not None
    translated = {
        message.id if isinstance(message.id, str) else message.id[0]
        for message in catalog
        if message.id and message.string and not message.fuzzy
    }
    wanted = texts() | {"d", "h", "min", "s"}
    assert wanted - translated == set()
    assert translated - wanted == set()


def test_translations_keep_their_placeholders() -> None:
    for message in vi().catalog or ():
        if not message.id:
            continue
        sources = [message.id] if isinstance(message.id, str) else list(message.id)
        found = message.string or ""
        targets = [found] if isinstance(found, str) else list(found)
        for target in targets:
            assert set(re.findall(r"%\(\w+\)s|\{\w+\}", target)) == set(
                re.findall(r"%\(\w+\)s|\{\w+\}", sources[-1])
            )
