"""What a hostile and unlucky world sends: each case once broke a promise of delivery."""

from datetime import timedelta

import msgspec
import pytest

from collector.intake import batch as batch_module
from collector.intake.batch import Message
from collector.intake.check import RejectedError
from collector.ledger import Ledger
from collector.operations import delivery
from collector.operations.collection import accounting
from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import StoreUnavailable
from contract import topics
from contract.messages import Batch, Clock, ScanKind, SlotGap, Tombstone, encode
from tests.intake.kit import SLOT, STATION, TroubledStore, scan, status
from tests.intake.test_delivery_status import Collector

A, B = "a" * 32, "b" * 32


@pytest.fixture
def collector(ledger: Ledger, store: DuckDbStore) -> Collector:
    return Collector(ledger, store)


def message(seq: int, batch: Batch) -> Message:
    return Message(topics.build(topics.BatchTopic("GW1", A, seq)), encode(batch))


def tombstone(number: int) -> Batch:
    slot = SLOT + timedelta(minutes=30 * number)
    stone = Tombstone(ScanKind.INDEX, slot, ["M1", "M2"], "overflow")
    return Batch(v=1, station=STATION, clock=Clock.SYNCED, tombstone=stone)


def take(collector: Collector, *messages: Message) -> dict[str, int]:
    claim = collector.pipeline.claim(messages)
    refused = collector.pipeline.append(claim.pending)
    collector.pipeline.complete(claim.pending, refused, claim.settled)
    return dict(claim.outcomes)


def due(collector: Collector) -> tuple[int, int]:
    """(meter reads due, had) of everything."""
    counts = accounting(
        collector.ledger,
        gateway_or_station="GW1",
        from_at=SLOT,
        to_at=SLOT + timedelta(days=1),
    ).counts
    return counts.due, counts.had


@pytest.mark.parametrize("field", ["count", "generation"])
@pytest.mark.parametrize("number", [2**63, 2**70])
def test_a_number_that_no_database_holds_is_kept_aside(
    collector: Collector, field: str, number: int
) -> None:
    """As a retained status it would end the collector at every start."""
    document = msgspec.to_builtins(status((A, 1, 1))) | {field: number}
    topic = topics.build(topics.StatusTopic("GW1"))
    collector.pipeline.take_statuses([Message(topic, msgspec.json.encode(document))])
    [entry] = delivery.quarantine_list(collector.ledger)
    assert entry.code == "status_bad_number"


def test_a_clone_does_not_make_its_original_forget(collector: Collector) -> None:
    collector.batch(A, 1, 2)
    generation = collector.generation
    collector.status(status((A, 1, 6), count=1, generation=generation))
    collector.status(status((B, 1, 1), count=1, generation=generation))
    assert collector.lost() == {(A, 3, 5)}
    assert collector.upto(A) == 2
    collector.batch(A, 3, 5)
    assert collector.lost() == {(A, 4, 4)}
    assert collector.upto(A) == 3
    with collector.ledger.read() as uow:
        assert uow.delivery.views.lost_counts() == {"GW1": 1}


def test_what_a_rolled_back_ledger_took_for_lost_comes_again(collector: Collector) -> None:
    """Ledger and broker came back from the same backup, so that no retained ack told on them."""
    collector.batch(A, 1, 2, 3)
    generation = collector.generation
    collector.status(status((A, 1, 7), count=1, generation=generation))
    # 4 to 6 were acknowledged after the backup; the gateway has restarted since.
    collector.status(status((B, 1, 1), count=1, generation=generation))
    assert collector.lost() == {(A, 4, 6)}
    delivery.restored(collector.ledger, acks={}, actor="test", now=collector.now)
    assert collector.upto(A) == 3
    collector.batch(A, 4, 5, 6)
    assert collector.lost() == set()
    assert collector.upto(A) == 6


def test_a_tombstone_of_what_was_stored_is_not_due_twice(collector: Collector) -> None:
    collector.batch(A, 1, 2)
    later = collector.now + timedelta(seconds=5)
    end = SLOT + timedelta(days=1)
    delivery.replay(collector.ledger, from_at=SLOT, to_at=end, actor="test", now=later)
    # The gateway had room for one of them only.
    take(collector, message(1, tombstone(1)))
    take(collector, message(2, scan(2)))
    assert due(collector) == (4, 4)


def gap(meters: list[str]) -> Batch:
    """The slots 1 and 2 were not scanned."""
    first, every = SLOT + timedelta(minutes=30), timedelta(minutes=30)
    missed = SlotGap(ScanKind.INDEX, first, first + every, 1800, meters, "gateway_down")
    return Batch(v=1, station=STATION, clock=Clock.SYNCED, gaps=[missed])


def test_another_gateways_scan_does_not_hide_a_gap(collector: Collector) -> None:
    collector.batch(A, 1, 2, gateway="GW2")
    take(collector, message(1, gap(["X1", "X2", "X3"])))
    counts = accounting(
        collector.ledger, gateway_or_station=STATION, from_at=SLOT, to_at=SLOT + timedelta(days=1)
    ).counts
    assert (counts.had, counts.gaps) == (4, {"gateway_down": 6})


def test_a_late_read_of_one_meter_does_not_hide_the_gap_of_the_others(
    collector: Collector,
) -> None:
    take(collector, message(1, gap(["M1", "M2", "M3"])))
    take(collector, message(2, scan(1, meters=["M2"])))
    assert due(collector) == (6, 1)


def test_a_batch_may_come_after_its_tombstone_in_one_group(collector: Collector) -> None:
    outcomes = take(collector, message(1, scan(1)), message(1, tombstone(1)), message(1, scan(1)))
    assert outcomes == {"stored": 1, "duplicate": 2} or outcomes == {"stored": 1, "duplicate": 1}
    assert delivery.quarantine_list(collector.ledger) == []
    assert due(collector) == (2, 2)


def test_a_retry_while_the_store_is_away_counts_its_reads_once(
    ledger: Ledger, store: DuckDbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(ledger, store)
    troubled = TroubledStore(store)
    pipeline = type(collector.pipeline)(
        ledger, troubled, lambda: collector.now, collector.pipeline._metrics
    )
    with monkeypatch.context() as patch:
        patch.setattr(batch_module, "check_batch", _refuse)
        take(collector, message(1, scan(1)))
    [entry] = delivery.quarantine_list(ledger)
    delivery.quarantine_retry(ledger, [entry.id], actor="test", now=collector.now)
    troubled.down = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            pipeline.retry()
    troubled.down = False
    pipeline.retry()
    with ledger.read() as uow:
        [row] = uow.delivery.views.gateways()
    assert row.reads == 2


def _refuse(*_: object) -> None:
    raise RejectedError("old_rules", "an older version did not take this")
