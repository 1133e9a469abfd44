"""Batches that are lost: which they are, that somebody has seen it, that a gateway is gone.

What is lost stays recorded and listed for ever. What is accepted is told apart from what is new,
and the audit trail is where that stands: who said so, when, of which batches, and why.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.beyond import EPOCH_GONE
from collector.ledger.delivery_views import LostBatches
from collector.ledger.ranges import Range, merged, missing
from collector.ledger.statuses import LostRange

ACCEPT, GONE = "delivery.lost_accepted", "delivery.gateway_gone"

# Why lost batches are accepted: a sentence or two.
REASON_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Lost:
    """What is lost for ever: what nobody has accepted yet, and what somebody has."""

    new: tuple[LostBatches, ...]
    accepted: tuple[LostBatches, ...]


def lost_in(uow: UnitOfWork) -> Lost:
    """All lost batches, newest record first; within a transaction of the caller's."""
    accepted = _accepted(uow)
    new, seen = [], []
    for part in uow.delivery.views.lost():
        have = accepted.get((part.gateway, part.epoch), [])
        fresh = missing(have, part.first, part.last)
        new += [replace(part, first=first, last=last) for first, last in fresh]
        seen += [
            replace(part, first=first, last=last)
            for first, last in missing(fresh, part.first, part.last)
        ]
    return Lost(tuple(new), tuple(seen))


def all_lost(ledger: Ledger) -> Lost:
    """All lost batches, newest record first."""
    with ledger.read() as uow:
        return lost_in(uow)


def accept(
    ledger: Ledger, *, gateway: str, reason: str, actor: str, now: datetime
) -> tuple[LostBatches, ...]:
    """Say that a gateway's lost batches were seen and nothing more can be done.

    Returns those that are accepted now. Raises InvalidRequest without a reason, NotFound where the
    gateway has none that is new.
    """
    reason = _reason(reason)
    with ledger.begin() as uow:
        fresh = tuple(part for part in lost_in(uow).new if part.gateway == gateway)
        if not fresh:
            raise NotFound(
                f"gateway {gateway!r} has no lost batches that are not accepted",
                hint="songlo collector lost list",
            )
        ranges = [[part.epoch, part.first, part.last] for part in fresh]
        detail = {"reason": reason, "batches": count(fresh), "ranges": ranges}
        uow.audit.add(AuditEntry(now, actor, ACCEPT, gateway, detail))
    return fresh


def gateway_gone(
    ledger: Ledger, *, gateway: str, reason: str, actor: str, now: datetime
) -> tuple[LostRange, ...]:
    """Say that a gateway will never come back: what it still owed is lost; returns that.

    No ack covers it: should the gateway come all the same, it delivers what it holds. Raises
    NotFound for a gateway never heard of, Conflict for one that is online, InvalidRequest without a
    reason.
    """
    reason = _reason(reason)
    with ledger.begin() as uow:
        row = next((row for row in uow.delivery.views.gateways() if row.gateway == gateway), None)
        if row is None:
            raise NotFound(f"no gateway {gateway!r} was ever heard of", hint="see the list")
        # Locked as intake does it, before its receipts are looked at.
        uow.delivery.touch({gateway: None}, (), now, heard=False)
        uow.delivery.progress.lock([gateway])
        if row.online:
            raise Conflict(
                f"gateway {gateway} is online: what it owes is on its way",
                hint="wait, or take it off the network first",
            )
        owed = tuple(
            LostRange(epoch.epoch, first, last, EPOCH_GONE)
            for epoch in uow.delivery.views.epochs_with_holes(gateway, None)
            for first, last in epoch.holes
        )
        uow.delivery.statuses.record_lost(gateway, row.station, owed, now)
        ranges = [[part.epoch, part.first, part.last] for part in owed]
        detail = {"reason": reason, "ranges": ranges}
        uow.audit.add(AuditEntry(now, actor, GONE, gateway, detail))
    return owed


def count(parts: Sequence[LostBatches | LostRange]) -> int:
    """How many batches these ranges have."""
    return sum(part.last - part.first + 1 for part in parts)


def _accepted(uow: UnitOfWork) -> Mapping[tuple[str, str], list[Range]]:
    ranges: defaultdict[tuple[str, str], list[Range]] = defaultdict(list)
    for entry in uow.audit.of_action(ACCEPT):
        for epoch, first, last in entry.detail["ranges"]:
            ranges[entry.subject, epoch].append((first, last))
    return {pair: merged(parts) for pair, parts in ranges.items()}


def _reason(text: str) -> str:
    text = text.strip()
    if not text or len(text) > REASON_CHARS_MAX or "\0" in text:
        raise InvalidRequest(
            f"this takes a reason of at most {REASON_CHARS_MAX} characters",
            hint='songlo collector lost accept --gateway NAME --reason "its card died"',
        )
    return text
