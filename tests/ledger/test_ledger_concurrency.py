"""Several collectors on one PostgreSQL: the same reads at once, counted once."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock, IndexInsertion
from collector.ledger.receipts import CLAIMED, BatchKey, NewReceipt
from collector.operations import registry_import
from collector.operations.keys import add_key
from collector.registry.changes import plan_changes
from collector.registry.planning import RegistryChanges
from contract.messages import MeterRead, ScanKind
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import EPOCH, FILES, GATEWAY, NOW, import_files, midnight

T = midnight("2026-10-20")
METERS = 300
WRITERS = 4


def block(seq: int, values: dict[str, int]) -> IndexBlock:
    reads: list[MeterRead] = [(meter, 0, [value], 0) for meter, value in values.items()]
    slot = T + timedelta(minutes=30 * seq)
    return IndexBlock(GATEWAY, EPOCH, seq, ScanKind.INDEX, slot, [IMPORT_ACTIVE], reads)


def test_the_same_batches_from_several_writers_in_any_order(postgres_url: str) -> None:
    blocks = [block(seq, {f"M{n}": n + seq for n in range(METERS)}) for seq in range(10)]
    ledgers = [Ledger(postgres_url) for _ in range(WRITERS)]
    ledgers[0].migrate()
    start = threading.Barrier(WRITERS)

    def write(number: int) -> list[IndexInsertion]:
        order = blocks if number % 2 else blocks[::-1]
        start.wait(10)
        done = []
        for pair in zip(order[::2], order[1::2], strict=True):
            with ledgers[number].begin() as uow:
                done.append(uow.index_reads.insert_many(pair, NOW))
        return done

    with ThreadPoolExecutor(WRITERS) as pool:
        done = [one for part in pool.map(write, range(WRITERS)) for one in part]
    assert sum(one.inserted for one in done) == METERS * len(blocks)
    assert sum(one.repeated for one in done) == METERS * len(blocks) * (WRITERS - 1)
    assert not any(one.conflicts for one in done)
    for ledger in ledgers:
        ledger.close()


def test_of_two_values_one_is_kept_and_the_other_reported(postgres_url: str) -> None:
    ledgers = [Ledger(postgres_url) for _ in range(2)]
    ledgers[0].migrate()
    start = threading.Barrier(2)

    def write(number: int) -> IndexInsertion:
        one = block(number, {f"M{n}": 10 * n + number for n in range(METERS)})
        same_slot = IndexBlock(
            one.gateway, one.epoch, one.seq, one.kind, T, one.registers, one.reads
        )
        start.wait(10)
        with ledgers[number].begin() as uow:
            return uow.index_reads.insert_many([same_slot], NOW)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(write, range(2))
    assert first.inserted + second.inserted == METERS
    assert len(first.conflicts) + len(second.conflicts) == METERS
    with ledgers[0].read() as uow:
        assert uow.delivery.views.conflicts() == METERS
    for ledger in ledgers:
        ledger.close()


def test_the_same_receipts_from_several_writers_are_recorded_once(postgres_url: str) -> None:
    keys = [BatchKey(GATEWAY, EPOCH, seq) for seq in range(1, 41)]
    ledgers = [Ledger(postgres_url) for _ in range(WRITERS)]
    ledgers[0].migrate()
    start = threading.Barrier(WRITERS)

    def claim(number: int) -> int:
        order = keys if number % 2 else keys[::-1]
        start.wait(10)
        new = 0
        for first in range(0, len(order), 8):
            part = order[first : first + 8]
            with ledgers[number].begin() as uow:
                uow.delivery.touch({GATEWAY: "T1"}, [(GATEWAY, EPOCH)], NOW)
                known = uow.delivery.receipts(part)
                mine = [key for key in part if key not in known]
                uow.delivery.add_receipts(
                    [NewReceipt(key, bytes(32), CLAIMED, "scan") for key in mine], NOW
                )
                blocks = [block(key.seq, {"M1": key.seq}) for key in mine]
                done = uow.index_reads.insert_many(blocks, NOW)
            assert done.inserted == len(mine)
            new += len(mine)
        return new

    with ThreadPoolExecutor(WRITERS) as pool:
        assert sum(pool.map(claim, range(WRITERS))) == len(keys)
    for ledger in ledgers:
        ledger.close()


def test_of_two_keys_of_one_name_one_is_made(postgres_url: str) -> None:
    ledgers = [Ledger(postgres_url) for _ in range(2)]
    ledgers[0].migrate()
    start = threading.Barrier(2)

    def make(number: int) -> bool:
        start.wait(10)
        try:
            add_key(ledgers[number], name="clerk", scopes=["read"], now=NOW)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(make, range(2))) == [False, True]
    for ledger in ledgers:
        ledger.close()


@pytest.mark.timeout(30)
def test_a_reader_is_not_held_up_by_a_writer(postgres_url: str) -> None:
    ledger = Ledger(postgres_url)
    ledger.migrate()
    with ledger.begin() as writer:
        writer.index_reads.insert_many([block(1, {"M1": 1})], NOW)
        with ledger.read() as reader:
            assert reader.index_reads.of_meter("M1", T, T + timedelta(days=1)) == []
    ledger.close()


def test_imports_at_the_same_time_cannot_install_a_meter_twice(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by itself is right; together they would count one meter at two points."""
    head = "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    import_files(ledger, tmp_path / "first", {**FILES, "installations.csv": head})
    meeting = threading.Barrier(2)

    def plan_together(*facts: Any, correcting: bool) -> RegistryChanges:  # noqa: ANN401
        # Both look at what is stored before either writes, unless one has to wait for the other.
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)
        return plan_changes(*facts, correcting=correcting)

    monkeypatch.setattr(registry_import, "plan_changes", plan_together)

    def install(point: str, day: str) -> bool:
        folder = tmp_path / day
        text = f"{head}{point},M1,{day},,,\n"
        return import_files(ledger, folder, {"installations.csv": text}).written

    with ThreadPoolExecutor(2) as pool:
        written = list(pool.map(install, ["T1/a", "T1/b"], ["2026-01-01", "2026-01-02"]))
    with ledger.read() as uow:
        assert len(uow.registry.installations()) == 1
    assert sorted(written) == [False, True]
