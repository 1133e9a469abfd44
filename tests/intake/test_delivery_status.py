"""What statuses prove to be lost, and all that they must not be taken to prove."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.readings.duckdb_store import DuckDbStore
from contract import topics
from contract.messages import Ack, OutboxStatus, Status, encode
from tests.intake.kit import scan, status

A, B, C = "a" * 32, "b" * 32, "c" * 32
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Collector:
    """Intake without a broker: what a worker does with messages, one after the other."""

    def __init__(self, ledger: Ledger, store: DuckDbStore) -> None:
        self.ledger = ledger
        self.now = NOW
        self.pipeline = Pipeline(ledger, store, lambda: self.now, Metrics())

    def batch(self, epoch: str, *seqs: int, gateway: str = "GW1") -> None:
        messages = [
            Message(topics.build(topics.BatchTopic(gateway, epoch, seq)), encode(scan(seq)))
            for seq in seqs
        ]
        claim = self.pipeline.claim(messages)
        refused = self.pipeline.append(claim.pending)
        self.pipeline.complete(claim.pending, refused, claim.settled)

    def status(self, message: Status, *, retained: bool = False, gateway: str = "GW1") -> None:
        topic = topics.build(topics.StatusTopic(gateway))
        self.pipeline.take_statuses([Message(topic, encode(message), retained=retained)])

    def ack(self, gateway: str = "GW1") -> Ack:
        with self.ledger.read() as uow:
            return uow.delivery.progress.acks([gateway], self.now)[gateway]

    def upto(self, epoch: str) -> int:
        return {entry.epoch: entry.upto for entry in self.ack().epochs}[epoch]

    def lost(self) -> set[tuple[str, int, int]]:
        with self.ledger.read() as uow:
            return {(part.epoch, part.first, part.last) for part in uow.delivery.views.lost(100)}

    @property
    def generation(self) -> int:
        return self.ack().generation


@pytest.fixture
def collector(ledger: Ledger, store: DuckDbStore) -> Collector:
    made = Collector(ledger, store)
    made.batch(A, 1, 2, 4, 6)
    return made


def test_what_is_below_the_oldest_and_never_came_is_lost(collector: Collector) -> None:
    collector.status(status((A, 6, 8), count=1, generation=collector.generation))
    assert collector.lost() == {(A, 3, 3), (A, 5, 5)}
    assert collector.upto(A) == 6


def test_the_same_status_again_records_nothing_twice(collector: Collector) -> None:
    for count in (1, 2, 3):
        collector.status(status((A, 6, 8), count=count, generation=collector.generation))
    assert collector.lost() == {(A, 3, 3), (A, 5, 5)}


def test_an_epoch_that_is_no_longer_listed_has_lost_its_holes(collector: Collector) -> None:
    generation = collector.generation
    collector.status(status((A, 3, 9), count=1, generation=generation))
    assert collector.lost() == set()
    collector.status(status((B, 1, 1), count=1, generation=generation))
    assert collector.lost() == {(A, 3, 3), (A, 5, 5), (A, 7, 8)}
    # Listed as lost, and yet not to be forgotten by whoever has them after all.
    assert collector.upto(A) == 2


def test_an_epoch_that_is_still_listed_keeps_its_holes(collector: Collector) -> None:
    generation = collector.generation
    collector.status(status((A, 3, 9), count=1, generation=generation))
    collector.status(status((B, 1, 1), (A, 3, 9), count=1, generation=generation))
    assert collector.lost() == set()
    assert collector.upto(A) == 2


def test_a_batch_that_is_in_the_ledger_only_is_lost_below_the_oldest(
    ledger: Ledger, store: DuckDbStore
) -> None:
    collector = Collector(ledger, store)
    topic = topics.build(topics.BatchTopic("GW1", A, 1))
    collector.pipeline.claim([Message(topic, encode(scan(1)))])
    collector.status(status((A, 2, 3), count=1, generation=collector.generation))
    assert collector.lost() == {(A, 1, 1)}


def test_another_generation_proves_nothing(collector: Collector) -> None:
    for generation in (0, collector.generation - 1, collector.generation + 1):
        collector.status(status((A, 6, 8), count=generation + 1, generation=generation))
    assert collector.lost() == set()


def idle(*epochs: tuple[str, int, int], generation: int, count: int = 1) -> Status:
    """The status of a gateway that waits for no ack."""
    usage = OutboxStatus(waiting=0, used_bytes=1, limit_bytes=2)
    return msgspec.structs.replace(
        status(*epochs, count=count, generation=generation), outbox=usage
    )


def test_a_gateway_with_acks_that_the_ledger_does_not_know_of_sends_again(
    collector: Collector,
) -> None:
    generation = collector.generation
    # 3, 5, 7 and 8 were acknowledged by a ledger that came back from a backup meanwhile.
    collector.status(idle((A, 1, 9), generation=generation))
    assert collector.lost() == set()
    assert collector.generation > generation
    assert collector.upto(A) == 2


def test_a_gateway_that_waits_for_acks_proves_nothing_of_them(collector: Collector) -> None:
    generation = collector.generation
    collector.status(status((A, 1, 9), count=1, generation=generation))
    waiting = OutboxStatus(waiting=4, used_bytes=1, limit_bytes=2)
    said = status((A, 1, 9), count=2, generation=generation)
    collector.status(msgspec.structs.replace(said, outbox=waiting))
    assert collector.generation == generation


def test_a_gateway_that_takes_no_ack_of_this_ledger_any_more_is_heard(
    collector: Collector,
) -> None:
    """The ledger came back from a backup of before its generation was raised."""
    seen = collector.generation + 5
    said = status((A, 1, 9), count=1, generation=seen)
    waiting = OutboxStatus(waiting=4, used_bytes=1, limit_bytes=2)
    collector.status(msgspec.structs.replace(said, outbox=waiting))
    assert collector.generation > seen
    assert collector.lost() == set()


def test_a_gateway_whose_every_batch_is_here_changes_nothing(collector: Collector) -> None:
    generation = collector.generation
    collector.batch(A, 3, 5)
    collector.status(idle((A, 1, 7), generation=generation))
    # What it no longer holds is lost, not forgotten: there is nothing to send again.
    collector.status(idle((A, 9, 9), generation=generation, count=2))
    assert collector.generation == generation
    assert collector.lost() == {(A, 7, 8)}


def test_a_last_will_proves_nothing(collector: Collector) -> None:
    collector.status(status((A, 1, 7), count=1, generation=collector.generation))
    collector.status(Status(v=1, online=False))
    assert collector.lost() == set()
    with collector.ledger.read() as uow:
        [row] = uow.delivery.views.gateways()
    assert not row.online
    assert row.station == "PA25SL-T012"


def test_a_late_status_of_the_same_epoch_proves_nothing(collector: Collector) -> None:
    generation = collector.generation
    collector.status(status((A, 1, 8), count=5, generation=generation))
    collector.status(status((A, 6, 8), count=4, generation=generation))
    collector.status(status((A, 6, 8), count=5, generation=generation))
    assert collector.lost() == set()


def test_a_late_status_of_an_earlier_epoch_proves_nothing(collector: Collector) -> None:
    """The retained status of before a restart, seen again after the newer one."""
    generation = collector.generation
    old = status((A, 3, 9), count=7, generation=generation)
    collector.status(old)
    collector.status(status((B, 1, 5), (A, 3, 9), count=1, generation=generation))
    collector.batch(B, 1, 3)
    collector.status(old, retained=True)
    collector.status(status((A, 9, 9), count=8, generation=generation), retained=True)
    assert collector.lost() == set()


def test_a_status_of_an_epoch_that_another_listed_is_late(collector: Collector) -> None:
    """The first status that is seen of A comes after B's, which lists A: A's process has ended."""
    generation = collector.generation
    collector.status(status((B, 1, 9), (A, 3, 9), count=1, generation=generation))
    collector.batch(B, 2)
    collector.status(status((A, 9, 9), count=50, generation=generation))
    assert collector.lost() == set()


def test_epochs_that_no_status_listed_are_never_called_lost(collector: Collector) -> None:
    collector.batch(C, 2, 5)
    collector.status(status((B, 1, 1), count=1, generation=collector.generation))
    assert collector.lost() == set()


def test_a_restored_gateway_loses_only_what_nobody_holds(collector: Collector) -> None:
    """The image goes back to before A's batch 5; B is what ran after it and is gone with it."""
    generation = collector.generation
    collector.status(status((A, 3, 9), count=1, generation=generation))
    collector.status(status((B, 1, 4), (A, 3, 9), count=1, generation=generation))
    collector.batch(B, 1)
    collector.status(status((C, 1, 1), (A, 3, 5), count=1, generation=generation))
    assert collector.lost() == {(B, 2, 3)}, "A is still being delivered"
    collector.batch(A, 3)
    collector.status(status((C, 1, 2), count=2, generation=generation))
    assert collector.lost() == {(B, 2, 3), (A, 5, 5), (A, 7, 8)}


