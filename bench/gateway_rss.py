"""Figure `gateway_rss`: the most memory that a gateway with 250 meters on 8 lines ever takes.

A real `songlo gateway run` reads simulated meters of all models over Modbus TCP, at replay speed,
and delivers through Mosquitto to a real collector: two days at quarter-hour slots, of which two are
index slots. Measured is VmHWM when everything is delivered: the most pages that it had in memory
at any moment, pages of programs and libraries included, whoever shares them.
"""

import tempfile
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.large_station import LINES, METERS, STATION, gateway, large_station
from bench.process import peak_mb
from bench.programs import broker, collector
from bench.raw_mqtt import RawPublisher

END = "2026-03-03"
SLOTS = 2 * 96
RUN_TIMEOUT_S = 600.0


def measure() -> Figure:
    """The figure: VmHWM, which the kernel keeps, when everything is delivered."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        folder = Path(name)
        readings = {"store": "duckdb", "path": str(folder / "reads.duckdb")}
        with (
            large_station(folder, "tcp", END) as said,
            collector(folder, mosquitto.port, readings),
            gateway(
                folder,
                mosquitto.port,
                said,
                schedule={"interval_min": 15},
                clock={"replay": said["clock"]},
            ) as process,
        ):
            publisher = RawPublisher(mosquitto.port)
            publisher.watch_acks()
            publisher.wait_for_acks(STATION, SLOTS, RUN_TIMEOUT_S)
            publisher.close()
            value = peak_mb(process.pid)
    return Figure(
        "gateway_rss",
        value,
        "MB",
        requirement=Requirement("value", "<=", 48),
        detail={
            "meters": METERS,
            "lines": LINES,
            "slots": SLOTS,
            "measured": "VmHWM of the process, delivering to a real collector",
        },
    )
