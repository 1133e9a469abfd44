"""Figure `gateway_cpu`: what a gateway with 250 meters on 8 lines takes of one processor core.

A real `songlo gateway run` on the system's clock reads simulated meters of all models over 8 paced
pseudo-terminals at 9600 baud, every minute, and delivers through Mosquitto to a real collector.
Measured are the processor seconds, of all threads and in the kernel, of whole minutes (a scan, its
batch kept and delivered, and the rest of the minute) and of the rests alone. A scan is a minute
less a rest as long; the figure is four scans and an hour of rest, as a share of an hour. Starting
is not in it.
"""

import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.large_station import LINES, METERS, gateway, large_station
from bench.process import cpu_s
from bench.programs import broker, collector
from gateway.clock import system_now
from gateway.outbox import FILE_NAME

MINUTE_S = 60
HOUR_S = 3_600
SCANS_PER_HOUR = 4  # one each quarter hour
MINUTES = 3
BEFORE_SLOT_S = 2.0
SETTLE_S = 1.0  # after the ack: it is marked in the outbox, the status goes out
REST_S_MIN = 10.0  # shorter, and a tick of the kernel's count is too much of it
DELIVERY_TIMEOUT_S = 58.0
POLL_S = 0.2


@dataclass(slots=True)
class _Seconds:
    """Processor seconds of each whole minute; of all rests together, and how long these lasted."""

    minutes: list[float] = field(default_factory=list)
    resting: float = 0.0
    rested: float = 0.0


def measure() -> Figure:
    """The figure, in per cent."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        folder = Path(name)
        readings = {"store": "duckdb", "path": str(folder / "reads.duckdb")}
        with (
            large_station(folder, "rtu", "2026-03-02") as said,
            collector(folder, mosquitto.port, readings),
            gateway(
                folder,
                mosquitto.port,
                said,
                schedule={"interval_min": 1, "index_at": []},
                clock={"before_sync": "send"},
            ) as process,
        ):
            found = _measure(process.pid, folder / "gateway" / FILE_NAME)
    scan_s = sum(found.minutes) / MINUTES - MINUTE_S * found.resting / found.rested
    hour_s = SCANS_PER_HOUR * scan_s + HOUR_S * found.resting / found.rested
    return Figure(
        "gateway_cpu",
        100 * hour_s / HOUR_S,
        "% of one core",
        requirement=Requirement("value", "<=", 5),
        detail={
            "meters": METERS,
            "lines": LINES,
            "scans_per_hour": SCANS_PER_HOUR,
            "cpu_s_of_a_scan": round(scan_s, 3),
            "cpu_s_of_an_hour_of_rest": round(HOUR_S * found.resting / found.rested, 2),
            "cpu_s_of_minutes": [round(value, 2) for value in found.minutes],
            "rested_s": round(found.rested),
        },
    )


def _measure(pid: int, outbox: Path) -> _Seconds:
    found = _Seconds()
    _wait_for_delivery(outbox, _wait_for_slot())
    slot_at = _wait_for_slot()
    begun = cpu_s(pid)
    for _ in range(MINUTES):
        _wait_for_delivery(outbox, slot_at)
        time.sleep(SETTLE_S)
        rest_s, rest_cpu_s = time.monotonic(), cpu_s(pid)
        slot_at = _wait_for_slot()
        ended = cpu_s(pid)
        found.minutes.append(ended - begun)
        found.resting += ended - rest_cpu_s
        found.rested += time.monotonic() - rest_s
        begun = ended
    if found.rested < MINUTES * REST_S_MIN:
        raise ArithmeticError(f"scans leave only {found.rested:.0f} s of {MINUTES} minutes to rest")
    return found


def _wait_for_slot() -> datetime:
    """Return a little before the next full minute, with that minute."""
    now = system_now()
    left_s = (-BEFORE_SLOT_S - now.timestamp()) % MINUTE_S
    time.sleep(left_s)
    return (now + timedelta(seconds=left_s + MINUTE_S / 2)).replace(second=0, microsecond=0)


def _wait_for_delivery(outbox: Path, slot_at: datetime) -> None:
    """Return when the gateway knows that the collector has the scan of that slot."""
    deadline_s = time.monotonic() + DELIVERY_TIMEOUT_S
    query = "SELECT count(*), min(acked) FROM batches WHERE slot_at = ?"
    with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as db:
        while True:
            count, acked = db.execute(query, (round(slot_at.timestamp() * 1000),)).fetchone()
            if count and acked:
                return
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the scan of {slot_at} is not delivered: {count}, {acked}")
            time.sleep(POLL_S)
