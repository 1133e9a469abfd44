"""A line and a clock that tests rule: time moves when it is waited for or a read costs some."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from contract.messages import Clock as ClockState
from contract.messages import MissingReason
from gateway.ports import InstalledMeter, MeterValues, Part, Priority, ReadFailed
from gateway.profiles import ProfileLibrary

LIBRARY = ProfileLibrary([])
VALUE = 5_000_000
LOOK_S = 600.0  # no longer than this at once, to see whether it is over
PAST_THE_END = timedelta(hours=3)  # a line that is busy without end is stopped so much later


class SteppedClock:
    """Jumps to whatever is waited for, until `end`; there it stands and `finished` is set."""

    def __init__(self, now: datetime, end: datetime, state: ClockState = ClockState.SYNCED) -> None:
        self.at = now
        self.end = end
        self.waits: list[datetime] = []
        self.finished = asyncio.Event()
        self.passed_s = 1000.0
        self.remember = True
        self.at_each_day: Callable[[], None] = lambda: None
        self._state = state

    def now(self) -> datetime:
        return self.at

    def state(self) -> ClockState:
        return self._state

    def monotonic_s(self) -> float:
        return self.passed_s

    def trust(self, state: ClockState) -> None:
        """From now on this is said of it."""
        self._state = state

    def go_on(self, by: timedelta) -> None:
        """Time passes; setting `at` is a step of the clock."""
        self.at += by
        self.passed_s += by.total_seconds()

    async def sleep_until(self, at: datetime) -> None:
        if self.remember:
            self.waits.append(at)
        await asyncio.sleep(0)
        if at > self.end:
            self.finished.set()
            await asyncio.Event().wait()
        day = self.at.date()
        self.go_on(max(at - self.at, timedelta(0)))
        if self.at.date() != day:
            self.at_each_day()


class SteppingClock(SteppedClock):
    """A clock that is put forward or back while time goes on; `steps` has when and by how much.

    When is in seconds since the start. `crossed` has the stretches of time that it showed or
    jumped over, in order: (from, to), `from` the later one where it was put back. It says that it
    is synchronised after `synced_after_s`.
    """

    def __init__(
        self,
        now: datetime,
        lasts: timedelta,
        steps: Sequence[tuple[float, timedelta]],
        synced_after_s: float = 0.0,
    ) -> None:
        super().__init__(now, now.replace(year=9000))
        self._synced_s = self.passed_s + synced_after_s
        self._began_s = self.passed_s
        self._end_s = self.passed_s + lasts.total_seconds()
        self._steps = sorted(((self.passed_s + s, by) for s, by in steps), key=lambda step: step[0])
        self.crossed: list[tuple[datetime, datetime]] = []

    def state(self) -> ClockState:
        return ClockState.SYNCED if self.passed_s >= self._synced_s else ClockState.UNSYNCED

    def go_on(self, by: timedelta) -> None:
        end_s = self.passed_s + by.total_seconds()
        while self._steps and self._steps[0][0] <= end_s:
            at_s, step = self._steps.pop(0)
            self._move(timedelta(seconds=at_s - self.passed_s), at_s)
            self.crossed.append((self.at, self.at + step))
            self.at += step
        self._move(timedelta(seconds=end_s - self.passed_s), end_s)

    def _move(self, by: timedelta, to_s: float) -> None:
        self.crossed.append((self.at, self.at + by))
        self.at += by
        self.passed_s = to_s

    async def sleep_until(self, at: datetime) -> None:
        await asyncio.sleep(0)
        steps = len(self._steps)
        while (left_s := (at - self.at).total_seconds()) > 0 and len(self._steps) == steps:
            if self.passed_s >= self._end_s:
                self.finished.set()
                await asyncio.Event().wait()
            # A step is noticed a little later.
            noticed_s = self._steps[0][0] + 5 - self.passed_s if self._steps else left_s
            self.go_on(timedelta(seconds=min(left_s + 1e-6, max(0.001, noticed_s), LOOK_S)))


class FakeLine:
    """A line whose meters answer at once with VALUE + their address, unless `fails` says why not.

    `cost` is the clock's time that one read takes. `log` has every read in order, `times` when each
    began, unless they are not to be remembered.
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
        self.times: list[datetime] = []
        self.clock_ahead_s: Callable[[str, datetime], float | None] = lambda *_: None
        self.remember = True
        self.fails: Callable[[str, Part, datetime], MissingReason | None] = lambda *_: None

    @property
    def name(self) -> str:
        return self._name

    @property
    def meters(self) -> Sequence[InstalledMeter]:
        return self._meters

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def read(
        self, meter: InstalledMeter, part: Part, priority: Priority, attempts: int | None = None
    ) -> MeterValues:
        await asyncio.sleep(0)
        if self.remember:
            self.log.append((meter.serial, part, priority))
            self.times.append(self._clock.at)
        self._clock.go_on(self.cost)
        if self._clock.at > self._clock.end + PAST_THE_END:
            self._clock.finished.set()
            await asyncio.Event().wait()
        if (reason := self.fails(meter.serial, part, self._clock.at)) is not None:
            raise ReadFailed(reason, "as told")
        wanted = [
            r for r in meter.profile.registers if r.register.is_integer is (part is Part.ENERGY)
        ]
        value = VALUE + int(meter.address)
        return MeterValues(
            self._clock.now(),
            {r.obis: value if part is Part.ENERGY else 230.5 for r in wanted},
            arrived_s=self._clock.monotonic_s(),
            clock_ahead_s=self.clock_ahead_s(meter.serial, self._clock.at),
        )


def meters(count: int, profile: str = "eastron-sdm120", first: int = 1) -> list[InstalledMeter]:
    """Meters m001, m002, … with as many addresses."""
    loaded = LIBRARY.get(profile)
    return [InstalledMeter(f"m{n:03d}", n, loaded) for n in range(first, first + count)]
