"""What everything in one simulation shares: time, chance, and what was done to it."""

import asyncio
import random
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta

START_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class World:
    """One run. `is_calm` once no more faults are injected; `log` has what happened, if asked for.

    `digest` is a checksum of all that was noted: two runs of one seed have the same.
    """

    def __init__(self, seed: int, loop: asyncio.AbstractEventLoop, *, logs: bool = False) -> None:
        self.seed = seed
        self.loop = loop
        self.is_calm = False
        self.faults: Counter[str] = Counter()
        self.log: list[str] | None = [] if logs else None
        self.digest = 0

    @property
    def now_s(self) -> float:
        """Seconds since the simulation began."""
        return self.loop.time()

    @property
    def now_ms(self) -> int:
        """Milliseconds since the simulation began."""
        return int(self.loop.time() * 1000)

    def now(self) -> datetime:
        """The true time, in whole milliseconds."""
        return START_AT + self.now_ms * _MILLISECOND

    def chance(self, name: str) -> random.Random:
        """A source of its own for one purpose, so that purposes do not disturb each other."""
        return random.Random(f"{self.seed}/{name}")

    def count(self, fault: str) -> None:
        """A fault was injected."""
        self.faults[fault] += 1
        self.note(fault)

    def note(self, text: str) -> None:
        """Something happened that a second run of this seed must repeat."""
        line = f"{self.now_s:.6f} {text}"
        self.digest = zlib.crc32(line.encode(), self.digest)
        if self.log is not None:
            self.log.append(f"{self.now():%m-%d %H:%M:%S.%f} {text}")
