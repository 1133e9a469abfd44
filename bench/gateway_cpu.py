"""Figure `gateway_cpu`: what a gateway with 250 meters on 8 lines takes of one processor core.

A real `songlo gateway run` on the system's clock reads simulated meters of all models over 8 paced
pseudo-terminals at 9600 baud, every minute, and delivers through Mosquitto to a real collector.
Measured are the processor seconds, of all threads and in the kernel, of whole minutes (a scan, its
batch kept and delivered, and the rest of the minute) and of the rests alone. A scan is a minute
less a rest as long; the figure is four scans and an hour of rest, as a share of an hour. Starting
is not in it.
"""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.large_station import LINES, METERS, STATION, gateway, large_station
from bench.process import cpu_s
from bench.programs import broker, collector
from bench.raw_mqtt import RawPublisher
from gateway.clock import system_now

MINUTE_S = 60
HOUR_S = 3_600
SCANS_PER_HOUR = 4  # one each quarter hour
MINUTES = 3
BEFORE_SLOT_S = 2.0
SETTLE_S = 1.0  # after the ack: it is marked in the outbox, the status goes out
REST_S_MIN = 10.0  # shorter, and a tick of the kernel's count is too much of it
ACK_TIMEOUT_S = 120.0


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
            publisher = RawPublisher(mosquitto.port)
            publisher.watch_acks()
            publisher.wait_for_acks(STATION, 1, ACK_TIMEOUT_S)
            found = _measure(process.pid, publisher)
            publisher.close()
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


def _measure(pid: int, publisher: RawPublisher) -> _Seconds:
    found = _Seconds()
    _wait_for_slot()
    begun = cpu_s(pid)
    for _ in range(MINUTES):
        publisher.wait_for_acks(STATION, publisher.acked[STATION] + 1, ACK_TIMEOUT_S)
        time.sleep(SETTLE_S)
        rest_s, rest_cpu_s = time.monotonic(), cpu_s(pid)
        _wait_for_slot()
        ended = cpu_s(pid)
        found.minutes.append(ended - begun)
        found.resting += ended - rest_cpu_s
        found.rested += time.monotonic() - rest_s
        begun = ended
    if found.rested < MINUTES * REST_S_MIN:
        raise ArithmeticError(f"scans leave only {found.rested:.0f} s of {MINUTES} minutes to rest")
    return found


def _wait_for_slot() -> None:
    """Return a little before the next full minute."""
    now_s = system_now().timestamp()
    time.sleep((-BEFORE_SLOT_S - now_s) % MINUTE_S)
