"""The order of waiting reads: by priority, ageing, and not before their time."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lines.queue import PRIORITY_STEP_S, Job, ReadQueue
from gateway.ports import Part, Priority
from tests.gateway_lines.bench import meters, profile


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    event_loop = asyncio.new_event_loop()
    yield event_loop
    event_loop.close()


METER = meters(profile(), 1)[0]


def _job(loop: asyncio.AbstractEventLoop, priority: Priority) -> Job:
    return Job(METER, Part.ENERGY, priority, loop.create_future())


def test_a_higher_priority_goes_first_and_equals_in_turn(loop: asyncio.AbstractEventLoop) -> None:
    queue = ReadQueue()
    order = [Priority.INTERVAL, Priority.HEAD, Priority.INDEX, Priority.ON_DEMAND, Priority.HEAD]
    jobs = [_job(loop, priority) for priority in order]
    for job in jobs:
        queue.put(job, now=1.0)
    popped = [queue.pop(now=1.0) for _ in jobs]
    assert popped == [jobs[3], jobs[2], jobs[1], jobs[4], jobs[0]]
    assert queue.pop(now=1.0) is None


def test_the_lowest_does_not_starve(loop: asyncio.AbstractEventLoop) -> None:
    """One on-demand read a second for ever, each served in a second: the interval read comes up."""
    queue = ReadQueue()
    patient = _job(loop, Priority.INTERVAL)
    queue.put(patient, now=0.0)
    for second in range(100):
        queue.put(_job(loop, Priority.ON_DEMAND), now=float(second))
        if queue.pop(now=float(second)) is patient:
            assert second == Priority.INTERVAL * PRIORITY_STEP_S
            return
    pytest.fail("starved")


@given(
    st.lists(
        st.tuples(st.sampled_from(Priority), st.floats(0, 100), st.floats(0, 100)), max_size=20
    )
)
def test_every_read_comes_once_and_none_before_its_time(
    asked: list[tuple[Priority, float, float]],
) -> None:
    event_loop = asyncio.new_event_loop()
    queue = ReadQueue()
    not_before: dict[int, float] = {}
    for priority, now, delay in sorted(asked, key=lambda one: one[1]):
        job = _job(event_loop, priority)
        not_before[id(job)] = now + delay
        queue.put(job, now, now + delay)
        assert len(queue) == len(not_before)
    popped: list[Job] = []
    now = max((one[1] for one in asked), default=0.0)
    while len(queue):
        while (next_job := queue.pop(now)) is not None:
            assert not_before[id(next_job)] <= now
            popped.append(next_job)
        if (next_at := queue.next_at()) is not None:
            assert next_at > now
            now = next_at
    assert {id(job) for job in popped} == set(not_before)
    event_loop.close()


def test_a_read_that_nobody_waits_for_is_dropped(loop: asyncio.AbstractEventLoop) -> None:
    queue = ReadQueue()
    gone, kept, later = (_job(loop, Priority.INDEX) for _ in range(3))
    queue.put(gone, 0.0)
    queue.put(kept, 0.0)
    queue.put(later, 0.0, not_before=9.0)
    gone.outcome.cancel()
    assert queue.pop(1.0) is kept
    assert (queue.pop(1.0), queue.next_at()) == (None, 9.0)
    assert queue.take_all() == [later]
    assert len(queue) == 0
