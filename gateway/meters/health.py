"""Whether a meter can be counted on: a table of states, and when a silent one is tried again.

Decides from the results of reads and the monotonic time given in. It must not know lines, slots,
events or what time it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

# A silent meter is tried again after so long, each time after twice as long up to the greatest. The
# greatest is a minute less what a line may be busy with others, so that a meter that is back is
# read within a minute.
PROBE_FIRST_S = 10.0
PROBE_MAX_S = 57.0
PROBE_SPREAD = (
    0.15  # up to this share less, so that meters that died together are not tried at once
)


class MeterState(StrEnum):
    """How far a meter can be counted on."""

    ONLINE = "online"
    DEGRADED = "degraded"  # it answers now and then: it is asked when the others have been
    OFFLINE = "offline"  # it is silent: it is tried now and then, and not asked in every scan


class Outcome(StrEnum):
    """What became of one read of a meter."""

    ANSWERED = "answered"  # at the first attempt
    REPEATED = "repeated"  # only when it was asked again
    REFUSED = "refused"  # it is there, but gave no value
    SILENT = "silent"  # nothing came, or nothing whole


@dataclass(frozen=True, slots=True)
class Rule:
    """After so many outcomes of one kind in a row, the state changes."""

    times: int
    then: MeterState


# What is not in the table changes nothing. It takes more to be trusted again than to be doubted:
# each time that a meter is found silent costs the others of its line a timeout.
TABLE: Mapping[tuple[MeterState, Outcome], Rule] = {
    (MeterState.ONLINE, Outcome.REPEATED): Rule(2, MeterState.DEGRADED),
    (MeterState.ONLINE, Outcome.REFUSED): Rule(1, MeterState.DEGRADED),
    (MeterState.ONLINE, Outcome.SILENT): Rule(1, MeterState.DEGRADED),
    (MeterState.DEGRADED, Outcome.ANSWERED): Rule(5, MeterState.ONLINE),
    (MeterState.DEGRADED, Outcome.SILENT): Rule(3, MeterState.OFFLINE),
    (MeterState.OFFLINE, Outcome.ANSWERED): Rule(1, MeterState.DEGRADED),
    (MeterState.OFFLINE, Outcome.REPEATED): Rule(1, MeterState.DEGRADED),
    (MeterState.OFFLINE, Outcome.REFUSED): Rule(1, MeterState.DEGRADED),
}


@dataclass(slots=True)
class Health:
    """One meter's state, since when it is in it, and when it is to be tried if it is silent.

    Times are seconds of one monotonic clock. `probe_at_s` is None while the meter is not silent.
    `spread` gives a number from 0 to 1 that differs each time.
    """

    spread: Callable[[], float]
    state: MeterState = MeterState.ONLINE
    since_s: float = 0.0
    probe_at_s: float | None = None
    _last: Outcome | None = None
    _in_a_row: int = 0
    _wait_s: float = PROBE_FIRST_S

    def observe(self, outcome: Outcome, now_s: float) -> bool:
        """Take the outcome of a read that ended at `now_s`; whether the state changed by it."""
        self._in_a_row = self._in_a_row + 1 if outcome is self._last else 1
        self._last = outcome
        self._plan_probe(outcome, now_s)
        rule = TABLE.get((self.state, outcome))
        if rule is None or self._in_a_row < rule.times:
            return False
        self.state, self.since_s = rule.then, now_s
        self._in_a_row = 0  # what led here does not lead on
        return True

    def is_resting(self, now_s: float) -> bool:
        """Whether the meter is silent and its next try has not come."""
        return self.probe_at_s is not None and now_s < self.probe_at_s

    def postpone(self, now_s: float) -> None:
        """The meter could not be tried, which says nothing of it: later."""
        if self.probe_at_s is not None:
            self.probe_at_s = now_s + PROBE_FIRST_S

    def _plan_probe(self, outcome: Outcome, now_s: float) -> None:
        if outcome is not Outcome.SILENT:
            self.probe_at_s = None
            self._wait_s = PROBE_FIRST_S
            return
        self.probe_at_s = now_s + self._wait_s * (1 - PROBE_SPREAD * self.spread())
        self._wait_s = min(2 * self._wait_s, PROBE_MAX_S)
