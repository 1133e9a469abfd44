"""The ladder of an IEC 62056-21 line: so many exchanges on one rung, and what came of them."""

import asyncio
import random

import msgspec
import pytest

from gateway.lines.endpoints import IecEndpoint
from gateway.lines.iec import IecLine
from gateway.meters.profile_file import parse_profile
from gateway.meters.readout_profile import ReadBy, ReadoutProfile
from gateway.ports import InstalledMeter, Part, Priority, ReadFailed
from tests.bad_lines import virtual_time
from tests.bad_lines.iec_meters import VirtualMeterLine
from tests.bad_lines.modbus_ladder import Outcome, quiet
from tests.gateway_iec.meter import Meter
from tests.gateway_lines.bench import StillClock

IMPORT, EXPORT = "1-0:1.8.0", "1-0:2.8.0"
PAUSE_S_MAX = 3.0
METERS = range(1, 17)  # on one line

PROFILE = """\
protocol: iec62056_21
profile: test
model: A meter on the bench
source: [this test]
identity: ["0.0.0"]
registers:
  - {obis: "1-0:1.8.0", unit: kWh, resolution: 10}
  - {obis: "1-0:2.8.0", unit: kWh, resolution: 10}
"""


def model(read_by: ReadBy) -> ReadoutProfile:
    """A model with two energies."""
    profile = parse_profile(PROFILE, "test.yaml")
    assert isinstance(profile, ReadoutProfile)
    return msgspec.structs.replace(profile, read_by=read_by)


def climb(fault: str, exchanges: int, seed: int, share: float) -> Outcome:
    """So many reads of the energies of meters whose messages have `fault` in that share."""
    chance = random.Random(f"{fault} {seed}")
    meters = [Meter(str(number), {}) for number in METERS]
    line = VirtualMeterLine(meters, chance, fault, share)
    with quiet(), pytest.MonkeyPatch.context() as patch:
        line.wire.install(patch)
        outcome = virtual_time.run(_climb(line, meters, exchanges, chance))
    outcome.unseen, outcome.damaged = line.unseen, line.damaged
    return outcome


async def _climb(
    wire: VirtualMeterLine, meters: list[Meter], exchanges: int, chance: random.Random
) -> Outcome:
    outcome = Outcome()
    models = (model(ReadBy.READOUT), model(ReadBy.READOUT), model(ReadBy.COMMANDS))
    on_line = [
        InstalledMeter(f"M{meter.address}", meter.address, models[number % len(models)])
        for number, meter in enumerate(meters)
    ]
    line = IecLine("line-1", IecEndpoint("virtual"), on_line, StillClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        for generation in range(1, exchanges + 1):
            for meter in meters:
                meter.values = _values(meter.address, generation)
            installed = chance.choice(on_line)
            truth = _truth(str(installed.address), generation)
            unseen_before = wire.unseen
            try:
                read = await line.read(installed, Part.ENERGY, Priority.INTERVAL)
            except ReadFailed:
                outcome.failed += 1
            else:
                outcome.count(read.values == truth, wire.unseen > unseen_before)
            await asyncio.sleep(chance.uniform(0, PAUSE_S_MAX))
        task.cancel()
    outcome.virtual_s = asyncio.get_running_loop().time()
    return outcome


def _hundredths(address: str, generation: int) -> int:
    return (int(address) * 1_234_567 + generation * 10_007) % 10**9


def _values(address: str, generation: int) -> dict[str, str]:
    number = _hundredths(address, generation)
    return {
        "F.F": "00000000",
        "0.0.0": address,
        "1.8.0": f"{number // 100:07d}.{number % 100:02d}*kWh",
        "1.8.0*12": "0000001.00*kWh",
        "2.8.0": f"{generation:07d}.00*kWh",
    }


def _truth(address: str, generation: int) -> dict[str, int | float | None]:
    return {IMPORT: 10 * _hundredths(address, generation), EXPORT: 1000 * generation}
