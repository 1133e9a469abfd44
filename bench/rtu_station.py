"""A simulated station on paced pseudo-terminals, and scans of it by the gateway's own scanner.

What the figures about lines have in common; it requires nothing of what it measures.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.programs import simulator
from contract.messages import Clock as ClockState
from gateway.app import configure_logging
from gateway.clock import SystemClock
from gateway.health_book import HealthBook
from gateway.lines.endpoints import SerialEndpoint
from gateway.lines.engine import ModbusLine
from gateway.meters.profile import MeterProfile
from gateway.ports import InstalledMeter, MeterValues, Part, Priority
from gateway.scan import Scanner

BAUD = 9600
DEADLINE = timedelta(minutes=10)
SETTLE_S = 0.3


@contextmanager
def rtu_station(
    folder: Path,
    model: str,
    *,
    lines: int,
    meters_per_line: int,
    turnaround_ms: int,
    faults: Sequence[dict[str, object]] = (),
) -> Iterator[list[dict[str, Any]]]:
    """The lines that are full, as the simulator describes them."""
    config = {
        "start": "2026-03-01",
        "end": "2026-03-02",
        "model": model,
        "lines": {
            "kind": "rtu",
            "baud": BAUD,
            "turnaround_ms": turnaround_ms,
            "count": lines,
            "meters_per_line": meters_per_line,
        },
        "faults": list(faults),
    }
    with simulator(folder, config) as said:
        full = [line for line in said["lines"] if len(line["meters"]) == meters_per_line]
        yield full[:lines]


class WatchedLine(ModbusLine):
    """A line that notes when each of its reads succeeded (`time.perf_counter`)."""

    ended: dict[tuple[str, Part], float]

    async def read(
        self,
        meter: InstalledMeter,
        part: Part,
        priority: Priority,
        attempts: int | None = None,
    ) -> MeterValues:
        """As any line reads."""
        values = await super().read(meter, part, priority, attempts)
        self.ended[meter.serial, part] = time.perf_counter()
        return values


@dataclass(slots=True)
class Scans:
    """What some scans took: seconds from the beginning to the last read that counts."""

    seconds: list[float] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)


async def scan_lines(
    said: Sequence[dict[str, Any]],
    profile: MeterProfile,
    *,
    parts: Sequence[Part],
    warm_up: int,
    scans: int,
    counts: Callable[[str], bool] = lambda serial: True,
) -> Scans:
    """Scan the lines `warm_up` + `scans` times; of the latter, when the last that counts was read.

    What counts are the `parts` of the meters whose serial `counts`.
    """
    configure_logging()  # to stderr: standard output has figures only
    clock = SystemClock(state=lambda: ClockState.SYNCED)
    lines = []
    for one in said:
        meters = [InstalledMeter(m["serial"], m["address"], profile) for m in one["meters"]]
        line = WatchedLine(one["name"], SerialEndpoint(one["device"], BAUD), meters, clock)
        line.ended = {}
        lines.append(line)
    scanner = Scanner(
        lines,
        clock,
        health=HealthBook(lines, clock, random.Random(1)),  # noqa: S311 spreads load
    )
    found = Scans()
    async with asyncio.TaskGroup() as group:
        owners = [group.create_task(line.run()) for line in lines]
        await asyncio.sleep(SETTLE_S)  # the ports are open: that is not part of a scan
        for number in range(warm_up + scans):
            for line in lines:
                line.ended.clear()
            begun = time.perf_counter()
            await scanner.scan(index=False, deadline=clock.now() + DEADLINE)
            if number >= warm_up:
                ended = [
                    at
                    for line in lines
                    for (serial, part), at in line.ended.items()
                    if part in parts and counts(serial)
                ]
                found.seconds.append(max(ended) - begun)
                found.answered.append(len(ended))
        for owner in owners:
            owner.cancel()
    return found
