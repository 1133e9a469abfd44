"""`songlo collector` as people and services run it: real processes, exit codes and messages."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.ledger import Ledger
from contract.messages import Batch
from tests.intake.kit import SLOT, Gateway, scan, until
from tests.services import Mosquitto
from tests.services.process import free_port

pytestmark = pytest.mark.timeout(120)

STOP_MAX_S = 10.0


class Site:
    """A folder with a collector file and what it names."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self.folder = folder
        self.api_port = free_port()
        self.file = folder / "collector.yaml"
        self.file.write_text(
            f"ledger: sqlite:///{folder}/ledger.db\n"
            f"readings: {{store: duckdb, path: {folder}/readings.duckdb}}\n"
            f"broker: {{host: 127.0.0.1, port: {broker_port}}}\n"
            "intake: {tick_s: 0.2}\n"
            f"api: {{port: {self.api_port}}}\n"
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "songlo", "collector", *arguments, "--config", str(self.file)]

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command("run", *arguments), stderr=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.api_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    def answers(self) -> bool:
        try:
            return bool(self.get("/health"))
        except OSError:
            return False


def _send_until_acked(gateway: Gateway, batch: Batch | bytes) -> None:
    """What a gateway does while its collector is not there yet."""

    def acked() -> bool:
        gateway.send(1, batch)
        return gateway.upto() == 1

    until(acked, "nothing is taken", 60)


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> Site:
    return Site(tmp_path, mosquitto.port)


def test_a_collector_without_a_schema_says_what_to_do(site: Site) -> None:
    said = site.run("run", code=1)
    assert "songlo collector migrate" in said


def test_from_migration_to_an_orderly_end(site: Site, mosquitto: Mosquitto) -> None:
    assert "up to date" in site.run("migrate")
    assert site.run("key", "add", "desk", "--scope", "read").startswith("sgl_")
    with site.running() as process:
        until(site.answers, "the API does not answer", 60)
        until(lambda: "songlo_intake_connected 1.0" in site.get("/metrics"), "not connected", 30)
        with Gateway(mosquitto.port) as gateway:
            for seq in (1, 2, 3):
                gateway.send(seq, scan(seq))
            gateway.wait_acked(3)
            planned = site.run("replay", "--from", "2026-01-01", "--to", "2027-01-01", "--dry-run")
            assert "would be reopened: 3 batches" in planned
            # The store is the running process's: the command says so instead of waiting.
            assert "DuckDB" in site.run("verify", code=1)
            assert "everything agrees" in site.run("verify", "--ledger-only")
        assert 'songlo_intake_batches_total{outcome="stored"} 3.0' in site.get("/metrics")
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(STOP_MAX_S) == 0
        assert time.monotonic() - began < STOP_MAX_S
    assert "6 delivered, in the reading store: 6" in site.run("verify")
    assert "0 repeats" in site.run("compact")


def test_health_tells_that_the_broker_is_away_and_that_it_is_back(
    site: Site, mosquitto: Mosquitto
) -> None:
    def parts() -> dict[str, dict[str, str]]:
        return dict(json.loads(site.get("/health"))["parts"])

    site.run("migrate")
    with site.running():
        until(site.answers, "the API does not answer", 60)
        until(lambda: parts()["broker"]["status"] == "ok", "not connected", 30)
        assert parts()["intake"]["status"] == "ok"
        mosquitto.kill()
        until(lambda: parts()["broker"]["status"] == "failing", "nobody notices", 30)
        health = json.loads(site.get("/health"))
        assert health["status"] == "degraded"
        assert "see that it runs" in health["parts"]["broker"]["detail"]
        mosquitto.start()
        until(lambda: parts()["broker"]["status"] == "ok", "not connected again", 60)


def test_keys_are_listed_and_revoked(site: Site) -> None:
    site.run("migrate")
    assert "songlo collector key add" in site.run("key", "list")
    key = site.run("key", "add", "desk", "--scope", "snapshot", "--days", "7").strip()
    listed = site.run("key", "list")
    assert "desk" in listed
    assert "snapshot" in listed
    assert "expires 2" in listed
    assert key.split("_")[1] in listed
    assert key.split("_")[2] not in listed
    assert "desk is revoked" in site.run("key", "revoke", "desk")
    assert "revoked 2" in site.run("key", "list")
    assert "key list" in site.run("key", "revoke", "desk", code=1)


