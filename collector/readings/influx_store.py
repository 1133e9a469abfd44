"""The reading store in InfluxDB: written through `/api/v2/write`, read with InfluxQL on `/query`.

It owns how reads become requests and answers become reads; it must not know who sends reads, nor
the ledger. Only what InfluxDB 1.8 to 3 all serve is used; a 2.x server needs the bucket mapped to
a database of the same name (DBRP).

A point is written over by a later one with the same tags and time, and their fields are united:
that makes appends idempotent. Where two reads of one identity differ, the later one is what this
store shows; the ledger has kept them apart.
"""

# What goes into query texts is made of constants, numbers and escaped literals:
# ruff: noqa: S608

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import groupby, islice
from typing import Any, cast

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from collector.readings.check import AT_MAX_MS, AT_MIN_MS, ceil_ms, from_ms
from collector.readings.line_protocol import MEASUREMENT, QUALITY_FIELD, BlockLines, encode
from collector.readings.port import ReadBlock, Refused, StoredRead, StoreUnavailable
from contract.messages import MeterRead
from contract.registers import BY_FIELD, BY_OBIS

# Lines in one request. Far fewer cost throughput; more leave the server idle while the first lines
# of a group are made, and are refused by proxies for their size (5,000 lines are about 1 MB).
LINES_MAX = 5_000

# Rows in one part of a streamed answer: what is held in memory at a time.
ROWS_MAX = 10_000
RECEIVE_BYTES = 65_536

# A part of an answer that does not end within this is no answer of ours: 10,000 rows of the whole
# catalogue stay below it.
PART_BYTES_MAX = 32 * 1024 * 1024

# The server understood and will never take it: some line is at fault. 413 says that it is too much
# at once. Everything else may pass later (overload, restart, a token or bucket to be set right).
_LINE_AT_FAULT = frozenset({400, 413, 422})

REASON_CHARS_MAX = 500

# The client declares a class and means one of its strings.
_MILLISECONDS = cast("WritePrecision", WritePrecision.MS)

_Pending = tuple[str, ReadBlock, MeterRead]
_Cell = int | float | str | bool | None


class _Series(msgspec.Struct):
    columns: list[str]
    values: list[list[_Cell]] = []


class _Result(msgspec.Struct):
    series: list[_Series] = []
    error: str = ""


class _Answer(msgspec.Struct):
    results: list[_Result] = []
    error: str = ""


_answer = msgspec.json.Decoder(_Answer)


