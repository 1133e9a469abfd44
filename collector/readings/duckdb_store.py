"""The embedded reading store: one DuckDB file, one process, append-only.

It owns the table `reads` and how repeats are hidden. It must not know who sends reads, nor the
ledger.

Every append only adds rows. Rows of the same meter and instant are united when they are read:
of each register the value that was stored first stands (a read is immutable; the ledger keeps
conflicts), and quality is the union of the rows' bits. `compact` makes the same of them on disk.

A register's column is added when the first value of it comes: an empty column costs as much in
the write-ahead log as a full one, and few fleets have all registers of the catalogue.
"""

# Names in SQL texts come from the catalogue, never from a caller:
# ruff: noqa: S608

import contextlib
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate, chain, groupby, islice, repeat
from pathlib import Path

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from collector.readings.check import (
    AT_MAX_MS,
    AT_MIN_MS,
    ceil_ms,
    from_ms,
    names_are_writable,
    separate,
    to_ms,
)
from collector.readings.columns import Columns, code_of, columns_of
from collector.readings.port import (
    ReadBlock,
    Refused,
    StoredRead,
    StoreUnavailable,
)
from contract.registers import BY_FIELD, BY_OBIS, CATALOGUE

# What DuckDB may keep of its file and take for sorting before it spills to `<file>.tmp`; by default
# it would take four fifths of the machine. It takes all that it may as the file grows.
MEMORY_LIMIT_MB = 256

# The write-ahead log is folded into the file at this size: rarely enough not to be felt, and small
# enough that opening after a crash takes a second or two.
CHECKPOINT_AT = "256MB"

# An append is too small to be worth spreading, and its threads would take the processor from the
# intake; queries find their few rows by the extents that DuckDB keeps of each stretch of the table.
THREADS = "1"

# Rows that a query hands over at a time.
FETCH_ROWS = 10_000

DAY_MS = 86_400_000

_KEY_COLUMNS = ("station", "meter", "at_ms", "quality")

_CREATE = """\
CREATE TABLE IF NOT EXISTS reads (
    ordinal BIGINT NOT NULL,
    station VARCHAR NOT NULL,
    meter VARCHAR NOT NULL,
    read_at TIMESTAMP_MS NOT NULL,
    quality BIGINT NOT NULL
)"""

# What the first files had and no query asked for: the ledger knows which batch brought a read.
_NOT_KEPT = ("gateway", "slot", "kind")

_UNAVAILABLE = (
    duckdb.OperationalError,
    duckdb.FatalException,
    duckdb.ConnectionException,
)


class _NotColumnar(Exception):
    """Some read of a group cannot be stored as it is: the group is to be looked at one by one."""


