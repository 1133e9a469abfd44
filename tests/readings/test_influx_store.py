"""What is particular to the InfluxDB store: a server that refuses, is away, or comes back."""

import http.server
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from collector.readings import influx_store
from collector.readings.influx_store import InfluxStore
from collector.readings.line_protocol import encode
from collector.readings.port import ReadBlock, StoreUnavailable
from contract.messages import MeterRead, ScanKind
from tests.services import InfluxDatabase

SLOT = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REGISTERS = ("1-0:1.8.0", "1-0:32.7.0")
TIMEOUT_S = 5.0


def block(*meters: str, station: str = "S1") -> ReadBlock:
    reads: list[MeterRead] = [(meter, 5, [i, 230.5], 0) for i, meter in enumerate(meters)]
    return ReadBlock(station, "GW", ScanKind.INDEX, SLOT, REGISTERS, reads)


@pytest.fixture
def store(influx: InfluxDatabase) -> Iterator[InfluxStore]:
    opened = InfluxStore(influx.url, influx.org, influx.bucket, influx.token, TIMEOUT_S)
    yield opened
    opened.close()


def meters_stored(store: InfluxStore, station: str = "S1") -> list[str]:
    return [read.meter for read in store.station_reads(station, SLOT, SLOT + DAY, REGISTERS)]


def test_lines_are_as_the_dashboards_expect(store: InfluxStore, influx: InfluxDatabase) -> None:
    reads: list[MeterRead] = [("m 1", 412, [5, None], 3), ("m2", 0, [6, 231.5], 0)]
    encoded, _ = encode([ReadBlock("S,1", "GW", ScanKind.INDEX, SLOT, REGISTERS, reads)])
    assert encoded[0].lines == [
        "reads,station=S\\,1,meter=m\\ 1 import_wh=5i,quality=3i 1772384400412",
        "reads,station=S\\,1,meter=m2 import_wh=6i,voltage_l1_v=231.5,quality=0i 1772384400000",
    ]
    store.append([block("m1")])
    keys = influx.query("SHOW FIELD KEYS")
    assert '["import_wh","integer"]' in keys
    assert '["quality","integer"]' in keys
    assert '["voltage_l1_v","float"]' in keys
    assert '["meter"],["station"]' in influx.query("SHOW TAG KEYS")


def test_a_server_that_is_down_and_comes_back(store: InfluxStore, influx: InfluxDatabase) -> None:
    store.append([block("m1")])
    influx.server.stop()
    with pytest.raises(StoreUnavailable, match="502"):
        store.append([block("m2")])
    with pytest.raises(StoreUnavailable):
        meters_stored(store)
    with pytest.raises(StoreUnavailable):
        store.count(SLOT, SLOT + DAY)
    influx.server.start()
    assert store.append([block("m2")]) == []
    assert meters_stored(store) == ["m1", "m2"]
    influx.server.kill()
    influx.server.start()
    assert meters_stored(store) == ["m1", "m2"]


def test_nothing_listens(store: InfluxStore, influx: InfluxDatabase) -> None:
    influx.server.stop_proxy()
    with pytest.raises(StoreUnavailable, match="refused"):
        store.append([block("m1")])
    with pytest.raises(StoreUnavailable, match="refused"):
        meters_stored(store)
    influx.server.start_proxy()
    assert store.append([block("m1")]) == []


def test_an_unknown_bucket_is_to_be_set_right(influx: InfluxDatabase) -> None:
    store = InfluxStore(influx.url, influx.org, "nowhere", influx.token, TIMEOUT_S)
    with pytest.raises(StoreUnavailable, match=r"404.*nowhere"):
        store.append([block("m1")])
    with pytest.raises(StoreUnavailable, match="nowhere"):
        meters_stored(store)
    store.close()


def test_a_field_of_another_type_is_refused_point_by_point(
    store: InfluxStore, influx: InfluxDatabase
) -> None:
    # Somebody's float in the shard of our integers.
    foreign = InfluxStore(influx.url, influx.org, influx.bucket, influx.token, TIMEOUT_S)
    assert foreign._write(["reads,station=X,meter=m7 import_wh=1.5 1772384400000"]) is None
    foreign.close()
    meters = [f"m{i}" for i in range(20)]
    refused = store.append([block(*meters)])
    assert [r.read[0] for r in refused] == meters
    assert "conflict" in refused[0].reason