class InfluxStore:
    """A ReadingStore in one bucket of an InfluxDB server. Safe to use from several threads."""

    def __init__(self, url: str, org: str, bucket: str, token: str, timeout_s: float) -> None:
        """Nothing is sent yet. `timeout_s` bounds each request."""
        self._bucket = bucket
        self._org = org
        self._url = url
        self._client = InfluxDBClient(
            url=url, token=token, org=org, timeout=int(timeout_s * 1000), enable_gzip=False
        )
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="influxdb")

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        """Write all reads, LINES_MAX at a time; see ReadingStore.

        While the server takes one request, the lines of the next are made.
        """
        refused: list[Refused] = []
        under_way: tuple[Future[str | None], list[BlockLines]] | None = None
        for request in _requests(blocks):
            encoded, bad = encode(request)
            refused += bad
            if under_way is not None:
                refused += self._settled(*under_way)
            lines = [line for part in encoded for line in part.lines]
            under_way = (self._sender.submit(self._write, lines), encoded) if lines else None
        if under_way is not None:
            refused += self._settled(*under_way)
        return refused

    def readings(
        self, meter: str, from_at: datetime, to_at: datetime, limit: int = 100_000
    ) -> Iterator[StoredRead]:
        """See ReadingStore."""
        return islice(self._select("*", "meter", meter, from_at, to_at), limit)

    def station_reads(
        self, station: str, from_at: datetime, to_at: datetime, registers: Sequence[str]
    ) -> Iterator[StoredRead]:
        """See ReadingStore. Reads that have none of `registers` are left out."""
        names = [BY_OBIS[obis].field for obis in registers if obis in BY_OBIS]
        columns = ", ".join(f'"{name}"' for name in ["station", "meter", QUALITY_FIELD, *names])
        reads = self._select(columns, "station", station, from_at, to_at)
        return (read for read in reads if read.values)

    def count(self, from_at: datetime, to_at: datetime) -> int:
        """See ReadingStore. A meter that two stations report at one instant counts twice."""
        total = 0
        for series in self._query(
            f'SELECT count("{QUALITY_FIELD}") AS "reads" FROM "{MEASUREMENT}" '
            f"WHERE {_within(from_at, to_at)}"
        ):
            column = series.columns.index("reads")
            counts: list[Any] = [row[column] for row in series.values]
            total += sum(counts)
        return total

    def compact(self) -> int:
        """Nothing to do: the server keeps each point once."""
        return 0

    def close(self) -> None:
        """Wait for what is under way and close the connections."""
        self._sender.shutdown()
        self._write_api.close()  # type: ignore[no-untyped-call]
        self._client.close()  # type: ignore[no-untyped-call]

    # --- writing ------------------------------------------------------------------------------

    def _settled(self, sent: "Future[str | None]", encoded: list[BlockLines]) -> list[Refused]:
        """Wait for a request; what of it the server will never take. Raises StoreUnavailable."""
        reason = sent.result()
        if reason is None:
            return []
        pending = [
            (line, part.block, read)
            for part in encoded
            for line, read in zip(part.lines, part.block.reads, strict=True)
        ]
        return self._write_without_faulty(pending, reason)

    def _write(self, lines: list[str]) -> str | None:
        """Write lines; returns why the server will not take them all, or None when it has them."""
        body = "\n".join(lines).encode()
        try:
            with self._available():
                self._write_api.write(self._bucket, self._org, body, write_precision=_MILLISECONDS)
        except _LineAtFault as fault:
            return str(fault)
        return None

    def _write_without_faulty(self, pending: list[_Pending], reason: str) -> list[Refused]:
        """Find by halves which of lines that were not all taken are at fault; write the others.

        Points that a server did take the first time are written again, to no effect.
        """
        if len(pending) == 1:
            _, block, read = pending[0]
            return [Refused(block, read, reason)]
        middle = len(pending) // 2
        refused: list[Refused] = []
        for half in (pending[:middle], pending[middle:]):
            fault = self._write([line for line, _, _ in half])
            if fault is not None:
                refused += self._write_without_faulty(half, fault)
        return refused

    # --- reading ------------------------------------------------------------------------------

    def _select(
        self, columns: str, tag: str, name: str, from_at: datetime, to_at: datetime
    ) -> Iterator[StoredRead]:
        rows = (
            read
            for series in self._query(
                f'SELECT {columns} FROM "{MEASUREMENT}" '
                f'WHERE "{tag}" = {_literal(name)} AND {_within(from_at, to_at)} '
                "ORDER BY time ASC"
            )
            for read in _reads(series)
        )
        # The server orders by time alone.
        for _, same_time in groupby(rows, key=lambda read: read.at):
            ordered = sorted(same_time, key=lambda read: (read.meter, read.station))
            for _, same in groupby(ordered, key=lambda read: read.meter):
                yield _unite(list(same))

    def _query(self, text: str) -> Iterator[_Series]:
        with self._available():
            response: BaseHTTPResponse = self._client.api_client.call_api(  # type: ignore[no-untyped-call]
                "/query",
                "GET",
                query_params={
                    "db": self._bucket,
                    "q": text,
                    "epoch": "ms",
                    "chunked": "true",
                    "chunk_size": ROWS_MAX,
                },
                header_params={"Accept": "application/json"},
                _return_http_data_only=True,
                _preload_content=False,
            )
            try:
                for part in _parts(response):
                    yield from self._series(part)
            finally:
                # What is left of an answer that nobody wants must not stay in the pool.
                response.close()
                response.release_conn()

    def _series(self, part: bytes) -> Iterator[_Series]:
        try:
            answer = _answer.decode(part)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"InfluxDB at {self._url}: broken answer: {error}") from error
        for result in answer.results:
            if result.error:
                raise StoreUnavailable(f"InfluxDB at {self._url}: {result.error}")
            yield from result.series
        if answer.error:
            raise StoreUnavailable(f"InfluxDB at {self._url}: {answer.error}")

    @contextlib.contextmanager
    def _available(self) -> Iterator[None]:
        """Turn what may pass into StoreUnavailable, and what will not into _LineAtFault."""
        try:
            yield
        except ApiException as error:
            text = _message(error)
            if error.status in _LINE_AT_FAULT:
                raise _LineAtFault(text) from error
            raise StoreUnavailable(f"InfluxDB at {self._url}: {text}") from error
        except (HTTPError, OSError) as error:
            raise StoreUnavailable(f"InfluxDB at {self._url}: {error}") from error


