"""A full outbox and a full disk: what goes first, and that it recovers by itself."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.limits import BATCH_BYTES_MAX
from contract.messages import EpochStatus, decode_batch
from gateway import outbox_room
from gateway.outbox import Outbox
from gateway.outbox_file import OutboxFile, OutboxUnavailable
from tests.gateway_delivery.building import MIB, ack, at, epoch, open_outbox, scan_draft
from tests.services.disk import fill_up, small_disk

FILLER = 50_000
DISK_MIB = 40


def kinds(outbox: Outbox) -> dict[int, str]:
    """By seq: the kind of the scan, in capitals where a tombstone stands for it."""
    found = {}
    for row in outbox.pending(100_000, live_since=at(10**7)):
        batch = decode_batch(row.payload)
        if batch.tombstone is not None:
            assert batch.tombstone.reason == "overflow"
            found[row.key.seq] = batch.tombstone.kind.value.upper()
        else:
            assert batch.scan is not None
            found[row.key.seq] = batch.scan.kind.value
    return found


def test_instantaneous_scans_go_before_index_scans_oldest_first(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)
    for n in range(120):
        outbox.append([scan_draft(n, index=n % 10 == 0, filler=FILLER)], at=at(n))
    found = kinds(outbox)
    assert sorted(found) == list(range(1, 121)), "every number still stands for something"
    assert [seq for seq, kind in found.items() if kind == "INDEX"] == []
    dropped = [seq for seq, kind in found.items() if kind == "INTERVAL"]
    kept = [seq for seq, kind in found.items() if kind == "interval"]
    assert dropped
    assert kept
    assert max(dropped) < min(kept)
    assert outbox.usage().used_bytes <= 4 * MIB
    outbox.close()


def test_index_scans_go_when_nothing_else_is_left(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)
    for n in range(120):
        outbox.append([scan_draft(n, index=True, filler=FILLER)], at=at(n))
    found = kinds(outbox)
    assert sorted(found) == list(range(1, 121))
    dropped = [seq for seq, kind in found.items() if kind == "INDEX"]
    assert dropped == list(range(1, len(dropped) + 1))
    assert found[120] == "index"
    outbox.close()


def test_delivered_batches_go_before_any_other(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)
    for n in range(40):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    outbox.apply_acks([ack(1, {1: 20}, {1: [(31, 40)]})])
    for n in range(40, 85):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    waiting = kinds(outbox)
    assert list(waiting) == [*range(21, 31), *range(41, 86)]
    assert set(waiting.values()) == {"interval"}, "nothing undelivered was dropped"
    assert outbox.epochs()[0].oldest > 1
    outbox.close()


def test_no_number_is_left_without_a_row_above_one_that_is_held(tmp_path: Path) -> None:
    """Else a collector that asks again would wait for it for ever."""
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)
    for n in range(60):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    outbox.apply_acks([ack(1, {1: 0}, {1: [(2, 60)]})])
    for n in range(60, 100):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    outbox.apply_acks([ack(2, {1: 0})])
    found = kinds(outbox)
    assert list(found) == list(range(1, 101))
    assert next(seq for seq, kind in found.items() if kind == "INTERVAL") == 2
    assert found[1] == found[100] == "interval"
    outbox.close()


def test_a_tombstone_stays_the_same_afterwards_and_is_delivered_like_a_batch(
    tmp_path: Path,
) -> None:
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)
    for n in range(100):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    before = outbox.pending(1, live_since=at(10**7))
    assert decode_batch(before[0].payload).tombstone is not None
    for n in range(100, 140):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    assert outbox.pending(1, live_since=at(10**7)) == before
    outbox.apply_acks([ack(1, {1: 1})])
    assert outbox.get(before[0].key) is None
    outbox.close()


def test_even_records_go_in_the_end_from_the_low_end(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)
    wide = scan_draft(0, meters=2_000)  # its tombstone is a large part of it
    assert len(wide.payload) < BATCH_BYTES_MAX
    for n in range(800):
        outbox.append([scan_draft(n, meters=2_000)], at=at(n))
    (status,) = outbox.epochs()
    assert 1 < status.oldest < status.next == 801
    found = kinds(outbox)
    assert list(found) == list(range(status.oldest, 801))
    outbox.close()


def test_an_epoch_of_which_all_was_given_up_is_listed_until_the_collector_knows(
    tmp_path: Path,
) -> None:
    outbox = open_outbox(tmp_path, 1)
    outbox.append([scan_draft(1), scan_draft(2)], at=at(1))
    outbox.close()
    outbox = open_outbox(tmp_path, 2)
    outbox.append([scan_draft(3)], at=at(2))
    outbox.apply_acks([ack(1, {1: 1})])
    outbox.transact(lambda db: outbox_room.make_room(db, 10**9, "PA25SL-T012"))
    outbox.purge(at(10**6))
    gone = EpochStatus(epoch(1), oldest=3, next=3)
    assert gone in outbox.epochs()
    # As far as it knows it, or of another epoch: that does not end it.
    outbox.append([scan_draft(4)], at=at(3))
    outbox.apply_acks([ack(1, {1: 1, 2: 1})])
    assert gone in outbox.epochs()
    outbox.apply_acks([ack(1, {1: 2})])
    assert [one.epoch for one in outbox.epochs()] == [epoch(2)]
    outbox.purge(at(10**6))
    outbox.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_MIB) as mounted:
        yield mounted


def append_many(outbox: Outbox) -> None:
    for n in range(1, 200):
        outbox.append([scan_draft(n, index=True, filler=FILLER)], at=at(n))


def test_a_full_disk_costs_old_batches_and_is_recovered_from(disk: Path) -> None:
    outbox = open_outbox(disk, bytes_max=64 * MIB)
    ballast = disk / "outbox.sqlite3.ballast"
    assert ballast.stat().st_size == 8 * MIB
    for n in range(60):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    fill = disk / "somebody-elses"
    fill_up(fill)
    for n in range(60, 300):
        outbox.append([scan_draft(n, filler=FILLER)], at=at(n))
    assert not ballast.exists(), "given up"
    found = kinds(outbox)
    assert sorted(found) == list(range(1, 301))
    assert found[1] == "INTERVAL"
    assert found[300] == "interval"

    outbox.purge(at(-1))
    assert not ballast.exists(), "not while there is little room"
    fill.unlink()
    outbox.purge(at(-1))
    assert ballast.exists(), "set aside again"
    for n in range(300, 400):
        outbox.append([scan_draft(n, index=True, filler=FILLER)], at=at(n))
    assert [seq for seq, kind in kinds(outbox).items() if kind == "INTERVAL"] == [
        seq for seq, kind in found.items() if kind == "INTERVAL"
    ], "nothing more was dropped once there was room"
    outbox.apply_acks([ack(1, {1: 400})])
    outbox.append([scan_draft(400)], at=at(400))
    assert kinds(outbox) == {401: "interval"}
    outbox.close()


def test_a_ballast_that_a_power_cut_left_empty_is_set_aside_again(tmp_path: Path) -> None:
    ballast = tmp_path / "outbox.sqlite3.ballast"
    ballast.touch()
    outbox = open_outbox(tmp_path, bytes_max=64 * MIB)
    assert ballast.stat().st_size == 8 * MIB
    outbox.close()


def test_an_outbox_that_cannot_write_says_so_and_writes_again_later(disk: Path) -> None:
    outbox = open_outbox(disk, bytes_max=64 * MIB)
    outbox.append([scan_draft(0)], at=at(0))
    (disk / "outbox.sqlite3.ballast").unlink()  # somebody's hand: nothing to fall back on
    fill = disk / "somebody-elses"
    fill_up(fill)
    with pytest.raises(OutboxUnavailable):
        append_many(outbox)
    fill.unlink()
    (key,) = outbox.append([scan_draft(500)], at=at(500))
    found = kinds(outbox)
    assert max(found) == key.seq
    outbox.close()


def test_a_file_that_fails_while_room_is_made_is_unavailable_and_used_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(tmp_path, bytes_max=4 * MIB)

    def failing(*_: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    def fill() -> None:
        for n in range(200):
            outbox.append([scan_draft(n, filler=FILLER)], at=at(n))

    with monkeypatch.context() as patch:
        patch.setattr("gateway.outbox_room.make_room", failing)
        patch.setattr(OutboxFile, "_open", failing)
        with pytest.raises(OutboxUnavailable):
            fill()
        for call in (outbox.usage, outbox.last_slot, lambda: outbox.purge(at(0))):
            with pytest.raises(OutboxUnavailable):
                call()
    with pytest.raises(OutboxUnavailable):  # which opens it anew, for the next one
        outbox.usage()
    kept = outbox.append([scan_draft(300, filler=FILLER)], at=at(300))
    assert kinds(outbox)[kept[0].seq] == "interval"
    outbox.close()
