"""Cases 15, 16, 17 and 25: disks full or failing, files damaged, a migration cut off.

A limit on the size of files is what makes writes of a running program fail: every write beyond it
is refused (EFBIG), in the middle of a transaction too, until the limit is taken back.
"""

import asyncio
import random
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.endurance.station import START
from tests.faults.programs import Forks
from tests.faults.world import DEADLINE_S, World, until, world
from tests.services.disk import fill_up, small_disk

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]
DISK_MIB = 24


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_MIB) as mounted:
        yield mounted


def nothing_forgotten_that_is_not_there(made: World) -> None:
    """What the gateway may forget is in the ledger (I4)."""
    acked = made.acked()
    assert acked <= made.arrived(), acked - made.arrived()


async def test_case_15_the_collectors_disk_is_full_and_nothing_is_acknowledged(
    tmp_path: Path, forks: Forks, disk: Path
) -> None:
    async with world(tmp_path, forks, disk=disk) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "all are connected")
        fill_up(disk / "somebody-elses")
        slot = await until_it_says(made, "_unavailable")
        await made.slots_to(slot + 4)
        nothing_forgotten_that_is_not_there(made)
        assert len(made.acked()) < len(made.kept())
        made.injected.append("the collector's disk full")
        made.quiet()
        (disk / "somebody-elses").unlink()
        await made.settle()
        made.tell(15)


async def until_it_says(made: World, word: str, slot: int = 1) -> int:
    """Let slots go by until the collector's log says that it cannot write; returns the last."""
    while word not in made.collector_log():
        assert slot < 400, "what fills up is never full"
        slot += 4
        await made.slots_to(slot)
        await asyncio.sleep(0.05)
    return slot


async def test_case_16_writes_of_the_collector_fail_and_nothing_is_acknowledged(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "all are connected")
        assert made.collector is not None
        limit_files(made.collector.pid, 96 * 1024)
        slot = await until_it_says(made, "_unavailable")
        await made.slots_to(slot + 4)
        nothing_forgotten_that_is_not_there(made)
        made.injected.append("the collector's writes fail (file size limit of 96 KiB)")
        made.quiet()
        limit_files(made.collector.pid, None)
        await made.settle()
        made.tell(16)


def limit_files(pid: int, bytes_max: int | None) -> None:
    """How large files of the running process may become."""
    soft = resource.RLIM_INFINITY if bytes_max is None else bytes_max
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


async def test_case_16_writes_of_the_gateway_fail_and_what_is_not_kept_is_listed(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        await made.subscribed()
        made.station.start()
        await made.slots_to(1)
        assert made.station.process is not None
        limit_files(made.station.process.pid, 64 * 1024)
        # It waits for its outbox, and so does its time, which stands still without it.
        await made.station.clock.extend(START + 60 * made.station.interval)
        await until(lambda: "file cannot be opened" in made.gateway_log(), "its files fail")
        kept = made.kept()
        nothing_forgotten_that_is_not_there(made)
        made.injected.append("the gateway's writes fail (file size limit of 64 KiB)")
        made.quiet()
        limit_files(made.station.process.pid, None)
        await made.slots_to(64)
        assert kept < made.kept()
        await made.settle()
        made.tell(16)


async def test_case_17_a_bit_flips_in_the_outbox_and_its_log_is_cut_off(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.station.start()
        await made.slots_to(8)
        await made.kill_gateway()
        damaged = flip(made)
        made.station.start()
        await made.slots_to(12)
        await made.kill_gateway()
        made.station.start()
        await made.slots_to(20)
        await made.kill_gateway()
        log = made.station.outbox.with_name(f"{made.station.outbox.name}-wal")
        with log.open("r+b") as stream:
            stream.truncate(log.stat().st_size // 2)
        made.injected.append("a bit flipped in the outbox, its WAL cut in half")
        made.start_collector()
        made.station.start()
        await made.slots_to(24)
        await made.settle()
        report = made.tell(17)
        assert report.listed >= len(made.station.serials), "the damaged batch is listed"
        tombstone = "SELECT epoch, seq_from FROM gaps WHERE source = 'tombstone'"
        assert damaged in {(epoch, int(str(seq))) for epoch, seq in made.rows(tombstone)}


def flip(made: World) -> tuple[str, int]:
    """Another bit in the file where the third batch's bytes are; returns the batch's number."""
    with closing(sqlite3.connect(made.station.outbox)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    key, payload = list(made.payloads().items())[2]
    content = bytearray(made.station.outbox.read_bytes())
    where = content.find(payload[40:100])
    assert where > 0
    content[where + 20] ^= 1
    made.station.outbox.write_bytes(content)
    return key


KILLS = 6
SEED = 25


async def test_case_25_a_migration_is_killed_half_way_while_data_comes(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.station.start()
        await made.slots_to(4)
        for file in made.ledger.parent.glob("ledger.sqlite*"):
            file.unlink()
        chance = random.Random(SEED)
        cut_off = 0
        for _ in range(KILLS):
            migrate = made.collector_command("migrate")
            await asyncio.sleep(chance.uniform(0, 0.8))
            cut_off += migrate.poll() is None
            await asyncio.to_thread(migrate.kill)
            if made.ledger.exists():
                with closing(sqlite3.connect(made.ledger)) as db:
                    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            await made.slots_to(5)
        migrate = made.collector_command("migrate")
        assert await asyncio.to_thread(migrate.wait, DEADLINE_S) == 0
        assert cut_off > 0
        made.injected.append(f"migration killed ×{cut_off} (seed {SEED})")
        made.quiet()
        made.start_collector()
        await made.slots_to(8)
        await made.settle()
        made.tell(25)
