"""Civil days and instants as text."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.civil import (
    civil_day,
    day_bounds,
    day_start,
    days,
    format_instant,
    parse_instant,
    zone_info,
)
from collector.errors import InvalidRequest

ZONE = "Asia/Ho_Chi_Minh"


def test_a_day_begins_at_local_midnight() -> None:
    assert day_start(date(2026, 10, 20), ZONE) == datetime(2026, 10, 19, 17, tzinfo=UTC)


def test_a_day_may_have_23_or_25_hours() -> None:
    lengths = [
        end - start
        for start, end in (
            day_bounds(date(2026, month, number), "Europe/Berlin")
            for month, number in ((3, 29), (10, 25), (6, 1))
        )
    ]
    assert lengths == [timedelta(hours=hours) for hours in (23, 25, 24)]


@given(st.integers(0, 4 * 10**9).map(lambda s: datetime.fromtimestamp(s, UTC)))
def test_every_instant_is_in_its_day(at: datetime) -> None:
    for zone in (ZONE, "America/Santiago"):
        start, end = day_bounds(civil_day(at, zone), zone)
        assert start <= at < end


def test_days_include_both_ends() -> None:
    found = list(days(date(2026, 2, 27), date(2026, 3, 1)))
    assert found == [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)]
    assert list(days(date(2026, 2, 2), date(2026, 2, 1))) == []


def test_milliseconds_are_written_only_where_there_are_any() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert format_instant(at) == "2026-01-02T03:04:05Z"
    assert format_instant(at + timedelta(milliseconds=40)) == "2026-01-02T03:04:05.040Z"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-10-20", "2026-10-19T17:00:00Z"),
        ("2026-10-20T08:30:00+07:00", "2026-10-20T01:30:00Z"),
        ("2026-10-20T01:30:00.25Z", "2026-10-20T01:30:00.250Z"),
    ],
)
def test_instants_are_understood(text: str, said: str) -> None:
    assert format_instant(parse_instant(text, ZONE)) == said


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30", "2026-10-20T08:30:00", "2026-10-20T08:30:00.0001Z"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"instant|offset|millisecond"):
        parse_instant(text, ZONE)


@pytest.mark.parametrize("zone", ["", "Asia/Nowhere", "../etc/passwd"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequest, match="no time zone"):
        zone_info(zone)
