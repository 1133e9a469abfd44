"""Figure `line_scan_dead`: what a dead and a flapping meter cost the others of their line.

32 meters of ABB's B23 at 9600 baud on a pseudo-terminal that the simulator paces, read whole by the
gateway's scanner. One never answers, one fails to answer half of all requests. What is measured is
when the last of the other thirty has been read, beside the same on a line that has only these.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.rtu_station import Scans, rtu_station, scan_lines
from gateway.ports import Part
from gateway.profiles import ProfileLibrary

PROFILE = "abb-b23"
METERS = 32
TURNAROUND_MS = 20
WARM_UP = 5  # until it is known who is dead and who flaps
SCANS = 6
ALONE = 2
FLAPS = 0.5


def measure() -> Figure:
    """The figure: the mean, because a meter may be trusted again and disappoint."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        with _line(folder / "well", []) as line:
            serials = [meter["serial"] for meter in line["meters"]]
            # In the middle, so that neither is first nor last by its place.
            dead, flapping = serials[10], serials[20]
            others = [m for m in line["meters"] if m["serial"] not in (dead, flapping)]
            alone = run_isolated(_scans, {**line, "meters": others}, 1, ALONE, set(serials))
        faults: list[dict[str, object]] = [
            {"kind": "silent", "meter": dead},
            {"kind": "silent", "meter": flapping, "probability": FLAPS},
        ]
        counted = {meter["serial"] for meter in others}
        with _line(folder / "ill", faults) as line:
            found = run_isolated(_scans, line, WARM_UP, SCANS, counted)
    return Figure(
        "line_scan_dead",
        statistics.mean(found.seconds),
        "s",
        limit=statistics.mean(alone.seconds),
        limit_what="the same scan of a line without the dead and the flapping meter",
        requirement=Requirement("ratio", "<=", 1.05),
        detail={
            "scans": [round(value, 3) for value in found.seconds],
            "alone": [round(value, 3) for value in alone.seconds],
            "reads": found.answered,
            "profile": PROFILE,
            "meters": METERS,
            "flapping_fails": FLAPS,
            "warm_up_scans": WARM_UP,
        },
    )


@contextmanager
def _line(folder: Path, faults: list[dict[str, object]]) -> Iterator[dict[str, Any]]:
    folder.mkdir()
    station = rtu_station(
        folder,
        PROFILE,
        lines=4,
        meters_per_line=METERS,
        turnaround_ms=TURNAROUND_MS,
        faults=faults,
    )
    with station as lines:
        yield lines[0]


def _scans(line: dict[str, Any], warm_up: int, scans: int, counted: set[str]) -> Scans:
    return asyncio.run(
        scan_lines(
            [line],
            ProfileLibrary().get_modbus(PROFILE),
            parts=list(Part),
            warm_up=warm_up,
            scans=scans,
            counts=counted.__contains__,
        )
    )
