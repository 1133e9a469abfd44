"""The IEC 62056-21 line against meters on a pseudo-terminal that keep to the standard or do not."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from contract.messages import Clock as ClockState
from contract.messages import MissingReason
from gateway.lines import iec_port
from gateway.lines.endpoints import IecEndpoint
from gateway.lines.health import LineState
from gateway.lines.iec import IecLine
from gateway.meters.profile_file import parse_profile
from gateway.meters.readout_profile import ReadBy, ReadoutProfile, ReadoutTiming
from gateway.ports import InstalledMeter, Part, Priority, ReadFailed
from gateway.profiles import ProfileLibrary
from tests.gateway_iec.meter import Meter, MeterLine, household, until

INTERVAL = Priority.INTERVAL
IMPORT, EXPORT, VOLTAGE = "1-0:1.8.0", "1-0:2.8.0", "1-0:32.7.0"
ENERGIES = {IMPORT: 12_345_670, EXPORT: 500}

PROFILE = """\
protocol: iec62056_21
profile: test
model: A meter on the bench
source: [this test]
identity: ["0.0.0"]
registers:
  - {obis: "1-0:1.8.0", unit: kWh, resolution: 10}
  - {obis: "1-0:2.8.0", unit: kWh, resolution: 10, optional: true}
  - {obis: "1-0:32.7.0", code: "32.7", unit: V, optional: true}
