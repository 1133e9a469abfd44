"""Restored ledgers, replays, quarantine retries, verification: what people do to delivery."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from collector.clock import system_now
from collector.errors import InvalidRequest, LedgerStateError, NotFound
from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations import delivery, fleet
from collector.readings.duckdb_store import DuckDbStore
from contract import topics
from contract.messages import Ack, AckEpoch, LineStatus, OutboxStatus, Status, encode
from tests.intake.kit import (
    SLOT,
    STATION,
    Gateway,
    TroubledStore,
    intake,
    scan,
    status,
    stored,
    until,
)
from tests.services import Mosquitto

ALL = (SLOT, SLOT + timedelta(days=1))


def test_a_ledger_from_yesterday_refuses_until_it_is_said_to_be_restored(
    store: DuckDbStore, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path, backup = tmp_path / "ledger.db", tmp_path / "backup.db"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.migrate()
    with Gateway(mosquitto.port) as gateway:
        with intake(ledger, store, mosquitto.port):
            gateway.send(1, scan(1))
            gateway.wait_acked(1)
        ledger.close()
        shutil.copy(path, backup)
        with intake(ledger, store, mosquitto.port):
            gateway.send(2, scan(2))
            gateway.send(3, scan(3))
            gateway.wait_acked(3)
        ledger.close()
        for file in tmp_path.glob("ledger.db*"):
            file.unlink()
        shutil.copy(backup, path)

        with intake(ledger, store, mosquitto.port, expect=LedgerStateError) as running:
            until(running.future.done, "a ledger that is behind does not refuse")
            error = running.future.exception()
        assert isinstance(error, LedgerStateError)
        assert "GW1" in str(error)
        assert "songlo collector restored" in error.hint

        said = gateway.acks[-1]
        planned = delivery.restored(
            ledger, acks={"GW1": said}, actor="test", now=system_now(), dry_run=True
        )
        raised = delivery.restored(ledger, acks={"GW1": said}, actor="test", now=system_now())
        assert planned.keys() == raised.keys() == {"GW1"}
        with intake(ledger, store, mosquitto.port):
            until(
                lambda: gateway.generation == raised["GW1"] > said.generation,
                "the generation was not raised",
            )
            assert gateway.upto() == 1
            for seq in (1, 2, 3):
                gateway.send(seq, scan(seq))
            gateway.wait_acked(3)
    assert stored(store) == 6
    assert delivery.verify(ledger, store).problems == ()
    with ledger.read() as uow:
        assert uow.audit.newest(1)[0].action == "delivery.restored"
    ledger.close()


def test_a_gateway_that_only_the_broker_knows_is_included(ledger: Ledger) -> None:
    ack = Ack(generation=2**40, epochs=[AckEpoch(epoch="a" * 32, upto=5)])
    raised = delivery.restored(ledger, acks={"GW7": ack}, actor="test", now=system_now())
    assert raised == {"GW7": 2**40 + 1}
    with ledger.read() as uow:
        assert uow.delivery.generations.all() == raised


@pytest.mark.parametrize(
    ("upto", "also", "generation", "covered"),
    [
        (2, [], 0, True),
        (2, [(4, 4)], 0, True),
        (3, [], 0, False),
        (2, [(4, 5)], 0, False),
        (2, [], 1, False),
        (9, [], -1, True),
    ],
)
def test_which_retained_acks_are_ahead(
    upto: int,
    also: list[tuple[int, int]],
    generation: int,
    covered: bool,
    ledger: Ledger,
    store: DuckDbStore,
    mosquitto: Mosquitto,
) -> None:
    with Gateway(mosquitto.port) as gateway, intake(ledger, store, mosquitto.port):
        for seq in (1, 2, 4):
            gateway.send(seq, scan(seq))
        gateway.wait_acked(2)
        until(lambda: gateway.acks[-1].epochs[0].also == [(4, 4)], "not all is acknowledged")
    ack = Ack(
        generation=gateway.generation + generation,
        epochs=[AckEpoch(epoch=gateway.epoch, upto=upto, also=also)],
    )
    with ledger.read() as uow:
        assert uow.delivery.progress.covers("GW1", ack) is covered
        assert not uow.delivery.progress.covers("GW2", ack)


def test_a_replay_refills_a_lost_reading_store(
    ledger: Ledger, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    first = DuckDbStore(tmp_path / "first.duckdb")
    with Gateway(mosquitto.port) as gateway:
        with intake(ledger, first, mosquitto.port):
            for seq in range(1, 11):
                gateway.send(seq, scan(seq))
            gateway.wait_acked(10)
        first.close()
        before = gateway.generation
        second = DuckDbStore(tmp_path / "second.duckdb")
        found = delivery.verify(ledger, second)
        assert (found.reads_expected, found.reads_stored) == (20, 0)
        assert "replay" in found.problems[0]
        with intake(ledger, second, mosquitto.port):
            from_at, to_at = SLOT + timedelta(minutes=90), SLOT + timedelta(minutes=240)
            report = delivery.replay(
                ledger, from_at=from_at, to_at=to_at, actor="test", now=system_now()
            )
            assert (report.gateways, report.batches) == (("GW1",), 5)
            assert delivery.reopened(ledger) == 5
            # A running collector notices by itself.
            until(lambda: gateway.generation > before, "the generation was not raised")
            assert [(e.upto, e.also) for e in gateway.acks[-1].epochs] == [(2, [(8, 10)])]
            for seq in range(1, 11):
                gateway.send(seq, scan(seq))
            gateway.wait_acked(10)
    assert stored(second) == 10
    assert delivery.reopened(ledger) == 0
    with ledger.read() as uow:
        [row] = uow.delivery.views.gateways()
        assert (row.batches, row.reads, row.duplicates) == (10, 20, 5)
        assert len(uow.index_reads.of_meter("M1", *ALL)) == 10
    second.close()


def test_what_a_replay_cannot_get_any_more_becomes_a_gap(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with Gateway(mosquitto.port) as gateway, intake(ledger, store, mosquitto.port):
        for seq in (1, 2, 3):
            gateway.send(seq, scan(seq))
        gateway.wait_acked(3)
        before = gateway.generation
        delivery.replay(ledger, from_at=ALL[0], to_at=ALL[1], actor="test", now=system_now())
        until(lambda: gateway.generation > before, "the generation was not raised")
        # Composed before the gateway saw the new generation: proves nothing.
        gateway.status(status((gateway.epoch, 3, 4), count=1, generation=before))
        gateway.send(3, scan(3))
        until(lambda: gateway.acks[-1].epochs[0].also == [(3, 3)], "not acknowledged")
        gateway.status(status((gateway.epoch, 3, 4), count=2, generation=gateway.generation))
        gateway.wait_acked(3)
    with ledger.read() as uow:
        [lost] = uow.delivery.views.lost(10)
        assert (lost.first, lost.last) == (1, 2)
        assert len(uow.index_reads.of_meter("M1", *ALL)) == 3


def test_replays_that_cannot_be(ledger: Ledger) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        delivery.replay(ledger, from_at=ALL[1], to_at=ALL[0], actor="t", now=system_now())
    for gateway, station in (("GW9", None), (None, "S9")):
        with pytest.raises(NotFound):
            delivery.replay(
                ledger,
                gateway=gateway,
                station=station,
                from_at=ALL[0],
                to_at=ALL[1],
                actor="t",
                now=system_now(),
            )


def test_a_dry_run_changes_nothing(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with Gateway(mosquitto.port) as gateway, intake(ledger, store, mosquitto.port):
        gateway.send(1, scan(1))
        gateway.wait_acked(1)
    report = delivery.replay(
        ledger,
        station=STATION,
        from_at=ALL[0],
        to_at=ALL[1],
        actor="test",
        now=system_now(),
        dry_run=True,
    )
    assert (report.gateways, report.batches) == (("GW1",), 1)
    with ledger.read() as uow:
        assert uow.delivery.generations.all() == {"GW1": gateway.generation}
        assert uow.audit.newest(1) == []


def test_quarantine_that_passes_todays_rules_is_stored_under_its_own_receipt(
    ledger: Ledger,
    store: DuckDbStore,
    mosquitto: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Gateway(mosquitto.port) as gateway:
        with monkeypatch.context() as yesterday:
            yesterday.setattr("collector.intake.check.QUALITY_MAX", -1)
            Pipeline(ledger, store, system_now, Metrics()).claim(
                [
                    Message(
                        topics.build(topics.BatchTopic(gateway.name, gateway.epoch, seq)), payload
                    )
                    for seq, payload in ((1, encode(scan(1))), (2, b"never any good"))
                ]
            )
        codes = {entry.code for entry in delivery.quarantine_list(ledger)}
        assert codes == {"bad_quality", "not_json"}
        asked = delivery.quarantine_retry(ledger, [], actor="test", now=system_now())
        assert len(asked) == 2
        with intake(ledger, store, mosquitto.port):
            until(lambda: stored(store) == 2, "the entry was not tried again")
            until(
                lambda: (
                    [(e.code, e.retry_asked_at) for e in delivery.quarantine_list(ledger)]
                    == [("not_json", None)]
                ),
                "the entries are not settled",
            )
            # It comes again from its gateway: the same batch, and only counted.
            gateway.send(1, scan(1))
            gateway.send(3, scan(3))
            gateway.wait_acked(3)
    with ledger.read() as uow:
        sums = {part.content: part for part in uow.delivery.views.sums()}
        assert (sums["scan"].batches, sums["scan"].reads, sums["scan"].state) == (2, 4, "complete")
        assert len(uow.index_reads.of_meter("M1", *ALL)) == 2


def test_a_hash_conflict_stays_in_quarantine(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with Gateway(mosquitto.port) as gateway, intake(ledger, store, mosquitto.port):
        gateway.send(1, scan(1))
        gateway.wait_acked(1)
        gateway.send(1, scan(1, energy=77))
        [entry] = until(lambda: delivery.quarantine_list(ledger), "no conflict")
        delivery.quarantine_retry(ledger, [entry.id], actor="test", now=system_now())
        until(
            lambda: (
                "another batch" in delivery.quarantine_list(ledger)[0].reason
                and delivery.quarantine_list(ledger)[0].retry_asked_at is None
            ),
            "the entry was not tried",
        )
    assert stored(store) == 2


def test_a_refused_read_comes_again_with_its_batch(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    troubled = TroubledStore(store, refuse={"M2"})
    with Gateway(mosquitto.port) as gateway, intake(ledger, troubled, mosquitto.port):
        gateway.send(1, scan(1))
        gateway.wait_acked(1)
        before = gateway.generation
        troubled.refuse.clear()
        delivery.quarantine_retry(ledger, [], actor="test", now=system_now())
        until(lambda: gateway.generation > before, "the batch was not asked for again")
        assert gateway.upto() == 0
        gateway.send(1, scan(1))
        gateway.wait_acked(1)
    assert delivery.quarantine_list(ledger) == []
    assert delivery.verify(ledger, store).problems == ()


def test_an_entry_is_closed_once_with_a_reason_and_stays_as_evidence(
    ledger: Ledger, store: DuckDbStore
) -> None:
    pipeline = Pipeline(ledger, store, system_now, Metrics())
    topic = topics.build(topics.BatchTopic("GW1", "0" * 32, 1))
    pipeline.claim([Message(topic, b"never any good")])
    (entry,) = delivery.quarantine_list(ledger)
    for ids, reason in (([entry.id], "  "), ([], "why"), ([entry.id], "x" * 501)):
        with pytest.raises(InvalidRequest):
            delivery.quarantine_close(ledger, ids, reason=reason, actor="t", now=system_now())
    delivery.quarantine_close(ledger, [entry.id], reason="a test", actor="t", now=system_now())
    assert delivery.quarantine_list(ledger) == []
    assert not any("quarantine" in p for p in delivery.verify(ledger, None).problems)
    kept = delivery.quarantine_show(ledger, entry.id)
    assert kept.payload == b"never any good"
    assert kept.resolved_at is not None
    with ledger.read() as uow:
        said = [one for one in uow.audit.newest(10) if one.action == "quarantine.close"]
    assert [(one.actor, one.detail["reason"]) for one in said] == [("t", "a test")]
    with pytest.raises(NotFound):
        delivery.quarantine_close(ledger, [entry.id], reason="again", actor="t", now=system_now())
    with pytest.raises(NotFound):
        delivery.quarantine_show(ledger, 10_000)


def test_retrying_what_is_not_open_is_refused(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="42"):
        delivery.quarantine_retry(ledger, [42], actor="test", now=system_now())


def test_verification_names_every_kind_of_trouble(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with Gateway(mosquitto.port) as gateway, intake(ledger, store, mosquitto.port):
        for seq in (2, 3, 6):
            gateway.send(seq, scan(seq))
        gateway.send(7, scan(2, energy=5))
        gateway.send(8, b"poison")
        until(
            lambda: (
                gateway.acks
                and [tuple(e.also) for e in gateway.acks[-1].epochs] == [((2, 3), (6, 8))]
            ),
            "not all is acknowledged",
        )
        gateway.status(status((gateway.epoch, 2, 9), count=1, generation=gateway.generation))
        gateway.wait_acked(3)
    found = delivery.verify(ledger, store)
    assert [hole.holes for hole in found.holes] == [[(4, 5)]]
    assert [(part.first, part.last) for part in found.lost] == [(1, 1)]
    assert (found.conflicts, found.quarantine_open) == (2, 1)
    said = "\n".join(found.problems)
    for part in ("2 batches below 8", "1 batches are lost", "contradict", "quarantine"):
        assert part in said


def test_the_fleet_as_it_is_looked_at(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    message = Status(
        v=1,
        online=True,
        station=STATION,
        count=1,
        version="0.1.0",
        epochs=status(("a" * 32, 1, 4)).epochs,
        outbox=OutboxStatus(waiting=3, used_bytes=10, limit_bytes=100, held=7),
        lines=[LineStatus(line="rs485-1", state="up", meters=32, answered=31)],
    )
    with Gateway(mosquitto.port) as gateway, intake(ledger, store, mosquitto.port):
        gateway.publish(topics.build(topics.StatusTopic("GW1")), encode(message), retain=True)
        [view] = until(
            lambda: fleet.gateways(ledger, system_now() + timedelta(seconds=90)), "no gateway"
        )
        assert (view.gateway, view.station, view.online) == ("GW1", STATION, True)
        assert (view.waiting, view.used_bytes, view.limit_bytes) == (3, 10, 100)
        assert view.held == 7
        assert (view.version, view.clock) == ("0.1.0", "unsynced")
        assert 85 <= view.silent_s <= 95
        assert [hole.holes for hole in view.holes] == [[(1, 3)]]
        assert [(line.line, line.answered) for line in view.lines] == [("rs485-1", 31)]
        gateway.status(Status(v=1, online=False))
        until(lambda: not fleet.gateways(ledger, system_now())[0].online, "still online")
    [view] = fleet.gateways(ledger, system_now())
    assert view.waiting == 3, "a last will says nothing of the outbox"
