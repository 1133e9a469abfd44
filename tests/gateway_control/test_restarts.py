"""What a restart of the parts within the process must not break: watchdog, held scans, events."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.messages import Clock, Event, ScanKind, Status
from contract.quality import Quality
from gateway import clock as gateway_clock
from gateway import outbox_file, undated
from gateway.pulse import Pulse
from gateway.watchdog import RESTARTING, Signs
from tests.gateway_control.desk import DEADLINE_S, signed
from tests.gateway_control.site import NAME, SLOW_S, Site, site
from tests.gateway_control.test_commands import answered
from tests.gateway_control.test_remote_config import confirmed
from tests.gateway_delivery.collecting import until
from tests.gateway_delivery.test_watchdog import Manager, silent_s
from tests.gateway_lines.slave import Fault
from tests.services import Mosquitto

FEED_US = 150_000


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A service manager that the gateway finds in its environment."""
    heard = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(heard.path))
    monkeypatch.setenv("WATCHDOG_USEC", str(FEED_US))
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield heard
    heard.socket.close()


class SetClock:
    """Whether the computer's clock is synchronised, as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = Clock.UNSYNCED
        monkeypatch.setattr(gateway_clock.SystemClock, "state", lambda _self: self.state)
        monkeypatch.setattr(undated, "PATIENCE_S", 0.0)


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    return SetClock(monkeypatch)


async def held(folder: Path, running: Site) -> Status:
    """The newest status of a gateway that holds scans."""

    def holds() -> bool:
        usage = running.status.outbox
        return usage is not None and usage.held > 0

    await until(holds, f"a scan is held in {folder}")
    return running.status


def hold(folder: Path) -> None:
    """Have nothing sent before the clock is synchronised."""
    path = folder / "station.yaml"
    path.write_text(held_until_synced(path.read_text()))


def held_until_synced(text: str) -> str:
    """A station file under which nothing is sent before the clock is synchronised."""
    return text.replace("before_sync: send", "before_sync: hold")


def details(events: list[Event]) -> list[str]:
    return [event.detail for event in events]


# -- the service manager


@pytest.mark.asyncio
async def test_for_the_service_manager_a_restart_of_the_parts_is_none(
    tmp_path: Path, mosquitto: Mosquitto, manager: Manager
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        await until(lambda: manager.feeds() >= 2, "fed")
        running.desk.configure(signed(1, running.text(5), NAME))
        await confirmed(running, 1)
        await until(lambda: "0 of 5" in manager.hear()[-1]["STATUS"], "the new parts are told of")
        running.desk.send("c1", "reload")
        assert (await answered(running, "c1")).code == "done"
        fed = manager.feeds()
        await until(lambda: manager.feeds() > fed + 3, "fed by the third run")
        assert not any("STOPPING" in message for message in manager.said)
        running.stop.set()
        await until(lambda: "STOPPING" in manager.hear()[-1], "it is stopping")
    assert sum("READY" in message for message in manager.hear()) == 1
    assert sum("STOPPING" in message for message in manager.said) == 1
    assert not any("does not answer" in m.get("STATUS", "") for m in manager.said)


@pytest.mark.asyncio
async def test_a_card_that_takes_long_to_check_does_not_end_the_gateway(
    tmp_path: Path, mosquitto: Mosquitto, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte takes minutes, and the watchdog has one."""
    checking, checked = threading.Event(), threading.Event()
    check = outbox_file._check

    def slow(db: sqlite3.Connection) -> None:
        checking.set()
        assert checked.wait(DEADLINE_S), "nobody waits so long"
        check(db)

    async with site(tmp_path, mosquitto.port) as running:
        await until(lambda: manager.feeds() >= 1, "fed")
        monkeypatch.setattr(outbox_file, "_check", slow)
        running.desk.send("c1", "reload")
        await until(checking.is_set, "it is being checked")
        fed = manager.feeds()
        await until(lambda: manager.feeds() > fed + 2, "still fed")
        assert RESTARTING in manager.said[-1]["STATUS"]
        checked.set()
        await until(lambda: "meters that answered" in manager.hear()[-1]["STATUS"], "it runs again")


