"""Crash at the n-th effect: outbox and ledger on a disk that dies, or fails once, at n = 1, 2, 3 …

until they live through. The simulation has chance choose among these moments; here each is tried.
After every one, what was told to be kept is there, and what is there is whole.
"""

import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from collector.errors import LedgerStateError, LedgerUnavailable
from collector.ledger import Ledger
from gateway.outbox import FILE_NAME
from gateway.outbox_file import OutboxError, OutboxUnavailable
from gateway.outbox_values import SlotDone
from tests.gateway_delivery.building import ack, at, open_outbox, pending_seqs, scan_draft
from tests.ledger.building import midnight, put
from tests.ledger.template import fill_file
from tests.simulation import disk as disk_layer
from tests.simulation.disk import Disk

OUTBOX_ERRORS = (OutboxError, OutboxUnavailable, sqlite3.Error)
LEDGER_ERRORS = (LedgerUnavailable, LedgerStateError)
EFFECTS_MAX = 500


@pytest.fixture(autouse=True)
def _layer() -> Iterator[None]:
    disk_layer.install()
    yield
    disk_layer.forget_all()


class Fault:
    """What happens at effect `last` of a disk: `power` goes, or that one `fails` alone."""

    def __init__(self, disk: Disk, kind: str, last: int) -> None:
        self.count = 0
        self.struck = False
        self._disk, self._kind, self._last = disk, kind, last
        disk.effect = self._effect

    def _effect(self, _what: str) -> None:
        self.count += 1
        if self.count != self._last:
            return
        self.struck = True
        if self._kind == "fails":
            self._disk.dead = True  # until `over`: what the call in hand asks for fails
            return
        self._disk.die(self._disk.after_power_cut(random.Random(self._last)))

    def over(self) -> None:
        """The call that was struck has ended."""
        if self._kind == "fails":
            self._disk.dead = False


def tried(tmp_path: Path, kind: str, life: Callable[[Disk, Fault], None]) -> int:
    """Live with the fault at effect 1, 2, 3 … until it does not strike; how many there are."""
    for last in range(1, EFFECTS_MAX):
        disk = Disk(tmp_path / f"disk-{last}")
        fault = Fault(disk, kind, last)
        life(disk, fault)
        disk.forget()
        if not fault.struck:
            return last - 1
    raise AssertionError("it never lives through")


def found_again(disk: Disk) -> Path:
    """The disk as it is found after it died; as it is where it did not."""
    if disk.image is not None:
        disk.put(disk.image)
    disk.effect = lambda _: None
    disk.dead = False
    return disk.folder


def assert_whole(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("kind", ["power", "fails"])
def test_an_outbox_keeps_what_it_took_whatever_effect_fails(tmp_path: Path, kind: str) -> None:
    def life(disk: Disk, fault: Fault) -> None:
        kept: list[int] = []
        begun = 0
        acked = 0
        try:
            outbox = open_outbox(disk.folder)
        except OUTBOX_ERRORS:
            outbox = None
        fault.over()
        if outbox is not None:
            for number in range(4):
                begun = number + 1
                try:
                    (key,) = outbox.append(
                        [scan_draft(30 * number, filler=8_000)],
                        at=at(30 * number),
                        done=[SlotDone(at(30 * number))],
                    )
                    kept.append(key.seq)
                    if number == 2:
                        acked = 1
                        outbox.apply_acks([ack(1, {1: 1})])
                except OUTBOX_ERRORS:
                    fault.over()
            with contextlib.suppress(*OUTBOX_ERRORS):
                outbox.close()
        folder = found_again(disk)
        again = open_outbox(folder, 2)
        (new,) = again.append([scan_draft(500)], at=at(500))
        assert new.seq == 1, "an epoch of its own"
        seqs = [seq for epoch, seq in pending_seqs(again) if epoch == 1]
        assert set(kept) - set(range(1, acked + 1)) <= set(seqs), (kept, seqs)
        assert seqs in [list(range(first, begun + 1)[:n]) for first in (1, 2) for n in range(5)]
        again.close()
        assert_whole(folder / FILE_NAME)

    assert tried(tmp_path, kind, life) > 10


@pytest.mark.parametrize("kind", ["power", "fails"])
def test_a_ledger_keeps_what_it_took_whatever_effect_fails(tmp_path: Path, kind: str) -> None:
    def life(disk: Disk, fault: Fault) -> None:
        path = disk.folder / "ledger.db"
        fill_file(path)
        slots = [midnight("2026-10-01") + timedelta(days=day) for day in range(4)]
        kept, begun = [], []
        ledger = Ledger(f"sqlite:///{path}")
        for number, slot in enumerate(slots):
            begun.append(slot)
            try:
                put(ledger, slot, {f"M{n}": number for n in range(40)}, seq=number + 1)
                kept.append(slot)
            except LEDGER_ERRORS:
                fault.over()
        ledger.close()
        found_again(disk)
        with contextlib.closing(sqlite3.connect(path)) as db:
            rows = db.execute(
                "SELECT slot, count(*) FROM index_reads GROUP BY slot ORDER BY slot"
            ).fetchall()
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {count for _, count in rows} <= {40}, "all reads of a scan or none"
        assert len(kept) <= len(rows) <= len(begun)
        again = Ledger(f"sqlite:///{path}")
        again.check_schema()
        for number, slot in enumerate(slots):  # sent again: nothing twice, nothing contradicts
            put(again, slot, {f"M{n}": number for n in range(40)}, seq=number + 1)
        again.close()
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM index_reads").fetchone() == (160,)

    assert tried(tmp_path, kind, life) > 8
