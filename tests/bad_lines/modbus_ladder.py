"""The ladder of a Modbus line: so many exchanges on one rung, and what came of them."""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest
import structlog

from gateway.lines.endpoints import SerialEndpoint
from gateway.lines.engine import ModbusLine
from gateway.meters.profile import MappedRegister, MeterProfile, Timing
from gateway.meters.wire import WireType
from gateway.ports import Part, Priority, ReadFailed
from tests.bad_lines import virtual_time
from tests.bad_lines.modbus_meters import LATE_S_MAX, REPLY_TIMEOUT_S, Meters
from tests.gateway_lines.bench import StillClock
from tests.gateway_lines.bench import meters as installed

UNITS = tuple(range(1, 17))
PAUSE_S_MAX = 0.5  # between exchanges; less than a late reply may take

# Two blocks of one length: a reply to one has all that it takes to be taken for the other's.
ADDRESSES = {"1-0:1.8.0": 0x10, "1-0:2.8.0": 0x12, "1-0:3.8.0": 0x40, "1-0:4.8.0": 0x42}

PROFILE = MeterProfile(
    "made-up",
    "Made up",
    ("a test",),
    3,
    tuple(
        MappedRegister(obis, address, WireType.U32, resolution=Decimal(1))
        for obis, address in ADDRESSES.items()
    ),
    timing=Timing(
        response_timeout_ms=round(1000 * REPLY_TIMEOUT_S), late_reply_ms=round(1000 * LATE_S_MAX)
    ),
)


@dataclass
class Outcome:
    """How exchanges ended.

    `wrong` has those with a value that is not the meter's, though every damage could be seen;
    `excused` those where the damage had passed a check by chance. `unseen` counts such damages.
    """

    right: int = 0
    failed: int = 0
    wrong: int = 0
    excused: int = 0
    unseen: int = 0
    damaged: int = 0
    virtual_s: float = 0.0

    def count(self, is_right: bool, is_excused: bool) -> None:
        """One exchange that brought values."""
        self.right += is_right
        self.wrong += not is_right and not is_excused
        self.excused += not is_right and is_excused


@contextmanager
def quiet() -> Iterator[None]:
    """Without the line's log, which would tell of thousands of failures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.reset_defaults()


def climb(fault: str, exchanges: int, seed: int, share: float) -> Outcome:
    """So many reads of the energies of meters whose replies have `fault` in that share."""
    chance = random.Random(f"{fault} {seed}")
    meters = Meters(UNITS, chance, fault, share)
    with quiet(), pytest.MonkeyPatch.context() as patch:
        meters.wire.install(patch)
        outcome = virtual_time.run(_climb(meters, exchanges, chance))
    outcome.unseen, outcome.damaged = meters.unseen, meters.damaged
    return outcome


async def _climb(meters: Meters, exchanges: int, chance: random.Random) -> Outcome:
    outcome = Outcome()
    on_line = installed(PROFILE, *UNITS)
    line = ModbusLine("line-1", SerialEndpoint("virtual"), on_line, StillClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        for _ in range(exchanges):
            meters.generation += 1
            meter = chance.choice(on_line)
            unit = int(meter.address)
            truth = {obis: meters.value(unit, address) for obis, address in ADDRESSES.items()}
            unseen_before = meters.unseen
            try:
                read = await line.read(meter, Part.ENERGY, Priority.INTERVAL)
            except ReadFailed:
                outcome.failed += 1
            else:
                outcome.count(read.values == truth, meters.unseen > unseen_before)
            await asyncio.sleep(chance.uniform(0, PAUSE_S_MAX))
        task.cancel()
    outcome.virtual_s = asyncio.get_running_loop().time()
    return outcome
