"""The line engine on a real pseudo-terminal, with a slave that misbehaves in every known way."""

import asyncio
import random
import termios
from collections.abc import Coroutine
from pathlib import Path

import pytest

from contract.messages import MissingReason
from gateway.lines.endpoints import SerialEndpoint
from gateway.lines.engine import ModbusLine
from gateway.lines.health import LineState
from gateway.meters.profile import Timing
from gateway.ports import InstalledMeter, MeterValues, Part, Priority, ReadFailed
from tests.gateway_lines.bench import (
    EXPORT,
    IMPORT,
    REACTIVE,
    VOLTAGE,
    energies,
    meters,
    profile,
    running,
    truth,
)
from tests.gateway_lines.slave import Fault, PtySlave, Slave, Wire

INTERVAL = Priority.INTERVAL
# Fast, so that silence between frames is short: the tests of pacing set their own.
BAUD = 115_200


def _endpoint(tmp_path: Path) -> SerialEndpoint:
    return SerialEndpoint(str(tmp_path / "line.tty"), BAUD)


def _pty(slave: Slave, tmp_path: Path, wire: Wire | None = None) -> PtySlave:
    return PtySlave(slave, tmp_path / "line.tty", wire or Wire())


@pytest.mark.asyncio
async def test_both_parts_of_several_meters_are_read(tmp_path: Path) -> None:
    installed = meters(profile(), 1, 2, 247)
    with _pty(Slave([1, 2, 247]), tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            for meter in installed:
                energy = await line.read(meter, Part.ENERGY, INTERVAL)
                assert energy.values == energies(meter.address)
                assert (energy.partial, energy.arrived_at.year) == (False, 2026)
                momentary = await line.read(meter, Part.MOMENTARY, INTERVAL)
                assert momentary.values == {VOLTAGE: float(truth(meter.address, VOLTAGE))}
            states = [line.health.state]
            assert (line.health.requests, line.health.replies, line.health.answering) == (9, 9, 3)
    assert [*states, line.health.state] == [LineState.UP, LineState.DOWN]


@pytest.mark.asyncio
async def test_a_port_that_does_not_send_never_sends_old_requests_later(tmp_path: Path) -> None:
    """An adapter that hangs takes requests for hours; once it goes on, all would be answered."""
    installed = meters(profile(), 1)
    slave = Slave([1])
    with _pty(slave, tmp_path) as port:
        async with running(_endpoint(tmp_path), installed) as line:
            await line.read(installed[0], Part.ENERGY, INTERVAL)
            opened, asked = line.health.opened, len(slave.requests)
            termios.tcflow(port.terminal, termios.TCOOFF)
            for _ in range(5):
                with pytest.raises(ReadFailed):
                    await line.read(installed[0], Part.ENERGY, INTERVAL, 1)
            assert line.health.opened > opened, "it is opened anew: that may wake it up"
            termios.tcflow(port.terminal, termios.TCOON)
            values = await line.read(installed[0], Part.ENERGY, INTERVAL)
            assert values.values == energies(1)
            whole = len(slave.requests) - asked
            assert whole <= 4, "the blocks of one read, and one request that had been let go"


@pytest.mark.parametrize(
    "kind",
    [
        "silent",
        "truncated",
        "bad_crc",
        "wrong_unit",
        "wrong_function",
        "short",
        "duplicate",
        "noise",
        "echo",
        "bytewise",
    ],
)
@pytest.mark.asyncio
async def test_after_one_fault_the_value_is_right(kind: str, tmp_path: Path) -> None:
    """The fault hits the first or the second block; what is read next is right as well."""
    installed = meters(profile(), 1, 2)
    slave = Slave([1, 2])
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            for faults in ([Fault(kind)], [Fault("none"), Fault(kind)]):
                slave.script[1].extend(faults)
                first = await line.read(installed[0], Part.ENERGY, INTERVAL)
                assert first.values == energies(1)
                second = await line.read(installed[0], Part.MOMENTARY, INTERVAL)
                assert second.values == {VOLTAGE: float(truth(1, VOLTAGE))}
                assert (await line.read(installed[1], Part.ENERGY, INTERVAL)).values == energies(2)
            tolerated = kind in ("duplicate", "noise", "echo", "bytewise")
            assert (line.health.requests > 10) == (not tolerated)


@pytest.mark.parametrize("late_s", [0.09, 0.12, 0.16, 0.20, 0.25])
@pytest.mark.asyncio
async def test_a_late_reply_never_answers_the_next_request(late_s: float, tmp_path: Path) -> None:
    """Timeout 80 ms: the reply comes later, when the same unit could be asked for another block.

    Both blocks have the same length, so nothing in the reply tells them apart.
    """
    slave = Slave([1, 2])
    slave.always[1] = Fault("none")
    installed = meters(profile(), 1, 2)
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            for _ in range(2):
                slave.script[1].append(Fault("late", delay_s=late_s))
                async with asyncio.TaskGroup() as group:
                    late = group.create_task(line.read(installed[0], Part.MOMENTARY, INTERVAL))
                    also = group.create_task(line.read(installed[0], Part.ENERGY, INTERVAL))
                    other = group.create_task(line.read(installed[1], Part.ENERGY, INTERVAL))
                assert late.result().values == {VOLTAGE: float(truth(1, VOLTAGE))}
                assert also.result().values == energies(1)
                assert other.result().values == energies(2)
    asked = slave.asked(1)
    assert asked[1].at > asked[0].at + late_s, "asked again while a reply could still come"
    assert slave.asked(2)[0].at - asked[0].at < 0.4, "another meter had to wait"


@pytest.mark.asyncio
async def test_a_reply_that_comes_twice_never_answers_the_next_request(tmp_path: Path) -> None:
    """The copy comes 1 ms after the reply; at 300 baud frames are 117 ms apart."""
    slave = Slave([1], always={1: Fault("duplicate", delay_s=0.001)})
    installed = meters(profile(), 1)
    with _pty(slave, tmp_path):
        endpoint = SerialEndpoint(str(tmp_path / "line.tty"), 300)
        async with running(endpoint, installed) as line:
            for _ in range(2):
                energy = await line.read(installed[0], Part.ENERGY, INTERVAL)
                momentary = await line.read(installed[0], Part.MOMENTARY, INTERVAL)
                assert energy.values == energies(1)
                assert momentary.values == {VOLTAGE: float(truth(1, VOLTAGE))}


@pytest.mark.asyncio
async def test_a_dead_meter_costs_the_others_little_and_next_time_one_request(
    tmp_path: Path,
) -> None:
    installed = meters(profile(), 1, 2, 3)
    slave = Slave([2, 3])
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:

            async def read_dead() -> ReadFailed:
                with pytest.raises(ReadFailed) as caught:
                    await line.read(installed[0], Part.ENERGY, INTERVAL)
                return caught.value

            async with asyncio.TaskGroup() as group:
                dead = group.create_task(read_dead())
                alive = [
                    group.create_task(line.read(meter, Part.ENERGY, INTERVAL))
                    for meter in installed[1:]
                ]
                await asyncio.wait(alive)
                assert not dead.done()
            assert dead.result().reason is MissingReason.TIMEOUT
            assert len(slave.asked(1)) == 3
            assert (await read_dead()).reason is MissingReason.TIMEOUT
            assert len(slave.asked(1)) == 4
            assert line.health.meters["M1"].failed_in_a_row == 2
            slave.units = [1, 2, 3]
            assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1)
            assert line.health.meters["M1"].failed_in_a_row == 0


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [
        (Fault("exception", code=4), MissingReason.EXCEPTION, 1),
        (Fault("exception", code=6), MissingReason.EXCEPTION, 3),
        (Fault("exception", code=11), MissingReason.TIMEOUT, 3),
        (Fault("short"), MissingReason.BAD_REPLY, 3),
        (Fault("wrong_unit"), MissingReason.TIMEOUT, 3),
    ],
)
@pytest.mark.asyncio
async def test_why_a_meter_could_not_be_read(
    fault: Fault, reason: MissingReason, requests: int, tmp_path: Path
) -> None:
    slave = Slave([1], always={1: fault})
    installed = meters(profile(timing=Timing(response_timeout_ms=60)), 1)
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            with pytest.raises(ReadFailed) as caught:
                await line.read(installed[0], Part.ENERGY, INTERVAL)
    assert caught.value.reason is reason
    assert len(slave.requests) == requests


