"""Which index stands for a boundary instant: near, interpolated, far, and what is not believed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.balance.boundary import (
    FAR,
    NEAR,
    BoundaryIndex,
    BoundaryRead,
    How,
    boundary_index,
    interpolate,
)

AT = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def read(minutes: float, value: int, **flags: bool) -> BoundaryRead:
    return BoundaryRead(AT + minutes * MINUTE, value, **flags)


def index(*reads: BoundaryRead, roll_over: int | None = None) -> BoundaryIndex:
    found = boundary_index(reads, AT, roll_over)
    assert found is not None
    return found


def test_a_read_within_the_clocks_tolerance_stands_as_it_is() -> None:
    found = index(read(-60, 100), read(1, 500), read(60, 900))
    assert (found.value, found.how, found.error_max) == (500, How.READ, 0)
    assert found.at == AT + MINUTE


def test_within_the_hour_it_is_interpolated_half_up() -> None:
    found = index(read(-30, 100), read(60, 103))
    assert (found.value, found.how, found.off) == (101, How.INTERPOLATED, -30 * MINUTE)
    assert interpolate(0, 1, 1, 2) == 1
    assert interpolate(0, 1, 49, 100) == 0


def test_one_side_alone_is_not_interpolated() -> None:
    found = index(read(30, 103))
    assert (found.value, found.how, found.error_max) == (103, How.ALONE, None)


@pytest.mark.parametrize(("minutes", "how"), [(60, How.INTERPOLATED), (61, How.FAR)])
def test_beyond_the_hour_it_is_flagged_with_its_bound(minutes: int, how: How) -> None:
    found = index(read(-1440, 1_000), read(minutes, 2_500))
    assert found.how is how
    assert found.off == minutes * MINUTE
    assert found.error_max == max(found.value - 1_000, 2_500 - found.value)


def test_beyond_a_day_nothing_stands() -> None:
    assert boundary_index([read(-1441, 5), read(1441, 9)], AT, None) is None
    assert boundary_index([], AT, None) is None


def test_a_zero_after_a_value_is_a_fault_and_before_it_a_new_meter() -> None:
    assert index(read(-1440, 1_000), read(0, 0), read(1440, 3_000)).value == 2_000
    assert index(read(0, 0), read(1440, 3_000)).value == 0


def test_a_wrong_clock_gives_way_to_a_right_one_within_the_hour_only() -> None:
    found = index(read(0, 7_000, unsure=True), read(-30, 1_000), read(30, 1_010))
    assert (found.value, found.unsure) == (1_005, False)
    found = index(read(0, 1_005, unsure=True), read(-600, 1_000))
    assert (found.value, found.unsure, found.how) == (1_005, True, How.READ)


def test_what_is_fixed_at_the_instant_stands_whatever_was_read() -> None:
    found = index(read(0, 999), read(0, 1_234, fixed=True, estimated=True))
    assert (found.value, found.estimated, found.how) == (1_234, True, How.READ)


def test_it_is_interpolated_over_a_roll_over() -> None:
    # 100,000 Wh and then zero again: at the middle 99,990 + 15 are 5.
    found = index(read(-30, 99_990), read(30, 20), roll_over=100_000)
    assert (found.value, found.low, found.high) == (5, -10, 20)
    assert index(read(-30, 99_970), read(30, 10), roll_over=100_000).value == 99_990


def test_what_went_backwards_is_not_interpolated() -> None:
    found = index(read(-20, 5_000), read(30, 4_000))
    assert (found.value, found.how) == (5_000, How.ALONE)


@given(
    before=st.integers(1, FAR // timedelta(milliseconds=1)),
    after=st.integers(1, FAR // timedelta(milliseconds=1)),
    low=st.integers(1, 10**12),
    used=st.integers(0, 10_000_000),
)
def test_the_index_lies_between_the_reads_and_says_how_sure_it_is(
    before: int, after: int, low: int, used: int
) -> None:
    millisecond = timedelta(milliseconds=1)
    reads = [
        BoundaryRead(AT - before * millisecond, low),
        BoundaryRead(AT + after * millisecond, low + used),
    ]
    found = boundary_index(reads, AT, None)
    assert found is not None
    assert low <= found.value <= low + used
    nearest = min(before, after) * millisecond
    assert abs(found.off) == nearest
    assert (found.how is How.FAR) == (nearest > NEAR)
    bound = found.error_max
    assert bound is not None
    if found.how is not How.READ:
        assert low >= found.value - bound
        assert low + used <= found.value + bound


@given(
    low=st.integers(0, 10**15),
    used=st.integers(0, 10**9),
    parts=st.lists(st.integers(0, 10**6), min_size=2, max_size=2),
)
def test_interpolation_never_goes_backwards(low: int, used: int, parts: list[int]) -> None:
    first, last = sorted(parts)
    one = interpolate(low, low + used, first, 10**6)
    other = interpolate(low, low + used, last, 10**6)
    assert low <= one <= other <= low + used
    # Never further than half a unit from the line.
    assert abs(2 * 10**6 * (one - low) - 2 * used * first) <= 10**6
