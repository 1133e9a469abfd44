"""The watchdog: fed while every task answers, a full disk included, and not when one hangs."""

import asyncio
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from contract.messages import LineStatus
from gateway.health_book import HealthBook
from gateway.keeping import COMMIT_TRIES_MAX, Keeper
from gateway.lines.owner import LineOwner
from gateway.lines.queue import Job
from gateway.mqtt import Broker
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.polling import Poller
from gateway.ports import MeterValues, Part, Priority
from gateway.pulse import Pulse
from gateway.scan import Scanner
from gateway.schedule import Schedule
from gateway.station_file import UplinkSection
from gateway.undated import Undated
from gateway.uplink import Identity, Uplink
from gateway.watchdog import ServiceManager, watch
from tests.gateway_delivery.building import MIB, open_outbox
from tests.gateway_delivery.collecting import Collecting, until
from tests.gateway_delivery.fakes import FakeLine, SteppedClock, meters
from tests.gateway_delivery.replaying import ReplayServer
from tests.gateway_delivery.test_gateway_process import COMMAND, NAME, START, scans, station_file
from tests.services import Mosquitto, free_port

SCHEDULE = Schedule(ZoneInfo("Asia/Ho_Chi_Minh"), 30, (0,), index_window_min=180, index_retry_s=60)
LONG_S = 100_000.0  # more than any step of a task may take


