"""The three steps of intake for a group of batches: claim, append, complete.

Each step may be repeated after a crash at any point. It must not know how messages travel, nor
when to try again: its caller decides that.
"""

import json
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import structlog

from collector.clock import Now
from collector.intake.batch import TOPIC_CHARS_MAX, Message, Poison, Taken, decode
from collector.intake.check import RejectedError, check_status
from collector.intake.judge import Claim, Rows, judge, keep_aside
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.quarantine import NewQuarantine
from collector.ledger.receipts import CLAIMED, COMPLETE, BatchKey, KnownReceipt
from collector.metrics import Metrics
from collector.readings.port import ReadingStore, Refused
from contract.limits import STATUS_BYTES_MAX
from contract.messages import Ack, MessageError, Status, decode_status
from contract.topics import StatusTopic, TopicError, parse

# Quarantine entries that are tried again in one go.
RETRY_MAX = 100

_log = structlog.get_logger(__name__)


class Pipeline:
    """Intake's steps over one ledger and one reading store."""

    def __init__(self, ledger: Ledger, store: ReadingStore, now: Now, metrics: Metrics) -> None:
        self._ledger = ledger
        self._store = store
        self._now = now
        self._metrics = metrics
        # Two threads take steps of two groups at a time. SQLite lets one write and has the other
        # ask again after growing pauses; a lock wakes it at once.
        self._writing = threading.Lock()
        # What was claimed by this process and is on its way to the store, or waits for it.
        self._in_hand: set[BatchKey] = set()

    def claim(self, messages: Sequence[Message]) -> Claim:
        """Decode a group and record it in one transaction. Raises LedgerUnavailable."""
        now = self._now()
        items = [decode(message, now) for message in messages]
        keyed = [item for item in items if item.key is not None]
        claim, rows = Claim(), Rows()
        with (
            self._writing,
            self._ledger.begin() as uow,
            self._metrics.seconds.labels("claim").time(),
        ):
            known = _touch_and_look(uow, keyed, now)
            for item in items:
                if item.key is None:
                    keep_aside(item, rows, claim)
                else:
                    judge(item, item.key, known, self._in_hand, rows, claim)
            conflicts = _write(uow, rows, now)
        self._in_hand.update(taken.key for taken in claim.pending)
        self._report(claim, rows, conflicts)
        return claim

    def append(self, pending: Sequence[Taken]) -> list[tuple[Taken, Refused]]:
        """Write the reads to the store. Raises StoreUnavailable; returns what it will not take."""
        owners = {}
        blocks = []
        for taken in pending:
            for block in taken.read_blocks():
                owners[id(block)] = taken
                blocks.append(block)
        if not blocks:
            return []
        with self._metrics.seconds.labels("append").time():
            refused = self._store.append(blocks)
        self._metrics.reads.inc(sum(len(block.reads) for block in blocks) - len(refused))
        return [(owners[id(one.block)], one) for one in refused]

    def complete(
        self,
        pending: Sequence[Taken],
        refused: Sequence[tuple[Taken, Refused]],
        settled: Collection[str],
        *,
        resolves: Collection[int] = (),
    ) -> dict[str, Ack]:
        """Record that everything of `pending` is stored; the acks of all gateways concerned.

        `resolves` are quarantine entries that are dealt with thereby. Raises LedgerUnavailable.
        """
        now = self._now()
        names = set(settled) | {taken.key.gateway for taken in pending}
        with (
            self._writing,
            self._ledger.begin() as uow,
            self._metrics.seconds.labels("complete").time(),
        ):
            uow.delivery.progress.lock(names)
            uow.delivery.refuse(Counter(taken.key for taken, _ in refused))
            uow.delivery.quarantine.add([_refused_entry(*one) for one in refused], now)
            uow.delivery.complete([taken.key for taken in pending], now)
            uow.delivery.quarantine.resolve(resolves, now)
            acks = uow.delivery.progress.settle(names, now)
        self.let_go(pending)
        for taken, one in refused:
            self._metrics.refused.inc()
            _log.warning("read_refused", topic=taken.topic, meter=one.read[0], reason=one.reason)
        return acks

    def let_go(self, pending: Iterable[Taken]) -> None:
        """These are not on their way to the store any more: if they come again, they are taken."""
        self._in_hand.difference_update(taken.key for taken in pending)

    def take_statuses(self, messages: Sequence[Message]) -> dict[str, Ack]:
        """Take what gateways say of themselves; the acks that moved. Raises LedgerUnavailable."""
        now = self._now()
        statuses: list[tuple[str, Status, bool]] = []
        rejected: list[NewQuarantine] = []
        for message in messages:
            try:
                gateway, status = _decode_status(message)
            except (MessageError, RejectedError, TopicError) as error:
                rejected.append(_rejected_status(message, error))
            else:
                statuses.append((gateway, status, message.retained))
        # In the order in which rows are locked everywhere; one gateway's stay in theirs.
        statuses.sort(key=lambda taken: taken[0])
        lost: list[tuple[str, int]] = []
        raised: set[str] = set()
        with self._writing, self._ledger.begin() as uow:
            _touch_for_statuses(uow, statuses, now)
            for gateway, status, _ in statuses:
                ranges = uow.delivery.statuses.take(gateway, status, now)
                if forgotten := uow.delivery.statuses.forgotten(gateway, status):
                    raised.add(gateway)
                    generation = uow.delivery.generations.advance(
                        gateway, now, seen=status.generation
                    )
                    _log.error(
                        "ledger_is_older_than_its_acks",
                        gateway=gateway,
                        batches=sum(last - first + 1 for first, last in forgotten),
                        generation=generation,
                        hint="it was restored: run songlo collector restored for all gateways",
                    )
                lost += [(gateway, part.last - part.first + 1) for part in ranges]
                for part in ranges:
                    _log.error(
                        "batches_lost",
                        gateway=gateway,
                        epoch=part.epoch,
                        first=part.first,
                        last=part.last,
                    )
            uow.delivery.quarantine.add(rejected, now)
            acks = uow.delivery.progress.settle({gateway for gateway, _ in lost} | raised, now)
        self._metrics.statuses.labels("taken").inc(len(statuses))
        self._metrics.statuses.labels("rejected").inc(len(rejected))
        self._metrics.lost_batches.inc(sum(count for _, count in lost))
        for entry in rejected:
            _log.error("status_rejected", topic=entry.topic, code=entry.code, reason=entry.reason)
        return acks

    def retry(self) -> dict[str, Ack]:
        """Try again what someone asked for; acks of the gateways concerned.

        An entry is resolved together with its batch's completion, so that a crash in between
        leaves it to be tried again. Raises LedgerUnavailable or StoreUnavailable.
        """
        with self._ledger.read() as uow:
            entries = uow.delivery.quarantine.to_retry(RETRY_MAX)
        if not entries:
            return {}
        now = self._now()
        pending: list[Taken] = []
        resolves: list[int] = []
        rows = Rows()
        with self._writing, self._ledger.begin() as uow:
            for entry in entries:
                item = decode(Message(entry.topic, entry.payload), now)
                reason = _why_not(item)
                if reason is None and isinstance(item, Taken):
                    reason = _retry(uow, item, rows, pending, now)
                if reason is None:
                    resolves.append(entry.id)
                else:
                    uow.delivery.quarantine.retry_failed(entry.id, reason)
                    _log.warning("retry_failed", id=entry.id, reason=reason)
            _write(uow, rows, now)
        refused = self.append(pending)
        return self.complete(pending, refused, (), resolves=resolves)

    def _report(self, claim: Claim, rows: Rows, conflicts: int) -> None:
        for outcome, count in claim.outcomes.items():
            self._metrics.batches.labels(outcome).inc(count)
        if conflicts:
            self._metrics.index_conflicts.inc(conflicts)
            _log.error("index_conflicts", count=conflicts)
        for entry in rows.quarantine:
            _log.error("quarantined", topic=entry.topic, code=entry.code, reason=entry.reason)


