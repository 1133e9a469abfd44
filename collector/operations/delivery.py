"""Delivery under people's hands: verify, replay, say that the ledger was restored, quarantine.

It changes the ledger only; running collectors notice at their next tick and ordinary delivery does
the rest. It must not talk to the broker itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.delivery_views import EpochHoles, LostBatches, ReceiptSums
from collector.ledger.generations import first_generation
from collector.ledger.quarantine import QuarantineEntry
from collector.operations.lost import count, lost_in
from collector.readings.port import ReadingStore
from contract.messages import Ack
from contract.topics import BatchTopic, parse

LIST_MAX = 1_000

# Why an entry is closed: a sentence or two.
CLOSE_REASON_CHARS_MAX = 500

# Reads may lie this far from their slot (see `collector.intake.check`).
SLOT_MARGIN_BEFORE = timedelta(days=1)
SLOT_MARGIN_AFTER = timedelta(days=41)


@dataclass(frozen=True, slots=True)
class Verification:
    """What the ledger says was delivered beside what is there.

    `reads_expected` are the meter reads of all complete scans, `reads_stored` those that the
    reading store holds (None: it was not asked). `lost` is what nobody has accepted yet. `problems`
    are sentences for people; empty: all agrees, but for what is `known` and cannot be mended.
    """

    receipts: tuple[ReceiptSums, ...]
    reads_expected: int
    reads_stored: int | None
    holes: tuple[EpochHoles, ...]
    lost: tuple[LostBatches, ...]
    conflicts: int
    quarantine_open: int
    problems: tuple[str, ...]
    known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The gateways that will send again, and how many of their batches."""

    gateways: tuple[str, ...]
    batches: int


def verify(ledger: Ledger, store: ReadingStore | None) -> Verification:
    """Compare receipts, epochs and store. Raises StoreUnavailable where a store is given.

    Reads of the same meter and instant in two batches are stored once, so a store may rightly hold
    a few less than expected where a gateway's image was restored.
    """
    with ledger.read() as uow:
        views = uow.delivery.views
        receipts = tuple(views.sums())
        holes = tuple(views.epochs_with_holes())
        found = lost_in(uow)
        incomplete, gone = views.incomplete()
        given_up = views.reads_given_up()
        conflicts = views.conflicts()
        quarantine_open = sum(uow.delivery.quarantine.open_counts().values())
    complete = [part for part in receipts if part.state == "complete" and part.content == "scan"]
    expected = sum(part.reads for part in complete)
    stored = None if store is None else _stored(store, complete)
    problems, known = [], []
    if stored is not None and stored < expected:
        text = f"the reading store holds {stored} meter reads of {expected}"
        if expected - stored <= given_up:
            text += f"; {given_up} are of batches that gateways dropped before they were asked for"
            known.append(f"{text} again, and are in the ledger alone")
        else:
            problems.append(f"{text}: refill it with: songlo collector replay")
    if incomplete > gone:
        problems.append(
            f"{incomplete - gone} batches are in the ledger and not yet in the reading store"
        )
    if gone:
        known.append(
            f"{gone} batches are in the ledger, perhaps not in the reading store, and not to be had"
            " again: they count as lost"
        )
    problems += [
        f"gateway {epoch.gateway}, epoch {epoch.epoch}: {epoch.missing} batches below"
        f" {epoch.highest} have not come"
        for epoch in holes
    ]
    if found.new:
        problems.append(
            f"{count(found.new)} batches are lost for ever (gaps of source seq):"
            " songlo collector lost list"
        )
    if found.accepted:
        known.append(f"{count(found.accepted)} batches are lost for ever, which was accepted")
    if conflicts:
        problems.append(f"{conflicts} index reads contradict stored ones and were kept aside")
    if quarantine_open:
        problems.append(
            f"{quarantine_open} quarantine entries are open: songlo collector quarantine list"
        )
    return Verification(
        receipts,
        expected,
        stored,
        holes,
        found.new,
        conflicts,
        quarantine_open,
        tuple(problems),
        tuple(known),
    )


def replay(  # noqa: PLR0913  who, which period, and who asks
    ledger: Ledger,
    *,
    gateway: str | None = None,
    station: str | None = None,
    from_at: datetime,
    to_at: datetime,
    actor: str,
    now: datetime,
    dry_run: bool = False,
) -> ReplayReport:
    """Have gateways send the scans with from_at <= slot < to_at again; all gateways by default.

    Their receipts are reopened and their generation is raised; what is stored stays as it is.
    Raises InvalidRequest for an empty period, NotFound for a gateway or station never heard of.
    """
    if from_at >= to_at:
        raise InvalidRequest("the period is empty", hint="give a start before its end")
    with ledger.read() if dry_run else ledger.begin() as uow:
        names = _chosen(uow, gateway, station)
        generations = uow.delivery.generations
        if dry_run:
            return ReplayReport(tuple(names), generations.reopenable(names, from_at, to_at))
        _lock(uow, names, now)
        count = generations.reopen(names, from_at, to_at)
        _raise(uow, names, now)
        detail = {
            "gateways": names,
            "from": from_at.isoformat(),
            "to": to_at.isoformat(),
            "batches": count,
        }
        subject = gateway or station or "all"
        uow.audit.add(AuditEntry(now, actor, "delivery.replay", subject, detail))
    return ReplayReport(tuple(names), count)


def reopened(ledger: Ledger) -> int:
    """How many batches were asked for again and have not come yet."""
    with ledger.read() as uow:
        return uow.delivery.generations.count_reopened()


