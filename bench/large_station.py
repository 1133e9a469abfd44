"""A large simulated station, and a gateway process that reads it: what two figures have in common.

250 meters of mixed models on 8 lines, from three simulators, as the largest built-in network has
118 customers. It requires nothing of what it measures.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.programs import running, simulator, songlo
from tests.services import ServerProcess

STATION = "PA25SL-T250"
METERS = 250
LINES = 8
METERS_PER_LINE_MAX = 32  # unit loads that RS-485 carries without a repeater

# The full lines of each: 3 + 3 + 2. The clock is that of the first.
_GRIDS = ("LV3.101", "LV2.101", "LV2.101")


@contextmanager
def large_station(folder: Path, kind: Literal["tcp", "rtu"], end: str) -> Iterator[dict[str, Any]]:
    """The station as one simulator would describe it: `clock`, and `lines` with their meters."""
    with ExitStack() as stack:
        said = []
        for number, grid in enumerate(_GRIDS, start=1):
            part = folder / f"simulator-{number}"
            part.mkdir()
            lines = {"kind": kind, "count": 4, "meters_per_line": METERS_PER_LINE_MAX}
            config = {"grid": grid, "start": "2026-03-01", "end": end, "lines": lines}
            said.append(stack.enter_context(simulator(part, config)))
        full = [
            line
            for part in said
            for line in part["lines"]
            if len(line["meters"]) == METERS_PER_LINE_MAX
        ][:LINES]
        assert len(full) == LINES
        for number, line in enumerate(full, start=1):
            line["name"] = f"line-{number}"
            # The simulators give the same serials; a meter has one of its own.
            for meter in line["meters"]:
                meter["serial"] = f"{number}{meter['serial']}"
        for line in full[: LINES * METERS_PER_LINE_MAX - METERS]:
            line["meters"].pop()
        yield {"clock": said[0]["clock"], "lines": full}


@contextmanager
def gateway(
    folder: Path, port: int, said: dict[str, Any], **more: object
) -> Iterator[ServerProcess]:
    """`songlo gateway run` for that station; `more` is added to its station file."""
    path = folder / "station.yaml"
    content = {
        "station": STATION,
        "data": str(folder / "gateway"),
        "broker": {"host": "127.0.0.1", "port": port},
        "lines": [_line(line) for line in said["lines"]],
        **more,
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


def _line(line: dict[str, Any]) -> dict[str, object]:
    endpoint: dict[str, object]
    if line["kind"] == "tcp":
        endpoint = {"modbus_tcp": {"host": line["host"], "port": line["port"]}}
    else:
        endpoint = {"modbus_rtu": {"device": line["device"], "baud": line["baud"]}}
    meters = [
        {
            "serial": meter["serial"],
            "address": meter["address"],
            "profile": meter["model"],
            "head": meter["role"] == "head",
        }
        for meter in line["meters"]
    ]
    return {"name": line["name"], **endpoint, "meters": meters}