def _touch_and_look(
    uow: UnitOfWork, items: Sequence[Taken | Poison], now: datetime
) -> dict[BatchKey, KnownReceipt]:
    stations: dict[str, str | None] = {}
    keys = set()
    for item in items:
        assert item.key is not None
        keys.add(item.key)
        stations.setdefault(item.key.gateway, None)
        if isinstance(item, Taken):
            stations[item.key.gateway] = item.batch.station
    uow.delivery.touch(stations, {(key.gateway, key.epoch) for key in keys}, now)
    return uow.delivery.receipts(keys)


def _write(uow: UnitOfWork, rows: Rows, now: datetime) -> int:
    """Write what a claim found; returns how many index reads contradict stored ones."""
    delivery = uow.delivery
    delivery.add_receipts(rows.receipts, now)
    for receipt in rows.replaced:
        delivery.replace_receipt(receipt, now)
    delivery.complete(rows.completed, now)
    blocks = [block for taken in rows.content for block in taken.index_blocks()]
    insertion = uow.index_reads.insert_many(blocks, now)
    delivery.add_gaps(
        [gap for taken in (*rows.content, *rows.gaps_of) for gap in taken.gaps()], now
    )
    delivery.add_events([event for taken in rows.content for event in taken.events()])
    delivery.quarantine.add(rows.quarantine, now)
    delivery.count(rows.tallies)
    return len(insertion.conflicts)