@pytest.mark.asyncio
async def test_a_busy_meter_is_asked_again(tmp_path: Path) -> None:
    slave = Slave([1])
    slave.script[1].append(Fault("exception", code=6))
    installed = meters(profile(), 1)
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1)


@pytest.mark.asyncio
async def test_a_refused_block_is_split_and_the_split_is_remembered(tmp_path: Path) -> None:
    """The plan reaches over a gap that this meter does not answer."""
    slave = Slave(
        [1], refuses=lambda request: request.address <= 0x20 < request.address + request.count
    )
    installed = meters(profile(max_gap=64), 1)
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            for _ in range(2):
                values = await line.read(installed[0], Part.ENERGY, INTERVAL)
                assert values.values == energies(1)
                assert not values.partial
    shapes = [(request.address, request.count) for request in slave.requests]
    # Halves: the first register alone; the other two, whose block still spans the gap, singly.
    split = [(0x10, 2), (0x12, 2), (0x40, 2)]
    assert shapes == [(0x10, 50), (0x10, 2), (0x12, 48), *split[1:], *split]


@pytest.mark.parametrize("optional", [frozenset({REACTIVE}), frozenset()])
@pytest.mark.asyncio
async def test_a_register_that_a_meter_lacks_has_no_value(
    optional: frozenset[str], tmp_path: Path
) -> None:
    slave = Slave([1], refuses=lambda request: request.address == 0x40)
    installed = meters(profile(optional=optional), 1)
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            for _ in range(2):
                read = await line.read(installed[0], Part.ENERGY, INTERVAL)
                assert read.values == energies(1) | {REACTIVE: None}
                assert list(read.values) == [IMPORT, EXPORT, REACTIVE]
                assert read.partial == (not optional)
    assert len(slave.requests) == (3 if optional else 4), "an optional one is not asked for again"


