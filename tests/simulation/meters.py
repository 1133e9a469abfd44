"""The simulated meters: what they really showed, kept outside of everything that is tried.

Every answer has a number of its own in a second register, so that a value that turns up anywhere
tells when and by whom it was read.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from contract.messages import Clock as ClockState
from contract.messages import MissingReason
from gateway.meters.profile import MappedRegister, MeterProfile
from gateway.meters.wire import WireType
from gateway.ports import (
    InstalledMeter,
    MeterValues,
    Part,
    Priority,
    ReadFailed,
)
from gateway.pulse import Pulse
from tests.simulation.clock import SimulatedClock
from tests.simulation.world import World

ENERGY = "1-0:1.8.0"
COUNT = "1-0:3.8.0"
VOLTAGE = "1-0:32.7.0"
WH_BEFORE = 1_000_000
MS_PER_WH = 2_000  # 1.8 kW

PROFILE = MeterProfile(
    profile="simulated",
    model="simulated",
    source=("none",),
    function=4,
    registers=(
        MappedRegister(ENERGY, 0, WireType.U32, Decimal(1)),
        MappedRegister(COUNT, 2, WireType.U32, Decimal(1)),
        MappedRegister(VOLTAGE, 4, WireType.F32, Decimal(1)),
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one meter: when it was really given, and what the gateway's clock said then.

    `life` is that of the gateway which asked; `boot` that of its computer.
    """

    true_ms: int
    shown_ms: int
    state: ClockState
    energy_wh: int
    boot: str


class Truth:
    """Every answer that any meter ever gave, by serial, in order: its count is its number + 1."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}

    def energy_wh(self, serial: str, true_ms: int) -> int:
        """The index of a meter at a moment."""
        return WH_BEFORE + len(serial) * 1000 + true_ms // MS_PER_WH


class SimulatedLine:
    """A line with the gateway's `Line` interface; `silent_until_s` has the meters that are away."""

    def __init__(
        self,
        world: World,
        clock: SimulatedClock,
        truth: Truth,
        meters: Sequence[InstalledMeter],
        silent_until_s: dict[str, float],
    ) -> None:
        self._world = world
        self._clock = clock
        self._truth = truth
        self._meters = tuple(meters)
        self._silent_until_s = silent_until_s
        self._chance = world.chance(f"line {meters[0].serial}")
        self.pulse = Pulse("line", 900.0)

    @property
    def name(self) -> str:
        return "line-1"

    @property
    def meters(self) -> Sequence[InstalledMeter]:
        return self._meters

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def read(
        self, meter: InstalledMeter, part: Part, priority: Priority, attempts: int | None = None
    ) -> MeterValues:
        world, clock = self._world, self._clock
        # Never the same: two reads under one instant, after a step of the clock, would be a clash.
        await asyncio.sleep(self._chance.uniform(0.1, 2.0))
        if world.now_s < self._silent_until_s.get(meter.serial, 0.0):
            await asyncio.sleep(1.0)
            raise ReadFailed(MissingReason.TIMEOUT, "silent")
        arrived_at, arrived_s = clock.now(), clock.monotonic_s()
        if part is Part.MOMENTARY:
            return MeterValues(arrived_at, {VOLTAGE: 230.5}, arrived_s=arrived_s)
        energy_wh = self._truth.energy_wh(meter.serial, world.now_ms)
        answers = self._truth.answers.setdefault(meter.serial, [])
        answers.append(Answer(world.now_ms, clock.shown_ms(), clock.state(), energy_wh, clock.boot))
        return MeterValues(
            arrived_at, {ENERGY: energy_wh, COUNT: len(answers)}, arrived_s=arrived_s
        )


def installed(gateway: str, count: int) -> list[InstalledMeter]:
    """The meters of one gateway's line."""
    return [InstalledMeter(f"{gateway}-m{n}", n, PROFILE) for n in range(1, count + 1)]
