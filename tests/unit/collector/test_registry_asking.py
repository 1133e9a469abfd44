"""What held when: reading days, books in the order of reading, contracts, prices, stations."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collector.civil import civil_day, day_start
from collector.registry.asking import (
    BookPeriod,
    allocation_at,
    contract_at,
    last_of,
    membership_at,
    periods_of_month,
    points_of_book,
    station_at,
    terms_at,
)
from collector.registry.contract_values import (
    Allocation,
    Contract,
    ContractTerms,
    Membership,
    ReadingDay,
    ReadingDays,
)
from collector.registry.values import Point, Role, Transfer

ZONE = "Asia/Ho_Chi_Minh"
MOMENT = timedelta(milliseconds=1)


def at(day: str) -> datetime:
    return day_start(date.fromisoformat(day), ZONE)


def days_of(row: tuple[ReadingDays, ...], month: str, zone: str = ZONE) -> list[tuple[str, str]]:
    found = periods_of_month(row, "B", date.fromisoformat(month), zone)
    assert [period.number for period in found] == list(range(1, len(found) + 1))
    return [(str(civil_day(one.from_at, zone)), str(civil_day(one.to_at, zone))) for one in found]


def days(from_day: str, *reading: ReadingDay) -> ReadingDays:
    return ReadingDays("B", at(from_day), reading)


def test_a_period_goes_from_reading_day_to_reading_day_at_local_midnight() -> None:
    (period,) = periods_of_month([days("2025-12-01", 20)], "B", date(2026, 3, 7), ZONE)
    assert period == BookPeriod(
        "B",
        1,
        datetime(2026, 2, 19, 17, tzinfo=UTC),
        datetime(2026, 3, 19, 17, tzinfo=UTC),
        20,
    )
    assert last_of(period) == period.to_at - MOMENT


def test_a_month_may_have_three_periods_and_february_has_its_last_day() -> None:
    rows = (days("2025-12-01", 10, 20, "last"),)
    assert days_of(rows, "2028-02-01") == [
        ("2028-01-31", "2028-02-10"),
        ("2028-02-10", "2028-02-20"),
        ("2028-02-20", "2028-02-29"),
    ]
    assert days_of((days("2025-12-01", 28, "last"),), "2026-02-01") == [
        ("2026-01-31", "2026-02-28")
    ]


def test_after_a_change_of_days_the_period_between_is_longer() -> None:
    rows = (days("2025-12-01", 20), days("2026-11-01", "last"))
    assert days_of(rows, "2026-10-15") == [("2026-09-20", "2026-10-20")]
    assert days_of(rows, "2026-11-15") == [("2026-10-20", "2026-11-30")]
    assert days_of(rows, "2026-12-15") == [("2026-11-30", "2026-12-31")]


def test_a_book_has_no_period_before_its_first_reading_day() -> None:
    rows = (days("2026-01-21", 20),)
    assert days_of(rows, "2026-01-01") == days_of(rows, "2026-02-01") == []
    assert days_of(rows, "2026-03-01") == [("2026-02-20", "2026-03-20")]
    assert periods_of_month(rows, "other", date(2026, 3, 1), ZONE) == []


def test_the_end_of_a_day_is_the_zones_own() -> None:
    rows = (ReadingDays("B", day_start(date(2026, 1, 1), "Europe/Berlin"), (20,)),)
    (period,) = periods_of_month(rows, "B", date(2026, 4, 1), "Europe/Berlin")
    assert period.to_at - period.from_at == timedelta(days=31, hours=-1)


reading_days = st.sets(st.one_of(st.integers(1, 28), st.just("last")), min_size=1, max_size=3).map(
    lambda found: tuple(sorted(found, key=lambda day: 29 if day == "last" else day))
)


@given(
    st.lists(st.tuples(st.dates(date(2025, 1, 1), date(2026, 12, 31)), reading_days), min_size=1,
             max_size=4, unique_by=lambda row: row[0])
)  # fmt: skip
def test_periods_follow_each_other_without_a_hole(
    rows: list[tuple[date, tuple[ReadingDay, ...]]],
) -> None:
    schedules = [ReadingDays("B", day_start(day, ZONE), found) for day, found in rows]
    found = [
        period
        for number in range(36)
        for period in periods_of_month(
            schedules, "B", date(2025 + number // 12, number % 12 + 1, 1), ZONE
        )
    ]
    assert found
    for before, after in pairwise(found):
        assert before.from_at < before.to_at == after.from_at


def test_a_book_is_in_the_order_of_positions_as_a_person_counts() -> None:
    first, later = at("2026-01-01"), at("2026-03-01")
    rows = [
        Membership("p10", first, "B", "A10"),
        Membership("p2", first, "B", "A2"),
        Membership("p2b", first, "B", "A2b"),
        Membership("p1", first, "B", "A1"),
        Membership("p1", later),
        Membership("p3", later, "B", "A3"),
        Membership("q", first, "C", "A1"),
    ]
    before = points_of_book(rows, "B", later - MOMENT)
    assert [row.point for row in before] == ["p1", "p2", "p2b", "p10"]
    assert [row.point for row in points_of_book(rows, "B", later)] == ["p2", "p2b", "p3", "p10"]
    assert membership_at(rows, "p1", later) is None
    assert membership_at(rows, "p3", first) is None


def test_what_holds_begins_on_its_instant_and_ends_before_the_next() -> None:
    change = at("2026-03-01")
    old = Contract("one", "p", "c", at("2026-01-01"), change)
    new = Contract("two", "p", "d", change)
    assert contract_at([new, old], "p", change - MOMENT) == old
    assert contract_at([new, old], "p", change) == new
    assert contract_at([new, old], "p", at("2025-12-31")) is None
    terms = [ContractTerms("one", at("2026-01-01"), 220), ContractTerms("one", change, 400)]
    held = terms_at(terms, "one", change)
    assert held is not None
    assert held.voltage_v == 400
    point = Point("p", "T1", Role.HOUSEHOLD, "p")
    moves = [Transfer("p", change, "T2"), Transfer("other", at("2026-01-01"), "T9")]
    assert station_at(point, moves, change - MOMENT) == "T1"
    assert station_at(point, moves, change) == "T2"


def test_a_list_of_prices_is_taken_whole() -> None:
    change = at("2026-03-01")
    first = [
        Allocation("one", at("2026-01-01"), "1-0:1.8.0", 2, "business", 3000),
        Allocation("one", at("2026-01-01"), "1-0:1.8.0", 1, "household", 7000),
    ]
    rows = [*first, Allocation("one", change, "1-0:1.8.0", 1, "business", 10000)]
    assert [row.price_group for row in allocation_at(rows, "one", change - MOMENT)] == [
        "household",
        "business",
    ]
    assert [row.price_group for row in allocation_at(rows, "one", change)] == ["business"]
    assert allocation_at(rows, "two", change) == ()
