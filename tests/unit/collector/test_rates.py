"""How much one key gets: a burst, then so many a second, and only some at the same time."""

import pytest

from collector.web import rates
from collector.web.rates import Rates


class Clock:
    """Stands until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asked(given: Rates, name: str, times: int) -> int:
    """How many of `times` requests, each answered before the next, go on."""
    passed = 0
    for _ in range(times):
        if given.enter(name) == 0:
            passed += 1
            given.leave(name)
    return passed


def test_a_burst_and_then_so_many_a_second(clock: Clock) -> None:
    given = Rates(burst=10, per_s=2, at_once=100, monotonic=clock)
    assert asked(given, "a", 15) == 10
    assert given.enter("a") == 0.5
    # Another key has its own.
    assert asked(given, "b", 15) == 10
    clock.now_s += 1.5
    assert asked(given, "a", 15) == 3
    clock.now_s += 1_000
    assert asked(given, "a", 15) == 10


def test_only_some_at_the_same_time(clock: Clock) -> None:
    given = Rates(burst=100, per_s=1, at_once=3, monotonic=clock)
    assert [given.enter("a") for _ in range(4)] == [0, 0, 0, 1]
    assert given.enter("b") == 0
    given.leave("a")
    assert [given.enter("a") for _ in range(2)] == [0, 1]
    # Who waited was not counted.
    for _ in range(3):
        given.leave("a")
    assert [given.enter("a") for _ in range(4)] == [0, 0, 0, 1]


def test_memory_is_bounded_and_who_is_answered_is_not_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "NAMES_MAX", 5)
    given = Rates(burst=9, per_s=1, at_once=1, monotonic=clock)
    assert given.enter("first") == 0
    for number in range(50):
        assert asked(given, f"key-{number}", 1) == 1
    assert len(given) == 5
    assert given.enter("first") == 1
    given.leave("first")
    given.leave("nobody")
