"""What systemd is told of the collector, and when its watchdog is fed."""

import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from collector.intake import worker as worker_module
from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import ReadBlock, Refused
from collector.supervision import Supervision
from tests.intake.kit import Gateway, TroubledStore, intake, scan, until
from tests.intake.test_collector_command import STOP_MAX_S, Site
from tests.services import Mosquitto


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.said: list[str] = []

    def hear(self) -> list[str]:
        with suppress(BlockingIOError):
            while True:
                self.said.append(self.socket.recv(4096).decode())
        return self.said


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    heard = Manager(tmp_path / "notify")
    yield heard
    heard.socket.close()


def test_it_is_fed_three_times_in_a_timeout_and_not_while_something_hangs(manager: Manager) -> None:
    now = [0.0]
    supervision = Supervision(str(manager.path), 30, lambda: now[0])
    for second in range(30):
        now[0] = float(second)
        supervision.look(is_ready=second >= 5, hangs=False)
    assert manager.hear() == ["WATCHDOG=1", "READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    for second in range(30, 60):
        now[0] = float(second)
        supervision.look(is_ready=True, hangs=True)
    assert len(manager.hear()) == 4
    supervision.look(is_ready=True, hangs=False)
    supervision.stopping()
    assert manager.hear()[4:] == ["WATCHDOG=1", "STOPPING=1"]


def test_without_a_service_manager_or_with_one_that_is_gone_it_goes_on(tmp_path: Path) -> None:
    Supervision("").look(is_ready=True, hangs=False)
    Supervision(str(tmp_path / "gone"), 30).look(is_ready=True, hangs=False)


def test_the_collector_says_ready_is_fed_without_a_broker_and_says_that_it_stops(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto
) -> None:
    site = Site(tmp_path, mosquitto.port)
    mosquitto.stop()
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    site.run("migrate")
    with site.running() as process:
        until(lambda: "READY=1" in manager.hear(), "never ready", 60)
        assert site.answers(), "ready means that the API answers"
        until(lambda: manager.hear().count("WATCHDOG=1") >= 5, "not fed", 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_MAX_S) == 0
    assert manager.hear()[-1] == "STOPPING=1"


class HangingStore(TroubledStore):
    """Never returns from an append until it is let go."""

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        self.attempts += 1
        assert go_on.wait(60)
        return super().append(blocks)


go_on = threading.Event()


def test_intake_hangs_in_a_store_that_never_returns_and_not_while_one_is_away(
    sqlite_ledger: Ledger,
    store: DuckDbStore,
    mosquitto: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "STEP_S_MAX", 2.0)
    away = TroubledStore(store, down=True)
    with (
        intake(sqlite_ledger, away, mosquitto.port) as running,
        Gateway(mosquitto.port) as gateway,
    ):
        gateway.send(1, scan(1))
        until(lambda: away.attempts >= 3, "not tried again", 30)
        assert not running.worker.hangs
        away.down = False
        gateway.wait_acked(1)
    hanging = HangingStore(store)
    with (
        intake(sqlite_ledger, hanging, mosquitto.port) as running,
        Gateway(mosquitto.port, "GW2") as gateway,
    ):
        gateway.send(1, scan(1))
        until(lambda: running.worker.hangs, "nobody notices", 30)
        go_on.set()
        until(lambda: not running.worker.hangs, "never goes on", 30)
        gateway.wait_acked(1)
