"""The same three days on real servers: mosquitto, PostgreSQL, InfluxDB behind nginx."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from collector.errors import NotFound
from collector.ledger import Ledger
from collector.operations.collection import accounting
from songlo.demo.options import DemoOptions
from songlo.demo.programs import Program, python_module
from songlo.demo.system import System
from tests.e2e.driver import (
    Ended,
    slot_at,
    system_in,
    three_days,
    wait_for_end,
    wait_for_slot,
    wait_until,
)
from tests.services import InfluxDatabase, Mosquitto

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def servers(
    mosquitto: Mosquitto, postgres_url: str, influx: InfluxDatabase, tmp_path: Path
) -> DemoOptions:
    """Three days with every embedded part replaced by a real server."""
    token = tmp_path / "influx-token"
    token.write_text(influx.token)
    return three_days(
        broker=(mosquitto.host, mosquitto.port),
        ledger_url=postgres_url,
        readings={
            "store": "influxdb",
            "url": influx.url,
            "org": influx.org,
            "bucket": influx.bucket,
            "token_file": str(token),
        },
    )


def rows_in_influx(influx: InfluxDatabase, options: DemoOptions) -> int:
    """Meter reads of the period in InfluxDB, as InfluxDB counts them."""
    last = slot_at(options, options.slot_count + 1)
    answer = influx.query(
        'SELECT COUNT("import_wh") FROM "reads" '
        f"WHERE time >= '{options.start_at.isoformat()}' AND time < '{last.isoformat()}'"
    )
    series = json.loads(answer)["results"][0].get("series")
    return int(series[0]["values"][0][1]) if series else 0


def test_real_servers_give_the_same_snapshot(
    undisturbed: Ended, servers: DemoOptions, influx: InfluxDatabase, tmp_path: Path
) -> None:
    with system_in(tmp_path, servers) as system:
        ended = wait_for_end(system)
    assert ended.progress.read == ended.progress.due == rows_in_influx(influx, servers)
    assert ended.lines == undisturbed.lines
    assert ended.sha256 == undisturbed.sha256


def test_influxdb_away_for_a_while_only_delays(
    undisturbed: Ended, servers: DemoOptions, influx: InfluxDatabase, tmp_path: Path
) -> None:
    with system_in(tmp_path, servers) as system:
        wait_for_slot(system, 50)
        influx.server.stop()
        wait_for_slot(system, 110)
        influx.server.start()
        ended = wait_for_end(system)
    assert ended.progress.read == ended.progress.due == rows_in_influx(influx, servers)
    assert ended.lines == undisturbed.lines
    assert ended.sha256 == undisturbed.sha256


@contextmanager
def second_worker(system: System) -> Iterator[Program]:
    """Another intake worker of the same shared subscription."""
    config = json.loads((system.directory / "collector.yaml").read_text())
    config["broker"]["client_id"] += "-2"
    path = system.directory / "collector-2.yaml"
    path.write_text(json.dumps(config))
    command = python_module("songlo", "collector", "run", "--config", str(path), "--role", "intake")
    worker = Program("collector-2", command, system.directory)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def reads_in_ledger(options: DemoOptions, station: str) -> int:
    """Meter reads that the ledger has, asked of it directly: no collector need be running."""
    assert options.ledger_url is not None
    ledger = Ledger(options.ledger_url)
    try:
        found = accounting(
            ledger,
            gateway_or_station=station,
            from_at=options.start_at,
            to_at=slot_at(options, options.slot_count + 1),
        )
    except NotFound:  # nothing has reported yet
        return 0
    finally:
        ledger.close()
    return found.counts.had


def test_of_two_workers_on_a_shared_subscription_either_is_killed(
    undisturbed: Ended, servers: DemoOptions, influx: InfluxDatabase, tmp_path: Path
) -> None:
    options = replace(servers, shared_group="intake")
    with system_in(tmp_path, options) as system, second_worker(system) as worker:
        station = system.station.name
        wait_for_slot(system, 30)
        system.collector.kill()
        # What the ledger gains from here on, the second worker alone has taken.
        had = reads_in_ledger(options, station)
        wait_until(
            lambda: reads_in_ledger(options, station) >= had + 1_000,
            "the second worker to take batches by itself",
        )
        system.collector.start()
        wait_for_slot(system, 110)
        worker.kill()
        ended = wait_for_end(system)
    assert ended.progress.read == ended.progress.due == rows_in_influx(influx, servers)
    assert ended.lines == undisturbed.lines
    assert ended.sha256 == undisturbed.sha256
