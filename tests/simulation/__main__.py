"""`python -m tests.simulation`: one seed again, or many; see docs/reliability.md."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.bugs import BUGS
from tests.simulation.many import Tally, first_caught, fresh, outcomes, tally, told
from tests.simulation.report import rewrite
from tests.simulation.run import Outcome

LOG_LINES = 400


def main() -> int:
    """Run what the arguments say; 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run one seed and show what happened")
    parser.add_argument("--seeds", type=int, help="run so many")
    parser.add_argument("--first", type=int, help="the first of them; by default a random one")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with this bug planted")
    parser.add_argument("--report", type=Path, help="rewrite the figures in this document")
    arguments = parser.parse_args()
    console = Console()
    if arguments.seed is not None:
        return _show(
            console, next(outcomes([arguments.seed], processes=1, bug=arguments.bug, logs=True))
        )
    first, seeds = fresh(arguments.seeds or 100)
    if arguments.first is not None:
        first, seeds = arguments.first, range(arguments.first, arguments.first + len(seeds))
    console.print(f"{len(seeds)} seeds from {first} on, {os.cpu_count()} processes")
    if arguments.bug is not None:
        caught = first_caught(arguments.bug, seeds)
        console.print(f"{arguments.bug}: caught by seed {caught}")
        return 0 if caught is not None else 1
    result = _run_many(console, seeds)
    _print(console, result)
    if arguments.report is not None:
        rewrite(arguments.report, result, first)
    return 1 if result.failed else 0


def _run_many(console: Console, seeds: range) -> Tally:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} violated"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("simulating", total=len(seeds), failed=0)
        failed = 0

        def each(outcome: Outcome) -> None:
            nonlocal failed
            if outcome.violations:
                failed += 1
                progress.console.print(told(outcome), markup=False)
            progress.update(task, advance=1, failed=failed)

        return tally(seeds, each=each)


def _print(console: Console, result: Tally) -> None:
    table = Table(title="Faults injected")
    table.add_column("kind")
    table.add_column("times", justify="right")
    for kind, count in sorted(result.faults.items()):
        table.add_row(kind, f"{count:,}")
    console.print(table)
    console.print(
        f"{result.seeds:,} seeds, {result.batches:,} batches,"
        f" {result.gateway_years:,.1f} gateway-years in {result.took_s:,.0f} s,"
        f" {len(result.failed)} seeds with violations"
    )


def _show(console: Console, outcome: Outcome) -> int:
    for line in outcome.log[-LOG_LINES:]:
        console.print(line, markup=False, highlight=False)
    for kind, count in sorted(outcome.faults.items()):
        console.print(f"{count:6} {kind}", markup=False)
    console.print(f"digest {outcome.digest:08x}")
    for violation in outcome.violations:
        console.print(violation, markup=False, style="red")
    if not outcome.violations:
        console.print("no violation")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
