"""The gateway as a process, killed at random while it changes its station file."""

import asyncio
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from contract.messages import ConfigStatus
from tests.gateway_control.desk import PUBLIC, Desk, signed
from tests.gateway_control.site import NAME, SLOW_S, events_of, station_text, thousands
from tests.gateway_delivery.collecting import Collecting, until
from tests.gateway_lines.slave import Slave, TcpSlave
from tests.services import Mosquitto

COMMAND = [sys.executable, "-c", "from gateway.cli import app; app()", "run", "--config"]
KILLS = 6


def newest(collector: Collecting) -> ConfigStatus:
    said = [status.config for status in collector.statuses if status.config]
    return said[-1] if said else ConfigStatus()


def start(path: Path) -> "subprocess.Popen[bytes]":
    with (path.parent / "log").open("ab") as log:
        return subprocess.Popen([*COMMAND, str(path)], stderr=log)


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_killed_while_it_changes_its_station_file(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Some new version is retained at each start; the process dies somewhere on the way."""
    chance = random.Random(3)
    (tmp_path / "config.pub").write_text(PUBLIC)
    path = tmp_path / "station.yaml"
    async with TcpSlave(Slave(range(1, 20), words=thousands)) as server:
        text = partial(station_text, mosquitto.port, server.port, confirm_s=SLOW_S)
        path.write_text(text())
        with Collecting(mosquitto.port, NAME) as collector, Desk(mosquitto.port, NAME) as desk:
            for version in range(1, KILLS + 1):
                desk.configure(signed(version, text(3 + version), NAME))
                count = len(collector.statuses)
                process = await asyncio.to_thread(start, path)
                await until(lambda count=count: len(collector.statuses) > count, "it runs")  # type: ignore[misc]  # bound now
                await asyncio.sleep(chance.random() * 0.15)
                process.kill()
                await asyncio.to_thread(process.wait)
            process = await asyncio.to_thread(start, path)
            try:
                expected = ConfigStatus(version=KILLS, highest=KILLS)
                await until(lambda: newest(collector) == expected, "the newest is confirmed")
                desk.send("c1", "read", f"m{3 + KILLS}")
                await until(lambda: bool(desk.of("c1")), "an answer")
                assert desk.of("c1")[0].code == "done"
            finally:
                process.terminate()
                assert await asyncio.to_thread(process.wait, 10) == 0
            details = [event.detail for event in events_of(collector, "config")]
            assert not any("refused" in detail or "taken back" in detail for detail in details)
