"""The outbox on a real file: numbering, marks, acks and generations, restored copies, damage."""

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.limits import SEQ_MAX
from contract.messages import EpochStatus, decode_batch
from gateway.outbox import FILE_NAME, Outbox
from gateway.outbox_file import SCHEMA, OutboxError, OutboxFile, OutboxUnavailable
from gateway.outbox_values import BatchKey, Late, SlotDone
from tests.gateway_delivery.building import (
    MIB,
    STATION,
    ack,
    at,
    epoch,
    open_outbox,
    pending_seqs,
    scan_draft,
)

NEVER = datetime.max.replace(tzinfo=UTC)


def test_batches_are_numbered_from_one_and_survive_a_restart(tmp_path: Path) -> None:
    first = open_outbox(tmp_path, 1)
    drafts = [scan_draft(0), scan_draft(30)]
    assert first.append(drafts, at=at(0)) == [BatchKey(epoch(1), 1), BatchKey(epoch(1), 2)]
    assert first.append([scan_draft(60)], at=at(60)) == [BatchKey(epoch(1), 3)]
    first.close()

    second = open_outbox(tmp_path, 2)
    assert second.append([scan_draft(90)], at=at(90)) == [BatchKey(epoch(2), 1)]
    assert pending_seqs(second) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    kept = second.pending(10, live_since=NEVER)
    assert [row.payload for row in kept[:2]] == [draft.payload for draft in drafts]
    second.close()