def _why_not(item: Taken | Poison) -> str | None:
    """Why a quarantined message can still not be taken, by itself."""
    if isinstance(item, Poison):
        return item.reason
    return "its instants are still unknown" if item.is_evidence else None


def _retry(
    uow: UnitOfWork, item: Taken, rows: Rows, pending: list[Taken], now: datetime
) -> str | None:
    """Take a message that was quarantined; returns why that cannot be, or None."""
    known = _touch_and_look(uow, [item], now)
    have = known.get(item.key)
    if have is not None and have.sha256 != item.sha256:
        return "another batch with the same number is stored"
    if have is not None and have.state == COMPLETE and have.content != "quarantined":
        return None
    if have is None:
        rows.receipts.append(item.receipt(CLAIMED))
    elif have.content == "quarantined":
        rows.replaced.append(item.receipt(CLAIMED))
    rows.content.append(item)
    # Counted when it is claimed; while the store is away it is tried again and again.
    if have is None or have.content == "quarantined":
        rows.tallies[item.key.gateway].reads += item.reads
    pending.append(item)
    return None


def _refused_entry(taken: Taken, refused: Refused) -> NewQuarantine:
    block = refused.block
    payload = json.dumps(
        {
            "station": block.station,
            "kind": block.kind.value,
            "slot": block.slot.astimezone(UTC).isoformat(),
            "registers": list(block.registers),
            "read": list(refused.read),
        }
    ).encode()
    return NewQuarantine(
        topic=taken.topic,
        payload=payload,
        sha256=sha256(payload).digest(),
        code="store_refused",
        reason=refused.reason,
        gateway=taken.key.gateway,
    )


def _decode_status(message: Message) -> tuple[str, Status]:
    topic = parse(message.topic)
    if not isinstance(topic, StatusTopic):
        raise TopicError(f"{message.topic[:200]!r} is no topic of a status")
    status = decode_status(message.payload)
    check_status(status)
    return topic.gateway, status


def _rejected_status(
    message: Message, error: MessageError | RejectedError | TopicError
) -> NewQuarantine:
    """One entry per topic and code: a status comes every minute, and each is another text."""
    code = "bad_topic" if isinstance(error, TopicError) else f"status_{error.code}"
    return NewQuarantine(
        topic=message.topic[:TOPIC_CHARS_MAX],
        payload=message.payload[:STATUS_BYTES_MAX],
        sha256=sha256(code.encode()).digest(),
        code=code,
        reason=str(error),
        gateway=None,
    )


def _touch_for_statuses(
    uow: UnitOfWork, statuses: Sequence[tuple[str, Status, bool]], now: datetime
) -> None:
    heard: dict[str, str | None] = {}
    retained: dict[str, str | None] = {}
    for gateway, status, was_retained in statuses:
        (retained if was_retained else heard)[gateway] = status.station or None
    uow.delivery.touch(heard, (), now)
    uow.delivery.touch(_without(retained, heard), (), now, heard=False)


def _without(
    some: Mapping[str, str | None], others: Mapping[str, str | None]
) -> dict[str, str | None]:
    return {name: value for name, value in some.items() if name not in others}
