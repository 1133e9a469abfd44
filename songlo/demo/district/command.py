"""`songlo demo --district`: options in, progress and tables out; then the collector on its result.

The terminal's side of a district run; what happens in it is in `run`.
"""

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from collector.ledger import Ledger
from collector.operations.keys import add_key
from songlo.demo.api import CollectorApi, wait_healthy
from songlo.demo.district.options import DistrictOptions
from songlo.demo.district.report import differences, summary, times, verdicts, write_outcome
from songlo.demo.district.run import LEDGER_FILE, READINGS_FILE, DistrictOutcome, run_district
from songlo.demo.files import write_json
from songlo.demo.options import ZONE
from songlo.demo.programs import Program, python_module

KEY_NAME = "demo"
KEY_SCOPES = ("read", "snapshot", "admin")

console = Console(stderr=True)


def run_command(
    options: DistrictOptions, folder: Path, output: Path | None, *, port: int, exits: bool
) -> int:
    """Run the district; 0 if everything agrees with the truth, 1 if not."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = _watched(options, folder)
    stdout = Console()
    for one in (summary(outcome), verdicts(outcome), times(outcome)):
        stdout.print(one)
    for check in outcome.checks:
        if not check.holds:
            for line in differences(check):
                console.print(line, style="red", highlight=False, markup=False)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        console.print(f"Wrote {write_outcome(outcome, output)}", highlight=False)
    if not exits:
        _serve(folder, port)
    return 0 if outcome.holds else 1


def _watched(options: DistrictOptions, folder: Path) -> DistrictOutcome:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        return run_district(options, folder, watch)


def _serve(folder: Path, port: int) -> None:
    """The collector's API and console on what the run left, until somebody interrupts."""
    ledger = Ledger(f"sqlite:///{folder / LEDGER_FILE}")
    now = datetime.now(UTC)  # noqa: TID251 - the key is for today
    key = add_key(ledger, name=KEY_NAME, scopes=KEY_SCOPES, now=now)
    ledger.close()
    path = write_json(
        folder / "collector.yaml",
        {
            "zone": ZONE,
            "ledger": f"sqlite:///{folder / LEDGER_FILE}",
            "readings": {"store": "duckdb", "path": str(folder / READINGS_FILE)},
            # Nothing comes in any more: this part of the collector asks no broker.
            "broker": {"host": "127.0.0.1", "port": 1883},
            "api": {"host": "127.0.0.1", "port": port},
        },
    )
    command = python_module("songlo", "collector", "run", "--config", str(path), "--role", "api")
    program = Program("collector", command, folder)
    program.start()
    try:
        wait_healthy(CollectorApi(f"http://127.0.0.1:{port}", key), program.check)
        console.print(f"Console  http://127.0.0.1:{port}")
        console.print(f"API key  {key}", highlight=False)
        console.print("Ctrl+C ends it.")
        while True:
            program.check()
            time.sleep(1)
    finally:
        program.stop()
