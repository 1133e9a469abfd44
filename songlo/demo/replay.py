"""Watching a replay to its end: every slot of every meter accounted for, or a reason why not.

It asks the clock and the API and decides when to stop; it must not touch a store.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from songlo.demo.api import ApiError
from songlo.demo.clock import instant_text
from songlo.demo.options import DemoOptions
from songlo.demo.programs import ProgramFailed
from songlo.demo.system import System

POLL_S = 0.25
STALL_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is; all counts but `slots` are of meter reads (one meter in one scan)."""

    due: int
    read: int
    missing: int
    in_gaps: int
    duplicate_batches: int
    slots: int
    now_at: datetime

    @property
    def accounted(self) -> int:
        """Meter reads that are stored, or listed with the reason why they are not."""
        return self.read + self.missing + self.in_gaps

    @property
    def complete(self) -> bool:
        """Whether nothing that was due is still unaccounted for."""
        return self.accounted >= self.due


def progress(system: System) -> Progress:
    """Ask the clock and the collector how far the replay is. Raises ApiError."""
    options = system.options
    now_at = system.clock.now()
    answer = _accounting(system)
    return Progress(
        due=options.slot_count * len(system.station.meters),
        read=_count(answer["had"]),
        missing=_sum(answer["missing"]),
        in_gaps=_sum(answer["gaps"]),
        duplicate_batches=_count(answer["duplicates"]),
        slots=slots_reached(options, now_at),
        now_at=now_at,
    )


def _accounting(system: System) -> dict[str, object]:
    options = system.options
    bounds = {
        "from": instant_text(options.start_at),
        "to": instant_text(options.end_at + timedelta(minutes=1)),
    }
    try:
        return system.api.get(f"/v1/stations/{system.station.name}/accounting", **bounds)
    except ApiError as error:
        # Until its first batch or status has come, the collector knows no such gateway.
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return {"had": 0, "missing": {}, "gaps": {}, "duplicates": 0}


def slots_reached(options: DemoOptions, now_at: datetime) -> int:
    """How many slots of the period the clock has reached, the present one included."""
    passed = (now_at - options.start_at) // timedelta(minutes=options.interval_min)
    return min(passed + 1, options.slot_count)


def replay(system: System, watch: Callable[[Progress], None]) -> Progress:
    """Wait until all that was due is accounted for, calling `watch` on the way.

    Raises ProgramFailed when a program ends, or when nothing has moved for STALL_TIMEOUT_S.
    """
    last: Progress | None = None
    moved = time.monotonic()
    while last is None or not last.complete:
        system.check()
        try:
            present = progress(system)
        except ApiError as error:
            if error.status:
                raise
            time.sleep(POLL_S)
            continue
        if present != last:
            last, moved = present, time.monotonic()
            watch(present)
        elif time.monotonic() - moved > STALL_TIMEOUT_S:
            raise ProgramFailed(
                f"nothing has moved for {STALL_TIMEOUT_S:.0f} s: {present.accounted} of "
                f"{present.due} meter reads are accounted for. The logs are in {system.directory}"
            )
        if not last.complete:
            time.sleep(POLL_S)
    return last


def _count(value: object) -> int:
    assert isinstance(value, int)
    return value


def _sum(by_reason: object) -> int:
    assert isinstance(by_reason, dict)
    return sum(_count(value) for value in by_reason.values())
