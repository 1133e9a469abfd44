"""Reads on demand and index scans on the same lines: the index scan is not delayed."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.commands import Arguments, Command, Result, ResultCode, decode_result
from contract.messages import Batch, MissingReason, ScanKind, decode_batch, encode
from contract.messages import Clock as ClockState
from gateway import command_memory, command_service
from gateway.batches import MeterMissing, MeterRow
from gateway.command_memory import Begun
from gateway.command_service import Abilities, CommandService
from gateway.health_book import HealthBook
from gateway.mailbox import Mailbox
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.ports import ClockSetting, Part, Priority
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
            Abilities("", lambda: 0, _none, lambda: None, self._set),
            kept=lambda: None,
        )
        self._clock = clock
        self.clocks_set: list[str] = []

    async def _set(self, serial: str) -> ClockSetting:
        self.clocks_set.append(serial)
        return ClockSetting(ResultCode.DONE, "")

    def send(self, command: str, good_s: float = 3_600, kind: str = "read", *meters: str) -> None:
        now = self._clock.now()
        until_at = now + timedelta(seconds=good_s)
        about = Arguments(list(meters) or None)
        sent = Command(1, command, kind, now, until_at, "test", about)
        self.service.receive(command, encode(sent))

    async def code(self) -> str:
        """That of the next answer."""
        return (await self.result()).code

    async def result(self) -> Result:
        """The next answer."""
        async with asyncio.timeout(10):
            while (mail := self.mailbox.next()) is None:  # noqa: ASYNC110 polled within a deadline
                await asyncio.sleep(0.005)
        self.mailbox.done()
        return decode_result(mail[1])


async def _none() -> list[str]:
    return []


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
        # Whether the second expires on its way in or while it waits, is a matter of speed.
        results = [await told.result() for _ in range(3)]
        codes = {result.id: result.code for result in results}
        assert codes == {"c1": "done", "c2": "expired", "c3": "done"}
        task.cancel()
    told.outbox.close()


@pytest.mark.asyncio
async def test_a_read_that_takes_too_long_is_told_as_far_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock(at(2), at(600))
    monkeypatch.setattr(command_service, "monotonic", clock.monotonic_s)
    told = Told(tmp_path, FakeLine(clock, meters(3), cost=timedelta(seconds=130)), clock)
    result, batches = await read_one(told)
    assert (result.code, result.text) == ("partial", "2 of 3 meters were read")
    assert batches[0].scan is not None
    assert batches[0].scan.missing == [("m003", "window_closed")]


@pytest.mark.parametrize(("good_s", "state", "code"), [
    (600, ClockState.SYNCED, "done"),
    (2, ClockState.SYNCED, "expired"),
    (600, ClockState.UNSYNCED, "clock_unsynced"),
])  # fmt: skip
@pytest.mark.asyncio
async def test_a_clock_is_not_set_by_a_command_that_its_waiting_has_made_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good_s: float, state: ClockState, code: str
) -> None:
    """It waits for an index scan; meanwhile it expires, or the time is not trusted any more."""
    monkeypatch.setattr(command_service, "TURN_POLL_S", 0.01)
    clock = SteppedClock(at(-1 / 60), at(60))
    told = Told(tmp_path, FakeLine(clock, meters(1)), clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(told.service.run())
        told.send("c1", good_s, "set_clock", "m001")
        await asyncio.sleep(0.1)
        assert told.clocks_set == []
        clock.go_on(timedelta(seconds=10))
        clock.trust(state)
        assert await told.code() == code
        task.cancel()
    assert told.clocks_set == (["m001"] if code == "done" else [])
    told.outbox.close()


@pytest.mark.asyncio
async def test_a_command_that_nobody_carries_out_any_more_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that began it is over, and at the start of this one the outbox told nothing."""
    clock = SteppedClock(at(5), at(60))
    told = Told(tmp_path, FakeLine(clock, meters(1)), clock)
    begun = Begun("c1", "read", "test", at(30))
    await told.outbox.transact(command_memory.begin(begun, at(5)))
    look_up = command_memory.unfinished

    def failing(_: object) -> list[Begun]:
        monkeypatch.setattr(command_memory, "unfinished", look_up)
        raise OutboxUnavailable("the disk fails")

    monkeypatch.setattr(command_memory, "unfinished", failing)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(told.service.run())
        told.send("c1")
        assert await told.code() == "interrupted"
        told.send("c1")
        assert await told.code() == "interrupted", "and remembered"
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


async def read_one(told: Told) -> tuple[Result, list[Batch]]:
    """A read on demand, and the batches that were kept of it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(told.service.run())
        told.send("c1")
        result = await told.result()
        task.cancel()
    stored = await told.outbox.pending(99, live_since=at(-999), except_for=frozenset())
    told.outbox.close()
    return result, [decode_batch(batch.payload) for batch in stored]


@pytest.mark.asyncio
async def test_it_never_takes_the_name_of_a_slot(tmp_path: Path) -> None:
    clock = SteppedClock(at(30), at(60))  # a regular slot, which belongs to its own scan
    told = Told(tmp_path, FakeLine(clock, meters(1)), clock)
    _, (batch, *_) = await read_one(told)
    assert batch.scan is not None
    assert batch.scan.kind is ScanKind.ON_DEMAND
    assert batch.scan.slot == at(30) + timedelta(milliseconds=1)


@pytest.mark.asyncio
async def test_a_clock_that_is_put_right_meanwhile_dates_what_was_read_before(
    tmp_path: Path,
) -> None:
    clock = SteppedClock(at(5), at(600))
    line = FakeLine(clock, meters(2), cost=timedelta(seconds=2))

    def step_before_the_last(serial: str, part: Part, _now: datetime) -> None:
        if (serial, part) == ("m002", Part.MOMENTARY):
            clock.at += timedelta(hours=1)

    line.fails = step_before_the_last
    told = Told(tmp_path, line, clock)
    _, (batch, *_) = await read_one(told)
    assert batch.scan is not None
    assert batch.scan.slot == at(65)
    offsets_ms = {serial: ms for serial, ms, _, _ in batch.scan.tables[0].reads}
    assert offsets_ms == {"m001": 2_000, "m002": 6_000}


@pytest.mark.asyncio
async def test_the_health_book_hears_of_it(tmp_path: Path) -> None:
    clock = SteppedClock(at(5), at(60))
    line = FakeLine(clock, meters(2))
    line.fails = lambda serial, *_: MissingReason.TIMEOUT if serial == "m002" else None
    told = Told(tmp_path, line, clock)
    result, _ = await read_one(told)
    assert result.code == "partial"
    health = told.scanner.health
    assert [health.state(serial).value for serial in ("m001", "m002")] == ["online", "degraded"]
    line.fails = lambda *_: None
    for _ in range(5):
        await told.scanner.read_on_demand(["m002"], turn=now, still_wanted=lambda: True)
    assert health.state("m002").value == "online"
