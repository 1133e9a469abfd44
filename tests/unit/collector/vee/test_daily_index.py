"""Which read stands for a day: cases, a plain model of the rule, and what holds of any choice."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.vee.daily_index import NEAR_MAX, ZERO_LOOKBACK, daily_indices, windows_fault
from collector.vee.reads import DailyIndex, Origin, Read

START = datetime(2026, 10, 19, 17, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
WINDOWS = (60, 180, 1440)


def at(minutes: int) -> datetime:
    return START + minutes * MINUTE


def starts(days: int) -> list[datetime]:
    return [START + number * DAY for number in range(days)]


def read(minutes: int, value: int, slot: int | None = None, *, unsure: bool = False) -> Read:
    return Read(at(minutes), value, at(minutes if slot is None else slot), unsure)


def chosen(
    reads: list[Read], days: int = 4, windows: tuple[int, ...] = WINDOWS
) -> list[tuple[int, int | None] | None]:
    """Minutes from START and window, of all days but the two at the ends."""
    return [
        None if one is None else ((one.read_at - START) // MINUTE, one.window_min)
        for one in daily_indices(reads, starts(days), windows)
    ]


def test_the_read_of_the_slot_is_taken_before_a_nearer_one() -> None:
    late = read(1440 + 45, 10, slot=1440)
    assert chosen([late, read(1440 - 5, 9), read(2880, 20)]) == [(1485, None), (2880, None)]


@pytest.mark.parametrize(
    ("minutes", "window"), [(60, 60), (61, 180), (180, 180), (181, 1440), (1439, 1440)]
)
def test_a_window_includes_its_end(minutes: int, window: int) -> None:
    around = [read(0, 8), read(2880, 10)]
    assert chosen([*around, read(1440 - minutes, 9)], 3) == [(1440 - minutes, window)]
    assert chosen([*around, read(1440 + minutes, 9)], 3) == [(1440 + minutes, window)]


def test_beyond_the_widest_window_there_is_none() -> None:
    assert chosen([read(1440 + 181, 9)], 3, (60, 180)) == [None]
    # Exactly on another day's start: it is that day's.
    assert chosen([read(0, 9), read(2880, 9)], 3) == [None]


def test_a_read_by_a_right_clock_is_taken_first_in_its_window_only() -> None:
    unsure = read(1440 + 10, 9, unsure=True)
    assert chosen([unsure, read(1440 + 50, 9)], 3) == [(1490, 60)]
    assert chosen([unsure, read(1440 + 61, 9)], 3) == [(1450, 60)]


def test_one_read_between_two_days_that_lack_one_serves_the_nearer() -> None:
    assert chosen([read(1440 + 700, 9)]) == [(2140, 1440), None]
    assert chosen([read(1440 + 720, 9)]) == [(2160, 1440), None]
    assert chosen([read(1440 + 721, 9)]) == [None, (2161, 1440)]


def test_a_read_that_a_day_does_not_need_serves_its_neighbour() -> None:
    assert chosen([read(1440 + 1000, 9), read(2880, 10)]) == [(2440, 1440), (2880, None)]


def test_a_zero_after_a_count_is_passed_over_and_a_first_zero_is_not() -> None:
    assert chosen([read(1000, 5), read(1440, 0), read(1500, 5)], 3) == [(1500, 60)]
    assert chosen([read(1440, 0), read(1500, 5)], 3) == [(1440, None)]


def test_what_is_fixed_stands_and_the_read_that_it_replaces_serves_nobody() -> None:
    edited = DailyIndex(at(1440), 77, at(1440), Origin.EDIT)
    replaced = read(1441, 9, slot=1440)
    found = daily_indices([replaced], starts(4), WINDOWS, {at(1440): edited})
    assert found == [edited, None]
    # Another read of that day may.
    other = read(1500, 9)
    (_, second) = daily_indices([replaced, other], starts(4), WINDOWS, {at(1440): edited})
    assert second is not None
    assert second.read_at == other.at


def test_days_of_23_and_25_hours() -> None:
    days = [at(0), at(1440), at(1440 + 23 * 60), at(1440 + 48 * 60)]
    reads = [read(1440 + 11 * 60, 5), read(1440 + 12 * 60, 6)]
    first, second = daily_indices(reads, days, WINDOWS)
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == (5, 6)


@pytest.mark.parametrize("windows", [[], [60, 60], [180, 60], [0, 60], [60, 1441]])
def test_windows_that_cannot_be_used(windows: list[int]) -> None:
    assert windows_fault(windows) is not None


def test_windows_that_can() -> None:
    assert windows_fault(WINDOWS) is None


# --- a plain model ----------------------------------------------------------------------------

DAYS = 7
several_reads = st.lists(
    st.builds(
        lambda slot, offset, value, unsure: read(slot + offset, value, slot, unsure=unsure),
        slot=st.sampled_from([1440 * day for day in range(DAYS)] + [700, 2200, 3700, 5100, 6800]),
        offset=st.one_of(st.integers(-200, 200), st.integers(-800, 800)),
        value=st.integers(0, 3),
        unsure=st.booleans(),
    ),
    max_size=14,
    unique_by=lambda one: one.at,
)
several_windows = st.sampled_from([WINDOWS, (60,), (30, 600), (60, 900), (700, 1440)])


def model(  # noqa: C901  all of the rule in one place
    reads: list[Read], windows: tuple[int, ...]
) -> dict[int, Read]:
    """The rule in its own words, day by day, over all pairs there are."""
    days = starts(DAYS)

    def counted_before(one: Read) -> bool:
        return any(
            other.value > 0 and other.at < one.at and one.at - other.at <= ZERO_LOOKBACK
            for other in reads
        )

    good = [one for one in reads if one.value > 0 or not counted_before(one)]

    def window(one: Read, day: int) -> int | None:
        return next((w for w in windows if abs(one.at - days[day]) <= w * MINUTE), None)

    def order(one: Read, day: int) -> tuple[int, bool, timedelta, datetime]:
        return window(one, day) or 0, one.unsure, abs(one.at - days[day]), one.at

    taken: dict[int, Read] = {}
    for day, start in enumerate(days):
        own = [
            one
            for one in good
            if one.slot == start and not one.unsure and abs(one.at - start) <= NEAR_MAX
        ]
        if own:
            taken[day] = min(own, key=lambda one: (one.value == 0, abs(one.at - start), one.at))
    for day in range(DAYS):
        near = [
            one
            for one in good
            if (width := window(one, day)) is not None and width * MINUTE <= NEAR_MAX
        ]
        if day not in taken and near:
            taken[day] = min(near, key=lambda one: order(one, day))
    settled = dict(taken)
    for day in [day for day in range(1, DAYS - 1) if day not in settled]:
        ours = []
        for one in good:
            if window(one, day) is None or not days[day - 1] < one.at < days[day + 1]:
                continue
            other = day - 1 if one.at < days[day] else day + 1
            if other in settled:
                free = (settled[other].at < one.at) if other < day else one.at < settled[other].at
            else:
                mine, theirs = abs(one.at - days[day]), abs(one.at - days[other])
                free = mine < theirs or (mine == theirs and day < other)
            if free:
                ours.append(one)
        if ours:
            taken[day] = min(ours, key=lambda one: order(one, day))
    return {day: taken[day] for day in range(1, DAYS - 1) if day in taken}


@given(several_reads, several_windows)
@example([read(1440, 5, 0), read(1441, 5, 1440)], WINDOWS)
def test_the_choice_follows_the_rule(reads: list[Read], windows: tuple[int, ...]) -> None:
    found = daily_indices(reads, starts(DAYS), windows)
    wanted = model(reads, windows)
    assert {
        day: (one.read_at, one.value) for day, one in enumerate(found, start=1) if one is not None
    } == {day: (one.at, one.value) for day, one in wanted.items()}


@given(several_reads, several_windows)
def test_no_read_serves_two_days_and_days_in_order_have_reads_in_order(
    reads: list[Read], windows: tuple[int, ...]
) -> None:
    found = [one for one in daily_indices(reads, starts(DAYS), windows) if one is not None]
    assert all(first.read_at < second.read_at for first, second in pairwise(found))
    for one in found:
        width = NEAR_MAX // MINUTE if one.window_min is None else one.window_min
        assert abs(one.distance) <= width * MINUTE


@given(several_reads, several_windows, st.integers(0, DAYS - 3), st.integers(0, DAYS - 3))
def test_any_period_gets_the_same_indices_so_that_consumptions_add_up(
    reads: list[Read], windows: tuple[int, ...], first: int, last: int
) -> None:
    first, last = min(first, last), max(first, last)
    whole = daily_indices(reads, starts(DAYS), windows)
    context = starts(DAYS)[first : last + 3]
    near = [one for one in reads if context[0] - DAY <= one.at <= context[-1] + DAY]
    assert daily_indices(near, context, windows) == whole[first : last + 1]


@given(st.permutations(range(6)), several_reads)
def test_the_order_in_which_reads_come_is_nothing(order: list[int], reads: list[Read]) -> None:
    shuffled = [reads[place] for place in order if place < len(reads)] + reads[6:]
    assert daily_indices(shuffled, starts(DAYS), WINDOWS) == daily_indices(
        reads, starts(DAYS), WINDOWS
    )
