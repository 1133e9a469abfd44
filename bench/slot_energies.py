"""Figure `slot_energies`: how long after the slot the energies of a hundred meters are there.

Four lines of 25 ABB B23 at 9600 baud on pseudo-terminals that the simulator paces; read by the
gateway's scanner. The profile needs no pause when the address changes. 25 exchanges of 8 registers
take 1.44 s by the wire alone, at a turnaround of 20 ms; with the 200 ms that Eastron's profiles
keep when the address changes it would be 6.2 s.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.rtu_station import Scans, rtu_station, scan_lines
from bench.scan_vs_single import FRAMES_CHARACTERS, SILENCES_CHARACTERS
from gateway.meters.plan import plan
from gateway.ports import Part
from gateway.profiles import ProfileLibrary

PROFILE = "abb-b23"
LINES = 4
METERS_PER_LINE = 25
BAUD = 9600
TURNAROUND_MS = 20
SCANS = 3


def measure() -> Figure:
    """The figure: the slowest of several scans."""
    with (
        tempfile.TemporaryDirectory(prefix="songlo-bench-") as name,
        rtu_station(
            Path(name),
            PROFILE,
            lines=LINES,
            meters_per_line=METERS_PER_LINE,
            turnaround_ms=TURNAROUND_MS,
        ) as lines,
    ):
        found = run_isolated(_scans, lines)
    wire_s = METERS_PER_LINE * sum(
        (FRAMES_CHARACTERS + SILENCES_CHARACTERS + 2 * block.count) * 10 / BAUD
        + TURNAROUND_MS / 1000
        for block in plan(ProfileLibrary().get_modbus(PROFILE), Part.ENERGY)
    )
    return Figure(
        "slot_energies",
        max(found.seconds),
        "s",
        limit=wire_s,
        limit_what="characters both ways, turnaround and t3.5 of the 25 meters of one line",
        requirement=Requirement("value", "<=", 2),
        detail={
            "scans": [round(value, 3) for value in found.seconds],
            "meters": found.answered,
            "profile": PROFILE,
            "lines": len(lines),
        },
    )


def _scans(lines: list[dict[str, Any]]) -> Scans:
    profile = ProfileLibrary().get_modbus(PROFILE)
    return asyncio.run(scan_lines(lines, profile, parts=[Part.ENERGY], warm_up=1, scans=SCANS))
