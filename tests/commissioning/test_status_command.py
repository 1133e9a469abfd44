"""`songlo gateway status`: what it tells of an outbox, without disturbing whoever writes it."""

import asyncio
import json
import os
import secrets
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from contract.messages import (
    Ack,
    AckEpoch,
    Batch,
    Clock,
    GapReason,
    Scan,
    ScanKind,
    SlotGap,
    Tombstone,
    encode,
)
from gateway.cli import app
from gateway.holder import Holder
from gateway.outbox import Outbox
from gateway.outbox_look import look
from gateway.outbox_values import Draft, SlotDone, Worth
from gateway.self_check import Facts, problems
from tests.commissioning import command
from tests.commissioning.command import rtu_line, station_file
from tests.commissioning.meters import meters
from tests.gateway_lines.slave import PtySlave, Slave

SLOT = datetime(2026, 11, 24, 1, tzinfo=UTC)
EPOCH = "0123456789abcdef" * 2


def outbox(folder: Path) -> Outbox:
    return Outbox.open(
        folder / "data" / "outbox.sqlite3", station="T012", epoch=EPOCH, bytes_max=2**24
    )


def scan(at: datetime) -> Draft:
    scan = Scan(kind=ScanKind.INTERVAL, slot=at, missing=[("M3", "timeout")])
    batch = Batch(v=1, station="T012", clock=Clock.SYNCED, scan=scan)
    return Draft(encode(batch), Worth.INSTANTANEOUS, at)


def gap(first: datetime) -> Draft:
    last = first + timedelta(hours=1)
    gap = SlotGap(ScanKind.INTERVAL, first, last, 1800, ["M3"], GapReason.GATEWAY_DOWN)
    return Draft(
        encode(Batch(v=1, station="T012", clock=Clock.SYNCED, gaps=[gap])), Worth.RECORD, None
    )


def tombstone(at: datetime) -> Draft:
    stone = Tombstone(ScanKind.INTERVAL, at, ["M3"], GapReason.OVERFLOW)
    batch = Batch(v=1, station="T012", clock=Clock.SYNCED, tombstone=stone)
    return Draft(encode(batch), Worth.RECORD, at)


def fill(box: Outbox) -> None:
    """Batch 1 is acknowledged; a scan, a gap and a tombstone wait."""
    later = SLOT + timedelta(minutes=30)
    box.append([scan(SLOT)], at=SLOT, done=[SlotDone(SLOT)])
    drafts = [scan(later), gap(SLOT - timedelta(hours=2)), tombstone(SLOT)]
    box.append(drafts, at=later, done=[SlotDone(later)])
    box.apply_acks([Ack(generation=1, epochs=[AckEpoch(epoch=EPOCH, upto=1)])])


def invoke(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", "--config", str(path), *arguments])


def test_everything_that_an_outbox_holds_is_told_while_it_is_written(tmp_path: Path) -> None:
    path = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    box = outbox(tmp_path)
    try:
        fill(box)
        result = invoke(path, "--json")
        box.append([scan(SLOT)], at=SLOT)  # it is not in anybody's way
    finally:
        box.close()
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["runs"], told["pid"]) == (True, os.getpid())
    held = told["outbox"]
    assert (held["epoch"], held["next_seq"], held["generation"]) == (EPOCH, 5, 1)
    assert (held["waiting"], held["waiting_epochs"], held["delivered"]) == (3, 1, 1)
    assert held["oldest_waiting_at"] == "2026-11-24T01:30:00Z"
    assert held["newest_delivered_at"] == "2026-11-24T01:00:00Z"
    assert held["last_slot_at"] == "2026-11-24T01:30:00Z"
    assert held["waiting_bytes"] > 300
    assert held["tombstones"] == 1
    assert held["gaps"] == [
        {
            "kind": "interval",
            "first": "2026-11-23T23:00:00Z",
            "last": "2026-11-24T00:00:00Z",
            "reason": "gateway_down",
        }
    ]
    said = " ".join(problem["what"] for problem in told["problems"])
    assert "line rs485-1:" in said
    assert "the broker 127.0.0.1:1 cannot be reached" in said
    assert "1 batches were dropped, the newest of slot 2026-11-24T01:00:00Z (overflow)" in said


