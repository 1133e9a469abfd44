"""The simulated disk itself: what a power cut takes and what it leaves, told by SQLite."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation import disk as disk_layer
from tests.simulation.disk import Disk, Image


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk_layer.install()
    made = Disk(tmp_path / "disk")
    yield made
    made.forget()


def _open(disk: Disk, synchronous: str = "FULL") -> sqlite3.Connection:
    db = sqlite3.connect(disk.folder / "file.sqlite3", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER, blob BLOB)")
    return db


def _fill(db: sqlite3.Connection, first: int, last: int) -> None:
    for n in range(first, last + 1):
        db.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(1500)))


def _found(image: Image, disk: Disk, name: str) -> list[int]:
    """What somebody finds who opens the image on another disk."""
    other = Disk(disk.folder.parent / name)
    other.put(image)
    db = _open(other)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]
    finally:
        db.close()
        other.forget()


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_outlives_a_power_cut(disk: Disk, seed: int) -> None:
    db = _open(disk)
    _fill(db, 1, 30)
    image = disk.after_power_cut(random.Random(seed))
    assert _found(image, disk, f"found-{seed}") == list(range(1, 31))
    db.close()


def test_what_was_not_synced_is_lost_in_some_power_cuts(disk: Disk) -> None:
    db = _open(disk, "NORMAL")
    _fill(db, 1, 30)
    counts = {
        len(_found(disk.after_power_cut(random.Random(seed)), disk, f"found-{seed}"))
        for seed in range(20)
    }
    assert min(counts) < 30
    assert max(counts) == 30
    db.close()


@pytest.mark.parametrize("effect", ["write", "sync"])
def test_a_death_in_the_middle_of_a_commit_leaves_all_or_nothing(disk: Disk, effect: str) -> None:
    db = _open(disk)
    _fill(db, 1, 5)
    left = [1 if effect == "write" else 0]

    def die(kind: str) -> None:
        if kind == effect:
            left[0] -= 1
            if left[0] < 0:
                disk.die(disk.after_power_cut(random.Random(7)))

    disk.effect = die
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        _fill(db, 6, 6)
    assert disk.dead
    with pytest.raises(sqlite3.OperationalError):
        _fill(db, 7, 7)
    assert disk.image is not None
    assert _found(disk.image, disk, "found") in (list(range(1, 6)), list(range(1, 7)))
    db.close()


def test_a_full_disk_says_so_and_takes_more_when_there_is_room(disk: Disk) -> None:
    db = _open(disk)
    _fill(db, 1, 5)
    disk.quota_bytes = disk.used_bytes()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        _fill(db, 6, 20)
    disk.quota_bytes = None
    _fill(db, 100, 101)
    assert db.execute("SELECT max(n) FROM t").fetchone() == (101,)
    db.close()


def test_a_sync_that_fails_fails_the_commit(disk: Disk) -> None:
    db = _open(disk)
    disk.sync_fails = 1
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        _fill(db, 1, 1)
    db.close()


def test_other_files_are_left_alone(disk: Disk, tmp_path: Path) -> None:
    disk.die(disk.look())
    db = sqlite3.connect(tmp_path / "another.sqlite3")
    db.execute("CREATE TABLE t (n)")
    db.close()
