"""The receiver's process: what happens when it dies, when the collector does, and at the end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from collector.config import BrokerConfig
from collector.intake import wire
from collector.intake.link import Link
from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from tests.intake.kit import Gateway, intake, scan, stored, until
from tests.services import Mosquitto


def _receiver_of(link: Link) -> int:
    assert link._receiver is not None
    return link._receiver._process.pid


def test_a_receiver_that_dies_is_started_again_and_nothing_is_lost(
    sqlite_ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with (
        intake(sqlite_ledger, store, mosquitto.port) as running,
        Gateway(mosquitto.port) as gateway,
    ):
        link = running.worker._link
        before = _receiver_of(link)
        for seq in range(1, 401):
            gateway.send(seq, scan(seq))
            if seq == 200:
                os.kill(before, signal.SIGKILL)
        gateway.wait_acked(400)
        assert _receiver_of(link) != before
        assert link.connections == 2
        assert not running.future.done()
    assert stored(store) == 800


def test_a_receiver_ends_with_its_collector(mosquitto: Mosquitto) -> None:
    start = wire.Start("127.0.0.1", mosquitto.port, "songlo-orphan", False, 30, 10)
    process = subprocess.Popen(
        [sys.executable, "-m", "collector.intake.receiver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(wire.framed(start))
    process.stdin.flush()
    frames = wire.frames_up()
    assert frames.feed(os.read(process.stdout.fileno(), 1 << 16)) == [wire.Connected(1, False)]
    # Asked to end by anybody but the collector, it goes on: the last group is not done yet.
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.stdin.write(wire.framed(wire.Subscribe([("songlo/v1/+/ack", 0)], 5)))
    process.stdin.flush()
    assert frames.feed(os.read(process.stdout.fileno(), 1 << 16)) == [wire.Subscribed(5)]
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_a_broker_that_cannot_be_reached_is_told_once_and_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In the logger's place: one that was used before does not ask how logging is set up any more.
    told = structlog.testing.CapturingLogger()
    monkeypatch.setattr("collector.intake.link._log", told)
    link = Link(BrokerConfig(host="127.0.0.1", port=1), None)
    tries = 0

    def hear(message: wire.Up) -> None:
        nonlocal tries
        tries += isinstance(message, wire.Disconnected)
        Link._hear(link, message)

    link._hear = hear  # type: ignore[method-assign]
    link.start()
    try:
        until(lambda: link.take(10, 0.1) or tries >= 2, "it is not tried again")
        assert not link.connected
        assert not link.publish_ack("GW1", b"{}")
    finally:
        link.stop()
    assert [call.args for call in told.calls] == [("broker_unreachable",)]


def test_a_receiver_that_does_not_end_is_ended(mosquitto: Mosquitto) -> None:
    link = Link(BrokerConfig(host="127.0.0.1", port=mosquitto.port), None)
    link.start()
    until(lambda: link.connected, "no connection")
    pid = _receiver_of(link)
    os.kill(pid, signal.SIGSTOP)
    link.stop()
    assert not Path(f"/proc/{pid}").exists()
