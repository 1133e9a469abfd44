"""Figure `line_scan`: the energy scan of a full RS-485 line, beside what the wire needs for it.

32 meters of Schneider's iEM3155 at 9600 baud on a pseudo-terminal that the simulator paces; read by
the gateway's line engine with the profile `schneider-iem3155`.
"""

import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.programs import simulator
from contract.messages import Clock as ClockState
from gateway.lines.endpoints import SerialEndpoint
from gateway.lines.engine import ModbusLine
from gateway.lines.modbus import REPLY_CHARS, REQUEST_CHARS
from gateway.meters.plan import plan
from gateway.meters.profile import MeterProfile
from gateway.ports import InstalledMeter, Part, Priority
from gateway.profiles import ProfileLibrary

PROFILE = "schneider-iem3155"
METERS = 32
BAUD = 9600
TURNAROUND_MS = 20
BITS_PER_CHARACTER = 10  # start, eight data bits, one stop bit, no parity
SILENCE_CHARACTERS = 3.5
SCANS = 7
TIMEOUT_S = 60.0


class _StandingClock:
    """A line asks the clock only what to write beside its values."""

    def now(self) -> datetime:
        """Always the same."""
        return datetime(2026, 3, 1, tzinfo=UTC)

    def state(self) -> ClockState:
        """Always synchronised."""
        return ClockState.SYNCED

    def monotonic_s(self) -> float:
        """Not looked at."""
        return 0.0

    async def sleep_until(self, at: datetime) -> None:
        """Not needed."""
        raise NotImplementedError(at)


def wire_s(profile: MeterProfile, meters: int) -> float:
    """The least time in which the energies of `meters` meters can pass the wire.

    The characters both ways; before each reply the silence t3.5 by which a meter knows that the
    request has ended, and its turnaround; between two exchanges t3.5 or the pause that the
    profile asks for, whichever is longer.
    """
    character_s = BITS_PER_CHARACTER / BAUD
    silence_s = SILENCE_CHARACTERS * character_s
    timing = profile.timing
    same_s = max(silence_s, timing.frame_pause_ms / 1000)
    next_s = max(silence_s, timing.frame_pause_ms / 1000, timing.id_switch_pause_ms / 1000)
    blocks = plan(profile, Part.ENERGY)
    exchanges_s = sum(
        (REQUEST_CHARS + REPLY_CHARS + 2 * block.count) * character_s
        + silence_s
        + TURNAROUND_MS / 1000
        for block in blocks
    )
    return meters * (exchanges_s + (len(blocks) - 1) * same_s) + (meters - 1) * next_s


def measure() -> Figure:
    """The figure: the median of several scans."""
    profile = ProfileLibrary().get_modbus(PROFILE)
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        config = {
            "start": "2026-03-01",
            "end": "2026-03-02",
            "model": PROFILE,
            "lines": {
                "kind": "rtu",
                "baud": BAUD,
                "turnaround_ms": TURNAROUND_MS,
                "count": 4,
                "meters_per_line": METERS,
            },
        }
        with simulator(Path(name), config) as said:
            line = next(line for line in said["lines"] if len(line["meters"]) == METERS)
            scans = run_isolated(_scan_times, line)
    return Figure(
        "line_scan",
        statistics.median(scans),
        "s",
        limit=wire_s(profile, METERS),
        limit_what="characters both ways, turnaround, t3.5 and the profile's pauses",
        requirement=Requirement("ratio", "<=", 1.03),
        detail={
            "scans": [round(value, 4) for value in scans],
            "profile": PROFILE,
            "meters": METERS,
            "baud": BAUD,
            "turnaround_ms": TURNAROUND_MS,
            "frame_pause_ms": profile.timing.frame_pause_ms,
            "id_switch_pause_ms": profile.timing.id_switch_pause_ms,
            "requests": METERS * len(plan(profile, Part.ENERGY)),
        },
    )


def _scan_times(said: dict[str, Any]) -> list[float]:
    return asyncio.run(_scan(said))


async def _scan(said: dict[str, Any]) -> list[float]:
    profile = ProfileLibrary().get_modbus(PROFILE)
    meters = [InstalledMeter(one["serial"], one["address"], profile) for one in said["meters"]]
    line = ModbusLine("bench", SerialEndpoint(said["device"], BAUD), meters, _StandingClock())
    times = []
    async with asyncio.TaskGroup() as group:
        owner = group.create_task(line.run())
        # The port is opened by the first read, which therefore does not count.
        await line.read(meters[0], Part.ENERGY, Priority.INDEX)
        for _ in range(SCANS):
            started = time.perf_counter()
            async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as scan:
                for meter in meters:
                    scan.create_task(line.read(meter, Part.ENERGY, Priority.INDEX))
            times.append(time.perf_counter() - started)
        owner.cancel()
    return times
