"""What is particular to the DuckDB store: one file, crashes, full disks, compaction."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import ReadBlock, StoreUnavailable
from contract.messages import MeterRead, ScanKind

SLOT = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REGISTERS = ("1-0:1.8.0", "1-0:32.7.0")
METERS = 200


def scan(number: int, registers: tuple[str, ...] = REGISTERS, meters: int = METERS) -> ReadBlock:
    reads: list[MeterRead] = [
        (f"m{i:05}", 5, [number, *([230.5] * (len(registers) - 1))], 0) for i in range(meters)
    ]
    slot = SLOT + number * timedelta(minutes=1)
    return ReadBlock("S1", "GW", ScanKind.INTERVAL, slot, registers, reads)


def rows(path: Path) -> int:
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        found = connection.execute("SELECT count(*) FROM reads").fetchone()
    assert found is not None
    return int(found[0])


def test_compaction_removes_rows_and_keeps_what_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "reads.duckdb"
    store = DuckDbStore(path)
    far = ReadBlock("S1", "GW", ScanKind.INDEX, SLOT + 40 * DAY, REGISTERS, scan(0).reads)
    store.append([scan(0), scan(1), far])
    store.append([scan(0), far])
    store.append([scan(1, ("1-0:2.8.0",))])
    before = list(store.station_reads("S1", SLOT, SLOT + 50 * DAY, [*REGISTERS, "1-0:2.8.0"]))
    assert store.compact() == 3 * METERS
    after = list(store.station_reads("S1", SLOT, SLOT + 50 * DAY, [*REGISTERS, "1-0:2.8.0"]))
    assert after == before
    assert store.compact() == 0
    # What comes after a compaction is later than what was there before it.
    store.append(
        [ReadBlock("S1", "GW", ScanKind.INDEX, SLOT, REGISTERS, [("m00000", 5, [9, 1.5], 0)])]
    )
    (seen,) = store.readings("m00000", SLOT, SLOT + timedelta(seconds=1))
    assert seen.values == {"1-0:1.8.0": 0, "1-0:32.7.0": 230.5}
    store.close()
    assert rows(path) == 3 * METERS + 1


def test_a_file_of_the_first_form_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "reads.duckdb"
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        connection.execute(
            "CREATE TABLE reads (ordinal BIGINT NOT NULL, station VARCHAR NOT NULL,"
            " meter VARCHAR NOT NULL, read_at TIMESTAMP_MS NOT NULL, gateway VARCHAR NOT NULL,"
            " slot TIMESTAMP_MS NOT NULL, kind VARCHAR NOT NULL, quality BIGINT NOT NULL,"
            " import_wh BIGINT)"
        )
        connection.execute(
            "INSERT INTO reads VALUES (0, 'S1', 'm00000', make_timestamp_ms(?), 'GW',"
            " make_timestamp_ms(?), 'index', 0, 7)",
            [int(SLOT.timestamp() * 1000), int(SLOT.timestamp() * 1000)],
        )
    with contextlib.closing(DuckDbStore(path)) as store:
        store.append([scan(0)])
        first, second = store.readings("m00000", SLOT, SLOT + DAY)
        assert (first.values, second.values["1-0:1.8.0"]) == ({"1-0:1.8.0": 7}, 0)


def test_the_first_value_stands_and_quality_bits_add_up(tmp_path: Path) -> None:
    store = DuckDbStore(tmp_path / "reads.duckdb")
    for value, quality in ((1, 4), (2, 1)):
        store.append(
            [
                ReadBlock(
                    "S1", "GW", ScanKind.INDEX, SLOT, REGISTERS, [("m", 5, [value, None], quality)]
                )
            ]
        )
    for _ in range(2):
        (seen,) = store.readings("m", SLOT, SLOT + DAY)
        assert (seen.values, seen.quality) == ({"1-0:1.8.0": 1}, 5)
        store.compact()
    store.close()


def test_a_register_that_is_new_gets_a_column(tmp_path: Path) -> None:
    path = tmp_path / "reads.duckdb"
    store = DuckDbStore(path)
    store.append([scan(0)])
    store.close()
    store = DuckDbStore(path)
    reader = store.station_reads("S1", SLOT, SLOT + DAY, REGISTERS)
    assert next(iter(reader)).values["1-0:1.8.0"] == 0
    # While somebody is reading, too.
    store.append([scan(1, ("1-0:1.6.0",))])
    assert len(list(reader)) == METERS - 1
    (_, seen) = store.readings("m00000", SLOT, SLOT + DAY)
    assert seen.values == {"1-0:1.6.0": 1}
    store.close()


def test_a_file_that_another_process_has_open(tmp_path: Path) -> None:
    path = tmp_path / "reads.duckdb"
    DuckDbStore(path).close()
    hold = "c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb, sys; {hold}", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreUnavailable, match="lock"):
            DuckDbStore(path)
    DuckDbStore(path).close()


@pytest.mark.parametrize("content", [b"no database", b"\0" * 20_000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "reads.duckdb"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"reads\.duckdb"):
        DuckDbStore(path)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"reads\.duckdb"):
        DuckDbStore(tmp_path / "nowhere" / "reads.duckdb")


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = DuckDbStore(tmp_path / "reads.duckdb")
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append([scan(0)])


def _fill_disk(path: str) -> None:
    """In a process of its own: append under a file-size limit; then lift it and go on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = DuckDbStore(path)
    store.append([scan(0)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    stored = 1
    failures = 0
    # The first failure may pass by itself, as folding the write-ahead log makes room in it.
    while failures < 5:
        try:
            store.append([scan(stored, meters=2000)])
            stored += 1
        except StoreUnavailable:
            failures += 1
        assert stored < 1000, "the limit had no effect"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.append([scan(stored, meters=2000)])
    numbers = [read.values["1-0:1.8.0"] for read in store.readings("m00000", SLOT, SLOT + DAY)]
    assert numbers == list(range(stored + 1)), numbers
    store.close()


def test_a_full_disk_loses_nothing_and_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, "_fill_disk", str(tmp_path / "reads.duckdb")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _append_for_ever(path: str) -> None:
    """In a process of its own: says each scan's number once it is stored, until it is killed."""
    store = DuckDbStore(path)
    stored = [read.values["1-0:1.8.0"] for read in store.readings("m00000", SLOT, SLOT + DAY)]
    number = len(stored)
    while True:
        store.append([scan(number)])
        os.write(1, b"%d\n" % number)
        number += 1
        if number % 20 == 0:
            store.compact()


def test_what_was_stored_outlives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "reads.duckdb"
    seed = int(time.time())
    chance = random.Random(seed)
    said = -1
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, __file__, "_append_for_ever", str(path)], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            said = int(child.stdout.readline())
            os.set_blocking(child.stdout.fileno(), True)
            time.sleep(chance.uniform(0, 0.2))
            child.kill()
            for line in child.stdout:
                if line.endswith(b"\n"):
                    said = int(line)
        store = DuckDbStore(path)
        reads = list(store.station_reads("S1", SLOT, SLOT + DAY, REGISTERS))
        store.close()
        numbers = {read.values["1-0:1.8.0"] for read in reads}
        # The last one may have been stored without having been said; nothing else is missing,
        # and no scan is there in part.
        assert numbers in (set(range(said + 1)), set(range(said + 2))), f"seed {seed}"
        assert len(reads) == len(numbers) * METERS, f"seed {seed}"


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