class Time:
    """Monotonic seconds that only the test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def pulse_like(self, pulse: Pulse) -> Pulse:
        """A pulse with the bound of a real one, on this time."""
        return Pulse(pulse.name, pulse._bound_s, lambda: self.s)


def silent_s(pulse: Pulse) -> float | None:
    """Asked anew at each place."""
    return pulse.silent_s


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.said: list[dict[str, str]] = []

    def hear(self) -> list[dict[str, str]]:
        """Everything that was said so far."""
        with suppress(BlockingIOError):
            while True:
                lines = self.socket.recv(4096).decode().splitlines()
                self.said.append(dict(line.split("=", 1) for line in lines))
        return self.said

    def feeds(self) -> int:
        return sum("WATCHDOG" in message for message in self.hear())


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    heard = Manager(tmp_path / "notify")
    yield heard
    heard.socket.close()


# -- pulses and the socket


def test_a_pulse_is_late_after_its_bound_and_never_while_it_rests() -> None:
    time = Time()
    pulse = Pulse("task", 10, lambda: time.s)
    time.s = LONG_S
    assert silent_s(pulse) is None, "not begun"
    pulse.beat()
    time.s += 10
    assert silent_s(pulse) is None
    time.s += 1
    assert silent_s(pulse) == 11
    pulse.beat(extra_s=5)
    time.s += 15
    assert silent_s(pulse) is None
    time.s += 1
    assert silent_s(pulse) == 16
    pulse.rest()
    time.s += LONG_S
    assert silent_s(pulse) is None


@pytest.mark.asyncio
async def test_the_watchdog_is_fed_while_all_pulses_are_in_time(manager: Manager) -> None:
    time = Time()
    pulses = [Pulse("one", 10, lambda: time.s), Pulse("two", 10, lambda: time.s)]
    for pulse in pulses:
        pulse.beat()
    service = ServiceManager(str(manager.path), watchdog_s=0.03)
    task = asyncio.get_running_loop().create_task(watch(service, pulses, lambda: "all is well"))
    await until(lambda: manager.feeds() >= 3, "fed")
    assert manager.said[0] == {"READY": "1", "STATUS": "all is well"}
    time.s = 11
    pulses[0].beat()
    await until(lambda: "does not answer: two" in manager.hear()[-1]["STATUS"], "noticed")
    fed = manager.feeds()
    messages = len(manager.said)
    await until(lambda: len(manager.hear()) >= messages + 3, "several rounds later")
    assert manager.feeds() == fed, "not fed"
    pulses[1].beat()
    await until(lambda: manager.feeds() > fed, "fed again")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert manager.hear()[-1] == {"STOPPING": "1", "STATUS": "stopping"}


@pytest.mark.asyncio
async def test_without_a_service_manager_it_ends_at_once() -> None:
    async with asyncio.timeout(5):
        await watch(ServiceManager(""), [], lambda: "")


def test_the_environment_says_where_and_how_often(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    assert not ServiceManager.of_this_process().listens
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    assert ServiceManager.of_this_process().watchdog_s is None
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert ServiceManager.of_this_process().watchdog_s == 60
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert ServiceManager.of_this_process().watchdog_s is None, "meant for another process"


def test_an_abstract_socket_and_one_that_is_gone() -> None:
    name = f"songlo-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        ServiceManager(f"@{name}").tell(READY="1", STATUS="x")
        assert listening.recv(100) == b"READY=1\nSTATUS=x"
    ServiceManager(f"@{name}").tell(READY="1")  # says so in the log, and goes on


# -- each task, hanging


class _Open:
    is_open = True
    on_lost: Callable[[], None]

    def close(self) -> None:
        self.is_open = False


class HangingLine(LineOwner[_Open]):
    """A line whose reads never end."""

    async def _open(self) -> _Open:
        return _Open()

    async def _serve_one(self, connection: _Open, job: Job) -> None:
        await asyncio.Event().wait()


class HangingOutbox(OutboxThread):
    """An outbox whose card has stopped answering."""

    async def _call(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 never returns
        await asyncio.Event().wait()


def polling(line: FakeLine, outbox: OutboxThread, clock: SteppedClock, time: Time) -> Poller:
    """A station's polling whose pulse is on the test's time."""
    health = HealthBook([line], clock, random.Random(7))
    scanner = Scanner([line], clock, health=health)
    keeper = Keeper("T1", outbox, clock, health, kept=lambda: None)
    keeper.pulse = time.pulse_like(keeper.pulse)
    undated = Undated(scanner, keeper, clock, boot="boot-1", hold=True)
    return Poller(SCHEDULE, scanner, clock, keeper, undated)


async def _late_when_hanging(run: Callable[[], Any], pulse: Pulse, time: Time) -> None:
    """The task begins, time passes, and its pulse says that it hangs."""
    task = asyncio.get_running_loop().create_task(run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done(), task.result()
    assert silent_s(pulse) is None
    time.s += LONG_S
    assert silent_s(pulse) is not None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_a_line_that_hangs_in_a_read_is_late_and_an_idle_one_is_not() -> None:
    time = Time()
    clock = SteppedClock(START, START)
    line = HangingLine("line-1", meters(1), clock)
    line.pulse = time.pulse_like(line.pulse)
    async with asyncio.TaskGroup() as group:
        owner = group.create_task(line.run())
        for _ in range(100):
            await asyncio.sleep(0)
        time.s += LONG_S
        assert silent_s(line.pulse) is None, "nobody wants anything of it"
        read = group.create_task(line.read(line.meters[0], Part.ENERGY, Priority.INDEX))
        for _ in range(100):
            await asyncio.sleep(0)
        assert silent_s(line.pulse) is None
        time.s += LONG_S
        assert silent_s(line.pulse) is not None
        owner.cancel()
        read.cancel()


@pytest.mark.asyncio
async def test_polling_is_late_when_the_outbox_or_a_scan_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, time = SteppedClock(START, START), Time()
    line = FakeLine(clock, meters(2))
    outbox = OutboxThread(open_outbox(tmp_path, 1, 64 * MIB))
    hanging = HangingOutbox(outbox._outbox)
    poller = polling(line, hanging, clock, time)
    await _late_when_hanging(poller.run, poller.pulse, time)

    async def never(*_: object, **__: object) -> MeterValues:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(line, "read", never)
    time = Time()
    poller = polling(line, outbox, clock, time)
    task = asyncio.get_running_loop().create_task(poller.run())
    scan_s = SCHEDULE.interval.total_seconds()
    await until(lambda: (poller.pulse._due_s or 0) > scan_s, "a scan has begun")
    time.s = scan_s
    assert silent_s(poller.pulse) is None, "a slow line may take until the next slot"
    time.s = LONG_S
    assert silent_s(poller.pulse) is not None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    outbox.close()


@pytest.mark.asyncio
async def test_polling_that_waits_for_its_slot_is_never_late(tmp_path: Path) -> None:
    clock, time = SteppedClock(START, START), Time()
    outbox = OutboxThread(open_outbox(tmp_path, 1, 64 * MIB))
    poller = polling(FakeLine(clock, meters(2)), outbox, clock, time)
    task = asyncio.get_running_loop().create_task(poller.run())
    await clock.finished.wait()
    time.s = LONG_S
    assert silent_s(poller.pulse) is None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    outbox.close()


@pytest.mark.asyncio
async def test_the_uplink_is_late_when_the_outbox_hangs_and_not_without_a_broker(
    tmp_path: Path,
) -> None:
    clock, time = SteppedClock(START, START), Time()
    outbox = OutboxThread(open_outbox(tmp_path, 1, 64 * MIB))

    def uplink(port: int, kept: OutboxThread) -> Uplink:
        broker = Broker("127.0.0.1", port, "test", keepalive_s=5)
        made = Uplink(broker, Identity("T1", "T1"), UplinkSection(), kept, clock, list)
        made.pulse = time.pulse_like(made.pulse)
        return made

    with Mosquitto() as broker:
        stuck = uplink(broker.port, HangingOutbox(outbox._outbox))
        task = asyncio.get_running_loop().create_task(stuck.run())
        await until(lambda: stuck.is_connected, "connected")
        time.s += LONG_S
        await until(lambda: silent_s(stuck.pulse) is not None, "late")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    alone = uplink(free_port(), outbox)
    seen: list[float | None] = []
    task = asyncio.get_running_loop().create_task(alone.run())
    for _ in range(3):
        beaten_s = time.s
        time.s += 60.0
        await until(lambda: alone.pulse._beat_s > beaten_s, "another attempt")  # noqa: B023
        seen.append(alone.pulse.silent_s)
    assert seen == [None] * 3
    assert not alone.is_connected
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    outbox.close()


# -- a full disk


class FullOutbox(OutboxThread):
    """Takes nothing; each refusal costs two minutes of the pulse's time."""

    def __init__(self, outbox: OutboxThread, time: Time, seen: list[float | None]) -> None:
        super().__init__(outbox._outbox)
        self._time, self._seen = time, seen
        self.pulse: Pulse | None = None

    async def append(self, *_: object, **__: object) -> Any:  # noqa: ANN401 never returns
        self._time.s += 120
        assert self.pulse is not None
        self._seen.append(self.pulse.silent_s)
        raise OutboxUnavailable("the disk is full")


