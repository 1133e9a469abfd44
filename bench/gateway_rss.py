"""Figure `gateway_rss`: the most memory that a gateway with 100 meters ever takes.

A real `songlo gateway run` reads the simulated LV2.101 over Modbus TCP, at replay speed, and
delivers through Mosquitto to a real collector: three days at half-hour slots.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.figure import Figure, Requirement
from bench.programs import broker, collector, running, simulator, songlo
from bench.raw_mqtt import RawPublisher
from tests.services import ServerProcess

STATION = "PA25SL-T101"
DAYS = 3
END = "2026-03-04"
SLOTS = DAYS * 48
RUN_TIMEOUT_S = 300.0
BYTES_PER_MB = 1_000_000


def measure() -> Figure:
    """The figure: VmHWM, which the kernel keeps, when everything is delivered."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        folder = Path(name)
        config = {"start": "2026-03-01", "end": END, "lines": {"kind": "tcp", "count": 4}}
        readings = {"store": "duckdb", "path": str(folder / "reads.duckdb")}
        with (
            simulator(folder, config) as said,
            collector(folder, mosquitto.port, readings),
            _gateway(folder, mosquitto.port, said) as gateway,
        ):
            meters = sum(len(line["meters"]) for line in said["lines"])
            publisher = RawPublisher(mosquitto.port)
            publisher.watch_acks()
            publisher.wait_for_acks(STATION, SLOTS, RUN_TIMEOUT_S)
            publisher.close()
            status = Path(f"/proc/{gateway.pid}/status").read_text()
    return Figure(
        "gateway_rss",
        # The kernel counts both lazily: the present can seem to be above the high-water mark.
        max(_kib(status, "VmHWM"), _kib(status, "VmRSS")) * 1024 / BYTES_PER_MB,
        "MB",
        requirement=Requirement("value", "<=", 64),
        detail={
            "meters": meters,
            "slots": SLOTS,
            "measured": "VmHWM of the process",
        },
    )


@contextmanager
def _gateway(folder: Path, port: int, said: dict[str, Any]) -> Iterator[ServerProcess]:
    path = folder / "station.yaml"
    content = {
        "station": STATION,
        "data": str(folder / "gateway"),
        "broker": {"host": "127.0.0.1", "port": port},
        "clock": {"replay": said["clock"]},
        "lines": [
            {
                "name": line["name"],
                "modbus_tcp": {"host": line["host"], "port": line["port"]},
                "meters": [
                    {
                        "serial": meter["serial"],
                        "address": meter["address"],
                        "profile": meter["model"],
                        "head": meter["role"] == "head",
                    }
                    for meter in line["meters"]
                ],
            }
            for line in said["lines"]
        ],
    }
    path.write_text(yaml.safe_dump(content))
    (folder / "gateway").mkdir()
    process = ServerProcess(
        "gateway",
        songlo("gateway", "run", "--config", str(path)),
        folder / "gateway.log",
        lambda: True,
    )
    with running(process):
        yield process


def _kib(status: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1])
