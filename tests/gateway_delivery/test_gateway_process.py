"""The gateway as a process: run, stopped, killed at any moment, within its memory; its commands."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract.messages import Scan, decode_batch
from gateway.cli import app
from tests.gateway_delivery.collecting import Collecting, until
from tests.gateway_delivery.replaying import ReplayServer
from tests.services import Mosquitto, free_port

START = datetime(2026, 1, 1, 17, tzinfo=UTC)
NAME = "PA25SL-T012"
METERS = 100
RSS_MAX_KB = 48_000_000 // 1024
COMMAND = [sys.executable, "-c", "from gateway.cli import app; app()", "run", "--config"]


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


def station_file(folder: Path, broker_port: int, clock_port: int, meters: int) -> Path:
    """A station whose lines lead nowhere: every meter is missing at once."""
    nowhere = free_port()
    listed = "\n".join(
        f"      - {{serial: m{n:03d}, address: {n}, profile: eastron-sdm120}}"
        for n in range(1, meters + 1)
    )
    path = folder / "station.yaml"
    path.write_text(
        f"""\
station: {NAME}
data: data
broker: {{host: 127.0.0.1, port: {broker_port}}}
schedule: {{index_window_min: 5}}
uplink: {{resend_after_s: 0.5}}
clock: {{replay: "127.0.0.1:{clock_port}"}}
lines:
  - name: bridge-1
    modbus_tcp: {{host: 127.0.0.1, port: {nowhere}}}
    meters:
{listed}
"""
    )
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    with (config.parent / "log").open("ab") as log:
        return subprocess.Popen([*COMMAND, str(config)], stderr=log)


def scans(collector: Collecting) -> list[Scan]:
    batches = [decode_batch(payload) for payload in list(collector.payloads.values())]
    return [batch.scan for batch in batches if batch.scan is not None]


def has_reached(collector: Collecting, at: datetime) -> bool:
    return any(scan.slot >= at for scan in scans(collector))


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_killed_at_random_moments_every_slot_is_delivered_once(
    tmp_path: Path, broker: Mosquitto
) -> None:
    chance = random.Random(7)
    clock = ReplayServer(START, START)
    await clock.start()
    config = station_file(tmp_path, broker.port, clock.port, 5)
    end = START + timedelta(days=3)
    with Collecting(broker.port, NAME) as collector:
        for part in range(1, 6):
            process = await asyncio.to_thread(start, config)
            await clock.extend(START + timedelta(hours=12 * part))
            news = START + timedelta(hours=12 * part - chance.randint(0, 11))
            await until(partial(has_reached, collector, news), "some slots of its own")
            await asyncio.sleep(chance.random() * 0.05)
            process.kill()
            await asyncio.to_thread(process.wait)
        process = await asyncio.to_thread(start, config)
        await clock.extend(end)
        try:
            await until(lambda: len(scans(collector)) >= 145, "all slots", deadline_s=60)
            await until(
                lambda: [s.outbox and s.outbox.waiting for s in collector.statuses[-1:]] == [0],
                "nothing waits",
            )
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
    await clock.stop()
    found = scans(collector)
    expected = [START + timedelta(minutes=30 * n) for n in range(145)]
    assert sorted(scan.slot for scan in found) == expected
    assert all(
        [serial for serial, _ in scan.missing] == [f"m{n:03d}" for n in range(1, 6)]
        for scan in found
    )
    assert {reason for scan in found for _, reason in scan.missing} == {"line_down"}
    epochs: dict[str, list[int]] = {}
    for epoch, seq in collector.payloads:
        epochs.setdefault(epoch, []).append(seq)
    assert all(sorted(seqs) == list(range(1, len(seqs) + 1)) for seqs in epochs.values())
    assert len(epochs) == 6


@pytest.mark.asyncio
async def test_it_is_quiet_stops_at_once_and_stays_small(tmp_path: Path, broker: Mosquitto) -> None:
    clock = ReplayServer(START, START + timedelta(hours=24))
    await clock.start()
    config = station_file(tmp_path, broker.port, clock.port, METERS)
    with Collecting(broker.port, NAME) as collector:
        process = await asyncio.to_thread(start, config)
        try:
            await until(lambda: len(scans(collector)) >= 49, "a day of slots")
            status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
        finally:
            began = asyncio.get_running_loop().time()
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, 10)
        assert code == 0
        assert asyncio.get_running_loop().time() - began < 5
        await until(lambda: not collector.statuses[-1].online, "said offline")
    await clock.stop()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) < RSS_MAX_KB
    lines = (tmp_path / "log").read_text().splitlines()
    events = [line for line in lines if "event=" in line and "line=" not in line]
    healthy = [line for line in events if "level=warning" not in line]
    assert len(healthy) == 3, "started, connected, stopped"


def test_a_second_gateway_on_the_same_data_says_why_it_cannot_start(
    tmp_path: Path, broker: Mosquitto
) -> None:
    config = station_file(tmp_path, broker.port, free_port(), 1)
    text = config.read_text()
    config.write_text("".join(line for line in text.splitlines(True) if "clock:" not in line))
    (tmp_path / "data").mkdir()
    first = start(config)
    try:
        deadline = 200
        while not (tmp_path / "data" / "outbox.sqlite3-wal").exists() and deadline:
            deadline -= 1
            subprocess.run(["sleep", "0.05"], check=True)
        second = subprocess.run(
            [*COMMAND, str(config)], capture_output=True, text=True, timeout=30, check=False
        )
        assert second.returncode == 1
        assert "in use by another gateway process; stop that one first" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        first.terminate()
        assert first.wait(10) == 0


def test_check_says_what_is_in_a_file(tmp_path: Path) -> None:
    config = station_file(tmp_path, 1883, 9000, 3)
    result = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert result.exit_code == 0
    assert f"station {NAME}, gateway {NAME}" in result.output
    assert "scans every 30 min; indices at 00:00 (Asia/Ho_Chi_Minh)" in result.output
    assert re.search(
        r"line bridge-1 \(127.0.0.1:\d+\): 3 meters, [3-9] requests a scan", result.output
    )
    assert "  2  m002  eastron-sdm120" in result.output


def test_check_lists_every_mistake_and_fails(tmp_path: Path) -> None:
    config = station_file(tmp_path, 1883, 9000, 3)
    config.write_text(
        config.read_text().replace("address: 3", "address: 2").replace("m001", "m002")
    )
    result = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{config}:") for line in lines)
    assert result.stdout == ""


@pytest.mark.parametrize(
    "modules",
    [
        ("pydantic", "sqlalchemy", "numpy", "duckdb"),  # the collector's
        ("rich", "pygments", "greenlet"),  # what structlog would bring; installed here, as rich is
    ],
)
def test_a_running_gateway_has_nothing_imported_that_it_does_not_need(
    modules: tuple[str, ...],
) -> None:
    code = (
        f"import sys, gateway.cli, gateway.app; print([m for m in {modules} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert result.stdout.strip() == "[]"
