"""What an approver saw beside the lines, and whether it is still so when the run is closed.

A version's hash is over its lines. Exceptions, readers' marks and what was decided of findings
come later and from elsewhere: they are hashed with the approval. It must not decide what an
exception is.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from collector.billing.gates import RunException
from collector.billing.run_values import LineKind, RunHead, RunLine, VersionHead
from collector.errors import Conflict
from collector.ledger import UnitOfWork
from collector.ledger.audit_chain import canonical_json
from collector.operations.run_facts import blocking_findings, had_a_hand, registry_editors

ACTION = "billing.approve"


def seen_of(
    uow: UnitOfWork, head: RunHead, lines: Sequence[RunLine], found: Iterable[RunException]
) -> dict[str, str]:
    """The hashes of what whoever approves sees, for the audit trail."""
    exceptions = sorted(
        ([*one.key, one.blocks, one.billed, one.before, one.reference] for one in found),
        key=canonical_json,
    )
    decided = [
        [stored.id, stored.decision, stored.author]
        for stored in blocking_findings(uow, head, lines)
        if not stored.open
    ]
    return {
        "seen_sha256": _hash([exceptions, decided]),
        "marks_sha256": _hash(uow.billing_runs.marks(head.run)),
    }


def run_editors(uow: UnitOfWork, head: RunHead, lines: Sequence[RunLine]) -> set[str]:
    """Everybody who had a hand in what these lines bill, and may not approve them."""
    since = min((line.from_at for line in lines), default=head.from_at)
    editors = uow.billing_runs.editors(head, {line.point for line in lines}, since)
    counted = {line.point for line in lines if line.kind is not LineKind.HELD}
    return editors | registry_editors(uow, counted, since, head.to_at)


def refuse_seen_otherwise(
    uow: UnitOfWork,
    version: VersionHead,
    seen: Mapping[str, str],
    editors: Iterable[str],
) -> None:
    """Raises Conflict where the approval of a version does not hold any more.

    That is where its approver has had a hand in it since, or where something else is to be seen
    beside the lines (`seen_of`) than was there to be seen then.
    """
    entry = uow.audit.of_subject(ACTION, version.run)
    assert entry is not None, "an approval is in the audit trail: both are one transaction"
    if had_a_hand(entry.actor, editors):
        raise _approve_again(
            version, f"{entry.actor!r} approved, and has had a hand in this run since"
        )
    if any(entry.detail.get(name) != sha256 for name, sha256 in seen.items()):
        raise _approve_again(
            version,
            f"exceptions, marks or decisions of run {version.run} are others than when "
            f"{entry.actor!r} approved it",
        )


def refuse_marked_since(uow: UnitOfWork, version: VersionHead) -> None:
    """Raises Conflict where marks were set, or taken back, since a version was approved."""
    entry = uow.audit.of_subject(ACTION, version.run)
    marks = _hash(uow.billing_runs.marks(version.run))
    if entry is None or entry.detail.get("marks_sha256") != marks:
        raise _approve_again(version, f"marks of run {version.run} were set since it was approved")


def _approve_again(version: VersionHead, what: str) -> Conflict:
    return Conflict(
        what,
        hint=f"look at them (songlo collector billing exceptions {version.run}); then another "
        f"person approves again: songlo collector billing approve {version.run} {version.sha256}",
        code="approval_fell",
    )


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
