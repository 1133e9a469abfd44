"""The gateway's commands as child processes, and station files for them."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

PROGRAM = ("-c", "from gateway.cli import app; app(prog_name='songlo gateway')")
ENVIRONMENT = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "300"}
PATIENCE_S = 50.0


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """`songlo gateway ARGUMENTS`, started."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *PROGRAM,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )


async def run(*arguments: str) -> tuple[int, str, str]:
    """Its exit code, standard output, and standard error as one line."""
    process = await start(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return process.returncode, out.decode(), " ".join(err.decode().split())


def station_file(folder: Path, *lines: dict[str, Any], profiles: Sequence[str] = ()) -> Path:
    """A station file with these lines, and folders of profiles of its own."""
    content = {
        "station": "T012",
        "data": "data",
        "broker": {"host": "127.0.0.1", "port": 1},
        "lines": list(lines),
        "profiles": list(profiles),
    }
    path = folder / "station.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def rtu_line(device: Path, **meters: str) -> dict[str, Any]:
    """A line on a serial port with meters `M3="eastron-sdm120"`: serial M3, address 3."""
    return {
        "name": "rs485-1",
        "modbus_rtu": {"device": str(device)},
        "meters": [
            {"serial": serial, "address": int(serial[1:]), "profile": profile}
            for serial, profile in meters.items()
        ],
    }
