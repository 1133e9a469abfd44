"""Sixteen meters that share a line: the same demands on Modbus RTU and on IEC 62056-21.

Whatever one meter or the line does wrong, no value is another's or of another time, and nobody
else goes without.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from contract.messages import MissingReason, ScanKind
from contract.quality import Quality
from gateway.batches import MeterRow
from gateway.health_book import HealthBook
from gateway.lines import iec_port
from gateway.lines.engine import ModbusLine
from gateway.lines.health import LineState
from gateway.lines.iec import IecLine
from gateway.ports import MeterValues, Part, Priority, ReadFailed
from gateway.scan import Scanner
from gateway.schedule import Schedule
from tests.gateway_delivery.fakes import SteppedClock
from tests.gateway_delivery.world import SCHEDULE, World, after, index_of, scans
from tests.gateway_iec.meter import until
from tests.gateway_lines.bench import StillClock
from tests.multi_drop.bus import NUMBERS, Bus, IecBus, ModbusBus

INTERVAL = Priority.INTERVAL
ILL = 7
NEAR = (6, 8, 9)
SOME = (*NEAR, ILL)
FAULTS = ["silent", "truncated", "garbled", "stranger", "twice", "late"]
UP_AGAIN_S_MAX = 20.0

pytestmark = pytest.mark.timeout(180)  # sixteen meters at 9600 baud, on a machine that is busy


@pytest.fixture(params=["modbus", "iec"])
def bus(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    # No adapter that gathers characters between these two ends.
    monkeypatch.setattr(iec_port, "LATENCY_S", 0.05)
    return ModbusBus(tmp_path) if request.param == "modbus" else IecBus(tmp_path)


async def read(
    line: ModbusLine | IecLine, bus: Bus, number: int, priority: Priority = INTERVAL
) -> MeterValues | MissingReason:
    try:
        return await line.read(bus.meter(number), Part.ENERGY, priority)
    except ReadFailed as failure:
        return failure.reason


async def read_all(
    line: ModbusLine | IecLine, bus: Bus, numbers: Sequence[int] = NUMBERS
) -> dict[int, dict[str, int | float | None] | MissingReason]:
    """What came of some meters, asked for at once."""
    async with asyncio.TaskGroup() as group:
        tasks = {n: group.create_task(read(line, bus, n)) for n in numbers}
    outcomes = {n: task.result() for n, task in tasks.items()}
    return {n: o.values if isinstance(o, MeterValues) else o for n, o in outcomes.items()}


def truth(bus: Bus, numbers: Sequence[int] = NUMBERS) -> dict[int, dict[str, int]]:
    return {n: bus.energies(n) for n in numbers}


@pytest.mark.asyncio
async def test_all_are_read_at_the_first_attempt(bus: Bus) -> None:
    async with bus.running(StillClock()) as line:
        assert await read_all(line, bus) == truth(bus)
    assert sorted(bus.asked) == list(NUMBERS)


@pytest.mark.parametrize("message", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.asyncio
async def test_one_fault_costs_no_value_of_anyone(bus: Bus, fault: str, message: int) -> None:
    bus.spoil(ILL, fault, message)
    async with bus.running(StillClock()) as line:
        for number in (ILL - 1, ILL, ILL + 1, ILL):
            outcome = await read(line, bus, number)
            assert isinstance(outcome, MeterValues), outcome
            assert outcome.values == bus.energies(number)
    if fault == "twice":
        assert bus.asks(ILL) == 2, "no reason to ask again"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "twice"])
@pytest.mark.asyncio
async def test_a_meter_that_is_always_wrong_has_no_value_and_the_others_have_theirs(
    bus: Bus, fault: str
) -> None:
    bus.spoil_always(ILL, fault)
    async with bus.running(StillClock()) as line:
        found = await read_all(line, bus, SOME)
        assert found.pop(ILL) in (MissingReason.TIMEOUT, MissingReason.BAD_REPLY)
        assert found == truth(bus, NEAR)
        attempts = bus.asks(ILL)
        assert attempts == 3
        assert isinstance(await read(line, bus, ILL), MissingReason)
        assert bus.asks(ILL) == attempts + 1, "a meter that failed is tried once"
        bus.spoil_always(ILL, None)
        assert await read_all(line, bus, SOME) == truth(bus, SOME)


@pytest.mark.asyncio
async def test_a_late_answer_is_never_taken_for_another(bus: Bus) -> None:
    """The late one is that to the momentary quantities, when the energies are asked for."""
    async with bus.running(StillClock()) as line:
        for _ in range(2):
            bus.answer_late(ILL)
            async with asyncio.TaskGroup() as group:
                first = group.create_task(line.read(bus.meter(ILL), Part.MOMENTARY, INTERVAL))
                also = group.create_task(line.read(bus.meter(ILL), Part.ENERGY, INTERVAL))
                other = group.create_task(line.read(bus.meter(ILL + 1), Part.ENERGY, INTERVAL))
            assert first.result().values == bus.momentary(ILL)
            assert also.result().values == bus.energies(ILL)
            assert other.result().values == bus.energies(ILL + 1)


@pytest.mark.asyncio
async def test_who_fails_is_asked_again_behind_all_that_wait(bus: Bus) -> None:
    bus.spoil_always(1, "silent")
    async with bus.running(StillClock()) as line:
        await read_all(line, bus)
    first, *others = bus.asked
    assert first == 1
    assert others[: len(NUMBERS) - 1] == list(NUMBERS)[1:], "nobody waits for a second attempt"
    assert others[len(NUMBERS) - 1 :] == [1, 1]


@pytest.mark.asyncio
async def test_a_line_on_which_nobody_answers_gives_no_value_and_comes_back_by_itself(
    bus: Bus,
) -> None:
    async with bus.running(StillClock()) as line:
        assert await read_all(line, bus, SOME) == truth(bus, SOME)
        for number in NUMBERS:
            bus.spoil_always(number, "silent")
        some = [await read(line, bus, number) for number in (1, 2, 3)]
        assert some == [MissingReason.TIMEOUT] * 3
        for number in NUMBERS:
            bus.spoil_always(number, None)
        assert await read_all(line, bus) == truth(bus)
        assert line.health.opened == 1


@pytest.mark.asyncio
async def test_an_adapter_that_is_unplugged_and_plugged_in_again_needs_no_restart(
    bus: Bus,
) -> None:
    async with bus.running(StillClock()) as line:
        for opened in (1, 2):
            assert await read_all(line, bus) == truth(bus)
            assert line.health.opened == opened
            bus.unplug()
            assert set((await read_all(line, bus)).values()) == {MissingReason.LINE_DOWN}
            bus.plug()
            await until(lambda: line.health.state is LineState.UP, UP_AGAIN_S_MAX)
        assert await read_all(line, bus) == truth(bus)


@pytest.mark.asyncio
async def test_what_a_person_asks_for_goes_before_all_that_wait(bus: Bus) -> None:
    async with bus.running(StillClock()) as line, asyncio.TaskGroup() as group:
        waiting = [group.create_task(read(line, bus, n)) for n in NUMBERS if n != ILL]
        await until(lambda: len(bus.asked) > 0)
        asked = group.create_task(read(line, bus, ILL, Priority.ON_DEMAND))
        await asyncio.wait([asked])
        assert sum(task.done() for task in waiting) <= 2, "those before it had begun"
    assert bus.asked.index(ILL) <= 2


async def scan(scanner: Scanner, clock: SteppedClock, *, index: bool = False) -> dict[str, object]:
    """By serial: the first energy, or why it is missing."""
    deadline = clock.now() + timedelta(minutes=15)
    found = await scanner.scan(index=index, deadline=deadline)
    clock.go_on(timedelta(minutes=15))
    return {one.serial: one.values[0] if isinstance(one, MeterRow) else one.reason for one in found}


@pytest.mark.asyncio
async def test_a_meter_becomes_degraded_offline_and_online_again_and_each_is_told_once(
    bus: Bus,
) -> None:
    clock = SteppedClock(after(1), after(10_000))
    bus.spoil_always(ILL, "silent")
    async with bus.running(clock, SOME) as line:
        health = HealthBook([line], clock, random.Random(1))
        scanner = Scanner([line], clock, health=health)
        ill = bus.meter(ILL).serial
        others = {bus.meter(n).serial: next(iter(bus.energies(n).values())) for n in NEAR}

        for _ in range(4):
            found = await scan(scanner, clock)
            assert found.pop(ill) is MissingReason.TIMEOUT
            assert found == others
        asks = bus.asks(ILL)
        assert (await scan(scanner, clock))[ill] is MissingReason.OFFLINE
        assert bus.asks(ILL) == asks, "not in every scan"
        assert (await scan(scanner, clock, index=True))[ill] is MissingReason.TIMEOUT
        assert bus.asks(ILL) == asks + 1, "an index is asked for all the same"

        bus.spoil_always(ILL, None)
        for _ in range(6):
            found = await scan(scanner, clock, index=True)
            assert found.pop(ill) == next(iter(bus.energies(ILL).values()))
            assert found == others
        told = [(one.type, one.meter) for one in health.occurrences()]
    words = ["meter_degraded", "meter_offline", "meter_degraded", "meter_online"]
    assert told == [(word, ill) for word in words]


class _WatchedClock(SteppedClock):
    """Tells of each wait before it jumps."""

    waited: Callable[[datetime], None] = staticmethod(lambda at: None)

    async def sleep_until(self, at: datetime) -> None:
        self.waited(self.at)
        await super().sleep_until(at)


@pytest.mark.asyncio
async def test_an_index_that_was_missed_is_had_before_its_window_closes(
    bus: Bus, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", after(-1), after(12))
    world.clock = clock = _WatchedClock(after(-1), after(12))
    world.schedule = Schedule(SCHEDULE.zone, 30, (0,), index_window_min=10, index_retry_s=60)
    bus.spoil_always(ILL, "silent")
    clock.waited = lambda at: bus.spoil_always(ILL, None) if at > after(5) else None
    async with bus.running(clock) as line:
        world.lines = [line]  # type: ignore[list-item]  # a line is a line
        found = [one for one in scans(await world.run()) if one.slot == after(0)]
    ill = bus.meter(ILL).serial
    assert found[0].missing == [(ill, "timeout")]
    assert [one.kind for one in found] == [ScanKind.INDEX] * 2
    late = index_of(found[1], ill)
    assert isinstance(late, tuple)
    assert (late[0], late[2]) == (next(iter(bus.energies(ILL).values())), int(Quality.LATE))
    assert 5 * 60_000 <= late[1] < 10 * 60_000
    assert all(index_of(found[0], bus.meter(n).serial) is not None for n in NUMBERS if n != ILL)
