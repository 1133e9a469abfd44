"""What goes wrong in the middle: crashes between steps, stores and brokers that are away."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

import pytest

from collector.errors import LedgerUnavailable
from collector.intake.batch import Message, Taken
from collector.intake.judge import Claim
from collector.intake.link import Link
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import Refused
from contract.messages import Ack
from tests.intake.kit import (
    SLOT,
    CrashError,
    Gateway,
    TroubledStore,
    intake,
    scan,
    status,
    stored,
    until,
)
from tests.services import Mosquitto

_EVER = (SLOT, SLOT + timedelta(days=30))


class _Wrapped(Pipeline):
    """A pipeline that ends the process before or after a step, once."""

    def __init__(self, inner: Pipeline, step: str, *, after: bool) -> None:
        super().__init__(inner._ledger, inner._store, inner._now, inner._metrics)
        self._step = step
        self._after = after

    def _crash(self, step: str, *, after: bool) -> None:
        if (step, after) == (self._step, self._after):
            raise CrashError(f"{'after' if after else 'before'} {step}")

    def claim(self, messages: Sequence[Message]) -> Claim:
        self._crash("claim", after=False)
        claim = super().claim(messages)
        self._crash("claim", after=True)
        return claim

    def append(self, pending: Sequence[Taken]) -> list[tuple[Taken, Refused]]:
        self._crash("append", after=False)
        refused = super().append(pending)
        self._crash("append", after=True)
        return refused

    def complete(
        self,
        pending: Sequence[Taken],
        refused: Sequence[tuple[Taken, Refused]],
        settled: Collection[str],
        *,
        resolves: Collection[int] = (),
    ) -> dict[str, Ack]:
        self._crash("complete", after=False)
        acks = super().complete(pending, refused, settled, resolves=resolves)
        self._crash("complete", after=True)
        return acks


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["claim", "append", "complete"])
def test_the_broker_sends_again_what_a_crash_left_undone(
    step: str, after: bool, ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with Gateway(mosquitto.port) as gateway:
        with intake(
            ledger,
            store,
            mosquitto.port,
            pipeline=lambda made: _Wrapped(made, step, after=after),
            expect=CrashError,
        ) as running:
            for seq in (1, 2, 3):
                gateway.send(seq, scan(seq))
            until(running.future.done, "the worker did not crash")
        with intake(ledger, store, mosquitto.port):
            gateway.wait_acked(3)
    assert stored(store) == 6
    with ledger.read() as uow:
        [sums] = uow.delivery.views.sums()
        [row] = uow.delivery.views.gateways()
        assert uow.delivery.quarantine.open(10) == []
    assert (sums.state, sums.batches, sums.reads) == ("complete", 3, 6)
    assert (row.batches, row.reads) == (3, 6)


def test_billing_does_not_wait_for_the_reading_store(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    troubled = TroubledStore(store, down=True)
    with intake(ledger, troubled, mosquitto.port) as running, Gateway(mosquitto.port) as gateway:
        for seq in range(1, 101):
            gateway.send(seq, scan(seq))
        until(lambda: running.figure("songlo_intake_held") == 100, "claims do not go on")
        with ledger.read() as uow:
            assert len(uow.index_reads.of_meter("M1", *_EVER)) == 100
        assert gateway.upto() <= 0
        assert running.figure("songlo_intake_store_up") == 0
        troubled.down = False
        gateway.wait_acked(100)
        assert running.figure("songlo_intake_store_up") == 1
        assert running.figure("songlo_intake_held") == 0
    assert stored(store) == 200


def test_what_finds_no_room_while_the_store_is_away_is_sent_again(
    sqlite_ledger: Ledger,
    store: DuckDbStore,
    mosquitto: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.intake.worker.HELD_MAX", 5)
    troubled = TroubledStore(store, down=True)
    with (
        intake(sqlite_ledger, troubled, mosquitto.port) as running,
        Gateway(mosquitto.port) as gateway,
    ):
        for seq in range(1, 9):
            gateway.send(seq, scan(seq))
        until(
            lambda: running.figure("songlo_intake_dropped_total", where="held") == 3,
            "nothing is let go of",
        )
        troubled.down = False
        gateway.wait_acked(5)
        for seq in range(6, 9):
            gateway.send(seq, scan(seq))
        gateway.wait_acked(8)
    assert stored(store) == 16


class _AwayLedger(Pipeline):
    """A pipeline whose ledger is away while `away` says so."""

    def __init__(self, inner: Pipeline, away: Callable[[], bool]) -> None:
        super().__init__(inner._ledger, inner._store, inner._now, inner._metrics)
        self._away = away

    def claim(self, messages: Sequence[Message]) -> Claim:
        if self._away():
            raise LedgerUnavailable("taken away by the test")
        return super().claim(messages)


def test_nothing_is_acknowledged_while_the_ledger_is_away(
    sqlite_ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    away = True
    with (
        intake(
            sqlite_ledger,
            store,
            mosquitto.port,
            pipeline=lambda made: _AwayLedger(made, lambda: away),
        ) as running,
        Gateway(mosquitto.port) as gateway,
    ):
        gateway.send(1, scan(0))
        until(lambda: running.figure("songlo_intake_ledger_up") == 0, "the outage is not noticed")
        assert gateway.acks == []
        away = False
        gateway.wait_acked(1)
        assert running.figure("songlo_intake_ledger_up") == 1
    assert stored(store) == 2


def test_a_broker_that_forgets_everything_only_delays(
    sqlite_ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(sqlite_ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(1))
        gateway.wait_acked(1)
        gateway.acks.clear()
        mosquitto.kill()
        mosquitto.start()
        # The collector says by itself again what it has.
        gateway.wait_acked(1, timeout_s=30)
        gateway.send(2, scan(2))
        gateway.wait_acked(2)
    assert stored(store) == 4


def test_a_stop_finishes_the_group_in_hand(
    sqlite_ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(sqlite_ledger, store, mosquitto.port) as running:
        with Gateway(mosquitto.port) as gateway:
            for seq in range(1, 31):
                gateway.send(seq, scan(seq))
        running.worker.stop()
        running.future.result(10)
    with sqlite_ledger.read() as uow:
        assert {part.state for part in uow.delivery.views.sums()} <= {"complete"}


def test_a_full_inbox_holds_up_the_connection_and_loses_nothing(
    sqlite_ledger: Ledger, store: DuckDbStore, mosquitto_broker: Callable[..., Mosquitto]
) -> None:
    broker = mosquitto_broker("max_inflight_messages 0")
    away = True
    with (
        intake(
            sqlite_ledger,
            store,
            broker.port,
            pipeline=lambda made: _AwayLedger(made, lambda: away),
            link=lambda config: Link(config, None, inbox_max=10, pipe_bytes=4_096),
        ) as running,
        Gateway(broker.port) as gateway,
    ):
        for seq in range(1, 201):
            gateway.send(seq, scan(seq))
        # Ten, and what one read of the pipe brought with the tenth.
        assert len(running.worker._link._inbox) < 10 + 20
        away = False
        gateway.wait_acked(200)
        assert running.worker._link.dropped == 0
    assert stored(store) == 400


def test_statuses_leave_the_brokers_window(
    sqlite_ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(sqlite_ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        for count in range(1, 61):
            gateway.status(status((gateway.epoch, 1, 2), count=count))
        gateway.send(1, scan(1))
        gateway.wait_acked(1)