def test_a_batch_that_was_dropped_after_its_delivery_is_not_called_lost(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    fill(box)
    box.apply_acks([Ack(1, [AckEpoch(EPOCH, 4)])])
    found = look(tmp_path / "data" / "outbox.sqlite3", in_use=True)
    assert (found.tombstones, len(found.gaps)) == ((), 1)
    box.close()


def test_an_outbox_at_rest_is_read_without_a_trace(tmp_path: Path) -> None:
    path = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    box = outbox(tmp_path)
    fill(box)
    box.close()
    before = sorted(os.listdir(tmp_path / "data"))
    result = invoke(path)
    assert sorted(os.listdir(tmp_path / "data")) == before
    assert "WRONG: the gateway does not run" in result.stdout
    assert "try: systemctl start songlo-gateway" in result.stdout
    assert "waiting       3 batches" in result.stdout
    assert "gaps          interval 2026-11-23T23:00:00Z to 2026-11-24T00:00:00Z" in result.stdout


def test_a_log_that_a_power_cut_left_behind_is_read_too(tmp_path: Path) -> None:
    path = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    box = outbox(tmp_path)
    fill(box)
    saved = tmp_path / "saved"
    shutil.copytree(tmp_path / "data", saved)
    box.close()
    shutil.rmtree(tmp_path / "data")
    saved.rename(tmp_path / "data")
    assert (tmp_path / "data" / "outbox.sqlite3-wal").stat().st_size
    told = json.loads(invoke(path, "--json").stdout)
    assert (told["runs"], told["outbox"]["waiting"]) == (False, 3)


def test_no_outbox_yet_and_a_damaged_one_are_named(tmp_path: Path) -> None:
    path = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    result = invoke(path)
    assert result.exit_code == 1
    assert "the outbox cannot be read" in result.stdout
    assert "does not exist" in result.stdout
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "outbox.sqlite3").write_bytes(secrets.token_bytes(8192))
    assert "file is not a database" in invoke(path).stdout


def test_a_user_who_may_not_look_is_told_whom_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    outbox(tmp_path).close()
    shut = tmp_path / "data"
    access = os.access  # for root no folder is ever shut
    monkeypatch.setattr(os, "access", lambda path, mode: path != shut and access(path, mode))
    result = invoke(path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run this as the gateway's own user" in result.stderr


@pytest.mark.asyncio
async def test_a_running_gateway_with_a_broker_is_told_to_run(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120")
    device = tmp_path / "tty"
    path = station_file(tmp_path, rtu_line(device, M3="eastron-sdm120"))
    with PtySlave(Slave(units, words=words), device), socket.create_server(("127.0.0.1", 0)) as no:
        text = path.read_text().replace("port: 1\n", f"port: {no.getsockname()[1]}\n")
        path.write_text(text)
        gateway = await command.start("run", "--config", str(path))
        try:
            async with asyncio.timeout(30):
                while not (tmp_path / "data" / "outbox.sqlite3-wal").exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            _, out, err = await command.run("status", "--config", str(path), "--json")
        finally:
            gateway.terminate()
            await asyncio.wait_for(gateway.communicate(), 20)
    assert err == ""
    told = json.loads(out)
    assert (told["runs"], told["pid"]) == (True, gateway.pid)
    assert told["broker_reachable"]
    assert "does not run" not in out


NOW = SLOT + timedelta(hours=2)


def facts(**others: object) -> Facts:
    """A gateway that is all right, but for `others`."""
    values: dict[str, object] = {
        "now": NOW,
        "interval": timedelta(minutes=30),
        "holder": Holder(7, "songlo gateway run"),
        "outbox": None,
        "outbox_trouble": "",
        "outbox_bytes_max": 2**30,
        "free_bytes": 2**30,
        "is_clock_synced": True,
        "broker": "b:1883",
        "broker_trouble": "",
        "devices_missing": (),
    }
    return Facts(**values | others)  # type: ignore[arg-type]  # given by keyword


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"holder": None}, "does not run"),
        ({"free_bytes": 2**20}, "the disk has 1 MB left"),
        ({"is_clock_synced": False}, "the clock is not synchronised"),
        ({"devices_missing": (("rs485-1", "/dev/x"),)}, "line rs485-1: /dev/x is not there"),
        ({"broker_trouble": "no route"}, "b:1883 cannot be reached: no route"),
    ],
)
def test_each_thing_that_is_wrong_is_said_with_a_remedy(
    others: dict[str, object], expected: str
) -> None:
    before = {problem.what for problem in problems(facts())}
    (found,) = [problem for problem in problems(facts(**others)) if problem.what not in before]
    assert expected in found.what
    assert found.remedy