@pytest.mark.asyncio
async def test_a_meter_that_refuses_everything_fails_with_its_exception(tmp_path: Path) -> None:
    slave = Slave([1], refuses=lambda request: True)
    installed = meters(profile(), 1)
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            with pytest.raises(ReadFailed, match="exception 2, illegal data address") as caught:
                await line.read(installed[0], Part.ENERGY, INTERVAL)
    assert caught.value.reason is MissingReason.EXCEPTION


@pytest.mark.asyncio
async def test_an_adapter_that_is_unplugged_and_plugged_in_again_needs_no_restart(
    tmp_path: Path,
) -> None:
    installed = meters(profile(), 1)
    pty = _pty(Slave([1]), tmp_path)
    loop = asyncio.get_running_loop()
    async with running(_endpoint(tmp_path), installed) as line:
        begun_at = loop.time()
        with pytest.raises(ReadFailed, match="No such file") as caught:
            await line.read(installed[0], Part.ENERGY, INTERVAL)
        assert caught.value.reason is MissingReason.LINE_DOWN
        assert loop.time() - begun_at < 0.5, "a line that is down answers at once"
        for _ in range(2):
            with pty:
                assert (await _read_until_up(line, installed[0])) == energies(1)
            with pytest.raises(ReadFailed) as caught:
                await line.read(installed[0], Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.LINE_DOWN


async def _read_until_up(line: ModbusLine, meter: InstalledMeter) -> dict[str, int | float | None]:
    async with asyncio.timeout(10):
        while True:
            try:
                return (await line.read(meter, Part.ENERGY, INTERVAL)).values
            except ReadFailed as failure:
                if failure.reason is not MissingReason.LINE_DOWN:
                    raise
                await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_a_port_is_opened_for_one_line_only(tmp_path: Path) -> None:
    installed = meters(profile(), 1)
    with _pty(Slave([1]), tmp_path):
        async with running(_endpoint(tmp_path), installed) as first:
            await first.read(installed[0], Part.ENERGY, INTERVAL)
            async with running(_endpoint(tmp_path), installed) as second:
                with pytest.raises(ReadFailed, match="in use by process") as caught:
                    await second.read(installed[0], Part.ENERGY, INTERVAL)
    assert caught.value.reason is MissingReason.LINE_DOWN


@pytest.mark.asyncio
async def test_reads_that_wait_when_the_line_ends_are_refused(tmp_path: Path) -> None:
    installed = meters(profile(timing=Timing(response_timeout_ms=5_000)), 1, 2)
    slave = Slave([])

    async def reason(read: Coroutine[None, None, MeterValues]) -> MissingReason:
        with pytest.raises(ReadFailed) as caught:
            await read
        return caught.value.reason

    with _pty(slave, tmp_path):
        async with asyncio.TaskGroup() as group, running(_endpoint(tmp_path), installed) as line:
            reads = [
                group.create_task(reason(line.read(meter, Part.ENERGY, INTERVAL)))
                for meter in installed
            ]
            async with asyncio.timeout(5):
                while not slave.requests:  # noqa: ASYNC110 - the slave has no event to wait for
                    await asyncio.sleep(0.005)
    assert [read.result() for read in reads] == [MissingReason.LINE_DOWN] * 2


@pytest.mark.asyncio
async def test_a_caller_that_gives_up_does_not_disturb_the_next(tmp_path: Path) -> None:
    installed = meters(profile(), 1, 2)
    slave = Slave([1, 2])
    slave.script[1].append(Fault("late", delay_s=0.03))
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await line.read(installed[0], Part.MOMENTARY, INTERVAL)
            assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1)
            assert (await line.read(installed[1], Part.ENERGY, INTERVAL)).values == energies(2)