"""

# Quick enough for tests, with room for a busy machine.
TIMING = ReadoutTiming(
    reaction_max_ms=200, character_gap_ms=150, session_pause_ms=20, after_failure_ms=150
)


class StillClock:
    """Always the same instant: a line asks only what to write beside its values."""

    def now(self) -> datetime:
        return datetime(2026, 8, 9, tzinfo=UTC)

    def state(self) -> ClockState:
        return ClockState.SYNCED

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep_until(self, at: datetime) -> None:
        raise NotImplementedError(at)


@pytest.fixture(autouse=True)
def _no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iec_port, "LATENCY_S", 0.05)


def model(read_by: ReadBy = ReadBy.READOUT, timing: ReadoutTiming = TIMING) -> ReadoutProfile:
    profile = parse_profile(PROFILE, "test.yaml")
    assert isinstance(profile, ReadoutProfile)
    return msgspec.structs.replace(profile, read_by=read_by, timing=timing)


def installed(*addresses: str, profile: ReadoutProfile | None = None) -> list[InstalledMeter]:
    return [InstalledMeter(f"M{address}", address, profile or model()) for address in addresses]


@asynccontextmanager
async def running(
    device: Path, meters: Sequence[InstalledMeter], zone: tzinfo = UTC, **settings: object
) -> AsyncIterator[IecLine]:
    """A line that is served as long as the block lasts."""
    endpoint = IecEndpoint(str(device), **{"baud": 2400, **settings})  # type: ignore[arg-type]  # given by keyword
    line = IecLine("line-1", endpoint, meters, StillClock(), zone)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        try:
            yield line
        finally:
            task.cancel()


@pytest.mark.asyncio
async def test_sixteen_meters_share_a_line_and_one_readout_serves_both_parts(
    tmp_path: Path,
) -> None:
    addresses = [f"{520000 + number:08d}" for number in range(16)]
    on_line = [household(address, f"{number}.00") for number, address in enumerate(addresses)]
    meters = installed(*addresses)
    with MeterLine(tmp_path / "tty", *on_line) as wire:
        async with running(wire.device, meters) as line:
            for number, meter in enumerate(meters):
                read = await line.read(meter, Part.ENERGY, INTERVAL)
                assert read.values == {IMPORT: number * 1000, EXPORT: 500}
                assert (read.partial, read.arrived_at) == (False, StillClock().now())
            for meter in meters:
                assert (await line.read(meter, Part.MOMENTARY, INTERVAL)).values == {VOLTAGE: 230.4}
            assert [meter.readouts for meter in on_line] == [1] * 16
            health = line.health
            assert (health.requests, health.replies, health.answering) == (16, 16, 16)
    assert wire.rates == [2400, 2400] * 16
    assert line.health.state is LineState.DOWN


@pytest.mark.asyncio
async def test_a_readout_tells_how_far_the_meters_clock_is_off(tmp_path: Path) -> None:
    on_line = household("1")
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).clock_ahead_s is None
            on_line.values |= {"0.9.1": "000200", "0.9.2": "260809"}
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).clock_ahead_s == 120


@pytest.mark.asyncio
async def test_a_readout_serves_once_and_never_a_later_slot(tmp_path: Path) -> None:
    on_line = household("1")
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            await line.read(meter, Part.ENERGY, INTERVAL)
            on_line.values["32.7"] = "231.0*V"
            on_line.values["1.8.0"] = "2*kWh"
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values[IMPORT] == 2000
            on_line.values["32.7"] = "232.0*V"
            assert (await line.read(meter, Part.MOMENTARY, INTERVAL)).values == {VOLTAGE: 231.0}
            assert (await line.read(meter, Part.MOMENTARY, INTERVAL)).values == {VOLTAGE: 232.0}
            assert on_line.readouts == 3
            # A scan whose energies fail leaves nothing behind for the next.
            await line.read(meter, Part.ENERGY, INTERVAL)
            on_line.faults = deque(["silent"] * 3)
            with pytest.raises(ReadFailed):
                await line.read(meter, Part.ENERGY, INTERVAL)
            on_line.values["32.7"] = "233.0*V"
            assert (await line.read(meter, Part.MOMENTARY, INTERVAL)).values == {VOLTAGE: 233.0}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "fault", ["silent", "wrong_bcc", "parity", "truncated", "garbage", "twice", "broken", "late"]
)
@pytest.mark.parametrize("message", [0, 1])
async def test_one_fault_in_any_message_costs_no_value(
    tmp_path: Path, fault: str, message: int
) -> None:
    on_line = household("1")
    on_line.faults = deque([""] * message + [fault])
    on_line.late_s = 0.4
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("silent", MissingReason.TIMEOUT),
        ("garbage", MissingReason.BAD_REPLY),
        ("wrong_bcc", MissingReason.BAD_REPLY),
        ("truncated", MissingReason.BAD_REPLY),
    ],
)
async def test_a_meter_that_is_always_wrong_is_given_up_and_the_others_are_read(
    tmp_path: Path, fault: str, reason: MissingReason
) -> None:
    bad, good = household("1"), household("2")
    bad.always = fault
    meters = installed("1", "2")
    with MeterLine(tmp_path / "tty", bad, good) as wire:
        async with running(wire.device, meters) as line:
            with pytest.raises(ReadFailed) as caught:
                await line.read(meters[0], Part.ENERGY, INTERVAL)
            assert caught.value.reason is reason
            assert (await line.read(meters[1], Part.ENERGY, INTERVAL)).values == ENERGIES
            sessions = bad.sessions
            with pytest.raises(ReadFailed):
                await line.read(meters[0], Part.ENERGY, INTERVAL)
            assert bad.sessions == sessions + 1, "a meter that failed is tried once"
            bad.always = None
            assert (await line.read(meters[0], Part.ENERGY, INTERVAL)).values == ENERGIES


@pytest.mark.asyncio
async def test_a_late_meter_is_never_taken_for_the_next_one(tmp_path: Path) -> None:
    late, other = household("1", "1.00"), household("2", "2.00")
    late.always, late.late_s = "late", 0.28  # after it was given up, before the next is asked
    meters = installed("1", "2")
    with MeterLine(tmp_path / "tty", late, other) as wire:
        async with running(wire.device, meters) as line:
            for _ in range(3):
                results = await asyncio.gather(
                    *(line.read(meter, Part.ENERGY, INTERVAL) for meter in meters),
                    return_exceptions=True,
                )
                assert isinstance(results[0], ReadFailed)
                assert not isinstance(results[1], BaseException)
                assert results[1].values[IMPORT] == 2000


@pytest.mark.asyncio
async def test_nobody_is_asked_until_a_late_answer_could_no_longer_come(tmp_path: Path) -> None:
    silent, other = household("1"), household("2")
    silent.always = "silent"
    timing = msgspec.structs.replace(TIMING, after_failure_ms=500)
    meters = installed("1", "2", profile=model(timing=timing))
    with MeterLine(tmp_path / "tty", silent, other) as wire:
        async with running(wire.device, meters) as line:
            with pytest.raises(ReadFailed):
                await line.read(meters[0], Part.ENERGY, INTERVAL)
            await line.read(meters[1], Part.ENERGY, INTERVAL)
    requests = [at for at, text in zip(wire.heard_at, wire.heard, strict=True) if text[:1] == b"/"]
    assert len(requests) == 4
    patience_s = (timing.reaction_max_ms + timing.after_failure_ms) / 1000
    assert all(later - earlier >= patience_s for earlier, later in pairwise(requests))


@pytest.mark.asyncio
async def test_a_meter_that_says_it_is_another_one_is_not_believed(tmp_path: Path) -> None:
    on_line = household("1")
    on_line.values["0.0.0"] = "87654321"
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            with pytest.raises(ReadFailed, match="says that it is 87654321") as caught:
                await line.read(meter, Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.BAD_REPLY


@pytest.mark.asyncio
async def test_values_that_are_not_listed_are_missing_or_make_the_read_partial(
    tmp_path: Path,
) -> None:
    on_line = household("1")
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            del on_line.values["2.8.0"]
            read = await line.read(meter, Part.ENERGY, INTERVAL)
            assert (read.values, read.partial) == ({IMPORT: 12_345_670, EXPORT: None}, False)
            on_line.values["2.8.0"] = "7*kWh"
            on_line.values["1.8.0"] = ""
            read = await line.read(meter, Part.ENERGY, INTERVAL)
            assert (read.values, read.partial) == ({IMPORT: None, EXPORT: 7000}, True)
            del on_line.values["1.8.0"], on_line.values["2.8.0"]
            with pytest.raises(ReadFailed) as caught:
                await line.read(meter, Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.NOT_AVAILABLE


@pytest.mark.asyncio
async def test_single_values_are_read_by_commands_with_a_password(tmp_path: Path) -> None:
    on_line = household("1")
    on_line.password = "22222222"
    (meter,) = installed("1", profile=model(ReadBy.COMMANDS))
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter], password="22222222") as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES
            assert (await line.read(meter, Part.MOMENTARY, INTERVAL)).values == {VOLTAGE: 230.4}
            await until(lambda: on_line.commands[-1] == "B0")
    assert on_line.commands == [
        "P1(22222222)", "R10.0.0()", "R11.8.0()", "R12.8.0()", "B0",
        "P1(22222222)", "R10.0.0()", "R132.7()", "B0",
    ]  # fmt: skip
    assert set(wire.rates) == {2400, 9600}


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["silent", "wrong_bcc", "nak", "broken", "twice", "parity"])
@pytest.mark.parametrize("message", [1, 2, 3, 4])
async def test_one_fault_in_a_command_session_costs_no_value(
    tmp_path: Path, fault: str, message: int
) -> None:
    on_line = household("1")
    on_line.password = "0"
    on_line.faults = deque([""] * message + [fault])
    (meter,) = installed("1", profile=model(ReadBy.COMMANDS))
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter], password="0") as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES


@pytest.mark.asyncio
async def test_a_wrong_password_is_not_tried_again_and_leaves_with_a_break(tmp_path: Path) -> None:
    on_line = household("1")
    on_line.password = "1"
    (meter,) = installed("1", profile=model(ReadBy.COMMANDS))
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter], password="2") as line:
            with pytest.raises(ReadFailed, match="the password") as caught:
                await line.read(meter, Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.EXCEPTION
            await until(lambda: on_line.commands[-1] == "B0")
    assert on_line.commands == ["P1(2)", "B0"]


@pytest.mark.asyncio
async def test_an_adapter_that_echoes_and_slow_characters_make_no_difference(
    tmp_path: Path,
) -> None:
    on_line = household("1")
    (meter,) = installed("1")
    wire = MeterLine(tmp_path / "tty", on_line, echo=True, reaction_s=0.03, character_s=0.001)
    with wire:
        async with running(wire.device, [meter]) as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES
    assert on_line.sessions == 1


@pytest.mark.asyncio
async def test_a_meter_that_is_alone_answers_without_an_address_at_a_fixed_rate(
    tmp_path: Path,
) -> None:
    on_line = household("12345678")
    meter = InstalledMeter("12345678", "", model())
    with MeterLine(tmp_path / "tty", on_line, sign_on_rate=9600) as wire:
        async with running(wire.device, [meter], baud=9600, changeover=False) as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES
    assert wire.heard[0] == b"/?!\r\n"
    assert set(wire.rates) == {9600}


@pytest.mark.asyncio
async def test_the_rate_changes_from_300_to_9600_in_time_and_back(tmp_path: Path) -> None:
    on_line = household("1")
    on_line.identification = "/LGZ5ZMD"
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line, sign_on_rate=300) as wire:
        async with running(wire.device, [meter], baud=300) as line:
            for _ in range(2):
                assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES
    assert wire.rates == [300] * 4
    assert [message[:1] for message in wire.heard] == [b"/", b"\x06"] * 2


@pytest.mark.asyncio
async def test_a_battery_meter_is_woken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.protocols.iec62056_21.WAKE_UP_SILENCE_S", 0.1)
    on_line = household("1")
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter], wake_up=True) as line:
            begun_at = asyncio.get_running_loop().time()
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES
            assert asyncio.get_running_loop().time() - begun_at > 2.2


@pytest.mark.asyncio
async def test_a_line_that_is_gone_refuses_reads_and_comes_back(tmp_path: Path) -> None:
    on_line = household("1")
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES
            wire.__exit__()
            with pytest.raises(ReadFailed) as caught:
                await line.read(meter, Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.LINE_DOWN
            await until(lambda: line.health.state is LineState.DOWN)
            with MeterLine(tmp_path / "tty", on_line):
                await until(lambda: line.health.state is LineState.UP, within_s=20)
                assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES


@pytest.mark.asyncio
async def test_a_line_that_is_never_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iec_port, "SILENCE_S_MAX", 0.3)
    (meter,) = installed("1")
    with MeterLine(tmp_path / "tty", household("1")) as wire:
        async with running(wire.device, [meter]) as line, asyncio.TaskGroup() as group:
            await until(lambda: line.health.state is LineState.UP)

            async def babble() -> None:
                while True:
                    wire.write(b"\x55\xaa")
                    await asyncio.sleep(0.005)

            noise = group.create_task(babble())
            with pytest.raises(ReadFailed, match="never silent") as caught:
                await line.read(meter, Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.BAD_REPLY
            noise.cancel()
            assert (await line.read(meter, Part.ENERGY, INTERVAL)).values == ENERGIES


@pytest.mark.asyncio
async def test_no_fault_that_the_checks_see_ever_gives_a_wrong_value(tmp_path: Path) -> None:
    chance = random.Random(20261124)
    on_line = [household(str(number), f"{number}00.00") for number in (1, 2, 3)]
    meters = installed("1", "2", "3")
    faults = ["", "", "", "silent", "late", "wrong_bcc", "parity", "truncated", "garbage", "twice"]
    right = 0
    with MeterLine(tmp_path / "tty", *on_line) as wire:
        async with running(wire.device, meters) as line:
            for _ in range(10):
                number = chance.randrange(3)
                on_line[number].faults = deque(chance.choices(faults, k=2))
                on_line[number].late_s = chance.uniform(0.05, 0.45)
                try:
                    read = await line.read(meters[number], Part.ENERGY, INTERVAL)
                except ReadFailed:
                    continue
                assert read.values == {IMPORT: (number + 1) * 100_000, EXPORT: 500}
                right += 1
    assert right >= 6


@pytest.mark.asyncio
async def test_the_built_in_profile_of_a_head_meter_reads_one(tmp_path: Path) -> None:
    profile = ProfileLibrary().get("landis-gyr-zmd")
    on_line = Meter(
        "52011111", {"0.0.0": "52011111", "1.8.0": "0012345.67*kWh", "3.8.0": "1.50*kvarh"}
    )
    meter = InstalledMeter("52011111", "52011111", profile)
    with MeterLine(tmp_path / "tty", on_line) as wire:
        async with running(wire.device, [meter]) as line:
            read = await line.read(meter, Part.ENERGY, INTERVAL)
    assert (read.values[IMPORT], read.values["1-0:3.8.0"], read.partial) == (12345670, 1500, False)
