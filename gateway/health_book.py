"""The health of a station's meters and lines: what changed, told once, and who is to be tried.

Feeds results of reads to `gateway.meters.health` and keeps what came of them. It must not know
slots, batches or how meters are read.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from contract.messages import Clock as ClockState
from contract.messages import MeterTrouble, MissingReason
from gateway.meters.health import Health, MeterState, Outcome
from gateway.ports import Clock, InstalledMeter, Line, ReadFailed

METER_DRIFT_S = 60.0
OCCURRENCES_MAX = 1_000  # that could not be kept yet; then the oldest go
DETAIL_CHARS_MAX = 200
# In the status, of the whole station: under a quarter of what a status may have.
TROUBLES_MAX = 200

# What a failed read says of the meter. Other reasons are not its fault, and say nothing of it.
_OUTCOMES = {
    MissingReason.TIMEOUT: Outcome.SILENT,
    MissingReason.BAD_REPLY: Outcome.SILENT,
    MissingReason.EXCEPTION: Outcome.REFUSED,
    MissingReason.NOT_AVAILABLE: Outcome.REFUSED,
}

log = structlog.get_logger("gateway.health")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that people may ask about later, at `at_s` of the monotonic clock."""

    at_s: float
    type: str
    line: str | None = None
    meter: str | None = None
    detail: str = ""


