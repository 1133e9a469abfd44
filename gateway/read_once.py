"""One meter read once, on a line that is opened for it and closed again.

Knows lines and meter profiles. It must not know of stations, or who asks and how it is shown.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from gateway.lines.endpoints import Endpoint
from gateway.lines.engine import ModbusLine
from gateway.meters.plan import part_of
from gateway.meters.profile import MeterProfile
from gateway.ports import Clock, InstalledMeter, MeterValues, Part, Priority, ReadFailed


@dataclass(slots=True)
class Reading:
    """What one meter said: values by OBIS code, and the codes for which it had none.

    `at` is when its energies arrived, or whatever its model has first.
    """

    profile: MeterProfile
    address: int
    at: datetime
    values: dict[str, int | float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


async def read_once(
    endpoint: Endpoint, profile: MeterProfile, address: int, clock: Clock
) -> Reading:
    """Energies, then the rest, of the meter at `address`.

    Raises ReadFailed where the first part cannot be had; if only the second fails, its registers
    are missing.
    """
    meter = InstalledMeter(f"address {address}", address, profile)
    line = ModbusLine(str(endpoint), endpoint, [meter], clock)
    failure: ReadFailed | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        try:
            reading = await _read_parts(line, meter)
        except ReadFailed as error:  # not through the group, which would wrap it
            failure = error
        finally:
            task.cancel()
    if failure is not None:
        raise failure
    return reading


async def _read_parts(line: ModbusLine, meter: InstalledMeter) -> Reading:
    profile = meter.profile
    registers = {
        part: [mapped.obis for mapped in profile.registers if part_of(mapped) is part]
        for part in Part
    }
    first, *others = (part for part in Part if registers[part])
    read = await line.read(meter, first, Priority.ON_DEMAND)
    reading = Reading(profile, meter.address, read.arrived_at)
    _add(reading, read)
    for part in others:
        try:
            _add(reading, await line.read(meter, part, Priority.ON_DEMAND))
        except ReadFailed:
            reading.missing += registers[part]
    return reading


def _add(reading: Reading, read: MeterValues) -> None:
    for obis, value in read.values.items():
        if value is None:
            reading.missing.append(obis)
        else:
            reading.values[obis] = value
