"""SIGTERM to a collector that has its hands full: an orderly end in time, and nothing is lost."""

import signal
import time
from pathlib import Path

import pytest

from tests.intake.kit import Gateway, scan, until
from tests.intake.test_backup import METERS, load
from tests.intake.test_collector_command import STOP_MAX_S, Site
from tests.ledger.template import fill_file
from tests.services import Mosquitto

pytestmark = pytest.mark.timeout(120)


def connected(site: Site) -> bool:
    return "songlo_intake_connected 1.0" in site.get("/metrics")


def test_a_collector_that_is_stopped_under_load_ends_in_time_and_loses_nothing(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    site = Site(tmp_path, mosquitto.port)
    fill_file(tmp_path / "ledger.db")
    sent: list[int] = []
    with Gateway(mosquitto.port) as gateway:
        with site.running() as process:
            # A gateway sends what was published before anybody listened again.
            def begun() -> bool:
                gateway.send(1, scan(1, meters=METERS))
                return gateway.upto() >= 1

            until(begun, "nothing is taken", 60)
            sent.append(1)
            with load(gateway, sent):
                until(lambda: gateway.upto() > 100, "the load does not start", 30)
                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                assert process.wait(STOP_MAX_S) == 0
                assert time.monotonic() - began < STOP_MAX_S
            held = gateway.upto()
        with site.running():
            # What was acked is stored; what was not is sent again, and nothing is there twice.
            until(lambda: site.answers() and connected(site), "it does not come back", 60)
            for seq in sent[held:]:
                gateway.send(seq, scan(seq, meters=METERS))
            gateway.wait_acked(len(sent), timeout_s=30)
    reads = len(sent) * len(METERS)
    assert f"meter reads: {reads} delivered, in the reading store: {reads}" in site.run("verify")
