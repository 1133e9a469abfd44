"""The order in which a line serves its reads: by priority, but none waits for ever.

Owns ordering and nothing else; it reads no clock and does no I/O.
"""

import asyncio
import heapq
from dataclasses import dataclass
from itertools import count

from gateway.ports import InstalledMeter, MeterValues, Part, Priority

# A read of one priority goes before a read of the next lower one that has come up to so much
# earlier; beyond that the older goes first, so that the lowest waits 30 s longer at most.
PRIORITY_STEP_S = 10.0


@dataclass(slots=True, eq=False)
class Job:
    """One read that someone waits for. `attempts` counts those that failed.

    `attempts_max` is how many there may be; None leaves it to the line.
    """

    meter: InstalledMeter
    part: Part
    priority: Priority
    outcome: "asyncio.Future[MeterValues]"
    attempts: int = 0
    attempts_max: int | None = None


class ReadQueue:
    """Reads that wait, and reads that must not be tried before some time.

    Times are seconds of any monotonic clock, always the same one. Not bounded: its owner is.
    """

    def __init__(self) -> None:
        self._ready: list[tuple[float, int, Job]] = []
        self._delayed: list[tuple[float, int, float, Job]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._ready) + len(self._delayed)

    def put(self, job: Job, now: float, not_before: float = 0.0) -> None:
        """Add a read that came at `now` and must not be served before `not_before`."""
        number = next(self._numbers)
        rank = now + job.priority * PRIORITY_STEP_S
        if not_before > now:
            heapq.heappush(self._delayed, (not_before, number, rank, job))
        else:
            heapq.heappush(self._ready, (rank, number, job))

    def pop(self, now: float) -> Job | None:
        """The next read to serve, or None; reads that nobody waits for any more are dropped."""
        while self._delayed and self._delayed[0][0] <= now:
            _, number, rank, job = heapq.heappop(self._delayed)
            heapq.heappush(self._ready, (rank, number, job))
        while self._ready:
            _, _, job = heapq.heappop(self._ready)
            if not job.outcome.done():
                return job
        return None

    def next_at(self) -> float | None:
        """When the first delayed read may be served, if nothing comes before."""
        return self._delayed[0][0] if self._delayed else None

    def take_all(self) -> list[Job]:
        """Every read that waits, the queue being empty afterwards."""
        jobs = [job for _, _, job in self._ready] + [job for _, _, _, job in self._delayed]
        self._ready.clear()
        self._delayed.clear()
        return jobs
