"""Figure `influx_alone`: reads that InfluxDB takes from the store, beside the bare lines."""

import http.client
import statistics
import time
import urllib.parse

from bench.figure import Figure
from bench.isolated import collector_like_gc, run_isolated
from bench.workload import METERS, REGISTERS, groups
from collector.readings.influx_store import InfluxStore
from collector.readings.line_protocol import encode
from tests.services import InfluxDatabase, InfluxServer

BATCHES = 1_500
ROUNDS = 3
TIMEOUT_S = 60.0

# Lines in one request of the bare feed: what the server takes best, whatever the store sends.
FEED_LINES = 10_000


def feed_lines(url: str, bucket: str, batches: int) -> float:
    """Lines a second when the finished lines are posted from memory over one connection."""
    lines = [line for group in groups(batches) for part in encode(group)[0] for line in part.lines]
    bodies = [
        "\n".join(lines[first : first + FEED_LINES]).encode()
        for first in range(0, len(lines), FEED_LINES)
    ]
    place = urllib.parse.urlsplit(url)
    assert place.hostname is not None
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=TIMEOUT_S)
    path = f"/api/v2/write?org=songlo&bucket={bucket}&precision=ms"
    started = time.perf_counter()
    for body in bodies:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == http.HTTPStatus.NO_CONTENT, text
    seconds = time.perf_counter() - started
    connection.close()
    return len(lines) / seconds


def append_to_store(url: str, bucket: str, batches: int) -> float:
    """Reads a second through the store, from memory."""
    made = groups(batches)
    store = InfluxStore(url, "songlo", bucket, "none", TIMEOUT_S)
    with collector_like_gc():
        started = time.perf_counter()
        for group in made:
            refused = store.append(group)
            assert not refused
        seconds = time.perf_counter() - started
    store.close()
    return batches * METERS / seconds


def feed_fresh(server: InfluxServer, batches: int) -> float:
    """`feed_lines` into a database of its own."""
    database = server.create_database()
    value = run_isolated(feed_lines, server.url, database.bucket, batches)
    _check(database, batches)
    server.drop_database(database)
    return value


def measure() -> Figure:
    """The figure: rounds of both by turns, so that both see the same machine."""
    stored, bare = [], []
    with InfluxServer() as server:
        server.start()
        feed_fresh(server, BATCHES // 5)
        for _ in range(ROUNDS):
            bare.append(feed_fresh(server, BATCHES))
            database = server.create_database()
            stored.append(run_isolated(append_to_store, server.url, database.bucket, BATCHES))
            _check(database, BATCHES)
            server.drop_database(database)
    return Figure(
        "influx_alone",
        statistics.median(stored),
        "meter reads/s",
        limit=statistics.median(bare),
        limit_what="the same lines posted from memory over one connection",
        detail={
            "rounds": [round(value) for value in stored],
            "limit_rounds": [round(value) for value in bare],
            "registers": len(REGISTERS),
            "lines_per_request": FEED_LINES,
        },
    )


def _check(database: InfluxDatabase, batches: int) -> None:
    """A measurement counts only if everything arrived."""
    answer = database.query("SELECT count(quality) FROM reads")
    assert f",{batches * METERS}]" in answer, answer
