"""Bugs planted on purpose, one at a time, by replacing a part: what the simulation must find.

Nothing in the product knows of them. Each takes the place of a part for as long as its context
lasts.
"""

# Parts of the product are handed on as they come, whatever their types:
# ruff: noqa: ANN401

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from collector.intake import judge as judging
from collector.intake import pipeline as pipelines
from collector.intake.batch import Taken, decode
from collector.intake.judge import Claim
from collector.intake.pipeline import Pipeline
from collector.intake.worker import IntakeWorker
from collector.ledger import progress
from collector.ledger.receipts import KnownReceipt
from collector.ledger.statuses import StatusRepository
from contract.messages import Ack, AckEpoch
from gateway import outbox_file, polling
from gateway.anchor import Anchor
from gateway.held import dated_drafts
from gateway.keeping import Keeper
from gateway.outbox import Outbox
from gateway.outbox_slots import ms
from gateway.polling import Poller
from gateway.uplink import Uplink
from tests.simulation import collector_machine, gateway_machine

Replacement = Callable[[ExitStack], None]
BUGS: dict[str, Replacement] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """With this bug."""
    with ExitStack() as stack:
        BUGS[name](stack)
        yield


def _bug(plant: Replacement) -> Replacement:
    BUGS[plant.__name__] = plant
    return plant


def _put(stack: ExitStack, owner: object, name: str, part: object) -> None:
    stack.enter_context(mock.patch.object(owner, name, part))


# --- the collector ------------------------------------------------------------------------------


@_bug
def ack_before_commit(stack: ExitStack) -> None:
    """A batch is acknowledged when it has come, before the ledger has it."""
    claim = Pipeline.claim

    def claim_after_ack(self: Pipeline, messages: Sequence[Any]) -> Claim:
        worker: IntakeWorker = self.worker  # type: ignore[attr-defined]
        with self._ledger.begin() as uow:
            known = uow.delivery.generations.all()
            items = [decode(message, self._now()) for message in messages]
            keys = [item.key for item in items if item.key is not None]
            upto = {key: uow.delivery.progress.ranges(key.gateway, key.epoch) for key in keys}
        for key in keys:
            have = [*upto[key], (key.seq, key.seq)]
            if key.gateway in known:
                entry = AckEpoch(epoch=key.epoch, upto=0, also=have)
                worker._publish({key.gateway: Ack(known[key.gateway], [entry])})
        return claim(self, messages)

    init = IntakeWorker.__init__

    def remember(self: IntakeWorker, **parts: Any) -> None:
        parts["pipeline"].worker = self
        init(self, **parts)

    _put(stack, IntakeWorker, "__init__", remember)
    _put(stack, Pipeline, "claim", claim_after_ack)


@_bug
def receipt_outside_the_transaction(stack: ExitStack) -> None:
    """Receipts are committed by themselves, the content of the batches after them."""
    write = pipelines._write

    def write_receipts_first(uow: Any, rows: Any, now: datetime) -> int:
        uow.delivery.add_receipts(rows.receipts, now)
        rows.receipts = []
        connection = uow.delivery._connection
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return write(uow, rows, now)

    _put(stack, pipelines, "_write", write_receipts_first)


@_bug
def complete_before_append(stack: ExitStack) -> None:
    """Receipts are complete before the reading store has the reads."""

    def conclude(self: IntakeWorker, claim: Claim) -> dict[str, Ack]:
        if not claim.pending and not claim.settled:
            return {}
        acks = self._pipeline.complete(claim.pending, [], claim.settled)
        self._pipeline.append(claim.pending)
        return acks

    _put(stack, IntakeWorker, "_conclude", conclude)


@_bug
def duplicate_by_time(stack: ExitStack) -> None:
    """A batch for a slot of which one was stored already is taken for a duplicate."""
    look = pipelines._touch_and_look

    def look_at_slots(uow: Any, items: Sequence[Any], now: datetime) -> Any:
        known = look(uow, items, now)
        for item in items:
            slot = item.receipt("claimed").slot if isinstance(item, Taken) else None
            if item.key in known or slot is None:
                continue
            rows = uow.delivery._connection.exec_driver_sql(
                "SELECT 1 FROM receipts WHERE gateway = ? AND slot = ? AND content = 'scan'",
                (item.key.gateway, ms(slot)),
            ).all()
            if rows:
                uow.delivery.add_receipts([item.receipt("complete")], now)
                known[item.key] = KnownReceipt(item.sha256, "complete", "scan")
        return known

    _put(stack, pipelines, "_touch_and_look", look_at_slots)