def test_one_line_at_fault_in_many_is_found(
    store: InfluxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    meters = [f"m{i:03}" for i in range(300)]

    def encode_badly(blocks: list[ReadBlock]) -> object:
        encoded, refused = encode(blocks)
        for part in encoded:
            for index in (7, 200):
                part.lines[index] = part.lines[index].replace("import_wh=", "import_wh=x")
        return encoded, refused

    monkeypatch.setattr(influx_store, "encode", encode_badly)
    refused = store.append([block(*meters)])
    assert [r.read[0] for r in refused] == ["m007", "m200"]
    assert meters_stored(store) == [m for m in meters if m not in ("m007", "m200")]


def test_a_request_that_is_too_large_is_halved(
    store: InfluxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[int] = []
    real_write = InfluxStore._write

    def write(self: InfluxStore, lines: list[str]) -> str | None:
        requests.append(len(lines))
        return "HTTP 413: too large" if len(lines) > 40 else real_write(self, lines)

    monkeypatch.setattr(InfluxStore, "_write", write)
    meters = [f"m{i:03}" for i in range(100)]
    assert store.append([block(*meters)]) == []
    assert requests == [100, 50, 25, 25, 50, 25, 25]
    assert meters_stored(store) == meters


def test_requests_stay_below_their_bound(
    store: InfluxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influx_store, "LINES_MAX", 10)
    requests: list[int] = []
    real_write = InfluxStore._write

    def write(self: InfluxStore, lines: list[str]) -> str | None:
        requests.append(len(lines))
        return real_write(self, lines)

    monkeypatch.setattr(InfluxStore, "_write", write)
    blocks = [block("a", "b", "c", "d", station=f"S{i}") for i in range(5)]
    store.append(blocks)
    assert requests == [8, 8, 4]


@contextmanager
def _server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _reply(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_what_a_version_2_server_is_asked() -> None:
    seen: list[tuple[str, dict[str, str], str | None]] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        seen.append((url.path, query, handler.headers.get("Authorization")))
        _reply(handler, *((204, b"") if url.path == "/api/v2/write" else (200, b'{"results":[]}')))

    with _server(answer) as url:
        store = InfluxStore(url, "power", "meters", "s3cret", TIMEOUT_S)
        store.append([block("m1")])
        assert list(store.readings("m1", SLOT, SLOT + DAY)) == []
        store.close()
    assert seen[0] == (
        "/api/v2/write",
        {"org": "power", "bucket": "meters", "precision": "ms"},
        "Token s3cret",
    )
    path, query, token = seen[1]
    assert (path, query["db"], query["epoch"], token) == ("/query", "meters", "ms", "Token s3cret")
    assert query["q"] == (
        'SELECT * FROM "reads" WHERE "meter" = \'m1\' '
        "AND time >= 1772384400000ms AND time < 1772470800000ms ORDER BY time ASC"
    )


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_answers_that_may_be_different_later(status: int) -> None:
    with _server(lambda handler: _reply(handler, status, b'{"message":"not now"}')) as url:
        store = InfluxStore(url, "power", "meters", "t", TIMEOUT_S)
        with pytest.raises(StoreUnavailable, match=f"{status}: not now"):
            store.append([block("m1")])
        with pytest.raises(StoreUnavailable, match=f"{status}: not now"):
            meters_stored(store)
        store.close()


def test_a_server_that_does_not_answer_in_time() -> None:
    done = threading.Event()
    with _server(lambda handler: _reply(handler, 204, b"") if done.wait(30) else None) as url:
        store = InfluxStore(url, "power", "meters", "t", 0.2)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="timed out"):
            store.append([block("m1")])
        assert time.monotonic() - started < TIMEOUT_S
        done.set()
        store.close()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a proxy's page</html>\n",
        b'{"results":[{"error":"timeout in the middle"}]}\n',
        b'{"error":"shutting down"}\n',
        b'{"results":[{"series":[{"columns":["time"',
    ],
)
def test_an_answer_that_is_broken_is_no_empty_answer(body: bytes) -> None:
    with _server(lambda handler: _reply(handler, 200, body)) as url:
        store = InfluxStore(url, "power", "meters", "t", TIMEOUT_S)
        with pytest.raises(StoreUnavailable):
            meters_stored(store)
        store.close()