def test_an_entry_in_quarantine_is_shown_and_closed(site: Site, mosquitto: Mosquitto) -> None:
    site.run("migrate")
    with site.running("--role", "intake"), Gateway(mosquitto.port) as gateway:
        _send_until_acked(gateway, b"{\xff nothing")
        listed = site.run("quarantine", "list")
        number = listed.split()[0]
        shown = site.run("quarantine", "show", number)
        assert "not_json" in shown
        assert "open" in shown
        assert "nothing" in shown
        assert "reason" in site.run("quarantine", "close", number, "--reason", "", code=1)
        site.run("quarantine", "close", number, "--reason", "a lamp, not a meter")
        assert "nothing is in quarantine" in site.run("quarantine", "list")
        assert "resolved" in site.run("quarantine", "show", number)


def test_intake_without_the_api(site: Site, mosquitto: Mosquitto) -> None:
    site.run("migrate")
    with site.running("--role", "intake") as process, Gateway(mosquitto.port) as gateway:
        _send_until_acked(gateway, scan(1))
        with pytest.raises(urllib.error.URLError):
            site.get("/health")
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_MAX_S) == 0


def test_a_killed_collector_goes_on_where_it_was(site: Site, mosquitto: Mosquitto) -> None:
    site.run("migrate")
    with Gateway(mosquitto.port) as gateway:
        with site.running("--role", "intake") as process:
            _send_until_acked(gateway, scan(1))
            for seq in range(2, 40):
                gateway.send(seq, scan(seq))
            process.kill()
        with site.running("--role", "intake") as process:
            gateway.wait_acked(39, timeout_s=60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_MAX_S) == 0
    assert "78 delivered, in the reading store: 78" in site.run("verify")


def test_a_ledger_that_is_behind_refuses_until_restored(site: Site, mosquitto: Mosquitto) -> None:
    site.run("migrate")
    with Gateway(mosquitto.port) as gateway:
        ack = {"generation": 5, "epochs": [{"epoch": "a" * 32, "upto": 9, "also": []}]}
        gateway.publish("songlo/v1/GW1/ack", json.dumps(ack).encode(), retain=True)
        said = site.run("run", "--role", "intake", code=1)
        assert "GW1" in said
        assert "songlo collector restored" in said
        assert "would send" in site.run("restored", "--dry-run")
        assert "GW1: generation" in site.run("restored")
        with site.running("--role", "intake"):
            until(lambda: gateway.acks[-1].generation > 5, "the generation was not raised", 60)


def test_quarantine_from_the_command_line(site: Site, mosquitto: Mosquitto) -> None:
    site.run("migrate")
    assert "nothing is in quarantine" in site.run("quarantine", "list")
    with site.running("--role", "intake"), Gateway(mosquitto.port) as gateway:
        _send_until_acked(gateway, b"poison")
        said = site.run("quarantine", "list")
        assert "not_json" in said
        assert f"{gateway.epoch}/1" in said
        assert "1 entries" in site.run("quarantine", "retry", "1")
        assert "no open quarantine entry 99" in site.run("quarantine", "retry", "99", code=1)


def test_the_registry_from_files(site: Site, tmp_path: Path) -> None:
    site.run("migrate")
    folder = tmp_path / "registry"
    folder.mkdir()
    assert "no registry files" in site.run("registry", "import", str(folder), code=1)
    (folder / "stations.csv").write_text("station,name,commune,capacity_kva\nS1,One,Xã A,400\n")
    (folder / "points.csv").write_text("point,station,role,name\nP1,S1,head,Head\n")
    (folder / "meters.csv").write_text("meter,model,resolution_wh,roll_over_wh\nM1,abb-b23,10,\n")
    (folder / "installations.csv").write_text(
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        "P1,M1,2026-01-01,,0,\n"
    )
    assert "would import" in site.run("registry", "import", str(folder), "--dry-run")
    assert "imported" in site.run("registry", "import", str(folder))
    (folder / "points.csv").write_text("point,station,role,name\nP2,S9,head,Head\n")
    said = site.run("registry", "import", str(folder), code=1)
    assert "points.csv, row 2" in said
    assert "nothing was imported" in said


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00"])
def test_instants_that_are_none(text: str, site: Site) -> None:
    site.run("migrate")
    said = site.run("replay", "--from", text, "--to", "2026-02-01", code=1)
    assert "hint: " in said


def test_a_database_command_needs_no_broker(tmp_path: Path) -> None:
    site = Site(tmp_path, free_port())
    site.run("migrate")
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.check_schema()
    ledger.close()
    assert "reopened: 0 batches" in site.run(
        "replay", "--from", SLOT.isoformat(), "--to", "2026-02-01"
    )
