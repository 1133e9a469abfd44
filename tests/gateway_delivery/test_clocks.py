"""The replay clock against a real socket, and the system's clock."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from contract.messages import Clock as ClockState
from gateway.clock import ReplayClock, SystemClock, system_now, system_state
from tests.gateway_delivery.collecting import until
from tests.gateway_delivery.replaying import ReplayServer

START = datetime(2026, 1, 1, 17, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.mark.asyncio
async def test_time_stands_still_until_it_is_waited_for() -> None:
    server = ReplayServer(START, after(600))
    await server.start()
    clock = ReplayClock("127.0.0.1", server.port)
    await clock.start()
    assert clock.now() == START
    assert clock.state() is ClockState.SYNCED
    await clock.sleep_until(after(30))
    assert clock.now() == after(30)
    await clock.sleep_until(after(10))
    assert clock.now() == after(30), "what has passed is not waited for, and never goes back"
    assert server.requests == ['{"op":"now"}\n', '{"op":"wait","until":"2026-01-01T17:30:00Z"}\n']
    await clock.close()
    await server.stop()


@pytest.mark.asyncio
async def test_a_wait_beyond_the_end_is_held_until_it_is_extended() -> None:
    server = ReplayServer(START, after(30))
    await server.start()
    clock = ReplayClock("127.0.0.1", server.port)
    await clock.start()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(clock.sleep_until(after(60)))
        await until(lambda: len(server.requests) == 2, "the wait has arrived")
        assert not task.done()
        assert clock.now() == START
        await server.extend(after(90))
    assert clock.now() == after(60)
    await clock.close()
    await server.stop()


@pytest.mark.asyncio
async def test_a_lost_connection_is_made_again_and_the_request_repeated() -> None:
    server = ReplayServer(START, after(0))
    await server.start()
    port = server.port
    clock = ReplayClock("127.0.0.1", port)
    await clock.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(after(60)))
        await until(lambda: len(server.requests) == 2, "the wait has arrived")
        await server.stop()
        server = ReplayServer(after(10), after(90))
        await asyncio.sleep(0.3)
        await server.start(port)
    assert clock.now() == after(60)
    assert server.requests == ['{"op":"wait","until":"2026-01-01T18:00:00Z"}\n']
    await clock.close()
    await server.stop()


@pytest.mark.asyncio
async def test_a_wait_that_was_given_up_does_not_answer_the_next() -> None:
    server = ReplayServer(START, after(30))
    await server.start()
    clock = ReplayClock("127.0.0.1", server.port)
    await clock.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await clock.sleep_until(after(600))
    await clock.sleep_until(after(20))
    assert clock.now() == after(20)
    await clock.close()
    await server.stop()


@pytest.mark.asyncio
async def test_it_becomes_the_real_clock_when_told() -> None:
    server = ReplayServer(START, after(30))
    await server.start()
    real = SystemClock(state=lambda: ClockState.UNSYNCED)
    clock = ReplayClock("127.0.0.1", server.port, real)
    await clock.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(after(60)))
        await until(lambda: len(server.requests) == 2, "the wait has arrived")
        await server.go_live(system_now())
    assert abs(clock.now() - system_now()) < timedelta(seconds=5)
    assert clock.state() is ClockState.UNSYNCED
    before = clock.now()
    await clock.sleep_until(before + timedelta(milliseconds=50))
    assert clock.now() >= before + timedelta(milliseconds=50)
    await clock.close()
    await server.stop()


@pytest.mark.asyncio
async def test_the_system_clock_follows_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.clock.SLEEP_STEP_MAX_S", 0.01)
    now = [START]
    clock = SystemClock(now=lambda: now[0])
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(clock.sleep_until(after(60)))
        await asyncio.sleep(0.03)
        now[0] = after(61)


def test_the_system_clock_is_aware_and_knows_whether_it_is_kept() -> None:
    assert system_now().tzinfo is UTC
    assert system_state() in (ClockState.SYNCED, ClockState.UNSYNCED)
