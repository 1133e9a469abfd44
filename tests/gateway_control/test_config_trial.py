"""Trials of station files where something else is in the way: the time, or the outbox."""

import asyncio
import random
from pathlib import Path

import pytest

from contract.messages import Batch, decode_batch
from gateway.config_service import ConfigReporter, ConfigTrial
from gateway.config_store import ConfigStore
from gateway.health_book import HealthBook
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import BatchKey, Draft
from gateway.scan import Scanner
from gateway.telling import Teller
from tests.gateway_control.crashing import LOCAL, accept
from tests.gateway_delivery.building import MIB, at, open_outbox
from tests.gateway_delivery.fakes import SteppedClock

CHANCE = random.Random(1)
TRIAL_S = 0.3


class Trying:
    """Version 1 on trial for TRIAL_S, without meters, at a station whose world a test rules."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.config_service.TIME_CHECK_S", 0.01)
        monkeypatch.setattr("gateway.config_service.KEEP_RETRY_S", 0.01)
        self.knows_time = self.connected = True
        self.restarts = 0
        self.acked = asyncio.Event()
        self.store = ConfigStore(folder / "config")
        self.store.begin(LOCAL)
        accept(self.store, 1)
        trial = self.store.begin(LOCAL).trial
        assert trial is not None
        clock = SteppedClock(at(0), at(0))
        self.outbox = OutboxThread(open_outbox(folder, 1, 16 * MIB))
        self.health = HealthBook([], clock, CHANCE)
        teller = Teller("T1", clock, self.health, lambda: self.knows_time)
        self.trial = ConfigTrial(
            type(trial)(1, TRIAL_S),
            self.store,
            ConfigReporter(teller, self.outbox, clock, lambda: None),
            Scanner([], clock, health=self.health),
            [],
            acked=self.acked,
            connected=lambda: self.connected,
            restart=self._restart,
        )

    def _restart(self) -> None:
        self.restarts += 1

    async def told(self) -> str:
        kept = await self.outbox.pending(9, live_since=at(0), except_for=frozenset())
        batches: list[Batch] = [decode_batch(stored.payload) for stored in kept]
        return "\n".join(event.detail for batch in batches for event in batch.events or ())


@pytest.mark.asyncio
async def test_a_trial_stands_still_while_only_the_time_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying = Trying(tmp_path, monkeypatch)
    trying.knows_time = False
    running = asyncio.create_task(trying.trial.run())
    await asyncio.sleep(2 * TRIAL_S)
    assert not running.done(), "a good file is not taken back for a time server that is away"
    trying.acked.set()
    trying.knows_time = True
    await asyncio.wait_for(running, 5)
    assert trying.store.status.version == 1
    assert not trying.store.status.trial
    assert trying.restarts == 0
    trying.outbox.close()


@pytest.mark.asyncio
async def test_without_time_and_without_the_broker_it_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the file that keeps the broker away: then no other could ever be sent."""
    trying = Trying(tmp_path, monkeypatch)
    trying.knows_time = trying.connected = False
    await asyncio.wait_for(trying.trial.run(), 5)
    assert (trying.store.status.version, trying.restarts) == (0, 1)
    [said] = [one.detail for one in trying.health.occurrences()]
    assert "the broker was not reached" in said
    trying.outbox.close()


@pytest.mark.asyncio
async def test_an_outbox_that_takes_nothing_does_not_keep_a_bad_file_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying = Trying(tmp_path, monkeypatch)

    async def append(_drafts: list[Draft], **_: object) -> list[BatchKey]:
        raise OutboxUnavailable("the disk is full")

    monkeypatch.setattr(trying.outbox, "append", append)
    await asyncio.wait_for(trying.trial.run(), 5)
    assert (trying.store.status.version, trying.restarts) == (0, 1)
    # It is told by the next run, when something can be kept again.
    assert "taken back" in trying.health.occurrences()[-1].detail
    trying.outbox.close()


@pytest.mark.asyncio
async def test_what_cannot_be_taken_back_is_not_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying = Trying(tmp_path, monkeypatch)

    def failing(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(trying.store, "_write", failing)
    await asyncio.wait_for(trying.trial.run(), 5)
    assert trying.restarts == 1, "the next start counts as one of the trial's"
    assert "cannot be stored" in await trying.told()
    assert "in force again" not in await trying.told()
    trying.outbox.close()


@pytest.mark.asyncio
async def test_a_trial_whose_file_was_replaced_ends_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying = Trying(tmp_path, monkeypatch)
    accept(trying.store, 2)
    trying.acked.set()
    await asyncio.wait_for(trying.trial.run(), 5)
    assert trying.store.status.version == 2
    assert trying.store.status.trial
    assert "confirmed" not in await trying.told()
    trying.outbox.close()
