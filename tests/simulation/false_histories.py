"""False histories: after a run that was sound, one thing is falsified before the judge sees it.

Each names the invariant that it must be convicted by. Planted as a bug is, and none of the product:
they try the judge. `SEED` is a run that befalls little, has gaps, and is billed (I10).
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

from gateway.outbox import FILE_NAME
from gateway.outbox_values import BatchKey
from tests.simulation import judge as judging
from tests.simulation import run
from tests.simulation.collector_machine import LEDGER_NAME, CollectorMachine
from tests.simulation.gateway_machine import GatewayMachine
from tests.simulation.meters import ENERGY
from tests.simulation.world import START_AT

SEED = 10

Falsify = Callable[[list[GatewayMachine], CollectorMachine], None]
FALSE: dict[str, tuple[str, Falsify]] = {}


@contextmanager
def falsified(name: str) -> Iterator[None]:
    """With the evidence falsified so."""
    _, falsify = FALSE[name]
    sound = judging.judge

    def judge(world: Any, chosen: Any, gateways: Any, collector: Any, truth: Any) -> list[str]:  # noqa: ANN401
        collector.ledger.close()
        falsify(gateways, collector)
        return sound(world, chosen, gateways, collector, truth)

    with mock.patch.object(run, "judge", judge):
        yield


def _false(invariant: str) -> Callable[[Falsify], Falsify]:
    def register(falsify: Falsify) -> Falsify:
        FALSE[falsify.__name__] = invariant, falsify
        return falsify

    return register


def _ledger(collector: CollectorMachine, statement: str) -> None:
    _change(str(collector.disk.folder / LEDGER_NAME), statement)


def _outbox(gateway: GatewayMachine, statement: str) -> None:
    _change(str(gateway.disk.folder / FILE_NAME), statement)


def _change(path: str, statement: str) -> None:
    db = sqlite3.connect(path)
    try:
        # Some tables refuse to be falsified.
        found = db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (trigger,) in found:
            db.execute(f"DROP TRIGGER {trigger}")
        assert db.execute(statement).rowcount > 0, "nothing was falsified"
        db.commit()
    finally:
        db.close()


def _order(key: BatchKey) -> tuple[str, int]:
    return key.epoch, key.seq


_ONE_SCAN = (
    "(gateway, epoch, seq) = (SELECT gateway, epoch, seq FROM receipts"
    " WHERE content = 'scan' ORDER BY gateway, epoch, seq LIMIT 1)"
)
_LAST_SCAN = _ONE_SCAN.replace("ORDER BY", "ORDER BY received_at DESC,")  # its outbox has it still
_ONE_READ = (
    "(meter, at, register) = (SELECT meter, at, register FROM index_reads"
    " WHERE register = '1-0:1.8.0' ORDER BY meter, at LIMIT 1)"
)


@_false("I4")
def receipt_gone(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    _ledger(collector, f"DELETE FROM receipts WHERE {_ONE_SCAN}")


@_false("I4")
def receipt_never_completed(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    _ledger(collector, f"UPDATE receipts SET state = 'claimed' WHERE {_LAST_SCAN}")


def _claimed_and_dropped(gateways: list[GatewayMachine], collector: CollectorMachine) -> str:
    """The last scan of the first gateway is claimed, and its outbox, which had no room, has it no
    more; returns which one, as the ledger and the outbox have it.
    """
    machine = gateways[0]
    machine.record.overflowed = True
    collector.died_at_s = [float("inf")]
    key = max(machine.record.acked, key=_order)
    which = f"epoch = '{key.epoch}' AND seq = {key.seq}"
    _ledger(
        collector,
        f"UPDATE receipts SET state = 'claimed' WHERE gateway = '{machine.name}' AND {which}",
    )
    _outbox(
        machine,
        f"DELETE FROM batches WHERE seq = {key.seq}"
        f" AND epoch_id = (SELECT id FROM epochs WHERE epoch = '{key.epoch}')",
    )
    return which


@_false("I1")
def claimed_dropped_and_not_told(
    gateways: list[GatewayMachine], collector: CollectorMachine
) -> None:
    _claimed_and_dropped(gateways, collector)
    gateways[0].record.acked.clear()


@_false("I1")
def claimed_dropped_and_acknowledged(
    gateways: list[GatewayMachine], collector: CollectorMachine
) -> None:
    """It is told that it is lost: but its gateway had an ack of it."""
    which = _claimed_and_dropped(gateways, collector)
    _ledger(
        collector,
        "INSERT INTO gaps (gateway, source, epoch, seq_from, seq_to, ordinal, reason, recorded_at)"
        " SELECT gateway, 'seq', epoch, seq, seq, 0, 'lost', received_at FROM receipts"
        f" WHERE gateway = '{gateways[0].name}' AND {which}",
    )


@_false("I1")
def claimed_dropped_and_nobody_died(
    gateways: list[GatewayMachine], collector: CollectorMachine
) -> None:
    """Lost and told: but no collector died between ledger and reading store."""
    claimed_dropped_and_acknowledged(gateways, collector)
    gateways[0].record.acked.clear()
    collector.died_at_s = []


@_false("I5")
def other_content_taken(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    _ledger(collector, f"UPDATE receipts SET sha256 = zeroblob(32) WHERE {_LAST_SCAN}")


@_false("I2")
def receipt_of_nothing(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    columns = "epoch, sha256, state, content, kind, slot, reads, missing, received_at, completed_at"
    _ledger(
        collector,
        f"INSERT INTO receipts (gateway, seq, {columns}) SELECT gateway, seq + 100000, {columns}"
        f" FROM receipts WHERE {_ONE_SCAN}",
    )


@_false("I1")
def index_read_lost(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    _ledger(collector, f"DELETE FROM index_reads WHERE {_ONE_READ}")


@_false("I3")
def index_read_off_by_one(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    _ledger(collector, f"UPDATE index_reads SET value = value + 1 WHERE {_ONE_READ}")


@_false("I3")
def index_read_dated_wrongly(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    one = "(SELECT min(at) FROM index_reads WHERE meter = 'g1-m1')"
    _ledger(
        collector, f"UPDATE index_reads SET at = at + 60000 WHERE meter = 'g1-m1' AND at = {one}"
    )


@_false("I8")
def store_lacks_a_read(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    rows = collector.store._data.rows  # type: ignore[attr-defined]  # the one in memory
    del rows[min(rows)]


@_false("I8")
def store_has_another_value(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    rows = collector.store._data.rows  # type: ignore[attr-defined]  # the one in memory
    row = next(row for _, row in sorted(rows.items()) if ENERGY in row.values)
    row.values[ENERGY] += 1


@_false("I2")
def store_has_a_read_of_nothing(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    rows = collector.store._data.rows  # type: ignore[attr-defined]  # the one in memory
    meter, at_ms = min(rows)
    rows[meter, at_ms + 1] = rows[meter, at_ms]


@_false("I1")
def batch_waits_for_ever(gateways: list[GatewayMachine], _: CollectorMachine) -> None:
    _outbox(gateways[0], "UPDATE batches SET acked = 0 WHERE id = (SELECT max(id) FROM batches)")


@_false("I1")
def batch_vanished(gateways: list[GatewayMachine], collector: CollectorMachine) -> None:
    """From the outbox, the ledger and its acks alike: as if it had never been."""
    name = gateways[0].name
    key = max(gateways[0].record.committed, key=_order)
    gateways[0].record.acked.discard(key)
    which = f"epoch = '{key.epoch}' AND seq = {key.seq}"
    _ledger(collector, f"DELETE FROM receipts WHERE gateway = '{name}' AND {which}")
    _ledger(collector, f"UPDATE epochs SET upto = 0 WHERE epoch = '{key.epoch}'")
    _outbox(
        gateways[0],
        f"DELETE FROM batches WHERE seq = {key.seq}"
        f" AND epoch_id = (SELECT id FROM epochs WHERE epoch = '{key.epoch}')",
    )


@_false("I4")
def acked_card_taken_away(gateways: list[GatewayMachine], collector: CollectorMachine) -> None:
    """Its card was replaced: but it had been acknowledged, and no ledger was restored."""
    gateways[0].record.taken_away |= gateways[0].record.acked
    collector.restored_at_s = []
    receipt_gone(gateways, collector)


@_false("I7")
def slots_not_told(gateways: list[GatewayMachine], collector: CollectorMachine) -> None:
    """Of a whole scan nothing is known: not even that it was missed."""
    record = gateways[0].record
    for key in sorted(record.committed, key=_order)[:6]:
        record.committed.pop(key)
    receipt_gone(gateways, collector)
    gateways[0].first_slot_at = min(
        committed.slot_at for committed in record.committed.values() if committed.slot_at
    )
    gateways[0].meters.append("g1-m9")


@_false("I9")
def snapshot_changed(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    started = collector.take_snapshot(START_AT, START_AT + timedelta(days=1))
    assert started is not None
    collector.snapshots[started] = "0" * 64


@_false("I6")
def too_many_held(_: list[GatewayMachine], collector: CollectorMachine) -> None:
    collector.held_max = 1_000_000