class DuckDbStore:
    """A ReadingStore in the file `path`, which no other process may have open.

    Safe to use from several threads. After an I/O error or a full disk the file is opened anew at
    the next call.
    """

    def __init__(self, path: str | Path, *, memory_limit_mb: int = MEMORY_LIMIT_MB) -> None:
        """Open or create the file. Raises StoreUnavailable."""
        self._path = Path(path)
        self._memory_limit_mb = memory_limit_mb
        self._write_lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._closed = False
        self._next_ordinal = 0
        self._fields: frozenset[str] = frozenset()
        with self._cursor():
            pass

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        """Add all reads in one transaction; see ReadingStore."""
        refused: list[Refused] = []
        tables: list[pa.Table] = []
        groups: dict[tuple[str, ...], list[ReadBlock]] = {}
        for block in blocks:
            if block.reads:
                groups.setdefault(tuple(block.registers), []).append(block)
        for group in groups.values():
            try:
                tables.append(_to_arrow(group))
            except _NotColumnar:
                good, bad = separate(group)
                refused += bad
                if good:
                    tables.append(_to_arrow(good))
        if tables:
            with self._write_lock, self._cursor() as cursor:
                self._insert(cursor, tables)
        return refused

    def readings(
        self, meter: str, from_at: datetime, to_at: datetime, limit: int = 100_000
    ) -> Iterator[StoredRead]:
        """See ReadingStore."""
        columns = [register.field for register in CATALOGUE]
        reads = self._select("meter = ?", meter, from_at, to_at, columns)
        return islice(reads, limit)

    def station_reads(
        self, station: str, from_at: datetime, to_at: datetime, registers: Sequence[str]
    ) -> Iterator[StoredRead]:
        """See ReadingStore. Reads that have none of `registers` are left out."""
        columns = [BY_OBIS[obis].field for obis in registers if obis in BY_OBIS]
        reads = self._select("station = ?", station, from_at, to_at, columns)
        return (read for read in reads if read.values)

    def count(self, from_at: datetime, to_at: datetime) -> int:
        """See ReadingStore."""
        with self._cursor() as cursor:
            row = cursor.execute(
                "SELECT count(*) FROM (SELECT DISTINCT meter, read_at FROM reads "
                "WHERE read_at >= make_timestamp_ms(?) AND read_at < make_timestamp_ms(?))",
                [ceil_ms(from_at), ceil_ms(to_at)],
            ).fetchone()
        assert row is not None
        return int(row[0])

    def read_through(self) -> int:
        """Read every value, which checks every block's checksum; returns the number of rows."""
        with self._cursor() as cursor:
            row = cursor.execute(
                "SELECT count(*), bit_xor(hash(r)) FROM (SELECT * FROM reads) r"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def compact(self) -> int:
        """Unite the rows of each meter and instant, day by day; returns how many rows that saves.

        Each day is a transaction of its own, so that memory stays bounded and nothing that was
        done is lost when it is interrupted.
        """
        removed = 0
        with self._write_lock, self._cursor() as cursor:
            days = cursor.execute(
                "SELECT DISTINCT epoch_ms(read_at) // ? FROM reads ORDER BY 1", [DAY_MS]
            ).fetchall()
            for (day,) in days:
                removed += self._compact_range(cursor, day * DAY_MS, (day + 1) * DAY_MS)
        # With a cursor of its own: the one that made and dropped a temporary table may still count
        # as writing. Queries under way may too; then the file shrinks at a later checkpoint.
        with self._cursor() as cursor, contextlib.suppress(duckdb.TransactionException):
            cursor.execute("CHECKPOINT")
        return removed

    def close(self) -> None:
        """Fold the write-ahead log into the file and release it."""
        with self._write_lock, self._open_lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- writing ------------------------------------------------------------------------------

    def _insert(self, cursor: duckdb.DuckDBPyConnection, tables: list[pa.Table]) -> None:
        fields = self._fields.union(*(table.column_names for table in tables))
        for name in sorted(fields - self._fields):
            kind = "BIGINT" if BY_FIELD[name].is_integer else "DOUBLE"
            cursor.execute(f'ALTER TABLE reads ADD COLUMN IF NOT EXISTS "{name}" {kind}')
        self._fields = fields
        ordinal = self._next_ordinal
        cursor.execute("BEGIN")
        for table in tables:
            numbered = table.append_column("ordinal", pa.arange(ordinal, ordinal + len(table)))
            ordinal += len(table)
            cursor.register("incoming", numbered)
            cursor.execute("INSERT INTO reads BY NAME SELECT * FROM incoming")
            cursor.unregister("incoming")
        cursor.execute("COMMIT")
        self._next_ordinal = ordinal

    def _compact_range(self, cursor: duckdb.DuckDBPyConnection, from_ms: int, until_ms: int) -> int:
        within = (
            f"read_at >= make_timestamp_ms({from_ms:d}) "
            f"AND read_at < make_timestamp_ms({until_ms:d})"
        )
        repeated = "GROUP BY meter, read_at HAVING count(*) > 1"
        others = sorted(self._fields - {"ordinal", "meter", "read_at", "quality"})
        firsts = ", ".join(f'arg_min("{name}", ordinal) AS "{name}"' for name in others)
        cursor.execute("BEGIN")
        cursor.execute(
            "CREATE OR REPLACE TEMP TABLE united AS SELECT min(ordinal) AS ordinal, meter, "
            f"read_at, bit_or(quality) AS quality, {firsts}, count(*) AS rows_before "
            f"FROM reads WHERE {within} {repeated}"
        )
        row = cursor.execute("SELECT coalesce(sum(rows_before - 1), 0) FROM united").fetchone()
        assert row is not None
        if row[0]:
            cursor.execute(
                f"DELETE FROM reads WHERE {within} "
                "AND (meter, read_at) IN (SELECT meter, read_at FROM united)"
            )
            cursor.execute("INSERT INTO reads BY NAME SELECT * EXCLUDE (rows_before) FROM united")
        cursor.execute("DROP TABLE united")
        cursor.execute("COMMIT")
        return int(row[0])

    # --- reading ------------------------------------------------------------------------------

    def _select(
        self, where: str, name: str, from_at: datetime, to_at: datetime, columns: list[str]
    ) -> Iterator[StoredRead]:
        present = "".join(f', "{column}"' for column in columns if column in self._fields)
        sql = (
            f"SELECT station, meter, epoch_ms(read_at) AS at_ms, quality{present} FROM reads "
            f"WHERE {where} AND read_at >= make_timestamp_ms(?) AND read_at < make_timestamp_ms(?) "
            "ORDER BY read_at, meter, ordinal"
        )
        with self._cursor() as cursor:
            answer = cursor.sql(sql, params=[name, ceil_ms(from_at), ceil_ms(to_at)])
            rows = chain.from_iterable(map(_batch_reads, answer.to_arrow_reader(FETCH_ROWS)))
            for _, same in groupby(rows, key=lambda read: (read.at, read.meter)):
                yield _unite(same)

    # --- the connection -----------------------------------------------------------------------

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for one call; what fails for want of I/O is StoreUnavailable."""
        try:
            cursor = self._opened().cursor()
            try:
                yield cursor
            finally:
                # Closing rolls back what was begun and not committed.
                cursor.close()
        except _UNAVAILABLE as error:
            self._forget_connection()
            raise StoreUnavailable(f"DuckDB file {self._path}: {error}") from error

    def _opened(self) -> duckdb.DuckDBPyConnection:
        with self._open_lock:
            if self._closed:
                raise StoreUnavailable(f"DuckDB file {self._path}: closed")
            if self._connection is None:
                connection = duckdb.connect(
                    str(self._path),
                    config={
                        "memory_limit": f"{self._memory_limit_mb}MB",
                        "checkpoint_threshold": CHECKPOINT_AT,
                        "threads": THREADS,
                        "autoinstall_known_extensions": "false",
                        "autoload_known_extensions": "false",
                    },
                )
                self._prepare(connection)
                self._connection = connection
            return self._connection

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(_CREATE)
        for name in _NOT_KEPT:
            connection.execute(f"ALTER TABLE reads DROP COLUMN IF EXISTS {name}")
        described = connection.execute("DESCRIBE reads").fetchall()
        self._fields = frozenset(str(row[0]) for row in described)
        row = connection.execute("SELECT coalesce(max(ordinal) + 1, 0) FROM reads").fetchone()
        assert row is not None
        # A writer may still be at work on the connection that was lost.
        self._next_ordinal = max(self._next_ordinal, int(row[0]))

    def _forget_connection(self) -> None:
        with self._open_lock:
            if self._connection is not None:
                with contextlib.suppress(duckdb.Error):
                    self._connection.close()
                self._connection = None


def _to_arrow(blocks: list[ReadBlock]) -> pa.Table:
    """The reads of blocks with the same registers, as columns. Raises _NotColumnar."""
    names = {block.station for block in blocks} | {block.gateway for block in blocks}
    if not names_are_writable(list(names)):
        raise _NotColumnar
    try:
        parts = _packed(blocks)
        slots = _repeated(pa.array([to_ms(block.slot) for block in blocks], pa.int64()), parts)
        at = pc.add_checked(slots, _joined(pa.int64(), [part.offsets_ms for part in parts]))
        qualities = _joined(pa.int64(), [part.qualities for part in parts])
        columns = {
            "station": _repeated(pa.array([block.station for block in blocks]), parts),
            "meter": _names(parts),
            "read_at": at.cast(pa.timestamp("ms")),
            "quality": qualities,
        }
        columns |= _values(parts)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise _NotColumnar from error
    extent = pc.min_max(at).as_py()
    if extent["min"] < AT_MIN_MS or extent["max"] >= AT_MAX_MS:
        raise _NotColumnar
    if pc.min(qualities).as_py() < 0:
        raise _NotColumnar
    return pa.table(columns)


def _packed(blocks: list[ReadBlock]) -> list[Columns]:
    """The columns of each block. Raises _NotColumnar, or ValueError where a read is too short."""
    parts = [columns_of(block.registers, block.reads) for block in blocks]
    packed = [part for part in parts if part is not None]
    if len(packed) < len(parts):
        raise _NotColumnar
    return packed


def _repeated(values: pa.Array, parts: list[Columns]) -> pa.Array:
    """Each value once for every read of its block."""
    ends = pa.array(accumulate(part.count for part in parts), pa.int32())
    return pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, values))


def _names(parts: list[Columns]) -> pa.Array:
    """Serials as one column. Raises _NotColumnar where one cannot be written."""
    joined = b"".join([part.names for part in parts])
    lengths = _joined(pa.int32(), [part.name_bytes for part in parts])
    text = joined.decode()
    if pc.min(lengths).as_py() == 0 or not text.isprintable() or "\\" in text:
        raise _NotColumnar
    starts = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    buffers = [None, starts.buffers()[1], pa.py_buffer(joined)]
    return pa.Array.from_buffers(pa.string(), len(lengths), buffers)


def _values(parts: list[Columns]) -> dict[str, pa.Array]:
    """Each register's values, null where absent. Raises _NotColumnar where one is not finite."""
    registers = parts[0].registers
    integers = _joined(pa.int64(), [part.values for part in parts])
    # The same bits, as rows of integers and as rows of floats: of each, some columns make sense.
    rows = {
        "q": pa.FixedSizeListArray.from_arrays(integers, len(registers)),
        "d": pa.FixedSizeListArray.from_arrays(integers.view(pa.float64()), len(registers)),
    }
    columns: dict[str, pa.Array] = {}
    for position, obis in enumerate(registers):
        code = code_of(obis)
        column = pc.list_element(rows[code], position)
        if code == "d" and pc.all(pc.is_finite(column)).as_py() is False:
            raise _NotColumnar
        if any(position in part.absent for part in parts):
            gone = [part.absent.get(position, bytes(part.count)) for part in parts]
            missing = _joined(pa.uint8(), gone).cast(pa.bool_())
            column = pc.if_else(missing, pa.scalar(None, column.type), column)
        columns[BY_OBIS[obis].field] = column
    return columns


def _joined(kind: pa.DataType, parts: Sequence[bytes]) -> pa.Array:
    data = b"".join(parts)
    return pa.Array.from_buffers(
        kind, len(data) // (kind.bit_width // 8), [None, pa.py_buffer(data)]
    )


def _batch_reads(batch: pa.RecordBatch) -> list[StoredRead]:
    """The rows of one answer, without the columns that are empty in all of them."""
    key = (batch.column(name).to_pylist() for name in _KEY_COLUMNS)
    names: list[str] = []
    columns: list[list[int | float | None]] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in BY_FIELD and column.null_count < len(column):
            names.append(BY_FIELD[name].obis)
            columns.append(column.to_pylist())
    values = zip(*columns, strict=True) if columns else repeat(())
    return [
        StoredRead(
            station,
            meter,
            from_ms(at),
            quality,
            {obis: value for obis, value in zip(names, row, strict=True) if value is not None},
        )
        for station, meter, at, quality, row in zip(*key, values, strict=False)
    ]


def _unite(reads: Iterator[StoredRead]) -> StoredRead:
    """The rows of one meter and instant, oldest first, as one: the first value of each register."""
    first = next(reads)
    later = list(reads)
    if not later:
        return first
    values = dict(first.values)
    quality = first.quality
    for read in later:
        quality |= read.quality
        values = read.values | values
    return StoredRead(first.station, first.meter, first.at, quality, values)
