"""A line and a clock that tests rule: time moves when it is waited for or a read costs some."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from contract.messages import Clock as ClockState
from contract.messages import MissingReason
from gateway.ports import InstalledMeter, MeterValues, Part, Priority, ReadFailed
from gateway.profiles import ProfileLibrary

VALUE = 5_000_000


class SteppedClock:
    """Jumps to whatever is waited for, until `end`; there it stands and `finished` is set."""

    def __init__(self, now: datetime, end: datetime, state: ClockState = ClockState.SYNCED) -> None:
        self.at = now
        self.end = end
        self.waits: list[datetime] = []
        self.finished = asyncio.Event()
        self._state = state

    def now(self) -> datetime:
        return self.at

    def state(self) -> ClockState:
        return self._state

    async def sleep_until(self, at: datetime) -> None:
        self.waits.append(at)
        await asyncio.sleep(0)
        if at > self.end:
            self.finished.set()
            await asyncio.Event().wait()
        self.at = max(self.at, at)


class FakeLine:
    """A line whose meters answer at once with VALUE + their address, unless `fails` says why not.

    `cost` is the clock's time that one read takes. `log` has every read in order.
    """

    def __init__(
        self,
        clock: SteppedClock,
        meters: Sequence[InstalledMeter],
        name: str = "line-1",
        cost: timedelta = timedelta(0),
    ) -> None:
        self._clock = clock
        self._meters = tuple(meters)
        self._name = name
        self.cost = cost
        self.log: list[tuple[str, Part, Priority]] = []
        self.fails: Callable[[str, Part, datetime], MissingReason | None] = lambda *_: None

    @property
    def name(self) -> str:
        return self._name

    @property
    def meters(self) -> Sequence[InstalledMeter]:
        return self._meters

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def read(self, meter: InstalledMeter, part: Part, priority: Priority) -> MeterValues:
        await asyncio.sleep(0)
        self.log.append((meter.serial, part, priority))
        self._clock.at += self.cost
        if (reason := self.fails(meter.serial, part, self._clock.at)) is not None:
            raise ReadFailed(reason, "as told")
        wanted = [
            r for r in meter.profile.registers if r.register.is_integer is (part is Part.ENERGY)
        ]
        value = VALUE + int(meter.address)
        return MeterValues(
            self._clock.now(),
            {r.obis: value if part is Part.ENERGY else 230.5 for r in wanted},
        )


def meters(count: int, profile: str = "eastron-sdm120", first: int = 1) -> list[InstalledMeter]:
    """Meters m001, m002, … with as many addresses."""
    loaded = ProfileLibrary([]).get(profile)
    return [InstalledMeter(f"m{n:03d}", n, loaded) for n in range(first, first + count)]
