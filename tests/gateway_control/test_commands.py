"""Commands over a real broker: done once, answered, reported; reads come as a scan."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from contract.commands import Command, Detail, Result
from contract.messages import Clock, ScanKind, encode
from gateway import clock as gateway_clock
from tests.gateway_control.site import NAME, Site, site
from tests.gateway_delivery.collecting import until
from tests.gateway_lines.slave import Fault
from tests.services import Mosquitto


async def answered(running: Site, command: str, times: int = 1) -> Result:
    """The newest answer to a command, once there are so many."""
    await until(lambda: len(running.desk.of(command)) >= times, f"{times} answers to {command}")
    return running.desk.of(command)[-1]


def has_event(running: Site, text: str) -> bool:
    return any(text in event.detail for event in running.events("command"))


@pytest.mark.asyncio
async def test_a_ping_says_how_the_gateway_is(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        running.desk.send("c1", "ping")
        result = await answered(running, "c1")
        assert (result.ok, result.code) == (True, "done")
        assert result.detail.clock is Clock.SYNCED
        assert result.detail.version
        assert result.detail.config_version == 0
        await until(partial(has_event, running, "c1 ping by test: done: here"), "the event")


@pytest.mark.asyncio
async def test_a_read_brings_values_and_a_scan(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        running.slave.always[3] = Fault("silent")
        running.desk.send("c1", "read", "m1", "m3")
        result = await answered(running, "c1")
        assert (result.ok, result.code, result.detail.reads) == (True, "partial", 1)
        assert result.text == "1 of 2 meters were read"
        scan = result.detail.scan
        assert scan is not None
        assert (scan.kind, scan.missing) == (ScanKind.ON_DEMAND, [("m3", "timeout")])
        (table,) = scan.tables
        ((serial, _, values, _),) = table.reads
        assert serial == "m1"
        assert values[table.registers.index("1-0:1.8.0")] == 1_000_000
        await until(lambda: scan in running.scans(), "the scan")
        await until(partial(has_event, running, "c1 read by test: partial"), "the event")
        running.desk.send("c2", "read")
        everyone = await answered(running, "c2")
        assert everyone.detail.reads == 2


@pytest.mark.asyncio
async def test_a_repeated_command_is_answered_and_not_done_again(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        now = datetime.now(UTC)
        running.desk.send("c1", "read", "m1", now=now)
        first = await answered(running, "c1")
        asked = len(running.slave.requests)
        running.desk.send("c1", "read", "m1", now=now)
        assert await answered(running, "c1", 2) == first
        assert len(running.slave.requests) == asked
    async with site(tmp_path, mosquitto.port) as running:
        running.desk.send("c1", "read", "m1", now=now)
        assert await answered(running, "c1") == first
        assert running.slave.requests == []
        assert running.events("command") == [], "nothing new to report"


@pytest.mark.asyncio
async def test_a_command_that_was_cut_off_is_said_to_be(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        running.slave.always[1] = Fault("delay", delay_s=30)
        running.slave.always[2] = Fault("silent")
        running.desk.send("c1", "read", "m2", "m1")
        await until(lambda: bool(running.slave.requests), "it was begun")
    assert running.desk.results == []
    async with site(tmp_path, mosquitto.port) as running:
        result = await answered(running, "c1")
        assert (result.ok, result.code) == (False, "interrupted")
        await until(partial(has_event, running, "c1 read by test: interrupted"), "the event")


@pytest.mark.asyncio
async def test_expired_unknown_and_malformed_commands_are_refused(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        desk, long_ago = running.desk, datetime.now(UTC) - timedelta(minutes=5)
        desk.send("late", "ping", now=long_ago)
        desk.send("who", "read", "m9")
        desk.send("what", "explode")
        desk.publish("junk", b"{")
        command = Command(1, "other", "ping", long_ago, long_ago + timedelta(days=9), "test")
        desk.publish("mismatch", encode(command))
        expected = {
            "late": "expired", "who": "unknown_meter", "what": "unknown_kind",
            "junk": "malformed", "mismatch": "malformed",
        }  # fmt: skip
        for command_id, code in expected.items():
            result = await answered(running, command_id)
            assert (result.ok, result.code) == (False, code)
            assert result.text
        await until(partial(has_event, running, "late ping by test: expired"), "the event")
        assert not has_event(running, "junk")


@pytest.mark.asyncio
async def test_without_a_synchronised_clock_only_what_looks_is_done(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_clock.SystemClock, "state", lambda _self: Clock.UNSYNCED)
    async with site(tmp_path, mosquitto.port) as running:
        long_ago = datetime.now(UTC) - timedelta(days=2)
        running.desk.send("c1", "ping", now=long_ago)
        assert (await answered(running, "c1")).code == "done"
        running.desk.send("c2", "read", "m1", now=long_ago)
        assert (await answered(running, "c2")).code == "done"
        running.desk.send("c3", "reload")
        assert (await answered(running, "c3")).code == "clock_unsynced"


@pytest.mark.asyncio
async def test_no_more_than_a_few_wait(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        running.slave.always[1] = Fault("silent")
        for number in range(12):
            running.desk.send(f"c{number}", "read", "m1")
        await until(
            lambda: sum(result.code == "busy" for result in running.desk.results) >= 3, "busy"
        )
        running.desk.send("alive", "ping")
        assert (await answered(running, "alive")).code == "busy"


@pytest.mark.asyncio
async def test_a_reload_takes_a_good_file_and_refuses_a_bad_one(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        text = running.path.read_text()
        running.path.write_text(text.replace("address: 2", "address: 1"))
        running.desk.send("c1", "reload")
        result = await answered(running, "c1")
        assert (result.ok, result.code) == (False, "refused")
        assert "already taken" in result.detail.problems[0]
        running.path.write_text(text.replace("serial: m2", "serial: n2"))
        running.desk.send("c2", "reload")
        assert (await answered(running, "c2")).code == "done"
        epoch = running.status.epochs[0].epoch

        def is_again() -> bool:
            status = running.status
            return status.online and status.epochs[0].epoch != epoch

        await until(is_again, "another run of the parts")
        running.desk.send("c3", "read", "n2")
        assert (await answered(running, "c3")).code == "done"
        await until(partial(has_event, running, "c2 reload by test: done"), "the event")


@pytest.mark.asyncio
async def test_a_clock_that_cannot_be_set_is_said_and_reported(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        running.desk.send("c1", "set_clock", "m1")
        result = await answered(running, "c1")
        assert (result.ok, result.code) == (False, "not_supported")
        await until(partial(has_event, running, "c1 set_clock by test: not_supported"), "event")


@pytest.mark.asyncio
async def test_what_cannot_be_remembered_is_not_done(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        with sqlite3.connect(tmp_path / "data" / "outbox.sqlite3") as db:
            db.execute("DROP TABLE commands")
        running.desk.send("c1", "read", "m1")
        result = await answered(running, "c1")
        assert (result.ok, result.code) == (False, "unavailable")
        assert running.slave.requests == []


@pytest.mark.asyncio
async def test_commands_of_another_gateway_are_none_of_its_business(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        running.desk.gateway = "other"
        running.desk.send("c1", "read", "m1")
        running.desk.gateway = NAME
        running.desk.send("c2", "ping")
        await answered(running, "c2")
        assert running.slave.requests == []
        assert Detail() == Result(1, "x", True, "done", datetime.now(UTC)).detail


@pytest.mark.asyncio
async def test_the_broker_may_go_while_a_command_is_done(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port) as running:
        now = datetime.now(UTC)
        running.slave.script[1].append(Fault("delay", delay_s=0.5))
        running.desk.send("c1", "read", "m1", now=now)
        await until(lambda: bool(running.slave.requests), "it was begun")
        await asyncio.to_thread(mosquitto.restart)
        await until(partial(has_event, running, "c1 read by test: done"), "the event")
        if not running.desk.of("c1"):
            running.desk.send("c1", "read", "m1", now=now)
        assert (await answered(running, "c1")).code == "done"
