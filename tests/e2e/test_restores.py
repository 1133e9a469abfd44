"""What comes back from a copy or not at all: the snapshot is the same, and losses are listed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collector.readings.duckdb_store import DuckDbStore
from songlo.demo.system import System
from tests.e2e.driver import (
    Ended,
    copy_sqlite,
    slot_at,
    system_in,
    three_days,
    wait_for_end,
    wait_for_slot,
    wait_until,
)
from tests.services import Mosquitto

pytestmark = pytest.mark.timeout(400)


def collector_command(system: System, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `songlo collector …` with the system's collector file, as an operator would."""
    config = str(system.directory / "collector.yaml")
    return subprocess.run(
        [sys.executable, "-m", "songlo", "collector", *words, "--config", config],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def stored_reads(system: System) -> int:
    """Distinct meter reads in the reading store, counted after the collector has ended."""
    system.collector.stop()
    store = DuckDbStore(system.directory / "reads.duckdb")
    options = system.options
    try:
        return store.count(options.start_at, slot_at(options, options.slot_count + 1))
    finally:
        store.close()


def test_a_gateway_restored_from_a_copy_lists_what_was_lost(
    undisturbed: Ended, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    options = three_days(broker=(mosquitto.host, mosquitto.port))
    with system_in(tmp_path, options) as system:
        wait_for_slot(system, 40)
        system.gateway.kill()
        data, copy = tmp_path / "gateway", tmp_path / "copy"
        shutil.copytree(data, copy)
        system.gateway.start()
        wait_for_slot(system, 70)
        # From here on nothing leaves the gateway; the reads of these slots will be lost with it.
        mosquitto.kill()
        wait_for_slot(system, 85)
        system.gateway.kill()
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        mosquitto.start()
        system.gateway.start()
        ended = wait_for_end(system)
        stored = stored_reads(system)
    assert ended.lines == undisturbed.lines
    lost = ended.progress.due - stored
    assert 10 * 100 <= lost <= 20 * 100
    assert ended.progress.read == stored
    assert ended.progress.in_gaps == lost


def test_a_ledger_restored_from_a_backup_is_refilled_by_the_gateways(
    undisturbed: Ended, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    options = three_days(broker=(mosquitto.host, mosquitto.port))
    ledger, backup = tmp_path / "ledger.sqlite3", tmp_path / "backup.sqlite3"
    with system_in(tmp_path, options) as system:
        wait_for_slot(system, 40)
        copy_sqlite(ledger, backup)
        wait_for_slot(system, 90)
        system.collector.kill()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{ledger}{suffix}").unlink(missing_ok=True)
        shutil.copy(backup, ledger)

        system.collector.start()
        wait_until(lambda: not system.collector.running, "the collector to refuse to start")
        assert "songlo collector restored" in system.collector.log_tail()

        restored = collector_command(system, "restored")
        assert restored.returncode == 0, restored.stderr
        system.collector.start()
        ended = wait_for_end(system)
    assert ended.progress.read == ended.progress.due
    assert ended.lines == undisturbed.lines
    assert ended.sha256 == undisturbed.sha256


def test_a_lost_reading_store_is_refilled_by_a_replay(
    undisturbed: Ended, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    options = three_days(broker=(mosquitto.host, mosquitto.port))
    with system_in(tmp_path, options) as system:
        wait_for_slot(system, 80)
        system.collector.kill()
        for path in tmp_path.glob("reads.duckdb*"):
            path.unlink()
        day = f"{options.start_at:%Y-%m-%d}"
        replayed = collector_command(
            system, "replay", "--from", day, "--to", f"{options.end_at:%Y-%m-%d}"
        )
        assert replayed.returncode == 0, replayed.stderr
        system.collector.start()
        ended = wait_for_end(system)
        stored = stored_reads(system)
    assert stored == ended.progress.due == ended.progress.read
    assert ended.lines == undisturbed.lines
    assert ended.sha256 == undisturbed.sha256
