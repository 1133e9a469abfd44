"""Estimation: each method, the chain, and what holds of any estimate."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.vee.estimation.estimate import (
    METHODS,
    Estimate,
    Method,
    NotEstimable,
    estimate,
)
from collector.vee.estimation.wanted import Agreed, Anchor, DayEnergy, Wanted
from collector.vee.reads import DailyIndex, Origin
from collector.vee.values import Energy
from contract.registers import IMPORT_ACTIVE
from tests.unit.collector.vee.building import LIMITS

DAY = timedelta(days=1)
# The first day is a Monday; days begin at 17:00 UTC before.
MONDAY = date(2026, 10, 19)
START = datetime(2026, 10, 18, 17, tzinfo=UTC)
OF = LIMITS.estimation


def at(number: int) -> datetime:
    return START + number * DAY


def anchor(number: int, value: int) -> Anchor:
    return Anchor(at(number), value)


def days(first: int, last: int) -> list[date]:
    """The civil days from one start to another."""
    return [MONDAY + number * DAY for number in range(first, last)]


def used(number: int, energy_wh: int) -> DayEnergy:
    return DayEnergy(MONDAY + number * DAY, at(number), at(number + 1), energy_wh)


def wanted(first: int, place: int, last: int | None = None, **facts: Any) -> Wanted:  # noqa: ANN401
    """The index of a day's start after an index of 10,000, and before one of 11,000."""
    base: dict[str, Any] = {
        "register": IMPORT_ACTIVE,
        "at": at(place),
        "installed_at": at(-400),
        "before": anchor(first, 10_000),
        "after": None if last is None else anchor(last, 11_000),
        "days_before": days(first, place),
        "days_after": [] if last is None else days(place, last),
    }
    return Wanted(**(base | facts))


def made(of: Wanted, *chain: Method) -> Estimate:
    found = estimate(of, OF, chain or None)
    assert isinstance(found, Estimate), found
    return found


def refused(of: Wanted, *chain: Method) -> dict[str, str]:
    found = estimate(of, OF, chain or None)
    assert isinstance(found, NotEstimable), found
    return dict(found.reasons)


# --- E1 ---------------------------------------------------------------------------------------


def test_e1_on_the_line_rounded_down() -> None:
    found = made(wanted(0, 1, 3), "E1")
    assert (found.value, found.method, found.approval) == (10_333, "E1", False)
    assert found.inputs["after_wh"] == 11_000
    assert made(wanted(0, 2, 3), "E1").value == 10_666


def test_e1_between_reads_that_are_not_daily_only_up_to_two_hours() -> None:
    start = at(0)
    near = wanted(0, 0, 1, at=start + timedelta(minutes=30))
    ends = (Anchor(start, 100, daily=False), Anchor(start + timedelta(hours=2), 200, daily=False))
    assert made(replace(near, before=ends[0], after=ends[1]), "E1").value == 125
    late = ends[1]._replace(at=start + timedelta(hours=2, milliseconds=1))
    assert refused(replace(near, before=ends[0], after=late), "E1") == {"E1": "too_far"}


def test_e1_an_interval_in_which_the_supply_failed_is_no_end_point() -> None:
    of = wanted(0, 1, 2)
    assert refused(replace(of, after=Anchor(at(2), 11_000, outage=True)), "E1") == {"E1": "outage"}


def test_e1_over_a_roll_over() -> None:
    of = wanted(0, 1, 2, roll_over_wh=100_000_000)
    rolled = replace(of, before=anchor(0, 99_999_000), after=anchor(2, 3_000))
    assert made(rolled, "E1").value == 1_000
    assert made(replace(rolled, after=anchor(2, 500)), "E1").value == 99_999_750


# --- E2 to E6 ---------------------------------------------------------------------------------

# Five weeks before: a Monday 1,000 (the oldest 9,000), a Tuesday 2,000.
HISTORY = [
    *(used(-7 * week, 1_000 if week < 5 else 9_000) for week in range(1, 6)),
    *(used(-7 * week + 1, 2_000) for week in range(1, 6)),
]


def test_e2_takes_the_four_last_like_days() -> None:
    found = made(wanted(0, 2, history=HISTORY), "E2")
    assert found.value == 13_000
    assert "2026-09-14" not in str(found.inputs["like_days"])
    assert "2026-09-21" in str(found.inputs["like_days"])


def test_e2_shares_out_what_was_counted() -> None:
    # 1,000 Wh over a Monday and a Tuesday, as 1 to 2.
    assert made(wanted(0, 1, 2, history=HISTORY), "E2").value == 10_333


def test_e2_needs_two_like_days() -> None:
    few = [used(-7, 5), used(-14, 8)]
    assert made(wanted(0, 1, history=few), "E2").value == 10_006
    assert refused(wanted(0, 1, history=few[:1]), "E2") == {"E2": "no_history"}
    # 35 days back count, 36 do not.
    assert refused(wanted(0, 1, history=[used(-7, 5), used(-42, 8)]), "E2") == {"E2": "no_history"}


def test_e3_previous_period_then_year() -> None:
    of = wanted(0, 3, last_period=Energy(100_000, 30), last_year=Energy(70_000, 7))
    assert made(of, "E3").value == 20_000
    assert made(replace(of, last_period=None), "E3").value == 40_000
    assert refused(replace(of, last_period=None, last_year=Energy(9, 6)), "E3") == {
        "E3": "no_history"
    }