def test_a_number_is_not_given_twice_although_its_batch_is_gone(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([scan_draft(0)], at=at(0))
    outbox.apply_acks([ack(1, {1: 1})])
    assert outbox.purge(at(1)) == 1
    assert outbox.append([scan_draft(30)], at=at(30)) == [BatchKey(epoch(1), 2)]
    assert outbox.epochs() == [EpochStatus(epoch(1), oldest=2, next=3)]
    outbox.close()


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    """What SQLite was asked for: a killed process cannot show it, only a power cut could."""
    outbox = open_outbox(tmp_path)
    assert outbox._file.read("PRAGMA journal_mode") == [("wal",)]
    assert outbox._file.read("PRAGMA synchronous") == [(2,)], "FULL"
    outbox.close()


@pytest.mark.parametrize("again", [True, False], ids=["the-same", "others"])
def test_a_commit_that_was_kept_although_it_failed_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Its sync failed, and the file could not be opened to see that it was kept all the same."""
    outbox = open_outbox(tmp_path)
    write, read = OutboxFile.write, OutboxFile.read

    def kept_and_failed(self: OutboxFile, *args: object) -> object:
        write(self, *args)  # type: ignore[arg-type]
        raise OutboxUnavailable("disk I/O error")

    def closed(self: OutboxFile, *args: object) -> object:
        raise OutboxUnavailable("Cannot operate on a closed database.")

    with monkeypatch.context() as patch:
        patch.setattr(OutboxFile, "write", kept_and_failed)
        patch.setattr(OutboxFile, "read", closed)
        with pytest.raises(OutboxUnavailable):
            outbox.append([scan_draft(0)], at=at(0), done=[SlotDone(at(0))])
    following = scan_draft(0) if again else scan_draft(30)
    seq = 1 if again else 2
    assert outbox.append([following], at=at(30)) == [BatchKey(epoch(1), seq)]
    rows = outbox.pending(10, live_since=NEVER)
    expected = [scan_draft(0)] if again else [scan_draft(0), scan_draft(30)]
    assert [row.payload for row in rows] == [draft.payload for draft in expected]
    assert read is OutboxFile.read
    outbox.close()


def test_what_was_kept_in_doubt_is_not_kept_twice_when_another_append_comes_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan and a command are kept by two who try again each for itself."""
    outbox = open_outbox(tmp_path)
    mine, other = scan_draft(0), scan_draft(30)
    write = OutboxFile.write

    def keeps_and_fails(file: OutboxFile, *work: object) -> object:
        write(file, *work)  # type: ignore[arg-type]
        raise OutboxUnavailable("the sync failed")

    def tells_nothing(*_: object) -> list[object]:
        raise OutboxUnavailable("the file cannot be opened")

    with monkeypatch.context() as failing:
        failing.setattr(OutboxFile, "write", keeps_and_fails)
        failing.setattr(OutboxFile, "read", tells_nothing)
        with pytest.raises(OutboxUnavailable):
            outbox.append([mine], at=at(0))
    assert outbox.append([other], at=at(1)) == [BatchKey(epoch(1), 2)]
    assert outbox.append([mine], at=at(1)) == [BatchKey(epoch(1), 1)]
    kept = outbox.pending(9, live_since=at(0))
    assert [stored.payload for stored in kept] == [mine.payload, other.payload]
    assert outbox.append([scan_draft(60)], at=at(2)) == [BatchKey(epoch(1), 3)]
    outbox.close()


def test_the_mark_of_a_slot_is_kept_with_its_batches(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    assert outbox.last_slot() is None
    wanted = SlotDone(at(0), ("m1", "m2"), at(180))
    outbox.append([scan_draft(0)], at=at(0), done=[wanted])
    outbox.append([scan_draft(30)], at=at(30), done=[SlotDone(at(30))])
    assert outbox.last_slot() == at(30)
    outbox.append([scan_draft(0)], at=at(31), late=Late(at(0), ("m1",)))
    outbox.close()

    again = open_outbox(tmp_path, 2)
    assert again.last_slot() == at(30)
    assert again.retries() == [SlotDone(at(0), ("m2",), at(180))]
    again.append([], at=at(180))
    assert again.retries() == [], "the window is closed"
    again.close()


def test_live_batches_go_before_a_backlog_that_goes_oldest_first(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for n in range(10):
        outbox.append([scan_draft(n)], at=at(n))
    rows = outbox.pending(4, live_since=at(8))
    assert [row.key.seq for row in rows] == [9, 10, 1, 2]
    taken = frozenset(row.key for row in rows)
    rest = outbox.pending(4, live_since=at(8), except_for=taken)
    assert [row.key.seq for row in rest] == [3, 4, 5, 6]
    outbox.close()


class TestAcks:
    def test_cover_all_up_to_a_number_and_ranges_beyond(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(n) for n in range(10)], at=at(0))
        delivered = outbox.apply_acks([ack(1, {1: 2}, {1: [(5, 6), (9, 9)]})])
        assert {key.seq for key in delivered} == {1, 2, 5, 6, 9}
        assert pending_seqs(outbox) == [(1, 3), (1, 4), (1, 7), (1, 8), (1, 10)]
        outbox.close()

    def test_of_one_generation_only_add_up(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(n) for n in range(4)], at=at(0))
        outbox.apply_acks([ack(1, {1: 3})])
        assert outbox.apply_acks([ack(1, {1: 1})]) == set()
        assert pending_seqs(outbox) == [(1, 4)]
        outbox.close()

    def test_that_arrive_together_count_together(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(n) for n in range(4)], at=at(0))
        outbox.apply_acks([ack(1, {1: 3}), ack(1, {1: 1}), ack(0 + 1, {1: 0}, {1: [(4, 4)]})])
        assert pending_seqs(outbox) == []
        outbox.close()

    def test_of_a_higher_generation_replace_those_before(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(n) for n in range(4)], at=at(0))
        outbox.apply_acks([ack(1, {1: 4})])
        assert outbox.apply_acks([ack(2, {1: 1})]) == {BatchKey(epoch(1), 1)}
        assert pending_seqs(outbox) == [(1, 2), (1, 3), (1, 4)]
        outbox.close()
        again = open_outbox(tmp_path, 2)
        assert again.generation == 2
        assert again.apply_acks([ack(1, {1: 4})]) == set(), "a lower generation is ignored"
        assert pending_seqs(again) == [(1, 2), (1, 3), (1, 4)]
        again.close()

    def test_an_epoch_that_a_higher_generation_does_not_name_is_pending_again(
        self, tmp_path: Path
    ) -> None:
        first = open_outbox(tmp_path, 1)
        first.append([scan_draft(0)], at=at(0))
        first.apply_acks([ack(1, {1: 1})])
        first.close()
        second = open_outbox(tmp_path, 2)
        second.append([scan_draft(30)], at=at(30))
        second.apply_acks([ack(2, {2: 1})])
        assert pending_seqs(second) == [(1, 1)]
        assert [entry.epoch for entry in second.epochs()] == [epoch(2), epoch(1)]
        second.close()

    def test_say_nothing_of_numbers_not_yet_given(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(0)], at=at(0))
        outbox.apply_acks([ack(1, {1: SEQ_MAX, 7: 3})])
        outbox.append([scan_draft(30)], at=at(30))
        assert pending_seqs(outbox) == [(1, 2)]
        outbox.close()