@pytest.mark.asyncio
async def test_polling_goes_round_while_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.keeping.COMMIT_RETRY_S", 0.0)
    clock, time = SteppedClock(START, START), Time()
    seen: list[float | None] = []
    full = FullOutbox(OutboxThread(open_outbox(tmp_path, 1, 64 * MIB)), time, seen)
    poller = polling(FakeLine(clock, meters(2)), full, clock, time)
    full.pulse = poller.pulse
    task = asyncio.get_running_loop().create_task(poller.run())
    await clock.finished.wait()
    assert len(seen) == COMMIT_TRIES_MAX, "in all, longer than it may be silent for"
    assert set(seen) == {None}
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    full.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only; `make test` as root runs this")
    folder = tmp_path / "data"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "songlo-test", str(folder)]
    subprocess.run(command, check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _start(config: Path, manager: Manager, watchdog_s: float) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
    }
    with (config.parent / "log").open("ab") as log:
        return subprocess.Popen([*COMMAND, str(config)], stderr=log, env=environment)


def _fill(folder: Path) -> Path:
    """Take all of the disk, and what the outbox had set aside for that."""
    (folder / "outbox.sqlite3.ballast").unlink()
    file = folder / "somebody-elses"
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    return file


@pytest.mark.asyncio
async def test_the_gateway_feeds_its_watchdog_through_a_full_disk_and_recovers(
    tmp_path: Path, small_disk: Path, manager: Manager
) -> None:
    clock = ReplayServer(START, START)
    await clock.start()
    with Mosquitto() as broker, Collecting(broker.port, NAME, acks=False) as collector:
        config = station_file(tmp_path, broker.port, clock.port, 100)
        process = await asyncio.to_thread(_start, config, manager, 0.3)
        try:
            await until(lambda: len(scans(collector)) >= 1, "the first slot")
            assert manager.hear()[0]["READY"] == "1"
            assert any("connected" in message.get("STATUS", "") for message in manager.said)
            fill = await asyncio.to_thread(_fill, small_disk)
            await clock.extend(START + timedelta(days=30))
            log = tmp_path / "log"
            await until(lambda: "the outbox takes nothing" in log.read_text(), "the disk is full")
            fed = manager.feeds()
            await until(lambda: manager.feeds() >= fed + 10, "fed all the same")
            freed_at = clock.now
            fill.unlink()
            await until(lambda: _newest(collector) > freed_at, "slots are kept again", 40)
        finally:
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, 20)
    await clock.stop()
    assert code == 0
    assert manager.hear()[-1]["STOPPING"] == "1"


def _newest(collector: Collecting) -> datetime:
    slots: Sequence[datetime] = [scan.slot for scan in scans(collector)]
    return max(slots, default=datetime.min.replace(tzinfo=UTC))


def test_the_status_line_says_what_a_person_wants_to_know() -> None:
    from gateway.app import _status_text

    lines = [LineStatus("rs485-1", "partial", 32, 31), LineStatus("bridge-1", "up", 4, 4)]
    assert _status_text(lines, is_connected=True) == (
        "broker connected; meters that answered the last scan: rs485-1 31 of 32, bridge-1 4 of 4"
    )
    assert _status_text(lines, is_connected=False).startswith("broker not connected; ")
