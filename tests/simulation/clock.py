"""A gateway's clock: right, unset, or stepped at moments that are laid down beforehand."""

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.messages import Clock as ClockState
from tests.simulation.world import START_AT, World

# While nothing is known of the time, the gateway looks every second; here every few minutes.
UNSYNCED_LOOK_S = 300.0
STEP_SEEN_S = 2.0
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Step:
    """From `at_s` of the simulation on the clock is ahead by `ahead_ms`, and says `state`."""

    at_s: float
    ahead_ms: int
    state: ClockState


class SimulatedClock:
    """The `Clock` of one boot of a gateway's computer; `steps` in order, the first at its start."""

    def __init__(self, world: World, boot: str, booted_s: float, steps: list[Step]) -> None:
        self._world = world
        self.boot = boot
        self._booted_s = booted_s
        self._steps = steps
        self._times = [step.at_s for step in steps]

    def _step(self) -> Step:
        return self._steps[max(0, bisect_right(self._times, self._world.now_s) - 1)]

    @property
    def is_right(self) -> bool:
        """Whether it shows the true time."""
        return self._step().ahead_ms == 0

    def knows_after(self, at_s: float) -> bool:
        """Whether it is synchronised at that moment or later."""
        return any(step.state is ClockState.SYNCED for step in self._steps if step.at_s >= at_s)

    def synced_aheads_ms(self) -> set[int]:
        """By how much it is wrong while it says that it is right."""
        return {step.ahead_ms for step in self._steps if step.state is ClockState.SYNCED}

    def shown_ms(self) -> int:
        """What it shows, in milliseconds since the simulation's start."""
        return self._world.now_ms + self._step().ahead_ms

    def now(self) -> datetime:
        return START_AT + self.shown_ms() * _MILLISECOND

    def state(self) -> ClockState:
        return self._step().state

    def monotonic_s(self) -> float:
        return 10.0 + self._world.now_s - self._booted_s

    async def sleep_until(self, at: datetime) -> None:
        begun = self._step()
        while (left_s := (at - self.now()).total_seconds()) > 0:
            if self.state() is not ClockState.SYNCED:
                left_s = max(left_s, UNSYNCED_LOOK_S)
            following = bisect_right(self._times, self._world.now_s)
            if following < len(self._times):
                until_s = self._times[following] - self._world.now_s + STEP_SEEN_S
                left_s = min(left_s, until_s)
            await asyncio.sleep(left_s + 0.001)
            if self._step() is not begun:
                return
