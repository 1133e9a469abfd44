"""Lost: told apart from what may still come, and once accepted from what is new; never hidden."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from collector.cli import app
from collector.clock import system_now
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations import delivery, lost
from collector.operations.lost import Lost
from collector.readings.duckdb_store import DuckDbStore
from contract import topics
from contract.messages import Batch, EpochStatus, Status, Tombstone, encode
from tests.intake.kit import SLOT, STATION, scan, stored

OLD, NEW = "a" * 32, "b" * 32
ALL = (SLOT, SLOT + timedelta(days=1))


class Intake:
    """Batches and statuses of GW1, taken without a broker."""

    def __init__(self, ledger: Ledger, store: DuckDbStore) -> None:
        self._ledger = ledger
        self._store = store
        self._pipeline = Pipeline(ledger, store, system_now, Metrics())
        self._count = 0

    def take(self, epoch: str, seq: int, batch: Batch, *, store_is_lost: bool = False) -> None:
        topic = topics.build(topics.BatchTopic("GW1", epoch, seq))
        claim = self._pipeline.claim([Message(topic, encode(batch))])
        refused = [] if store_is_lost else self._pipeline.append(claim.pending)
        self._pipeline.complete(claim.pending, refused, claim.settled)

    def claim_and_die(self, epoch: str, seq: int, batch: Batch) -> None:
        """The ledger has it, and the process ends before the reading store does."""
        topic = topics.build(topics.BatchTopic("GW1", epoch, seq))
        claim = self._pipeline.claim([Message(topic, encode(batch))])
        assert len(claim.pending) == 1
        self._pipeline = Pipeline(self._ledger, self._store, system_now, Metrics())

    def status(self, *epochs: tuple[str, int, int], online: bool = True) -> None:
        """A status in the generation of the ledger, `epochs` as (epoch, oldest, next)."""
        self._count += 1
        with self._ledger.read() as uow:
            generation = uow.delivery.generations.all().get("GW1", 0)
        status = Status(
            v=1,
            online=online,
            station=STATION,
            count=self._count,
            generation=generation,
            epochs=[EpochStatus(*epoch) for epoch in epochs],
        )
        topic = topics.build(topics.StatusTopic("GW1"))
        self._pipeline.take_statuses([Message(topic, encode(status))])


@pytest.fixture
def intake(ledger: Ledger, store: DuckDbStore) -> Intake:
    return Intake(ledger, store)


def replay(ledger: Ledger) -> None:
    delivery.replay(ledger, from_at=ALL[0], to_at=ALL[1], actor="t", now=system_now())


def accept(ledger: Ledger, reason: str = "its card died") -> None:
    lost.accept(ledger, gateway="GW1", reason=reason, actor="t", now=system_now())


def ranges(found: Lost) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
    """What is new and what is accepted."""
    new = sorted((part.epoch, part.first, part.last) for part in found.new)
    return new, sorted((part.epoch, part.first, part.last) for part in found.accepted)


def test_after_a_replay_batches_of_a_replaced_card_are_lost_and_not_open_for_ever(
    ledger: Ledger, store: DuckDbStore, intake: Intake
) -> None:
    for seq in (1, 2, 3):
        intake.take(OLD, seq, scan(seq))
    intake.status((OLD, 1, 4))
    intake.take(NEW, 1, scan(4))
    intake.status((NEW, 1, 2))
    replay(ledger)
    assert delivery.reopened(ledger) == 4
    assert "4 batches are in the ledger and not yet" in delivery.verify(ledger, store).problems[0]
    intake.take(NEW, 1, scan(4))
    intake.status((NEW, 1, 2))
    # The new card's gateway does not list the old epoch: nobody has it.
    assert delivery.reopened(ledger) == 0, "whoever waits for the replay is done"
    found = delivery.verify(ledger, store)
    assert [(part.epoch, part.first, part.last) for part in found.lost] == [(OLD, 1, 3)]
    assert found.problems == (
        "3 batches are lost for ever (gaps of source seq): songlo collector lost list",
    )
    assert "3 batches are in the ledger, perhaps not in the reading store" in found.known[0]
    accept(ledger)
    found = delivery.verify(ledger, store)
    assert (found.problems, found.lost) == ((), ())
    assert "3 batches are lost for ever, which was accepted" in found.known[1]
    # No ack covers it: the card was put back, and brings what was lost.
    intake.take(OLD, 2, scan(2))
    assert ranges(lost.all_lost(ledger)) == ([], [(OLD, 1, 1), (OLD, 3, 3)])
    assert delivery.verify(ledger, store).problems == ()
    with ledger.read() as uow:
        [said] = uow.audit.of_action(lost.ACCEPT)
    assert (said.actor, said.subject, said.detail["batches"]) == ("t", "GW1", 3)
    assert said.detail["reason"] == "its card died"


def test_what_was_claimed_and_then_dropped_for_room_is_lost_and_not_awaited_for_ever(
    ledger: Ledger, store: DuckDbStore, intake: Intake
) -> None:
    intake.take(OLD, 1, scan(1))
    intake.claim_and_die(OLD, 2, scan(2))
    assert "1 batches are in the ledger and not yet" in delivery.verify(ledger, store).problems[0]
    # Its gateway's disk was full before it could send it again.
    intake.take(OLD, 3, scan(3))
    intake.status((OLD, 3, 4))
    found = delivery.verify(ledger, store)
    assert [(part.epoch, part.first, part.last) for part in found.lost] == [(OLD, 2, 2)]
    assert len(found.problems) == 1
    assert "1 batches are lost for ever" in found.problems[0]
    assert "1 batches are in the ledger, perhaps not in the reading store" in found.known[0]
    with ledger.read() as uow:
        [ack] = uow.delivery.progress.acks(["GW1"], system_now()).values()
        assert len(uow.index_reads.of_meter("M1", *ALL)) == 3, "what is billed has it"
    assert [(said.epoch, said.upto) for said in ack.epochs] == [(OLD, 3)]
    accept(ledger, "its disk was full")
    assert delivery.verify(ledger, store).problems == ()
    # It was under way in the broker all the time, and comes after all.
    intake.take(OLD, 2, scan(2))
    assert ranges(lost.all_lost(ledger)) == ([], [])
    assert not any("perhaps not" in text for text in delivery.verify(ledger, store).known)


def test_what_is_lost_after_it_was_accepted_is_new(
    ledger: Ledger, store: DuckDbStore, intake: Intake
) -> None:
    intake.take(OLD, 3, scan(3))
    intake.status((OLD, 3, 4))
    assert ranges(lost.all_lost(ledger)) == ([(OLD, 1, 2)], [])
    for reason in ("", "  ", "x" * 501, "a\0b"):
        with pytest.raises(InvalidRequest):
            accept(ledger, reason)
    accept(ledger)
    with pytest.raises(NotFound, match="no lost batches"):
        accept(ledger)
    assert delivery.verify(ledger, store).problems == ()
    intake.take(OLD, 6, scan(6))
    intake.status((OLD, 6, 7))
    assert ranges(lost.all_lost(ledger)) == ([(OLD, 4, 5)], [(OLD, 1, 2)])
    assert "2 batches are lost" in delivery.verify(ledger, store).problems[0]


def test_the_commands_print_what_is_new_and_what_was_accepted(
    tmp_path: Path, store: DuckDbStore
) -> None:
    file = tmp_path / "collector.yaml"
    file.write_text(
        f"ledger: sqlite:///{tmp_path}/ledger.db\n"
        f"readings: {{store: duckdb, path: {tmp_path}/unused.duckdb}}\n"
        "broker: {host: 127.0.0.1, port: 1883}\n"
    )
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.migrate()

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*words, "--config", str(file)])
        structlog.reset_defaults()  # its log was a stream that is closed now
        assert done.exit_code == code, done.output
        return done.output

    assert "nothing is lost" in run("lost", "list")
    gateway = Intake(ledger, store)
    gateway.take(OLD, 3, scan(3))
    gateway.status((OLD, 3, 4))
    assert f"new       GW1  epoch {OLD}  batches 1 to 2  lost" in run("lost", "list")
    assert "problem: 2 batches are lost" in run("verify", "--ledger-only", code=1)
    assert "no lost batches" in run("lost", "accept", "-g", "GW9", "--reason", "why", code=1)
    assert "batches 1 to 2" in run("lost", "accept", "-g", "GW1", "--reason", "why")
    assert "accepted  GW1" in run("lost", "list")
    said = run("verify", "--ledger-only")
    assert "known: 2 batches are lost for ever, which was accepted" in said
    assert "everything else agrees" in said
    assert "is online" in run("lost", "gone", "-g", "GW1", "--reason", "why", code=1)
    gateway.status(online=False)
    assert "0 batches that GW1 owed" in run("lost", "gone", "-g", "GW1", "--reason", "why")
    ledger.close()


def test_what_a_gateway_dropped_before_a_replay_is_known_to_be_in_the_ledger_alone(
    ledger: Ledger, store: DuckDbStore, intake: Intake
) -> None:
    # Completed, and the store was lost afterwards: as if it had never had it.
    intake.take(OLD, 1, scan(1), store_is_lost=True)
    assert "refill it" in delivery.verify(ledger, store).problems[0]
    replay(ledger)
    old = scan(1)
    assert old.scan is not None
    stone = Tombstone(old.scan.kind, old.scan.slot, ["M1", "M2"], "overflow")
    intake.take(OLD, 1, Batch(v=1, station=STATION, clock=old.clock, tombstone=stone))
    assert stored(store) == 0
    found = delivery.verify(ledger, store)
    assert found.problems == ()
    assert "the reading store holds 0 meter reads of 2; 2 are of batches" in found.known[0]
    with ledger.read() as uow:
        assert len(uow.index_reads.of_meter("M1", *ALL)) == 1


def test_what_a_gateway_owes_that_is_gone_is_lost_when_somebody_says_so(
    ledger: Ledger, store: DuckDbStore, intake: Intake
) -> None:
    intake.take(OLD, 1, scan(1))
    intake.take(OLD, 3, scan(3))
    intake.status((OLD, 1, 6))
    said = partial(
        lost.gateway_gone, ledger, reason="struck by lightning", actor="t", now=system_now()
    )
    with pytest.raises(Conflict, match="online"):
        said(gateway="GW1")
    with pytest.raises(NotFound):
        said(gateway="GW9")
    intake.status(online=False)
    replay(ledger)
    assert delivery.reopened(ledger) == 2
    owed = said(gateway="GW1")
    assert [(part.first, part.last) for part in owed] == [(1, 5)]
    assert delivery.reopened(ledger) == 0
    assert said(gateway="GW1") == ()
    accept(ledger)
    assert delivery.verify(ledger, store).problems == ()
    with ledger.read() as uow:
        [entry] = uow.delivery.progress.acks(["GW1"], system_now())["GW1"].epochs
    assert (entry.upto, entry.also) == (0, []), "should it come back, it must not forget anything"