def test_e4_as_the_neighbours() -> None:
    profile = {day: 100 * number for number, day in enumerate(days(0, 3), start=1)}
    assert made(wanted(0, 2, profile=profile), "E4").value == 10_300
    assert made(wanted(0, 2, 3, profile=profile), "E4").value == 10_500
    assert refused(wanted(0, 4, profile=profile), "E4") == {"E4": "not_given"}
    flat = dict.fromkeys(profile, 0)
    assert refused(wanted(0, 2, 3, profile=flat), "E4") == {"E4": "no_shape"}


def test_e5_agreed() -> None:
    agreed = Agreed(10_500, "Nguyễn Văn A", "photo of 19/10")
    found = made(wanted(0, 1, 2, agreed=agreed), "E5")
    assert (found.value, found.approval, found.inputs["author"]) == (10_500, True, "Nguyễn Văn A")
    low = replace(wanted(0, 1, 2), agreed=agreed._replace(value=9_999))
    assert refused(low, "E5") == {"E5": "index_fell"}
    high = replace(low, agreed=agreed._replace(value=11_001))
    assert refused(high, "E5") == {"E5": "beyond_next_index"}


def test_e6_three_cycles_are_added_before_they_are_divided() -> None:
    cycles = [Energy(100, 31), Energy(100, 30), Energy(101, 31), Energy(9_999, 30)]
    found = made(wanted(0, 31, cycles=cycles), "E6")
    # 301 Wh over 92 days, times 31: 101.4.
    assert (found.value, found.approval) == (10_101, True)
    assert refused(wanted(0, 31, cycles=cycles[:2]), "E6") == {"E6": "no_history"}


# --- the chain --------------------------------------------------------------------------------


def test_the_chain_is_data_and_its_first_usable_method_answers() -> None:
    of = wanted(0, 1, 2, history=HISTORY)
    assert made(of).method == "E1"
    assert made(of, "E2", "E1").method == "E2"
    assert made(replace(of, after=None)).method == "E2"
    assert refused(replace(of, before=None, after=None)) == {
        "E5": "not_given",
        "E1": "not_given",
        "E2": "no_index_before",
        "E3": "no_index_before",
        "E4": "no_index_before",
        "E6": "no_index_before",
    }


def test_an_estimate_keeps_what_was_read() -> None:
    read = DailyIndex(at(1), 99_999, at(1), Origin.SLOT)
    assert made(wanted(0, 1, 2, original=read)).original == read


def test_an_index_that_fell_between_two_good_ones_is_not_bridged() -> None:
    assert refused(wanted(0, 1, 2, after=anchor(2, 9_000))) == {"": "index_fell"}


def test_beyond_the_next_index_there_is_no_estimate() -> None:
    of = wanted(0, 3, 4, last_period=Energy(100_000, 30))
    assert refused(of, "E3") == {"E3": "beyond_next_index"}


@pytest.mark.parametrize("facts", [{"installed_at": at(2)}, {"removed_at": at(0)}])
def test_where_the_meter_was_not_there_is_no_estimate(facts: dict[str, Any]) -> None:
    assert refused(wanted(0, 1, 3, **facts)) == {"": "not_installed"}


def test_nothing_is_taken_from_beyond_an_exchange() -> None:
    # The old meter's index before, the new one's after it.
    exchanged = wanted(0, 2, 3, installed_at=at(1), history=HISTORY)
    assert set(refused(exchanged).values()) == {"not_given", "no_index_before"}
    # The history of the old meter is no history of the new one.
    of = wanted(0, 1, installed_at=at(-10), history=HISTORY)
    assert refused(of, "E2") == {"E2": "no_history"}


place = st.integers(-20, 20)
values = st.integers(0, 10**9)
energies = st.none() | st.builds(Energy, values, st.integers(1, 40))
histories = st.lists(st.builds(used, st.integers(-40, 20), values), max_size=40)


@given(
    ends=st.tuples(place, place, place).map(sorted),
    anchors=st.tuples(values, values),
    installed=st.integers(-60, 20),
    removed=st.none() | st.integers(-20, 40),
    known=st.booleans(),
    history=histories,
    references=st.tuples(energies, energies),
    profile=st.dictionaries(st.sampled_from(days(-20, 20)), values),
    cycles=st.lists(st.builds(Energy, values, st.integers(1, 40)), max_size=4),
    chain=st.permutations(list(METHODS)),
)
def test_any_estimate_lies_between_its_anchors_and_within_its_installation(
    ends: list[int],
    anchors: tuple[int, int],
    installed: int,
    removed: int | None,
    known: bool,
    history: list[DayEnergy],
    references: tuple[Energy | None, Energy | None],
    profile: dict[date, int],
    cycles: list[Energy],
    chain: list[Method],
) -> None:
    first, middle, last = ends
    of = wanted(
        first,
        middle,
        last,
        before=anchor(first, anchors[0]),
        after=anchor(last, anchors[1]) if known else None,
        installed_at=at(installed),
        removed_at=None if removed is None else at(removed),
        history=history,
        last_period=references[0],
        last_year=references[1],
        profile=profile,
        cycles=cycles,
    )
    found = estimate(of, OF, chain)
    assert estimate(of, OF, chain) == found
    if isinstance(found, NotEstimable):
        return
    assert type(found.value) is int
    assert found.value >= anchors[0]
    assert of.counts(of.at)
    assert of.counts(at(first)), "an estimate that starts from before an exchange"
    if known and of.counts(at(last)):
        assert found.value <= anchors[1]
    without = estimate(of.within_installation(), OF, chain)
    assert isinstance(without, Estimate)
    assert (without.value, without.inputs) == (found.value, found.inputs)
