"""Several collectors on one PostgreSQL: the same reads at once, counted once."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from collector.billing.run_values import RunHead
from collector.billing.snapshot import snapshot_hash
from collector.billing.values import SnapshotHead
from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock, IndexInsertion
from collector.ledger.receipts import CLAIMED, BatchKey, NewReceipt
from collector.operations import registry_import
from collector.operations.audit import verify_audit
from collector.operations.billing_runs import Acting, Scope, open_run
from collector.operations.keys import add_key
from collector.operations.snapshots import create_snapshot, snapshot_lines
from collector.registry.changes import plan_changes
from collector.registry.planning import RegistryChanges
from contract.messages import MeterRead, ScanKind
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import EPOCH, FILES, GATEWAY, NOW, ZONE, import_files, midnight, put

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
        rows = f"{head}{point},M1,{day},,,\n"
        return import_files(ledger, folder, {"installations.csv": rows}).written

    with ThreadPoolExecutor(2) as pool:
        written = list(pool.map(install, ["T1/a", "T1/b"], ["2026-01-01", "2026-01-02"]))
    with ledger.read() as uow:
        assert len(uow.registry.installations()) == 1
    assert sorted(written) == [False, True]


RUN = RunHead("R", None, None, midnight("2026-09-20"), midnight("2026-10-20"), NOW, "an")


def waits_for_a_lock(ledger: Ledger) -> bool:
    """Whether a session of this database waits for another's advisory lock."""
    query = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with ledger._engine.connect() as connection:
        return bool(connection.scalar(query))


@pytest.mark.timeout(60)
def test_who_bills_waits_for_whoever_is_billing_and_sees_what_he_did(
    postgres_url: str, tmp_path: Path
) -> None:
    """On PostgreSQL nobody else stands in the way of a second run but the lock."""
    ledger = Ledger(postgres_url)
    ledger.migrate()
    import_files(ledger, tmp_path / "registry", FILES)
    by_whom = Acting("bình", NOW, "a test")
    with ThreadPoolExecutor(1) as pool:
        with ledger.begin() as first:
            first.billing_runs.lock()
            second = pool.submit(
                open_run,
                ledger,
                from_at=RUN.from_at,
                to_at=RUN.to_at,
                zone=ZONE,
                by_whom=by_whom,
                scope=Scope(),
            )
            while not (second.done() or waits_for_a_lock(ledger)):
                threading.Event().wait(0.01)
            first.billing_runs.open(RUN)
        with pytest.raises(Conflict) as caught:
            second.result(30)
    assert caught.value.code == "run_unfinished"
    with ledger.read() as uow:
        assert [one.run for one in uow.billing_runs.unfinished()] == ["R"]
    ledger.close()


def test_snapshots_of_the_same_points_at_once_are_alike(ledger: Ledger, tmp_path: Path) -> None:
    """Each says what the registers showed: they have the same hash, and each its own name."""
    import_files(ledger, tmp_path / "registry", FILES)
    for seq, at in enumerate((RUN.from_at, RUN.to_at), 1):
        put(ledger, at, {"M0": 1_000 * seq, "M1": 400 * seq, "M2": 500 * seq}, seq=seq)
    start = threading.Barrier(WRITERS)

    def freeze(number: int) -> SnapshotHead:
        start.wait(10)
        return create_snapshot(
            ledger,
            station=None if number % 2 else "T1",
            from_at=RUN.from_at,
            to_at=RUN.to_at,
            actor=f"clerk {number}",
            now=NOW,
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        made = list(pool.map(freeze, range(WRITERS)))
    assert len({head.id for head in made}) == WRITERS
    assert len({head.sha256 for head in made}) == 2
    for head in made:
        lines = list(snapshot_lines(ledger, head.id))
        assert len(lines) == 3
        assert snapshot_hash(head.station, head.from_at, head.to_at, lines) == head.sha256
    assert verify_audit(ledger).broken is None
