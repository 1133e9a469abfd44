"""The station file and the registry of the compose demo, as they follow from its simulator file.

`python -m tests.compose.demo_files` writes them anew into firmware_config/demo.
"""

import csv
import io
from datetime import UTC

import yaml

from simulator.config import load_config
from simulator.station import build_station
from tests.compose.plain import ROOT

FOLDER = ROOT / "firmware_config" / "demo"
STATION = "DEMO-T001"
_HEADER = (
    "# Written by `python -m tests.compose.demo_files` from simulator.yaml beside it: the gateway\n"
    "# of docker-compose.yml's profile `demo`, which comes to the broker with a certificate.\n"
)


def rendered() -> dict[str, str]:
    """The text of each file, by its path under firmware_config/demo."""
    config = load_config(FOLDER / "simulator.yaml")
    station = build_station(config)
    lines = [
        {
            "name": name,
            "modbus_tcp": {"host": "simulator", "port": config.lines.port + number},
            "meters": [
                {"serial": m.serial, "address": m.address, "profile": m.model}
                | ({"head": True} if m.role == "head" else {})
                for m in meters
            ],
        }
        for number, (name, meters) in enumerate(station.lines)
    ]
    file = {
        "station": STATION,
        "zone": config.zone,
        "data": "/var/lib/songlo-gateway",
        "schedule": {"interval_min": 1},
        "broker": {
            "host": "broker",
            "port": 8883,
            "tls": {
                "ca_file": "/etc/songlo/tls/broker-ca.pem",
                "certificate_file": "/etc/songlo/tls/gateway.pem",
                "key_file": "/etc/songlo/tls/gateway.key",
            },
        },
        "lines": lines,
    }
    installed_at = config.instant(config.start).astimezone(UTC).isoformat()
    return {
        "station.yaml": _HEADER + yaml.safe_dump(file, sort_keys=False, width=100),
        "registry/stations.csv": _table(
            "station,name,commune,capacity_kva", [(STATION, "Trạm mô phỏng", "", "")]
        ),
        "registry/points.csv": _table(
            "point,station,role,name",
            [(m.point, STATION, m.role, m.point) for m in station.meters],
        ),
        "registry/meters.csv": _table(
            "meter,model,resolution_wh,roll_over_wh",
            [(m.serial, m.model, m.resolution_wh, "") for m in station.meters],
        ),
        "registry/installations.csv": _table(
            "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh",
            [(m.point, m.serial, installed_at, "", "", "") for m in station.meters],
        ),
    }


def _table(header: str, rows: list[tuple[object, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return out.getvalue()


def write() -> None:
    """Write every file."""
    for name, text in rendered().items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
