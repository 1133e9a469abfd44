"""Figure `intake_influx`: from a gateway's publish to the collector's ack, with InfluxDB.

The limit is what the same InfluxDB takes when it is fed the same lines from memory.
"""

import statistics
import tempfile
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.influx_alone import feed_fresh
from bench.intake_embedded import publish_and_wait
from bench.isolated import run_isolated
from bench.programs import broker, collector
from bench.workload import GATEWAYS, METERS, REGISTERS
from tests.services import InfluxServer

BATCHES = 1_500
ROUNDS = 3
TIMEOUT_S = 60


def intake(server: InfluxServer, batches: int) -> float:
    """Reads a second from the first publish to the last ack."""
    database = server.create_database()
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        readings = {
            "store": "influxdb",
            "url": server.url,
            "org": database.org,
            "bucket": database.bucket,
            "timeout_s": TIMEOUT_S,
        }
        with collector(Path(name), mosquitto.port, readings):
            done = run_isolated(publish_and_wait, mosquitto.port, batches)
    server.drop_database(database)
    assert done.acked_at is not None
    return batches * METERS / (done.acked_at - done.started_at)


def measure() -> Figure:
    """The figure: rounds of both by turns, so that both see the same machine."""
    whole, bare = [], []
    with InfluxServer() as server:
        feed_fresh(server, BATCHES // 5)
        for _ in range(ROUNDS):
            bare.append(feed_fresh(server, BATCHES))
            whole.append(intake(server, BATCHES))
    return Figure(
        "intake_influx",
        statistics.median(whole),
        "meter reads/s",
        limit=statistics.median(bare),
        limit_what="the same lines posted to the same InfluxDB from memory",
        requirement=Requirement("ratio", ">=", 0.8),
        detail={
            "rounds": [round(value) for value in whole],
            "limit_rounds": [round(value) for value in bare],
            "batches": BATCHES,
            "meters": METERS,
            "registers": len(REGISTERS),
            "gateways": GATEWAYS,
        },
    )
