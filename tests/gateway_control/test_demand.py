"""Reads on demand and index scans on the same lines: the index scan is not delayed."""

import asyncio
import random
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from contract.commands import Command, ResultCode, decode_result
from contract.messages import MissingReason, encode
from gateway import command_service
from gateway.batches import MeterMissing, MeterRow
from gateway.command_service import Abilities, CommandService
from gateway.health_book import HealthBook
from gateway.mailbox import Mailbox
from gateway.outbox_thread import OutboxThread
from gateway.ports import ClockSetting, Priority
from gateway.scan import Scanner
from gateway.schedule import Schedule
from gateway.telling import Teller
from tests.gateway_delivery.building import at, open_outbox
from tests.gateway_delivery.fakes import FakeLine, SteppedClock, meters


def scanner_of(line: FakeLine, clock: SteppedClock) -> Scanner:
    return Scanner([line], clock, health=HealthBook([line], clock, random.Random(7)))


async def now() -> None:
    """A turn that is always given at once."""


@pytest.mark.asyncio
async def test_a_read_on_demand_waits_until_the_indices_are_read() -> None:
    clock = SteppedClock(at(0), at(60))
    line = FakeLine(clock, meters(20))
    scanner = scanner_of(line, clock)
    async with asyncio.TaskGroup() as group:
        scan = group.create_task(scanner.scan(index=True, deadline=at(30)))
        await asyncio.sleep(0)
        demand = group.create_task(
            scanner.read_on_demand(["m003"], turn=scanner.index_done, still_wanted=lambda: True)
        )
    assert len([row for row in scan.result() if isinstance(row, MeterRow)]) == 20
    (row,) = demand.result()
    assert isinstance(row, MeterRow)
    priorities = [priority for _, _, priority in line.log]
    first = priorities.index(Priority.ON_DEMAND)
    assert Priority.INDEX not in priorities[first:]


@pytest.mark.asyncio
async def test_it_goes_ahead_of_a_regular_scan() -> None:
    clock = SteppedClock(at(0), at(60))
    line = FakeLine(clock, meters(20))
    scanner = scanner_of(line, clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(scanner.scan(index=False, deadline=at(30)))
        await asyncio.sleep(0)
        group.create_task(
            scanner.read_on_demand(["m003"], turn=scanner.index_done, still_wanted=lambda: True)
        )
    priorities = [priority for _, _, priority in line.log]
    assert priorities.index(Priority.ON_DEMAND) < 5


@pytest.mark.asyncio
async def test_what_is_not_wanted_any_more_is_not_read() -> None:
    clock = SteppedClock(at(0), at(60))
    line = FakeLine(clock, meters(5), cost=timedelta(seconds=10))
    scanner = scanner_of(line, clock)
    results = await scanner.read_on_demand(
        scanner.serials, turn=now, still_wanted=lambda: clock.now() < at(0.5)
    )
    assert [type(item) for item in results] == [MeterRow] * 2 + [MeterMissing] * 3
    assert results[2] == MeterMissing("m003", MissingReason.WINDOW_CLOSED)
    assert len(line.log) == 4


class Told:
    """A service whose answers are noted, over a line and a clock that the test rules."""

    def __init__(self, folder: Path, line: FakeLine, clock: SteppedClock) -> None:
        self.outbox = OutboxThread(open_outbox(folder))
        self.mailbox = Mailbox("T1")
        self.scanner = scanner_of(line, clock)
        self.service = CommandService(
            Teller("T1", clock, self.scanner.health, lambda: True),
            self.mailbox,
            self.outbox,
            self.scanner,
            Schedule(UTC, 30, (17 * 60,)),  # at(0) is an index slot
            clock,
            Abilities("", lambda: 0, _none, lambda: None, _unset),
            kept=lambda: None,
        )
        self._clock = clock

    def send(self, command: str, good_s: float = 3_600) -> None:
        now = self._clock.now()
        until_at = now + timedelta(seconds=good_s)
        self.service.receive(command, encode(Command(1, command, "read", now, until_at, "test")))

    async def code(self) -> str:
        """That of the next answer."""
        async with asyncio.timeout(10):
            while (mail := self.mailbox.next()) is None:  # noqa: ASYNC110 polled within a deadline
                await asyncio.sleep(0.005)
        self.mailbox.done()
        return decode_result(mail[1]).code


async def _none() -> list[str]:
    return []


async def _unset(_: str) -> ClockSetting:
    return ClockSetting(ResultCode.NOT_SUPPORTED, "")


@pytest.mark.parametrize(
    ("seconds", "waits"),
    [(-60, False), (-5.5, False), (-4, True), (0, True), (0.5, True), (1.5, False), (1795, False)],
)
@pytest.mark.asyncio
async def test_none_is_begun_shortly_before_an_index_slot_and_until_its_scan_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, waits: bool
) -> None:
    monkeypatch.setattr(command_service, "TURN_POLL_S", 0.01)
    clock = SteppedClock(at(seconds / 60), at(60))
    line = FakeLine(clock, meters(1))
    told = Told(tmp_path, line, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(told.service.run())
        told.send("c1")
        if waits:
            await asyncio.sleep(0.2)
            assert line.log == []
            clock.at = at(0.1)
        assert await told.code() == "done"
        assert len(line.log) == 2
        task.cancel()
    told.outbox.close()


@pytest.mark.asyncio
async def test_a_command_whose_turn_comes_too_late_is_not_begun(tmp_path: Path) -> None:
    clock = SteppedClock(at(5), at(60))
    line = FakeLine(clock, meters(3), cost=timedelta(seconds=30))
    told = Told(tmp_path, line, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(told.service.run())
        told.send("c1", good_s=600)
        told.send("c2", good_s=60)
        told.send("c3", good_s=600)
        assert [await told.code() for _ in range(3)] == ["done", "expired", "done"]
        task.cancel()
    told.outbox.close()


@pytest.mark.asyncio
async def test_what_has_expired_long_ago_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.command_memory.REMEMBERED_MAX", 3)
    clock = SteppedClock(at(5), at(60))
    told = Told(tmp_path, FakeLine(clock, meters(1)), clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(told.service.run())
        for number in range(4):
            told.send(f"c{number}", good_s=60)
            assert await told.code() == ("done" if number < 3 else "busy")
        clock.at += timedelta(hours=2)
        told.send("c9", good_s=60)
        assert await told.code() == "done"
        task.cancel()
    told.outbox.close()
