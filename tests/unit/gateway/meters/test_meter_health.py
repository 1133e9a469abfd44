"""The table of a meter's states, and how a silent one is tried again."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meters.health import (
    PROBE_FIRST_S,
    PROBE_MAX_S,
    PROBE_SPREAD,
    TABLE,
    Health,
    MeterState,
    Outcome,
)

A, P, R, S = Outcome.ANSWERED, Outcome.REPEATED, Outcome.REFUSED, Outcome.SILENT


def states(outcomes: list[Outcome]) -> list[str]:
    """The state after each outcome, a minute apart."""
    health = Health(lambda: 0.0)
    found = []
    for number, outcome in enumerate(outcomes):
        health.observe(outcome, 60.0 * number)
        found.append(health.state.value)
    return found


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([A, A, A], ["online"] * 3),
        ([P, A, P, A], ["online"] * 4),
        ([P, P], ["online", "degraded"]),
        ([R, R, R, R, R], ["degraded"] * 5),
        ([S, S, S, S], ["degraded", "degraded", "degraded", "offline"]),
        ([S, S, S, A, S, S, S], ["degraded"] * 6 + ["offline"]),
        ([S, A, A, A, A, A], ["degraded"] * 5 + ["online"]),
        ([S, A, A, A, A, P, A, A, A, A, A], ["degraded"] * 10 + ["online"]),
        ([S, S, S, S, S, S, A], ["degraded"] * 3 + ["offline"] * 3 + ["degraded"]),
        ([S, S, S, S, R], ["degraded"] * 3 + ["offline", "degraded"]),
    ],
)
def test_the_table(outcomes: list[Outcome], expected: list[str]) -> None:
    assert states(outcomes) == expected


def test_every_state_can_be_left_and_reached() -> None:
    leads = {(state, rule.then) for (state, _), rule in TABLE.items()}
    assert {state for state, _ in leads} == {state for _, state in leads} == set(MeterState)
    assert all(state is not then for state, then in leads)


@given(st.lists(st.sampled_from(Outcome), max_size=60))
def test_a_change_is_said_once_and_only_when_there_is_one(outcomes: list[Outcome]) -> None:
    health = Health(lambda: 0.5)
    for number, outcome in enumerate(outcomes):
        before, since_s = health.state, health.since_s
        changed = health.observe(outcome, float(number))
        assert changed == (health.state is not before)
        assert health.since_s == (number if changed else since_s)
        assert (health.probe_at_s is not None) == (outcome is Outcome.SILENT)


def test_tries_of_a_silent_meter_grow_rare_and_stay_within_a_minute() -> None:
    chance = random.Random(3)
    health = Health(chance.random)
    now_s, waits = 0.0, []
    for _ in range(200):
        health.observe(Outcome.SILENT, now_s)
        assert health.probe_at_s is not None
        assert health.is_resting(now_s)
        waits.append(health.probe_at_s - now_s)
        now_s = health.probe_at_s
        assert not health.is_resting(now_s)
    assert PROBE_FIRST_S * (1 - PROBE_SPREAD) <= waits[0] <= PROBE_FIRST_S
    assert max(waits) < 60
    assert all(wait >= PROBE_MAX_S * (1 - PROBE_SPREAD) for wait in waits[3:])
    assert len({round(wait, 3) for wait in waits[3:]}) > 150, "never in step with others"
    health.observe(Outcome.ANSWERED, now_s)
    health.observe(Outcome.SILENT, now_s)
    assert health.probe_at_s is not None
    assert health.probe_at_s - now_s <= PROBE_FIRST_S, "the next time it is tried soon again"


def test_the_same_chance_gives_the_same_tries() -> None:
    def tries(seed: str) -> list[float | None]:
        health = Health(random.Random(seed).random)
        times = []
        for number in range(5):
            health.observe(Outcome.SILENT, 100.0 * number)
            times.append(health.probe_at_s)
        return times

    assert tries("a") == tries("a")
    assert all(one != other for one, other in itertools.pairwise([tries("a"), tries("b")]))


def test_a_try_that_could_not_be_made_is_put_off() -> None:
    health = Health(lambda: 0.0)
    health.observe(Outcome.SILENT, 0.0)
    health.postpone(PROBE_FIRST_S)
    assert health.probe_at_s == 2 * PROBE_FIRST_S
    assert health.state is MeterState.DEGRADED
    health.observe(Outcome.ANSWERED, 20.0)
    health.postpone(25.0)
    assert not health.is_resting(25.0)