@pytest.mark.asyncio
async def test_on_a_bad_line_no_value_is_ever_wrong(tmp_path: Path) -> None:
    """Two hundred reads, a third of the replies spoilt in a seeded way; all that comes is true."""
    chance = random.Random(20260101)
    kinds = ["silent", "truncated", "bad_crc", "wrong_unit", "wrong_function", "short"]
    kinds += ["duplicate", "noise", "echo", "bytewise", "late"]
    slave = Slave([1, 2, 3, 4])
    installed = meters(
        profile(timing=Timing(response_timeout_ms=20, late_reply_ms=150)), 1, 2, 3, 4
    )
    for unit in slave.units:
        for _ in range(400):
            spoilt = chance.random() < 1 / 3
            kind = chance.choice(kinds) if spoilt else "none"
            slave.script[unit].append(Fault(kind, delay_s=0.035 if kind == "late" else 0.0))
    right = 0
    with _pty(slave, tmp_path):
        async with running(_endpoint(tmp_path), installed) as line:

            async def drive(index: int) -> None:
                nonlocal right
                meter = installed[index]
                for turn in range(50):
                    part = Part.ENERGY if turn % 2 else Part.MOMENTARY
                    try:
                        read = await line.read(meter, part, INTERVAL)
                    except ReadFailed:
                        continue
                    expected = energies(meter.address)
                    if part is Part.MOMENTARY:
                        expected = {VOLTAGE: truth(meter.address, VOLTAGE)}
                    assert read.values == expected
                    right += 1

            async with asyncio.TaskGroup() as group:
                for index in range(4):
                    group.create_task(drive(index))
    assert right > 120