def test_epochs_are_listed_while_they_have_something_to_deliver(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        outbox = open_outbox(tmp_path, number)
        outbox.append([scan_draft(n) for n in range(3)], at=at(number))
        outbox.close()
    outbox = open_outbox(tmp_path, 4)
    outbox.apply_acks([ack(1, {1: 1, 2: 3, 3: 0})])
    assert outbox.epochs() == [
        EpochStatus(epoch(4), oldest=1, next=1),
        EpochStatus(epoch(1), oldest=1, next=4),
        EpochStatus(epoch(3), oldest=1, next=4),
    ]
    outbox.purge(at(100))
    assert outbox.epochs()[1] == EpochStatus(epoch(1), oldest=2, next=4)
    outbox.close()


def test_only_delivered_batches_of_the_low_end_are_purged(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([scan_draft(n) for n in range(4)], at=at(0))
    outbox.apply_acks([ack(1, {1: 1}, {1: [(3, 4)]})])
    assert outbox.purge(at(-1)) == 0, "too young"
    assert outbox.purge(at(1)) == 1
    outbox.apply_acks([ack(2, {1: 1})])
    assert pending_seqs(outbox) == [(1, 2), (1, 3), (1, 4)], "3 and 4 were still held"
    outbox.close()


def test_a_restored_copy_goes_on_in_its_own_epoch_with_the_same_older_bytes(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    first = open_outbox(original, 1)
    first.append([scan_draft(0), scan_draft(30)], at=at(0), done=[SlotDone(at(30))])
    first.close()
    shutil.copytree(original, copy)

    one, two = open_outbox(original, 2), open_outbox(copy, 3)
    one.append([scan_draft(60)], at=at(60))
    two.append([scan_draft(60, index=True)], at=at(60))
    ones = {row.key: row.payload for row in one.pending(10, live_since=NEVER)}
    twos = {row.key: row.payload for row in two.pending(10, live_since=NEVER)}
    shared = ones.keys() & twos.keys()
    assert shared == {BatchKey(epoch(1), 1), BatchKey(epoch(1), 2)}
    assert all(ones[key] == twos[key] for key in shared)
    one.close()
    two.close()


class TestTrouble:
    def test_a_second_process_is_refused(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        with pytest.raises(OutboxError, match="in use by another gateway process"):
            open_outbox(tmp_path, 2)
        outbox.close()
        open_outbox(tmp_path, 2).close()

    def test_a_newer_file_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        open_outbox(tmp_path).close()
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            db.execute(f"PRAGMA user_version = {len(SCHEMA) + 1}")
        db.close()
        with pytest.raises(OutboxError, match="install the newer program"):
            open_outbox(tmp_path, 2)

    @pytest.mark.parametrize("damage", ["no database", "torn pages"])
    def test_a_damaged_file_is_moved_aside(self, tmp_path: Path, damage: str) -> None:
        outbox = open_outbox(tmp_path)
        for n in range(50):
            outbox.append([scan_draft(n, filler=3000)], at=at(n))
        outbox.close()
        path = tmp_path / FILE_NAME
        content = bytearray(path.read_bytes())
        if damage == "no database":
            content[:100] = b"x" * 100
        else:
            for page in range(1, len(content) // 4096):
                content[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
        path.write_bytes(content)

        again = open_outbox(tmp_path, 2)
        incident = again.take_incident()
        assert incident is not None
        assert "damaged" in incident
        assert again.take_incident() is None, "told once"
        assert again.append([scan_draft(0)], at=at(0)) == [BatchKey(epoch(2), 1)]
        assert (tmp_path / f"{FILE_NAME}.damaged1").read_bytes() == bytes(content)
        again.close()

    def test_only_the_newest_damaged_files_are_kept(self, tmp_path: Path) -> None:
        for number in range(1, 5):
            path = tmp_path / FILE_NAME
            path.write_bytes(f"not a database {number}".encode() * 300)
            open_outbox(tmp_path, number).close()
        kept = sorted(p.name for p in tmp_path.glob("*.damaged*"))
        assert kept == [f"{FILE_NAME}.damaged1", f"{FILE_NAME}.damaged2"]
        assert b"database 4" in (tmp_path / f"{FILE_NAME}.damaged1").read_bytes()[:50]

    def test_a_batch_whose_bytes_changed_becomes_a_tombstone(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(0, index=True)], at=at(0))
        outbox.close()
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            db.execute("UPDATE payloads SET payload = CAST(replace(payload, '100', '999') AS BLOB)")
        db.close()
        again = open_outbox(tmp_path, 2)
        (row,) = again.pending(10, live_since=NEVER)
        stone = decode_batch(row.payload).tombstone
        assert stone is not None
        assert (stone.reason, stone.slot, stone.meters) == ("damaged", at(0), ["m0", "m1"])
        assert again.pending(10, live_since=NEVER) == [row], "and stays the same"
        again.close()

    def test_an_epoch_must_be_128_bits(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="32 hexadecimal"):
            Outbox.open(tmp_path / FILE_NAME, station=STATION, epoch="1", bytes_max=4 * MIB)

    def test_a_failing_disk_is_survived_by_opening_anew(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(0)], at=at(0))
        outbox._file._db.close()  # what an I/O error leaves: nothing works any more
        with pytest.raises(Exception, match="closed"):
            outbox.append([scan_draft(30)], at=at(30))
        assert outbox.append([scan_draft(30)], at=at(30)) == [BatchKey(epoch(1), 2)]
        assert pending_seqs(outbox) == [(1, 1), (1, 2)]
        outbox.close()

    def test_a_file_that_is_replaced_while_running_goes_on_counting(self, tmp_path: Path) -> None:
        outbox = open_outbox(tmp_path)
        outbox.append([scan_draft(0), scan_draft(30)], at=at(0))
        outbox._file._db.close()
        for file in tmp_path.glob(f"{FILE_NAME}-*"):
            file.unlink()
        (tmp_path / FILE_NAME).write_bytes(b"noise" * 2000)
        with pytest.raises(Exception, match="closed"):
            outbox.append([scan_draft(60)], at=at(60))
        assert outbox.append([scan_draft(60)], at=at(60)) == [BatchKey(epoch(1), 3)]
        assert outbox.epochs() == [EpochStatus(epoch(1), oldest=3, next=4)]
        outbox.close()


def test_what_was_kept_long_ago_is_purged_by_age_not_by_count(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for day in range(5):
        outbox.append([scan_draft(1440 * day)], at=at(1440 * day))
    outbox.apply_acks([ack(1, {1: 5})])
    assert outbox.purge(at(0) + timedelta(days=3)) == 3
    assert outbox.epochs() == [EpochStatus(epoch(1), oldest=4, next=6)]
    outbox.close()


def test_a_clock_far_ahead_makes_nothing_old_that_was_just_delivered(tmp_path: Path) -> None:
    day_s = 86_400.0
    outbox = open_outbox(tmp_path, 1)
    outbox.append([scan_draft(0)], at=at(0))
    outbox.apply_acks([ack(1, {1: 1})])
    a_year_ahead = at(0) + timedelta(days=330)
    assert outbox.purge(a_year_ahead, ran_s=3600, keep_days=35) == 0
    outbox.append([scan_draft(30)], at=at(30))
    for _ in range(34):
        assert outbox.purge(a_year_ahead, ran_s=day_s, keep_days=35) == 0
    outbox.apply_acks([ack(1, {1: 2})])
    outbox.close()
    # The days are counted on in the next life.
    outbox = open_outbox(tmp_path, 2)
    assert outbox.purge(at(0), ran_s=day_s, keep_days=35) == 0, "by the clock it is too young"
    assert outbox.purge(a_year_ahead, ran_s=0, keep_days=35) == 1
    for _ in range(34):
        assert outbox.purge(a_year_ahead, ran_s=day_s, keep_days=35) == 0
    assert outbox.purge(a_year_ahead, ran_s=day_s, keep_days=35) == 1, "delivered 35 days ago"
    outbox.close()


def test_what_waited_long_is_kept_after_its_delivery_like_anything_else(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([scan_draft(0)], at=at(0))
    for day in range(60):
        assert outbox.purge(at(1440 * (day - 35)), ran_s=86_400.0, keep_days=35) == 0
    outbox.apply_acks([ack(1, {1: 1})])
    assert outbox.purge(at(1440 * 30), ran_s=3600.0, keep_days=35) == 0
    # Its ledger came back as it had been before: what was delivered must be again.
    for _ in range(20):
        assert outbox.purge(at(1440 * 60), ran_s=86_400.0, keep_days=35) == 0
    outbox.apply_acks([ack(2, {1: 1})])
    for _ in range(35):
        assert outbox.purge(at(1440 * 90), ran_s=86_400.0, keep_days=35) == 0
    assert outbox.purge(at(1440 * 90), ran_s=86_400.0, keep_days=35) == 1
    outbox.close()
