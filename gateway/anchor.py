"""One moment on both clocks, the wall clock and the monotonic one: what dates anything else.

Arithmetic only; it reads no clock itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.ports import Clock

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Anchor:
    """The same moment by the wall clock (aware, UTC) and in monotonic seconds."""

    at: datetime
    s: float

    def instant(self, s: float) -> datetime:
        """The instant, to the millisecond, of a moment in monotonic seconds."""
        return self.at + round((s - self.s) * 1000) * _MILLISECOND

    def step_s(self, later: "Anchor") -> float:
        """How far the wall clock was put forward between this moment and a later one."""
        return (later.at - self.at).total_seconds() - (later.s - self.s)


def anchor(clock: Clock) -> Anchor:
    """The present moment."""
    return Anchor(clock.now(), clock.monotonic_s())
