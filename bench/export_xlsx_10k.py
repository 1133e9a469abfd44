"""Figure `export_xlsx_10k`: a billing run of 10,000 points as a workbook on disk."""

import statistics
import time

from bench.exports import BY, LINES, POINTS, run_of_10k
from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from collector.operations.exports import write_file
from collector.operations.run_exports import export_run_xlsx

RUNS = 5


def measure() -> Figure:
    """The figure: the median over runs."""
    seconds, cpu_s, size = run_isolated(_exports)
    return Figure(
        "export_xlsx_10k",
        statistics.median(seconds),
        "s",
        requirement=Requirement("value", "<=", 10.0),
        detail={
            "runs": [round(value, 3) for value in seconds],
            # Far below the runs where other programs had the processors.
            "cpu_s": round(statistics.median(cpu_s), 3),
            "points": POINTS,
            "rows": LINES,
            "mb": round(size / 1e6, 1),
            "ledger": "SQLite",
        },
    )


def _exports() -> tuple[list[float], list[float], int]:
    seconds, cpu_s = [], []
    with run_of_10k() as (ledger, run, folder):
        output = folder / "run.xlsx"
        for _ in range(RUNS):
            started, cpu_started = time.perf_counter(), time.process_time()
            export = export_run_xlsx(ledger, run, BY)
            write_file(export.pieces, output)
            seconds.append(time.perf_counter() - started)
            cpu_s.append(time.process_time() - cpu_started)
            assert export.tally.rows == LINES
        return seconds, cpu_s, output.stat().st_size
