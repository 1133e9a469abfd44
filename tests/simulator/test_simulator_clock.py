"""The replay clock, through the protocol that a gateway and a supervisor speak with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulator.clock import REQUEST_BYTES_MAX, ClockServer, ReplayClock, system_ms
from simulator.errors import SimulatorError
from simulator.truth import from_ms

TIMEOUT_S = 5.0
START = "2026-01-01T00:00:00.000Z"
START_MS = 1_767_225_600_000
HOUR_MS = 3_600_000


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, op: str, **fields: str) -> None:
        self.writer.write(json.dumps({"op": op, **fields}).encode() + b"\n")

    async def answer(self) -> dict[str, object]:
        async with asyncio.timeout(TIMEOUT_S):
            answer = json.loads(await self.reader.readline())
        assert isinstance(answer, dict)
        return answer

    async def ask(self, op: str, **fields: str) -> dict[str, object]:
        self.send(op, **fields)
        return await self.answer()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class World:
    """A clock server over one simulated day and a real time that the test sets."""

    def __init__(self) -> None:
        self.real_ms = START_MS + 30 * 24 * HOUR_MS
        self.clock = ReplayClock(START_MS, START_MS + 24 * HOUR_MS, real_ms=lambda: self.real_ms)
        self.asked_before_live: list[bool] = []
        self.server = ClockServer(self.clock, lambda: self.asked_before_live.append(True))
        self.port = 0

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    one = World()
    _, one.port = await one.server.start("127.0.0.1", 0)
    try:
        yield one
    finally:
        await one.server.stop()


@pytest.mark.asyncio
async def test_time_stands_still_until_someone_waits() -> None:
    async with world() as one:
        gateway = await one.connect()
        assert await gateway.ask("now") == {"now": START, "live": False}
        assert await gateway.ask("now") == {"now": START, "live": False}
        moved = {"now": "2026-01-01T00:30:00.000Z", "live": False}
        assert await gateway.ask("wait", until="2026-01-01T07:30:00+07:00") == moved
        assert await gateway.ask("now") == moved
        await gateway.close()


@pytest.mark.asyncio
async def test_time_never_goes_back_and_a_client_that_returns_finds_it_where_it_was() -> None:
    async with world() as one:
        gateway = await one.connect()
        await gateway.ask("wait", until="2026-01-01T10:00:00Z")
        await gateway.close()
        again = await one.connect()
        there = {"now": "2026-01-01T10:00:00.000Z", "live": False}
        assert await again.ask("wait", until="2026-01-01T09:00:00Z") == there
        assert await again.ask("now") == there
        await again.close()


@pytest.mark.asyncio
async def test_an_instant_is_never_answered_before_it_is_reached() -> None:
    async with world() as one:
        gateway = await one.connect()
        answer = await gateway.ask("wait", until="2026-01-01T00:00:00.000001Z")
        assert answer["now"] == "2026-01-01T00:00:00.001Z"
        await gateway.close()


async def settled(client: Client) -> None:
    """A round trip: whatever was sent before on other connections has been seen too."""
    for _ in range(3):
        await client.ask("now")


@pytest.mark.asyncio
async def test_a_wait_beyond_the_end_is_held_until_the_period_is_extended() -> None:
    async with world() as one:
        gateway, other, supervisor = [await one.connect() for _ in range(3)]
        gateway.send("wait", until="2026-01-02T02:00:00Z")
        other.send("wait", until="2026-01-02T01:00:00Z")
        await settled(supervisor)
        assert await supervisor.ask("now") == {"now": START, "live": False}
        answer = await supervisor.ask("extend", end="2026-01-02T01:30:00Z")
        assert answer == {"now": "2026-01-02T01:00:00.000Z", "live": False}
        assert (await other.answer())["now"] == "2026-01-02T01:00:00.000Z"
        await supervisor.ask("extend", end="2026-01-02T01:10:00Z")  # not taken back
        await supervisor.ask("extend", end="2026-01-03T00:00:00Z")
        assert (await gateway.answer())["now"] == "2026-01-02T02:00:00.000Z"
        for client in (gateway, other, supervisor):
            await client.close()


@pytest.mark.asyncio
async def test_who_is_gone_does_not_move_the_clock() -> None:
    async with world() as one:
        gateway, supervisor = await one.connect(), await one.connect()
        gateway.send("wait", until="2026-01-02T02:00:00Z")
        await settled(supervisor)
        await gateway.close()
        await settled(supervisor)
        answer = await supervisor.ask("extend", end="2026-01-03T00:00:00Z")
        assert answer["now"] == START
        await supervisor.close()


@pytest.mark.asyncio
async def test_what_follows_a_held_wait_is_answered_after_it() -> None:
    async with world() as one:
        gateway, supervisor = await one.connect(), await one.connect()
        gateway.send("wait", until="2026-01-02T02:00:00Z")
        gateway.send("now")
        await settled(supervisor)
        await supervisor.ask("extend", end="2026-01-03T00:00:00Z")
        assert [(await gateway.answer())["now"] for _ in range(2)] == [
            "2026-01-02T02:00:00.000Z"
        ] * 2
        await gateway.close()
        await supervisor.close()


@pytest.mark.asyncio
async def test_live_answers_held_waits_when_the_real_time_gets_there() -> None:
    async with world() as one:
        gateway, late, supervisor = [await one.connect() for _ in range(3)]
        gateway.send("wait", until="2026-01-02T02:00:00Z")
        due_ms = one.real_ms + 10 * 60_000
        late.send("wait", until=from_ms(due_ms).isoformat())
        await settled(supervisor)
        assert await supervisor.ask("live") == {"now": "2026-01-31T00:00:00.000Z", "live": True}
        assert one.asked_before_live == [True]
        assert (await gateway.answer())["live"] is True
        one.real_ms += 60_000
        assert await supervisor.ask("now") == {"now": "2026-01-31T00:01:00.000Z", "live": True}
        one.real_ms = due_ms
        assert await late.answer() == {"now": "2026-01-31T00:10:00.000Z", "live": True}
        for client in (gateway, late, supervisor):
            await client.close()


@pytest.mark.asyncio
async def test_live_follows_the_system_clock() -> None:
    clock = ReplayClock(START_MS, START_MS)
    server = ClockServer(clock)
    _, port = await server.start("127.0.0.1", 0)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    await client.ask("live")
    until_ms = system_ms() + 300
    answer = await client.ask("wait", until=from_ms(until_ms).isoformat())
    assert system_ms() >= until_ms
    assert str(answer["now"]) >= from_ms(until_ms).isoformat(timespec="milliseconds")[:23]
    await client.close()
    await server.stop()


def test_live_never_goes_back_to_a_real_time_before_the_replay() -> None:
    clock = ReplayClock(START_MS, START_MS, real_ms=lambda: START_MS - HOUR_MS)
    clock.go_live()
    assert clock.now_ms() == START_MS


@pytest.mark.asyncio
async def test_a_refusal_to_go_live_is_said_and_changes_nothing() -> None:
    def refuse() -> None:
        raise SimulatorError("too far")

    clock = ReplayClock(START_MS, START_MS)
    server = ClockServer(clock, refuse)
    _, port = await server.start("127.0.0.1", 0)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    assert await client.ask("live") == {"error": "too far"}
    assert await client.ask("now") == {"now": START, "live": False}
    await client.close()
    await server.stop()


@pytest.mark.asyncio
async def test_what_is_no_request_is_answered_with_an_error() -> None:
    async with world() as one:
        client = await one.connect()
        without_offset = b'{"op":"wait","until":"2026-01-01T00:00:00"}'
        for line in (b"{", b"[]", b'{"op":"stop"}', b'{"op":"wait"}', b"\xff", without_offset):
            client.writer.write(line + b"\n")
            assert "error" in await client.answer()
        assert (await client.ask("now"))["now"] == START
        client.writer.write(b"x" * (REQUEST_BYTES_MAX + 1))
        assert await client.reader.read() == b""
        await client.close()