@_bug
def ack_beyond_holes(stack: ExitStack) -> None:
    """An ack covers everything up to the highest number that is complete."""

    def reach(upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        return max([upto, *(last for _, last in ranges)])

    _put(stack, progress, "reach", reach)


@_bug
def conflict_merged(stack: ExitStack) -> None:
    """What another batch under a known number brings is merged instead of kept aside."""

    def merge(item: Any, key: Any, rows: Any, claim: Claim) -> None:
        if isinstance(item, Taken):
            rows.content.append(item)
            claim.pending.append(item)

    _put(stack, judging, "_refuse_other", merge)


@_bug
def generation_not_raised(stack: ExitStack) -> None:
    """A ledger that was restored goes on under the generation that it had."""

    def nothing(*_: Any, **__: Any) -> dict[str, int]:
        return {}

    _put(stack, collector_machine, "restored", nothing)
    _put(stack, IntakeWorker, "_refuse_if_behind", lambda self: None)
    _put(stack, StatusRepository, "forgotten", lambda self, gateway, status: [])


# --- the gateway --------------------------------------------------------------------------------


@_bug
def outbox_not_synced(stack: ExitStack) -> None:
    """The outbox commits with `synchronous = NORMAL`: not durable in a power cut."""
    open_file = outbox_file.OutboxFile._open

    def open_carelessly(self: Any) -> Any:
        db = open_file(self)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    _put(stack, outbox_file.OutboxFile, "_open", open_carelessly)


@_bug
def dropped_on_reconnect(stack: ExitStack) -> None:
    """What was under way when a connection broke is taken for delivered."""
    deliver = Uplink._deliver

    async def deliver_and_forget(self: Uplink, connection: Any) -> None:
        keys = list(self._under_way)
        if keys:
            epochs: dict[str, list[tuple[int, int]]] = {}
            for key in keys:
                epochs.setdefault(key.epoch, []).append((key.seq, key.seq))
            entries = [AckEpoch(epoch=epoch, upto=0, also=also) for epoch, also in epochs.items()]
            await self._outbox.apply_acks([Ack(max(1, self._outbox.generation), entries)])
        await deliver(self, connection)

    _put(stack, Uplink, "_deliver", deliver_and_forget)


@_bug
def never_sent_again(stack: ExitStack) -> None:
    """What was published once is not sent again while the connection lasts."""
    publish = Uplink._publish

    def publish_once(self: Uplink, connection: Any, stored: Any) -> bool:
        done = publish(self, connection, stored)
        if stored.key in self._under_way:
            self._under_way[stored.key].due_s = float(10**9)
        return done

    _put(stack, Uplink, "_publish", publish_once)


@_bug
def restamp_lost(stack: ExitStack) -> None:
    """Scans that were held are dated as the clock showed when they were taken."""

    def date_wrongly(origin: Any, scan: Any, slot: Any, clock: Anchor, quality: Any) -> Any:
        return dated_drafts(origin, scan, slot, Anchor(clock.at, clock.s + 3600.0), quality)

    _put(stack, polling, "dated_drafts", date_wrongly)


@_bug
def gap_not_listed(stack: ExitStack) -> None:
    """Slots that passed while the gateway was down are not told."""
    _put(stack, Poller, "_miss", lambda self, slots, now: None)


@_bug
def epoch_reused(stack: ExitStack) -> None:
    """A gateway goes on in the epoch of its file, with the numbers that follow there."""
    open_outbox = gateway_machine.GatewayMachine._open

    def open_again(self: Any) -> Any:
        stack_chance = self._chance

        class Same:
            def getrandbits(self, _: int) -> int:
                return 0xABCDEF

            def __getattr__(self, name: str) -> Any:
                return getattr(stack_chance, name)

        self._chance = Same()
        try:
            outbox = open_outbox(self)
        finally:
            self._chance = stack_chance
        outbox._next = outbox._stored_next()
        return outbox

    _put(stack, gateway_machine.GatewayMachine, "_open", open_again)


@_bug
def ack_across_generations(stack: ExitStack) -> None:
    """An ack of an earlier generation still counts."""
    apply_acks = Outbox.apply_acks

    def apply_any(self: Outbox, acks: Sequence[Ack]) -> Any:
        return apply_acks(self, [replace_generation(ack, self._generation or 1) for ack in acks])

    _put(stack, Outbox, "apply_acks", apply_any)


@_bug
def purged_before_delivery(stack: ExitStack) -> None:
    """Old batches are forgotten whether they were delivered or not."""
    purge = Outbox.purge

    def purge_all(self: Outbox, before_at: datetime, **age: Any) -> int:
        until = ms(before_at + timedelta(days=34))
        self._file.write(
            lambda db: (
                db.execute("UPDATE batches SET acked = 1 WHERE appended_at < ?", (until,)).rowcount
            )
        )
        return purge(self, before_at, **age)

    _put(stack, Outbox, "purge", purge_all)


@_bug
def asked_once(stack: ExitStack) -> None:
    """Polling ends where the outbox cannot be read just then: a bug that was."""

    async def ask(self: Keeper, question: Any) -> Any:
        return await question()

    _put(stack, Keeper, "ask", ask)


@_bug
def slot_marked_apart(stack: ExitStack) -> None:
    """The mark of a slot is kept before its batches, in a transaction of its own."""
    append = Outbox.append

    def append_in_two(self: Outbox, drafts: Any, **rest: Any) -> Any:
        done = rest.pop("done", ())
        if done:
            append(self, [], at=rest["at"], done=done)
        return append(self, drafts, **rest)

    _put(stack, Outbox, "append", append_in_two)


def replace_generation(ack: Ack, generation: int) -> Ack:
    """The same ack under another generation."""
    return Ack(generation=generation, epochs=ack.epochs)
