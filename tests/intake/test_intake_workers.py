"""Two intake workers on a shared subscription and one PostgreSQL ledger, one of which dies."""

from collections.abc import Iterator

import pytest

from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from tests.intake.kit import (
    CrashError,
    Gateway,
    TroubledStore,
    intake,
    scan,
    stored,
    until,
)
from tests.services import Mosquitto

BATCHES = 300


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Ledger]:
    ledger = Ledger(postgres_url)
    ledger.migrate()
    yield ledger
    ledger.close()


def test_two_workers_share_the_work(
    shared: Ledger, postgres_url: str, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    other = Ledger(postgres_url)
    with (
        intake(shared, store, mosquitto.port, shared_group="intake") as one,
        intake(other, store, mosquitto.port, shared_group="intake") as two,
        Gateway(mosquitto.port, "GW1") as first,
        Gateway(mosquitto.port, "GW2") as second,
    ):
        for seq in range(1, BATCHES + 1):
            first.send(seq, scan(seq))
            second.send(seq, scan(seq, meters=("N1", "N2", "N3")))
            if seq % 10 == 0:
                first.send(seq, scan(seq))
        first.wait_acked(BATCHES)
        second.wait_acked(BATCHES)
        shares = [
            part.figure("songlo_intake_batches_total", outcome="stored") for part in (one, two)
        ]
    assert min(shares) > 0, "one of them did nothing"
    assert sum(shares) == 2 * BATCHES
    assert stored(store) == 5 * BATCHES
    with shared.read() as uow:
        rows = {row.gateway: row for row in uow.delivery.views.gateways()}
        assert (rows["GW1"].batches, rows["GW1"].duplicates) == (BATCHES, BATCHES // 10)
        assert uow.delivery.views.epochs_with_holes() == []
    other.close()


def test_what_a_dead_worker_had_in_hand_is_taken_by_the_other(
    shared: Ledger, postgres_url: str, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    other = Ledger(postgres_url)
    dying = TroubledStore(store)
    with (
        intake(shared, store, mosquitto.port, shared_group="intake"),
        Gateway(mosquitto.port) as gateway,
    ):
        with intake(other, dying, mosquitto.port, shared_group="intake", expect=CrashError) as dead:
            dying.crash_before = True
            for seq in range(1, 61):
                gateway.send(seq, scan(seq))
            until(dead.future.done, "the worker did not crash")
        # What only the dead one had is sent again, as a gateway does when an ack is overdue.
        for seq in range(1, 61):
            gateway.send(seq, scan(seq))
        gateway.wait_acked(60)
    assert stored(store) == 120
    with shared.read() as uow:
        [sums] = uow.delivery.views.sums()
    assert (sums.state, sums.batches, sums.reads) == ("complete", 60, 120)
    other.close()
