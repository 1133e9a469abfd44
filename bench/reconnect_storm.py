"""Figure `reconnect_storm`: a thousand gateways come back at once after a day without the broker.

Each has 48 half-hourly scans of 100 meters that wait, and goes on reading. A half hour is a minute
here: thirty times as many live batches compete with the backlog as would in the field, and all of
them fall due at the same instant, as slots that are aligned to midnight do. What is measured is how
late live batches are acknowledged when the storm is two minutes old, and that it stays bounded.
"""

import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.fleet import Sample, Storm, Weathered, weather
from bench.isolated import started
from bench.process import tree_mb
from bench.programs import READY_TIMEOUT_S, broker, collector
from bench.raw_mqtt import RawPublisher
from bench.workload import METERS, message

SETTLED_S = 120.0
WATCH_S = 0.5
LATENCY_S_MAX = 60.0
LATENCY_P99_S_MAX = 30.0
MEMORY_MB_MAX = 1_500.0
PROBE_GATEWAY = 999


@dataclass(frozen=True, slots=True)
class Outcome:
    """A storm that is over, and the most memory that the collector's processes had together.

    `missing` is how many batches the ledger has not complete when the collector has ended.
    """

    storm: Storm
    weathered: Weathered
    memory_mb: float
    missing: int = 0

    @property
    def settled_s(self) -> list[float]:
        """Latencies of the slots that fell due when the storm was two minutes old."""
        return sorted(late_s for due_s, late_s in self.weathered.live if due_s >= SETTLED_S)

    @property
    def calm_from_s(self) -> float:
        """From which due time on all but one in a hundred live batches take 30 s at the most."""
        due_s = sorted({due_s for due_s, _ in self.weathered.live}, reverse=True)
        found = float("inf")
        for begin_s in due_s:
            late_s = sorted(late_s for at_s, late_s in self.weathered.live if at_s >= begin_s)
            if _p99(late_s) > LATENCY_P99_S_MAX:
                break
            found = begin_s
        return found

    @property
    def early_s(self) -> list[float]:
        """Latencies of the slots before that."""
        return sorted(late_s for due_s, late_s in self.weathered.live if due_s < SETTLED_S)

    @property
    def half_way(self) -> Sample:
        """When half of the backlog was acknowledged."""
        half = self.storm.gateways * self.storm.backlog / 2
        return next(one for one in self.weathered.samples if one.done >= half)

    @property
    def fairness(self) -> float:
        """What the least served gateway had then, as a share of what the best served had."""
        return self.half_way.least / self.half_way.most

    @property
    def last_to_median(self) -> float:
        """How long the last gateway's backlog took, in times of what the middle one's took."""
        return max(self.weathered.drained_s) / statistics.median(self.weathered.drained_s)


def run(storm: Storm) -> Outcome:
    """A broker, a collector on embedded stores, and the fleet."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        folder = Path(name)
        readings = {"store": "duckdb", "path": str(folder / "reads.duckdb")}
        with collector(folder, mosquitto.port, readings) as process:
            probe = RawPublisher(mosquitto.port)
            probe.watch_acks()
            probe.probe(message("PROBE", PROBE_GATEWAY, 0), READY_TIMEOUT_S)
            probe.close()
            memory_mb = 0.0
            with started(weather, mosquitto.port, storm) as fleet:
                while not fleet.done():
                    memory_mb = max(memory_mb, tree_mb(process.pid))
                    time.sleep(WATCH_S)
                weathered = fleet.result()
        missing = missing_in(folder / "ledger.sqlite", storm)
    return Outcome(storm, weathered, memory_mb, missing)


def missing_in(ledger: Path, storm: Storm) -> int:
    """Batches of the storm that the ledger has not complete; each of them is there once by key."""
    query = "SELECT count(*) FROM receipts WHERE completed_at IS NOT NULL AND gateway <> 'PROBE'"
    with closing(sqlite3.connect(ledger)) as db:
        (count,) = db.execute(query).fetchone()
    return storm.gateways * (storm.backlog + storm.live_slots) - int(count)


def measure() -> Figure:
    """The figure: the latest live batch after two minutes, in seconds."""
    outcome = run(Storm())
    found = outcome.weathered
    return Figure(
        "reconnect_storm",
        outcome.settled_s[-1],
        "s",
        requirement=Requirement("value", "<=", LATENCY_S_MAX),
        detail=detail(outcome) | {"samples": len(found.samples)},
    )


def detail(outcome: Outcome) -> dict[str, object]:
    """What else is worth knowing of it."""
    found, storm = outcome.weathered, outcome.storm
    half = outcome.half_way
    return {
        "gateways": storm.gateways,
        "meters": METERS,
        "backlog_batches": storm.gateways * storm.backlog,
        "live_batches": len(found.live),
        "live_every_s": storm.live_every_s,
        "live_p99_s": round(_p99(outcome.settled_s), 2),
        "live_p99_within_30_s_from_s": outcome.calm_from_s,
        "live_first_two_minutes_max_s": round(outcome.early_s[-1], 2),
        "live_first_two_minutes_p99_s": round(_p99(outcome.early_s), 2),
        "collector_peak_mb": round(outcome.memory_mb),
        "half_way_s": half.at_s,
        "half_way_least_and_most": [half.least, half.most],
        "drained_first_s": round(min(found.drained_s), 1),
        "drained_median_s": round(statistics.median(found.drained_s), 1),
        "drained_last_s": round(max(found.drained_s), 1),
        "drained_last_to_median": round(outcome.last_to_median, 2),
        "missing": outcome.missing,
        "sent_for_each_batch": round(
            found.sent / (storm.gateways * storm.backlog + len(found.live)), 3
        ),
    }


def _p99(values: list[float]) -> float:
    return values[int(0.99 * (len(values) - 1))]