def test_a_restart_that_hangs_is_noticed() -> None:
    signs, other = Signs(), Pulse("line", 1.0)
    signs.begin([other], lambda: "all is well")
    assert (signs.pulses, signs.status(), signs.begun.is_set()) == ([other], "all is well", True)
    signs.end()
    (restart,) = signs.pulses
    assert signs.status() == RESTARTING
    assert silent_s(restart) is None
    restart._due_s = time.monotonic() - 1
    assert silent_s(restart) is not None
    signs.begin([other], lambda: "")
    assert silent_s(restart) is None


# -- the time


@pytest.mark.asyncio
async def test_what_is_held_outlives_a_restart_and_is_dated_after_it(
    tmp_path: Path, mosquitto: Mosquitto, set_clock: SetClock
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S, write=hold) as running:
        before = await held(tmp_path, running)
        running.desk.send("c1", "ping")
        assert (await answered(running, "c1")).code == "done"
        running.desk.send("c2", "read", "m1")
        looked = await answered(running, "c2")
        assert (looked.code, looked.detail.clock) == ("done", Clock.UNSYNCED)
        assert "not kept" in looked.text
        assert looked.detail.scan is not None
        assert looked.detail.scan.tables
        asked = len(running.slave.requests)
        running.desk.configure(signed(1, held_until_synced(running.text(3)), NAME))

        def is_on_trial() -> bool:
            status = running.status
            return status.online and status.config is not None and status.config.trial

        await until(is_on_trial, "version 1 is on trial")
        again = await held(tmp_path, running)
        assert again.epochs[0].epoch != before.epochs[0].epoch
        assert again.outbox is not None
        assert again.outbox.held == 1, "the next scan is due an interval after the first"
        assert len(running.slave.requests) == asked
        assert (running.scans(), running.events("command"), running.events("config")) == (
            [],
            [],
            [],
        )

        set_clock.state = Clock.SYNCED
        await confirmed(running, 1)
        await until(lambda: len(running.scans()) == 1, "the held scan")
        (scan,) = running.scans()
        assert scan.kind is ScanKind.INTERVAL
        quality = scan.tables[0].reads[0][3]
        assert quality & Quality.RESTAMPED
        await until(lambda: bool(running.events("command")), "the events of the first run")
    assert [text.split(":")[0] for text in details(running.events("command"))] == [
        "c1 ping by test",
        "c2 read by test",
    ]
    assert details(running.events("config"))[0] == "version 1 is begun, on trial"


@pytest.mark.asyncio
async def test_a_time_that_was_known_stays_known(
    tmp_path: Path, mosquitto: Mosquitto, set_clock: SetClock
) -> None:
    set_clock.state = Clock.SYNCED
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S, write=hold) as running:
        running.desk.send("c1", "read", "m1")
        assert (await answered(running, "c1")).code == "done"
        set_clock.state = Clock.UNSYNCED  # the time server is gone: the clock is off by little
        running.desk.configure(signed(1, held_until_synced(running.text(4)), NAME))
        await confirmed(running, 1)
        running.desk.send("c2", "read", "m4")
        second = await answered(running, "c2")
        assert "not kept" not in second.text
        await until(lambda: second.detail.scan in running.scans(), "the scan")
        usage = running.status.outbox
        assert usage is not None
        assert usage.held == 0


# -- events


@pytest.mark.asyncio
async def test_what_could_not_be_kept_is_told_by_the_next_run(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """A meter's trouble that only the next slot, a day later, would have brought."""
    async with site(tmp_path, mosquitto.port) as running:
        # On-demand reads tell the health book too.
        running.slave.always[2] = Fault("silent")
        running.desk.send("c1", "read", "m2")
        assert (await answered(running, "c1")).code == "failed"
        assert running.events("meter_degraded") == []
        running.desk.send("again", "reload")
        assert (await answered(running, "again")).code == "done"
        await until(lambda: bool(running.events("meter_degraded")), "told")
    (event,) = running.events("meter_degraded")
    assert (event.line, event.meter) == ("bridge-1", "m2")