def test_a_lost_batch_that_comes_after_all_stands(collector: Collector) -> None:
    collector.status(status((A, 6, 8), count=1, generation=collector.generation))
    collector.batch(A, 3)
    with collector.ledger.read() as uow:
        [sums] = uow.delivery.views.sums()
    assert sums.batches == 5
    assert collector.upto(A) == 6


def test_a_retained_status_is_no_sign_of_life(collector: Collector) -> None:
    collector.now = NOW + timedelta(days=3)
    collector.status(status((A, 1, 7), count=1, generation=1), retained=True)
    with collector.ledger.read() as uow:
        [row] = uow.delivery.views.gateways()
    assert row.last_seen_at == NOW
    collector.status(status((A, 1, 7), count=2, generation=1))
    with collector.ledger.read() as uow:
        [row] = uow.delivery.views.gateways()
    assert row.last_seen_at == collector.now


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{", "status_not_json"),
        (b'{"v":1}', "status_wrong_shape"),
        (encode(status((A, 5, 4))), "status_bad_number"),
        (encode(status((A, 0, 4))), "status_bad_number"),
        (encode(Status(v=1, online=True, station="a b")), "status_bad_name"),
    ],
)
def test_a_bad_status_is_kept_aside_once(collector: Collector, payload: bytes, code: str) -> None:
    topic = topics.build(topics.StatusTopic("GW1"))
    for _ in range(2):
        collector.pipeline.take_statuses([Message(topic, payload)])
    with collector.ledger.read() as uow:
        [entry] = uow.delivery.quarantine.open(10)
    assert entry.code == code


def test_two_gateways_do_not_mix(collector: Collector) -> None:
    collector.batch(A, 1, 3, gateway="GW2")
    collector.status(
        status((A, 4, 4), count=1, generation=collector.ack("GW2").generation), gateway="GW2"
    )
    with collector.ledger.read() as uow:
        assert [(part.gateway, part.first) for part in uow.delivery.views.lost(10)] == [("GW2", 2)]
    assert collector.upto(A) == 2
