"""Figure `district`: a district's two billing periods, each step as a share of what it may take.

What the demo does, in a process of its own: 100 stations, some 10,000 points, half-hourly. The
figure is the greatest share; whether all agrees with the truth is in the detail, and fails it.
"""

import tempfile
from datetime import date
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from songlo.demo.district.options import STATIONS_DEFAULT, district_options
from songlo.demo.district.run import run_district

# Seconds, but for the memory, which is in KiB. Periods differ by a day: the longer one counts.
LIMITS = {
    "intake of a month": 900.0,
    "snapshot": 2.0,
    "bill previews": 5.0,
    "workbook": 10.0,
    "CMIS file": 5.0,
    "vee of a month": 60.0,
    "most memory": 1024.0 * 1024.0,
}

# What a station's lines lose in the country, in tenths of a per cent of what comes in.
LINE_LOSS_PERMILLE = range(30, 81)

# The figure where something differs from the truth, however fast it was.
DISAGREES = 1000.0

# Any days will do, and the same ones are the same district.
TODAY = date(2026, 11, 24)
INTERVAL_MIN = 30
PERIODS = 2


def measure() -> Figure:
    """The figure: one run; steps that both periods have are taken once each, on average."""
    steps, wrong = run_isolated(_run)
    shares = {step: value / LIMITS[step] for step, value in steps.items()}
    return Figure(
        "district",
        max(shares.values()) if not wrong else DISAGREES,
        "of what it may take",
        requirement=Requirement("value", "<=", 1.0),
        detail={
            "steps": {step: round(value, 3) for step, value in steps.items()},
            "limits": LIMITS,
            "wrong": wrong,
        },
    )


def _run() -> tuple[dict[str, float], list[str]]:
    options = district_options(
        stations=STATIONS_DEFAULT, interval_min=INTERVAL_MIN, seed=1, start=None, today=TODAY
    )
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        outcome = run_district(options, Path(name), _ignore)
    seconds = outcome.timings.seconds
    steps = {
        "intake of a month": max(seconds["intake of period 1"], seconds["intake of period 2"]),
        "snapshot": seconds["snapshot"] / PERIODS,
        "bill previews": seconds["bill previews"] / PERIODS,
        "workbook": seconds["workbook"] / PERIODS,
        "CMIS file": seconds["CMIS file"] / PERIODS,
        # Each period is looked through twice: on its billing day and a day later.
        "vee of a month": seconds["vee"] / (2 * PERIODS),
        "most memory": float(outcome.peak_kb),
    }
    wrong = [check.name for check in outcome.checks if not check.holds]
    if not all(one in LINE_LOSS_PERMILLE for one in outcome.line_loss_permille):
        wrong.append(f"lines lose {outcome.line_loss_permille} per mille")
    return steps, wrong


def _ignore(what: str, done: int, total: int) -> None:
    del what, done, total
