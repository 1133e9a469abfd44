"""One meter read once, on a line that is opened for it and closed again; or its bare words.

Knows lines and meter profiles. It must not know of stations, or who asks and how it is shown.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from contract.messages import MissingReason
from gateway.lines.asking import Asker, asking
from gateway.lines.endpoints import Endpoint
from gateway.lines.engine import ModbusLine
from gateway.meters.attributes import AttributeValue, attribute_value
from gateway.meters.checks import REFUSALS, Refused, RegistersQuestion
from gateway.meters.plan import Block, halves, part_of, plan
from gateway.meters.profile import MeterProfile
from gateway.ports import Clock, InstalledMeter, MeterValues, Part, Priority, ReadFailed


@dataclass(slots=True)
class Reading:
    """What one meter said: values by OBIS code, and the codes for which it had none.

    `attributes` is what it says about itself, by name, as far as it answered. `at` is when its
    energies arrived, or whatever its model has first.
    """

    profile: MeterProfile
    address: int
    at: datetime
    values: dict[str, int | float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    attributes: dict[str, AttributeValue] = field(default_factory=dict)


async def read_once(
    endpoint: Endpoint, profile: MeterProfile, address: int, clock: Clock
) -> Reading:
    """Energies, then the rest, then the attributes, of the meter at `address`.

    Raises ReadFailed where the first part cannot be had; if only a later one fails, its registers
    are missing.
    """
    meter = InstalledMeter(f"address {address}", address, profile)
    line = ModbusLine(str(endpoint), endpoint, [meter], clock)
    failure: ReadFailed | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        try:
            reading = await _read_parts(line, meter, profile, address)
        except ReadFailed as error:  # not through the group, which would wrap it
            failure = error
        finally:
            task.cancel()
    if failure is not None:
        raise failure
    if profile.attributes:
        reading.attributes = await _attributes(endpoint, profile, address)
    return reading


async def words_once(endpoint: Endpoint, profile: MeterProfile, address: int) -> dict[int, int]:
    """The words by address that the meter at `address` keeps for the registers of `profile`.

    Blocks that it refuses are split; what it refuses alone is left out. Raises ReadFailed where
    it does not answer.
    """
    memory: dict[int, int] = {}
    async with asking(endpoint, address, profile.timing) as asker:
        waiting = [block for part in Part for block in plan(profile, part)]
        while waiting:
            block = waiting.pop()
            words = await _words(asker, block)
            if words is None:
                waiting.extend(halves(block))
            else:
                memory |= words
    return memory


async def _words(asker: Asker, block: Block) -> dict[int, int] | None:
    answer = await asker.ask(RegistersQuestion(block.function, block.address, block.count))
    if answer is None:
        raise ReadFailed(MissingReason.TIMEOUT, "no reply in time")
    if isinstance(answer, Refused):
        if answer.code not in REFUSALS:
            raise ReadFailed(MissingReason.EXCEPTION, f"exception {answer.code}")
        return None
    return {
        block.address + index: int.from_bytes(answer[2 * index : 2 * index + 2], "big")
        for index in range(block.count)
    }


async def _attributes(
    endpoint: Endpoint, profile: MeterProfile, address: int
) -> dict[str, AttributeValue]:
    values: dict[str, AttributeValue] = {}
    try:
        async with asking(endpoint, address, profile.timing) as asker:
            for attribute in profile.attributes:
                function = attribute.function or profile.function
                question = RegistersQuestion(function, attribute.address, attribute.count)
                answer = await asker.ask(question)
                if isinstance(answer, bytes):
                    values[attribute.name] = attribute_value(attribute, answer, profile.order)
    except ReadFailed:
        pass  # the registers were read; what else it could have said is no failure
    return values


async def _read_parts(
    line: ModbusLine, meter: InstalledMeter, profile: MeterProfile, address: int
) -> Reading:
    registers = {
        part: [mapped.obis for mapped in profile.registers if part_of(mapped) is part]
        for part in Part
    }
    first, *others = (part for part in Part if registers[part])
    read = await line.read(meter, first, Priority.ON_DEMAND)
    reading = Reading(profile, address, read.arrived_at)
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
