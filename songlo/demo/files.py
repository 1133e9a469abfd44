"""The configuration files of a demo's programs, written as an installer would write them.

Only the formats that the programs document; nothing here knows how a program reads them.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from songlo.demo.clock import instant_text
from songlo.demo.options import ZONE, DemoOptions

BAUD = 9600
TURNAROUND_MS = 20


@dataclass(frozen=True, slots=True)
class SimulatedMeter:
    """A meter as the simulator announces it."""

    serial: str
    address: int
    model: str
    point: str
    role: str
    resolution_wh: int


@dataclass(frozen=True, slots=True)
class SimulatedLine:
    """A line as the simulator announces it: how to reach it, and its meters."""

    name: str
    connection: dict[str, dict[str, object]]
    meters: tuple[SimulatedMeter, ...]


@dataclass(frozen=True, slots=True)
class Station:
    """The virtual station: what the simulator printed when it was ready."""

    name: str
    clock: str
    lines: tuple[SimulatedLine, ...]

    @property
    def meters(self) -> tuple[SimulatedMeter, ...]:
        """All meters, line by line."""
        return tuple(meter for line in self.lines for meter in line.meters)


def station_of(ready: str) -> Station:
    """The station that the simulator's one line of JSON describes."""
    data = json.loads(ready)
    lines = []
    for line in data["lines"]:
        if line["kind"] == "tcp":
            connection = {"modbus_tcp": {"host": line["host"], "port": line["port"]}}
        else:
            connection = {"modbus_rtu": {"device": line["device"], "baud": line["baud"]}}
        meters = tuple(
            SimulatedMeter(
                serial=meter["serial"],
                address=meter["address"],
                model=meter["model"],
                point=meter["point"],
                role=meter["role"],
                resolution_wh=meter["resolution_wh"],
            )
            for meter in line["meters"]
        )
        lines.append(SimulatedLine(line["name"], connection, meters))
    head = next(meter for line in lines for meter in line.meters if meter.role == "head")
    return Station(name=head.point.split("/")[0], clock=data["clock"], lines=tuple(lines))


def simulator_file(options: DemoOptions, directory: Path) -> Path:
    """Write the simulator's configuration; returns its path."""
    line = {"count": options.line_count, "kind": options.transport.value}
    if options.transport.value == "rtu":
        line |= {"baud": BAUD, "turnaround_ms": TURNAROUND_MS}
    config: dict[str, object] = {
        "start": instant_text(options.start_at),
        "end": instant_text(options.end_at),
        "zone": ZONE,
        "lines": line,
        "directory": str(directory),
    }
    if options.grid is not None:
        config["grid"] = str(options.grid.resolve())
    if options.load is not None:
        config["load"] = str(options.load.resolve())
    if options.model is not None:
        config["model"] = options.model
    return write_json(directory / "simulator.yaml", config)


def station_file(
    options: DemoOptions, station: Station, broker: tuple[str, int], directory: Path
) -> Path:
    """Write the gateway's station file; returns its path."""
    index_at = sorted({"00:00", *(f"{at:%H:%M}" for at in (options.start_at, options.end_at))})
    config: dict[str, object] = {
        "station": station.name,
        "zone": ZONE,
        "data": str(directory / "gateway"),
        "schedule": {"interval_min": options.interval_min, "index_at": index_at},
        "broker": {"host": broker[0], "port": broker[1]},
        "uplink": {"resend_after_s": options.resend_after_s},
        "clock": {"replay": station.clock},
        "lines": [
            {
                "name": line.name,
                **line.connection,
                "meters": [
                    {
                        "serial": meter.serial,
                        "address": meter.address,
                        "profile": meter.model,
                        "head": meter.role == "head",
                    }
                    for meter in line.meters
                ],
            }
            for line in station.lines
        ],
    }
    return write_json(directory / "station.yaml", config)


def collector_file(options: DemoOptions, broker: tuple[str, int], directory: Path) -> Path:
    """Write the collector's configuration; returns its path."""
    config: dict[str, object] = {
        "zone": ZONE,
        "ledger": ledger_url(options, directory),
        "readings": options.readings
        or {"store": "duckdb", "path": str(directory / "reads.duckdb")},
        "broker": {
            "host": broker[0],
            "port": broker[1],
            "client_id": "songlo-collector",
            "shared_group": options.shared_group,
        },
        "api": {"host": "127.0.0.1", "port": options.api_port},
    }
    return write_json(directory / "collector.yaml", config)


def ledger_url(options: DemoOptions, directory: Path) -> str:
    """The ledger that the collector is given."""
    return options.ledger_url or f"sqlite:///{directory / 'ledger.sqlite3'}"


def registry_files(options: DemoOptions, station: Station, directory: Path) -> Path:
    """Write the registry's CSV files; returns their folder."""
    folder = directory / "registry"
    folder.mkdir(exist_ok=True)
    _write_csv(
        folder / "stations.csv",
        ("station", "name", "commune", "capacity_kva"),
        [(station.name, station.name, "", "")],
    )
    _write_csv(
        folder / "points.csv",
        ("point", "station", "role", "name"),
        [(meter.point, station.name, meter.role, meter.point) for meter in station.meters],
    )
    _write_csv(
        folder / "meters.csv",
        ("meter", "model", "resolution_wh", "roll_over_wh"),
        [(meter.serial, meter.model, meter.resolution_wh, "") for meter in station.meters],
    )
    _write_csv(
        folder / "installations.csv",
        ("point", "meter", "installed_at", "removed_at", "install_index_wh", "removal_index_wh"),
        [
            (meter.point, meter.serial, instant_text(options.start_at), "", "", "")
            for meter in station.meters
        ],
    )
    return folder


def write_json(path: Path, config: dict[str, object]) -> Path:
    """Write a configuration; returns its path."""
    # JSON is YAML, and needs no YAML library here.
    path.write_text(json.dumps(config, indent=1) + "\n")
    return path


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