class HealthBook:
    """One entry a meter and one a line; all in one task. `chance` spreads the tries of dead meters.

    `probing` says that silent meters are tried between slots, and offline ones therefore left out
    of interval scans. A replay does without: there time passes only by waiting, and a day of tries
    takes minutes.
    A meter's own clock may be off by `meter_drift_s` before that is told. Memory is bounded by the
    number of meters and OCCURRENCES_MAX.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        clock: Clock,
        chance: random.Random,
        *,
        meter_drift_s: float = METER_DRIFT_S,
        probing: bool = True,
    ) -> None:
        self._clock = clock
        self.probing = probing
        self._meter_drift_s = meter_drift_s
        self._clocks_off: set[str] = set()
        now_s = clock.monotonic_s()
        spread: Callable[[], float] = chance.random
        self._health = {
            meter.serial: Health(spread, since_s=now_s) for line in lines for meter in line.meters
        }
        self._reasons: dict[str, str] = {}
        self._down: set[str] = set()
        self._occurrences: deque[Occurrence] = deque(maxlen=OCCURRENCES_MAX)

    # -- what happened

    def answered(self, line: Line, meter: InstalledMeter, *, repeated: bool = False) -> None:
        """A read of the meter succeeded, at the first attempt or only when it was repeated."""
        self._line_is(line, down=False)
        self._observe(line, meter, Outcome.REPEATED if repeated else Outcome.ANSWERED)

    def failed(self, line: Line, meter: InstalledMeter, failure: ReadFailed) -> None:
        """A read of the meter failed for good."""
        if failure.reason is MissingReason.LINE_DOWN:
            self._line_is(line, down=True, detail=failure.detail)
            self._health[meter.serial].postpone(self._clock.monotonic_s())
            return
        outcome = _OUTCOMES.get(failure.reason)
        if outcome is not None:
            self._line_is(line, down=False)
            self._observe(line, meter, outcome, failure)

    def meter_clock(self, line: Line, meter: InstalledMeter, ahead_s: float) -> None:
        """The meter's own clock is so far ahead of ours (negative: behind).

        Told when it is too far, and when it is no more. Says nothing while our own is not right.
        """
        if self._clock.state() is not ClockState.SYNCED:
            return
        is_off = abs(ahead_s) > self._meter_drift_s
        if is_off == (meter.serial in self._clocks_off):
            return
        (self._clocks_off.add if is_off else self._clocks_off.discard)(meter.serial)
        self.note(
            Occurrence(
                self._clock.monotonic_s(),
                "meter_clock_off" if is_off else "meter_clock_right",
                line.name,
                meter.serial,
                f"{ahead_s:+.0f} s against the gateway's clock, {self._meter_drift_s:g} s allowed",
            )
        )

    def note(self, occurrence: Occurrence) -> None:
        """Something else happened, to be told with the rest."""
        log.warning(
            occurrence.type, line=occurrence.line, meter=occurrence.meter, detail=occurrence.detail
        )
        self.remember(occurrence)

    def remember(self, occurrence: Occurrence) -> None:
        """Something that was noted before and has not been kept yet, to be told with the rest."""
        self._occurrences.append(occurrence)

    # -- what follows from it

    def state(self, serial: str) -> MeterState:
        """How far the meter can be counted on."""
        return self._health[serial].state

    def is_resting(self, serial: str) -> bool:
        """Whether the meter is silent and need not be tried yet."""
        return self._health[serial].is_resting(self._clock.monotonic_s())

    def due(self) -> list[str]:
        """The silent meters that are to be tried now."""
        now_s = self._clock.monotonic_s()
        return [
            serial
            for serial, health in self._health.items()
            if health.probe_at_s is not None and health.probe_at_s <= now_s
        ]

    def next_due_s(self) -> float | None:
        """When the next silent meter is to be tried; None if none is silent."""
        times = [h.probe_at_s for h in self._health.values() if h.probe_at_s is not None]
        return min(times, default=None)

    def occurrences(self) -> list[Occurrence]:
        """What has not been kept yet, oldest first."""
        return list(self._occurrences)

    def kept(self, occurrences: Iterable[Occurrence]) -> None:
        """These were kept: they are told no more."""
        done = {id(occurrence) for occurrence in occurrences}
        left = [o for o in self._occurrences if id(o) not in done]
        self._occurrences.clear()
        self._occurrences.extend(left)

    def count(self, line: Line, state: MeterState) -> int:
        """How many meters of the line are in that state."""
        return sum(self._health[meter.serial].state is state for meter in line.meters)

    def troubles(self, line: Line, at_most: int) -> list[MeterTrouble]:
        """The meters of the line that are not online, at most so many; offline ones first."""
        now_s = self._clock.monotonic_s()
        troubled = [
            (health.state is not MeterState.OFFLINE, meter.serial, health)
            for meter in line.meters
            for health in (self._health[meter.serial],)
            if health.state is not MeterState.ONLINE
        ]
        troubled.sort(key=lambda entry: entry[:2])
        return [
            MeterTrouble(
                serial, health.state.value, int(now_s - health.since_s), self._reasons[serial]
            )
            for _, serial, health in troubled[:at_most]
        ]

    # --

    def _observe(
        self,
        line: Line,
        meter: InstalledMeter,
        outcome: Outcome,
        failure: ReadFailed | None = None,
    ) -> None:
        health = self._health[meter.serial]
        before = health.state
        now_s = self._clock.monotonic_s()
        lasted_s = int(now_s - health.since_s)
        reason = "" if failure is None else failure.reason.value
        detail = str(failure or outcome.value)[:DETAIL_CHARS_MAX]
        changed = health.observe(outcome, now_s)
        if failure is not None or changed:
            self._reasons[meter.serial] = reason
        if not changed:
            return
        state = health.state
        tell = log.info if state is MeterState.ONLINE else log.warning
        tell(
            f"meter is {state.value}",
            line=line.name,
            meter=meter.serial,
            address=meter.address,
            was=before.value,
            lasted_s=lasted_s,
            detail=detail,
        )
        text = f"was {before.value} for {lasted_s} s; {detail}"
        self._occurrences.append(
            Occurrence(now_s, f"meter_{state.value}", line.name, meter.serial, text)
        )

    def _line_is(self, line: Line, *, down: bool, detail: str = "") -> None:
        if down == (line.name in self._down):
            return
        (self._down.add if down else self._down.discard)(line.name)
        # The line itself writes it into the log.
        self._occurrences.append(
            Occurrence(
                self._clock.monotonic_s(),
                "line_down" if down else "line_up",
                line.name,
                detail=detail[:DETAIL_CHARS_MAX],
            )
        )