class _LineAtFault(Exception):
    """The server will never take a request as it is."""


def _requests(blocks: Sequence[ReadBlock]) -> Iterator[list[ReadBlock]]:
    """Whole blocks, up to LINES_MAX reads together; a larger block goes alone."""
    request: list[ReadBlock] = []
    size = 0
    for block in blocks:
        if request and size + len(block.reads) > LINES_MAX:
            yield request
            request, size = [], 0
        request.append(block)
        size += len(block.reads)
    if request:
        yield request


def _message(error: ApiException) -> str:
    """What the server said, shortly."""
    body = error.body or b""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    with contextlib.suppress(msgspec.DecodeError):
        said = msgspec.json.decode(text)
        if isinstance(said, dict):
            text = str(said.get("error") or said.get("message") or text)
    return f"HTTP {error.status}: {text or error.reason}"[:REASON_CHARS_MAX]


def _parts(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The JSON documents of a chunked answer: each ends with a line break."""
    rest = b""
    for received in response.stream(RECEIVE_BYTES):
        *lines, rest = (rest + received).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > PART_BYTES_MAX:
            raise StoreUnavailable(f"InfluxDB: more than {PART_BYTES_MAX} bytes in one part")
    if rest.strip():
        yield rest


def _reads(series: _Series) -> Iterator[StoredRead]:
    columns = series.columns
    at, station, meter = (columns.index(name) for name in ("time", "station", "meter"))
    quality = columns.index(QUALITY_FIELD)
    registers = [(i, BY_FIELD[name]) for i, name in enumerate(columns) if name in BY_FIELD]
    for row in series.values:
        values: dict[str, int | float] = {}
        for index, register in registers:
            value: Any = row[index]
            if value is not None:
                # JSON has one kind of number: 230.0 comes as 230.
                values[register.obis] = value if register.is_integer else float(value)
        instant: Any = row[at]
        bits: Any = row[quality]
        yield StoredRead(str(row[station]), str(row[meter]), from_ms(instant), bits or 0, values)


def _unite(same: list[StoredRead]) -> StoredRead:
    """One read of a meter and instant that several stations reported."""
    first = same[0]
    if len(same) == 1:
        return first
    values: dict[str, int | float] = {}
    quality = 0
    for read in reversed(same):
        values |= read.values
        quality |= read.quality
    return StoredRead(first.station, first.meter, first.at, quality, values)


def _within(from_at: datetime, to_at: datetime) -> str:
    earliest = max(ceil_ms(from_at), AT_MIN_MS)
    end = min(ceil_ms(to_at), AT_MAX_MS)
    return f"time >= {earliest}ms AND time < {end}ms"


def _literal(text: str) -> str:
    """An InfluxQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
