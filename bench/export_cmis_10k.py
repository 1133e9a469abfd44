"""Figure `export_cmis_10k`: CMIS's file of 10,000 points filled, from their file to ours on disk.

Their file is the one that is made new of the same run, its new indices taken out again.
"""

import re
import statistics
import time

from bench.exports import BY, LINES, POINTS, run_of_10k
from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from collector.operations.exports import Named, write_file
from collector.operations.run_exports import export_run_cmis, fill_run_cmis

RUNS = 5

_FILLED = re.compile(rb" *<(?:CS_MOI|SL_MOI|NGAY_MOI|SL_THAO)>.*\n")


def measure() -> Figure:
    """The figure: the median over runs."""
    new_s, fill_s, cpu_s, size = run_isolated(_exports)
    return Figure(
        "export_cmis_10k",
        statistics.median(fill_s),
        "s",
        requirement=Requirement("value", "<=", 5.0),
        detail={
            "runs": [round(value, 3) for value in fill_s],
            # Far below the runs where other programs had the processors.
            "cpu_s": round(statistics.median(cpu_s), 3),
            "made_new_s": round(statistics.median(new_s), 3),
            "points": POINTS,
            "rows": LINES,
            "mb": round(size / 1e6, 1),
            "ledger": "SQLite",
        },
    )


def _exports() -> tuple[list[float], list[float], list[float], int]:
    new_s, fill_s, cpu_s = [], [], []
    with run_of_10k() as (ledger, run, folder):
        new, back = folder / "new.xml", folder / "back.xml"
        for _ in range(RUNS):
            started = time.perf_counter()
            export = export_run_cmis(ledger, run, BY)
            write_file(export.pieces, new)
            new_s.append(time.perf_counter() - started)
            assert export.tally.filled == LINES
        theirs = folder / "theirs.xml"
        theirs.write_bytes(_FILLED.sub(b"", new.read_bytes()))
        for _ in range(RUNS):
            started, cpu_started = time.perf_counter(), time.process_time()
            with theirs.open("rb") as stream:
                export = fill_run_cmis(ledger, run, Named(stream, theirs.name), BY)
                write_file(export.pieces, back)
            fill_s.append(time.perf_counter() - started)
            cpu_s.append(time.process_time() - cpu_started)
            assert (export.tally.filled, len(export.tally.disagreements)) == (LINES, 0)
        assert back.read_bytes() == new.read_bytes()
        return new_s, fill_s, cpu_s, back.stat().st_size
