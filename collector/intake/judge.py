"""What a batch is beside what came before it: new, known, in conflict, or out of its time.

Pure: it decides, and notes what the ledger has to write. It must not touch a store.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from collector.intake.batch import Poison, Taken
from collector.ledger.delivery import Tally
from collector.ledger.quarantine import NewQuarantine
from collector.ledger.receipts import (
    CLAIMED,
    COMPLETE,
    REOPENED,
    BatchKey,
    KnownReceipt,
    NewReceipt,
)


@dataclass(slots=True)
class Claim:
    """What became of a group in the ledger.

    `pending` is to be appended and completed; `settled` names the gateways of which something is
    final already, so that their acks have moved or are wanted again.
    """

    pending: list[Taken] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Rows:
    """What one claim writes."""

    receipts: list[NewReceipt] = field(default_factory=list)
    replaced: list[NewReceipt] = field(default_factory=list)
    completed: list[BatchKey] = field(default_factory=list)
    content: list[Taken] = field(default_factory=list)
    gaps_of: list[Taken] = field(default_factory=list)
    quarantine: list[NewQuarantine] = field(default_factory=list)
    tallies: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))


def judge(
    item: Taken | Poison,
    key: BatchKey,
    known: dict[BatchKey, KnownReceipt],
    in_hand: Collection[BatchKey],
    rows: Rows,
    claim: Claim,
) -> None:
    """Decide what a batch is beside what is known of its key, and note what to write.

    `in_hand` are batches that this process claimed and has not completed yet: the same one again is
    a duplicate, although its receipt does not say so yet. `known` is brought up to date.
    """
    have = known.get(key)
    if have is None:
        _take_new(item, key, rows, claim)
    elif have.sha256 == item.sha256:
        if have.state == COMPLETE or key in in_hand:
            _count_duplicate(key, rows, claim)
        else:
            _take_known(item, key, have, rows, claim)
    elif isinstance(item, Taken) and item.content == "tombstone":
        _take_tombstone(item, have, rows, claim)
        # What is stored stays what it was: the batch itself may come once more.
        known[key] = KnownReceipt(have.sha256, COMPLETE, have.content)
        return
    elif isinstance(item, Taken) and have.content == "tombstone":
        # The batch was under way when its gateway gave it up: it is there, so it counts.
        rows.replaced.append(item.receipt(CLAIMED))
        rows.content.append(item)
        claim.pending.append(item)
        claim.outcomes["stored"] += 1
    else:
        _refuse_other(item, key, rows, claim)
        return
    known[key] = KnownReceipt(item.sha256, COMPLETE, "seen")


def _refuse_other(item: Taken | Poison, key: BatchKey, rows: Rows, claim: Claim) -> None:
    """Another batch has this number: nothing of this one is stored, and someone is told."""
    reason = "another batch with the same number is stored already; nothing of this one is"
    conflict = Poison(item.topic, item.payload, item.sha256, "hash_conflict", reason, key)
    rows.quarantine.append(conflict.entry())
    rows.tallies[key.gateway].quarantined += 1
    claim.settled.add(key.gateway)
    claim.outcomes["conflict"] += 1


def _count_duplicate(key: BatchKey, rows: Rows, claim: Claim) -> None:
    rows.tallies[key.gateway].duplicates += 1
    claim.settled.add(key.gateway)
    claim.outcomes["duplicate"] += 1


def _take_new(item: Taken | Poison, key: BatchKey, rows: Rows, claim: Claim) -> None:
    tally = rows.tallies[key.gateway]
    tally.batches += 1
    if isinstance(item, Poison):
        keep_aside(item, rows, claim)
        return
    tally.reads += item.reads
    rows.receipts.append(item.receipt(CLAIMED if item.reads else COMPLETE))
    rows.content.append(item)
    if item.reads:
        claim.pending.append(item)
    else:
        claim.settled.add(key.gateway)
    if item.is_evidence:
        reason = "its gateway never learnt the time: kept as evidence, never computed from"
        rows.quarantine.append(item.poison("undated", reason).entry())
        tally.quarantined += 1
        claim.outcomes["evidence"] += 1
    else:
        claim.outcomes["stored"] += 1


def _take_known(
    item: Taken | Poison, key: BatchKey, have: KnownReceipt, rows: Rows, claim: Claim
) -> None:
    if isinstance(item, Poison):
        rows.completed.append(key)
        claim.settled.add(key.gateway)
        return
    if have.state == REOPENED:
        rows.replaced.append(item.receipt(CLAIMED))
        rows.content.append(item)
    claim.pending.append(item)


def _take_tombstone(item: Taken, have: KnownReceipt, rows: Rows, claim: Claim) -> None:
    """A tombstone never replaces a batch; where that is not complete, it never will be."""
    if have.state == COMPLETE:
        _count_duplicate(item.key, rows, claim)
    else:
        rows.gaps_of.append(item)
        rows.completed.append(item.key)
        claim.settled.add(item.key.gateway)


def keep_aside(item: Poison, rows: Rows, claim: Claim) -> None:
    """Note poison: its quarantine entry and, where its topic tells the number, its receipt."""
    rows.quarantine.append(item.entry())
    receipt = item.receipt(COMPLETE)
    if receipt is not None:
        rows.receipts.append(receipt)
        rows.tallies[receipt.key.gateway].quarantined += 1
        claim.settled.add(receipt.key.gateway)
    claim.outcomes["quarantined"] += 1