def restored(
    ledger: Ledger,
    *,
    acks: Mapping[str, Ack],
    actor: str,
    now: datetime,
    dry_run: bool = False,
) -> dict[str, int]:
    """Say that the ledger came back from a backup; the new generation of every gateway.

    `acks` are those that the broker retains: gateways that only they know are included, and no
    generation is at or below one that was ever given.
    """
    with ledger.read() if dry_run else ledger.begin() as uow:
        own = uow.delivery.generations.all()
        names = sorted(own.keys() | acks.keys())
        raised = {
            name: max(
                own.get(name, 0) + 1,
                acks[name].generation + 1 if name in acks else 0,
                first_generation(now),
            )
            for name in names
        }
        if not dry_run:
            uow.delivery.touch(dict.fromkeys(names), (), now, heard=False)
            for name, generation in raised.items():
                uow.delivery.generations.set(name, generation)
            uow.audit.add(
                AuditEntry(now, actor, "delivery.restored", "all", {"generations": raised})
            )
    return raised


def quarantine_list(ledger: Ledger, limit: int = LIST_MAX) -> list[QuarantineEntry]:
    """What is kept aside and not resolved, oldest first."""
    with ledger.read() as uow:
        return uow.delivery.quarantine.open(min(limit, LIST_MAX))


def quarantine_retry(
    ledger: Ledger, ids: Sequence[int], *, actor: str, now: datetime
) -> list[QuarantineEntry]:
    """Have these entries tried again, or all open ones; returns them.

    Intake does it at its next tick, with today's rules, and resolves what passes. A read that the
    store refused comes again with its whole batch. Raises NotFound for an id that is not open.
    """
    with ledger.begin() as uow:
        entries = _entries(uow, ids)
        _lock(uow, {entry.gateway for entry in entries if entry.gateway is not None}, now)
        for entry in entries:
            if entry.code == "store_refused":
                _ask_again(uow, entry, now)
            else:
                uow.delivery.quarantine.ask_retry(entry.id, now)
        detail = {"entries": [entry.id for entry in entries]}
        uow.audit.add(AuditEntry(now, actor, "quarantine.retry", "quarantine", detail))
    return entries


def quarantine_show(ledger: Ledger, entry_id: int) -> QuarantineEntry:
    """One entry, resolved or not. Raises NotFound."""
    with ledger.read() as uow:
        entry = uow.delivery.quarantine.get(entry_id)
    if entry is None:
        raise NotFound(
            f"there is no quarantine entry {entry_id}", hint="songlo collector quarantine list"
        )
    return entry


def quarantine_close(
    ledger: Ledger, ids: Sequence[int], *, reason: str, actor: str, now: datetime
) -> list[QuarantineEntry]:
    """Say that nothing more will be done about these entries, and why; returns them.

    They stay as they are, out of the list and of `verify`; reason and author go to the audit
    trail. Raises NotFound for an id that is not open, InvalidRequest without ids or a reason.
    """
    reason = reason.strip()
    if not ids or not reason or len(reason) > CLOSE_REASON_CHARS_MAX:
        raise InvalidRequest(
            "closing takes the entries' numbers and a reason"
            f" of at most {CLOSE_REASON_CHARS_MAX} characters",
            hint='songlo collector quarantine close 17 --reason "test meter, not installed"',
        )
    with ledger.begin() as uow:
        entries = _entries(uow, ids)
        uow.delivery.quarantine.resolve([entry.id for entry in entries], now)
        detail = {"entries": [entry.id for entry in entries], "reason": reason}
        uow.audit.add(AuditEntry(now, actor, "quarantine.close", "quarantine", detail))
    return entries


def _stored(store: ReadingStore, complete: Sequence[ReceiptSums]) -> int:
    slots = [slot for part in complete for slot in (part.first_slot, part.last_slot) if slot]
    if not slots:
        return 0
    return store.count(min(slots) - SLOT_MARGIN_BEFORE, max(slots) + SLOT_MARGIN_AFTER)


def _chosen(uow: UnitOfWork, gateway: str | None, station: str | None) -> list[str]:
    known = uow.delivery.generations.all()
    if gateway is not None:
        if gateway not in known:
            raise NotFound(
                f"no gateway {gateway!r} was ever heard of", hint="see the list of gateways"
            )
        return [gateway]
    if station is not None:
        names = uow.delivery.generations.at_station(station)
        if not names:
            raise NotFound(
                f"no gateway says that it is at station {station!r}",
                hint="see the list of gateways",
            )
        return names
    return sorted(known)


def _lock(uow: UnitOfWork, names: Collection[str], now: datetime) -> None:
    """Lock gateways and their epochs before any receipt, as intake does: no deadlock with it."""
    uow.delivery.touch(dict.fromkeys(names), (), now, heard=False)
    uow.delivery.progress.lock(names)


def _raise(uow: UnitOfWork, names: Sequence[str], now: datetime) -> None:
    for name in names:
        uow.delivery.generations.advance(name, now)


def _entries(uow: UnitOfWork, ids: Sequence[int]) -> list[QuarantineEntry]:
    if not ids:
        return uow.delivery.quarantine.open(LIST_MAX)
    entries = []
    for entry_id in ids:
        entry = uow.delivery.quarantine.get(entry_id)
        if entry is None or entry.resolved_at is not None:
            raise NotFound(
                f"there is no open quarantine entry {entry_id}",
                hint="songlo collector quarantine list",
            )
        entries.append(entry)
    return entries


def _ask_again(uow: UnitOfWork, entry: QuarantineEntry, now: datetime) -> None:
    topic = parse(entry.topic)
    assert isinstance(topic, BatchTopic), "only a batch that was taken has refused reads"
    uow.delivery.generations.reopen_batch(topic.gateway, topic.epoch, topic.seq)
    _raise(uow, [topic.gateway], now)
    uow.delivery.quarantine.resolve([entry.id], now)
