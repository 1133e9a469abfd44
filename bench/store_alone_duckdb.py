"""Figure `store_alone_duckdb`: reads that the embedded store takes from memory, durably."""

import statistics
import tempfile
import time
from pathlib import Path

from bench.figure import Figure
from bench.isolated import collector_like_gc, run_isolated
from bench.workload import DAY_BATCHES, GROUP_BATCHES, METERS, REGISTERS, groups
from collector.readings.duckdb_store import DuckDbStore

BATCHES = 3 * DAY_BATCHES
ROUNDS = 3


def append_from_memory(batches: int) -> float:
    """Reads a second over `batches` batches, each group a transaction, in a file of its own."""
    made = groups(batches)
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as folder:
        store = DuckDbStore(Path(folder) / "reads.duckdb")
        with collector_like_gc():
            started = time.perf_counter()
            for group in made:
                refused = store.append(group)
                assert not refused
            seconds = time.perf_counter() - started
        store.close()
    return batches * METERS / seconds


def measure() -> Figure:
    """The figure; it has no limit beside it, being one for others."""
    rounds = [run_isolated(append_from_memory, BATCHES) for _ in range(ROUNDS)]
    return Figure(
        "store_alone_duckdb",
        statistics.median(rounds),
        "meter reads/s",
        detail={
            "rounds": [round(value) for value in rounds],
            "registers": len(REGISTERS),
            "reads_per_transaction": GROUP_BATCHES * METERS,
        },
    )
