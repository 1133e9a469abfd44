"""What auditors ask: what was done, whether the trail of it is whole, whether snapshots are.

It fetches and compares; how the trail is hashed is `collector.ledger.audit_chain`'s.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collector.billing.snapshot import snapshot_hash
from collector.billing.values import SnapshotHead
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit_chain import NO_PREVIOUS, Break, BreakKind, ChainCheck, Head

LIST_MAX = 1_000


_HEAD = re.compile(r"(?:(?P<sequence>\d{1,18}):)?(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AuditView:
    """One entry of the trail."""

    sequence: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditVerification:
    """How far the trail holds: `head` is its last good row, `broken` the first bad one."""

    head: Head
    broken: Break | None


def list_audit(
    ledger: Ledger, *, limit: int, before: int | None = None, action: str | None = None
) -> list[AuditView]:
    """The newest entries, newest first: those below the number `before`, of one action."""
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(
            f"limit {limit} is not from 1 to {LIST_MAX}", hint=f"ask for {LIST_MAX} at most"
        )
    with ledger.read() as uow:
        found = uow.audit.newest_numbered(limit, before, action)
    return [
        AuditView(number, entry.at, entry.actor, entry.action, entry.subject, dict(entry.detail))
        for number, entry in found
    ]


def audit_head(ledger: Ledger) -> Head:
    """The last row's number and hash, to be written down where nobody of this machine can write."""
    with ledger.read() as uow:
        return uow.audit.head()


def verify_audit(ledger: Ledger, head: str | None = None) -> AuditVerification:
    """Follow the trail from its first row. `head`: what `audit_head` said once, or its hash.

    Without it, rows that were taken off the end are not missed. Raises InvalidRequest for a `head`
    that is none.
    """
    wanted = None if head is None else _parse_head(head)
    check = ChainCheck()
    if wanted is not None:
        check.look_for([wanted[1]])
    with ledger.read() as uow:
        for rows in uow.audit.rows():
            check.take(rows)
            if check.found is not None:
                break
    found = check.found
    known = {NO_PREVIOUS, *check.known_heads}
    if found is None and wanted is not None and wanted[1] not in known:
        found = _cut(check.head, *wanted)
    return AuditVerification(check.head, found)


def verify_snapshots(ledger: Ledger) -> list[str]:
    """What is wrong with any snapshot, a sentence each, from its lines as they are stored now.

    A snapshot's hash is computed anew and compared with its head, and with what the audit trail
    says that was made.
    """
    with ledger.read() as uow:
        made = {
            entry.subject: entry.detail.get("sha256") for entry in _entries(uow, "snapshot.create")
        }
        heads = uow.snapshots.all()
    problems = []
    for head in heads:
        wrong = _snapshot_problem(ledger, head, made.get(head.id))
        if wrong:
            problems.append(f"snapshot {head.id} {wrong}")
    there = {head.id for head in heads}
    problems += [
        f"snapshot {name} was made and is not there any more" for name in made if name not in there
    ]
    return problems


def _snapshot_problem(ledger: Ledger, head: SnapshotHead, made_sha256: str | None) -> str:
    try:
        with ledger.read() as uow:
            lines = uow.snapshots.all_lines(head.id)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        return f"has a line that was changed into something that is no line: {error}"
    found = snapshot_hash(head.station, head.from_at, head.to_at, lines)
    if len(lines) != head.line_count:
        return f"has {len(lines)} lines, not the {head.line_count} that it was made with"
    if found != head.sha256:
        return f"was changed: its lines hash to {found}, it was made as {head.sha256}"
    if made_sha256 is None:
        return "was put in by hand: the audit trail has nobody who made it"
    if made_sha256 != head.sha256:
        return f"was written anew: the audit trail has it as {made_sha256}"
    return ""


def _entries(uow: UnitOfWork, action: str) -> Iterator[Any]:
    before = None
    while found := uow.audit.newest_numbered(LIST_MAX, before, action):
        yield from (entry for _, entry in found)
        before = found[-1][0]


def _parse_head(text: str) -> tuple[int | None, str]:
    shape = _HEAD.fullmatch(text.strip().lower())
    if shape is None:
        raise InvalidRequest(
            f"{text!r} is no head of an audit trail",
            hint="give what songlo collector audit head has printed: NUMBER:SHA256",
        )
    number = shape["sequence"]
    return None if number is None else int(number), shape["sha256"]


def _cut(head: Head, sequence: int | None, sha256: str) -> Break:
    if sequence is not None and sequence > head.sequence:
        first = head.sequence + 1
        return Break(
            first,
            BreakKind.CUT,
            f"rows {first} to {sequence} were removed from the end of the trail",
        )
    if sequence is not None:
        return Break(
            sequence,
            BreakKind.CHANGED,
            f"row {sequence} has another hash than was written down: the trail was made anew",
        )
    return Break(
        head.sequence + 1,
        BreakKind.CUT,
        f"no row has the hash {sha256}: rows after {head.sequence} were removed,"
        " or the trail was made anew",
    )
