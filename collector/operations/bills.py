"""Bill previews of billing runs: made, looked at, approved by another person, handed over.

draft → (exceptions accepted) → approved → exported. It stores and says who may do what; it must not
decide what a bill says, which `collector.billing` does.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import msgspec

from collector.billing.bill_gate import BillException, BillFilter, bill_exceptions
from collector.billing.bill_values import (
    BillRow,
    BillSetHead,
    BillSetState,
    StoredBill,
    StoredRefusal,
    bill_set_hash,
)
from collector.billing.exports.bill_files import bills_csv, bills_jsonl
from collector.billing.rating.from_registry import Refusal
from collector.billing.rating.preview import BillPreview, canonical_json, hash_of
from collector.billing.run_values import RunHead, VersionHead
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.bills import BillAct, BillActKind, BillExport, packed
from collector.ledger.idempotency import Once
from collector.operations.exports import recorded
from collector.operations.run_facts import (
    Acting,
    answered,
    had_a_hand,
    latest_version,
    registry_editors,
    run_head,
)
from collector.operations.run_rating import RatedBill, RatedBy, fetch, rated

LIST_MAX = 1_000

# A year before, give or take: billing days move, and a read may be a day off.
_YEAR = timedelta(days=365)
_YEAR_OFF = timedelta(days=15)


@dataclass(frozen=True, slots=True)
class BillSetMade:
    """A set of previews, and whether it is a new one."""

    head: BillSetHead
    is_new: bool


@dataclass(frozen=True, slots=True)
class BillSetView:
    """A set as it stands."""

    head: BillSetHead
    state: BillSetState
    acts: list[BillAct]
    export: BillExport | None


@dataclass(slots=True)
class WhatIf:
    """What the bills of a run come to, and under another price table; đồng."""

    table: str
    bill_count: int = 0
    refused_count: int = 0
    total_vnd: int = 0
    what_if_total_vnd: int = 0
    dearer_count: int = 0
    cheaper_count: int = 0


@dataclass(slots=True)
class _Work:
    """A set while it is made."""

    bills: list[StoredBill] = field(default_factory=list)
    refused: list[StoredRefusal] = field(default_factory=list)


def make_bills(
    ledger: Ledger, run: str, by: RatedBy, by_whom: Acting, once: Once | None = None
) -> BillSetMade:
    """Preview all bills of a run: of its exported version, or of its latest while it has none.

    Bills of the run that were handed over are left out: a later set has those that could not be
    made before. If nothing has changed, the latest set stands. Raises NotFound, Conflict where the
    run has no version or all of its bills were handed over, InvalidRequest without a reason.
    """
    actor, now, reason = answered(by_whom)
    with ledger.read() as uow:
        if once is not None and (earlier := uow.idempotency.find(once, now)) is not None:
            return BillSetMade(_set(uow, earlier), is_new=False)
        head = run_head(uow, run)
        version = _rated_version(uow, head)
        lines = uow.billing_runs.lines(run, version.version)
        to_rate = fetch(uow, head, lines, by)
        done = uow.bills.exported_names(run)
        known = uow.bills.of_run(run)
    work = _Work()
    for one in rated(to_rate, by):
        if isinstance(one, Refusal):
            work.refused.append(_stored(one))
        elif one.preview.bill not in done:
            work.bills.append(_packed(one))
    if not work.bills and not work.refused:
        raise Conflict(
            f"all bills of run {run} were handed over, or it has none",
            hint="contracts.csv says who is billed for which point",
            code="nothing_to_bill",
        )
    made = _head(head, version, work, (by.split.value, len(known) + 1), by_whom)
    if known and known[-1].sha256 == made.sha256:
        return BillSetMade(known[-1], is_new=False)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        if once is not None and (earlier := uow.idempotency.claim(once, made.bill_set, now)):
            return BillSetMade(_set(uow, earlier), is_new=False)
        if uow.bills.of_run(run) != known or uow.bills.exported_names(run) != done:
            raise Conflict(
                f"somebody made or exported bills of run {run} meanwhile",
                hint="look at them, and make bills again if it is needed",
                code="changed_meanwhile",
            )
        uow.bills.add(made, work.bills, work.refused)
        detail = {**_sums(made), "run": run, "version": made.version, "reason": reason}
        uow.audit.add(AuditEntry(now, actor, "bills.make", made.bill_set, detail))
    return BillSetMade(made, is_new=True)


def what_if_bills(ledger: Ledger, run: str, table: str, by: RatedBy) -> WhatIf:
    """The sums of a run's bills, as they are and under another price table; nothing is stored."""
    found = WhatIf(table)
    for one in rate_run(ledger, run, by, table):
        if isinstance(one, Refusal):
            found.refused_count += 1
            continue
        assert one.what_if is not None, "it was asked for"
        found.bill_count += 1
        found.total_vnd += one.preview.total_vnd
        found.what_if_total_vnd += one.what_if.total_vnd
        found.dearer_count += one.what_if.total_vnd > one.preview.total_vnd
        found.cheaper_count += one.what_if.total_vnd < one.preview.total_vnd
    return found


def rate_run(
    ledger: Ledger, run: str, by: RatedBy, what_if: str | None = None
) -> Iterator[RatedBill | Refusal]:
    """The bills of a run, rated as they are consumed and not stored. Raises NotFound, Conflict."""
    with ledger.read() as uow:
        head = run_head(uow, run)
        lines = uow.billing_runs.lines(run, _rated_version(uow, head).version)
        to_rate = fetch(uow, head, lines, by)
    return rated(to_rate, by, what_if)


def view_bills(ledger: Ledger, bill_set: str) -> BillSetView:
    """A set as it stands. Raises NotFound."""
    with ledger.read() as uow:
        return _view(uow, _set(uow, bill_set))


def list_bills(
    ledger: Ledger, limit: int = 100, after: str | None = None, run: str | None = None
) -> list[BillSetView]:
    """The sets made last, newest first, at most `limit` (up to 1,000); of one run if given."""
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(
            f"limit {limit} is not from 1 to {LIST_MAX}", hint=f"ask for {LIST_MAX} at most"
        )
    with ledger.read() as uow:
        if run is not None:
            run_head(uow, run)
            return [_view(uow, head) for head in reversed(uow.bills.of_run(run))][:limit]
        heads = uow.bills.newest(limit, None if after is None else _set(uow, after))
        return [_view(uow, head) for head in heads]


def bill_rows(
    ledger: Ledger, bill_set: str, after: int = -1, limit: int = LIST_MAX
) -> list[BillRow]:
    """The bills of a set in the order of reading, after an ordinal (from 0). Raises NotFound."""
    with ledger.read() as uow:
        _set(uow, bill_set)
        return uow.bills.rows(bill_set, after, limit)


def refused_bills(ledger: Ledger, bill_set: str) -> list[StoredRefusal]:
    """Who has no preview in a set, and why. Raises NotFound."""
    with ledger.read() as uow:
        _set(uow, bill_set)
        return uow.bills.refused(bill_set)


def get_bill(ledger: Ledger, bill_set: str, bill: str) -> BillPreview:
    """A contract's preview in a set, with everything it rests on. Raises NotFound."""
    with ledger.read() as uow:
        _set(uow, bill_set)
        found = uow.bills.preview(bill_set, bill)
    if not found:
        raise NotFound(
            f"set {bill_set} has no bill of contract {bill!r}",
            hint="its refusals say why: songlo collector billing bills exceptions SET",
        )
    return msgspec.json.decode(found[0], type=BillPreview)


def exceptions_of_bills(ledger: Ledger, bill_set: str, by: RatedBy) -> list[BillException]:
    """What somebody must look at before a set may be approved. Raises NotFound."""
    with ledger.read() as uow:
        return _exceptions(uow, _set(uow, bill_set), by)


def accept_bills(
    ledger: Ledger, bill_set: str, by: RatedBy, wanted: BillFilter, by_whom: Acting
) -> int:
    """Answer for the exceptions that a filter takes, now; how many they are.

    Raises NotFound, InvalidRequest without a reason, Conflict where the set was exported.
    """
    actor, now, reason = answered(by_whom)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = _set(uow, bill_set)
        _refuse_exported(uow, head)
        taken = {
            (one.bill, one.cause.value)
            for one in _exceptions(uow, head, by)
            if one.blocks and wanted.takes(one)
        } - uow.bills.accepted(bill_set)
        if taken:
            act = BillAct(bill_set, BillActKind.ACCEPT, actor, now, str(len(taken)), reason)
            uow.bills.add_act(act, sorted(taken))
            causes = Counter(cause for _, cause in taken)
            detail = {"causes": dict(sorted(causes.items())), "reason": reason}
            uow.audit.add(AuditEntry(now, actor, "bills.accept", bill_set, detail))
    return len(taken)


def approve_bills(
    ledger: Ledger, bill_set: str, sha256: str, by: RatedBy, by_whom: Acting
) -> BillSetHead:
    """Approve a set, whose hash the approver gives as it was seen.

    Raises Conflict where the hash is another one's, the set is not the run's latest or not of what
    was exported, exceptions are open, or the approver made or accepted something himself.
    """
    actor, now, reason = answered(by_whom)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = _set(uow, bill_set)
        _refuse_exported(uow, head)
        if head.sha256 != sha256:
            raise Conflict(
                f"set {bill_set} has the hash {head.sha256}",
                hint="look at that set; approve the hash that you have seen",
                code="hash_changed",
            )
        sets = uow.bills.of_run(head.run)
        if sets[-1] != head:
            raise Conflict(
                f"set {sets[-1].bill_set} was made of the run after this one",
                hint="look at that one",
                code="superseded",
            )
        export = uow.billing_runs.export_of(head.run)
        if export is None or export.sha256 != head.run_sha256:
            raise Conflict(
                f"these are not the bills of an exported version of run {head.run}",
                hint="export the run, then make its bills: songlo collector billing bills make",
                code="run_not_exported",
            )
        _refuse_open(_exceptions(uow, head, by), uow.bills.accepted(bill_set))
        editors = {one.made_by for one in sets} | {
            act.actor for act in uow.bills.acts(bill_set) if act.act is BillActKind.ACCEPT
        }
        of_run = run_head(uow, head.run)
        points = {row.point for row in uow.bills.rows(bill_set)}
        editors |= registry_editors(uow, points, of_run.from_at, of_run.to_at)
        if had_a_hand(actor, editors):
            raise Conflict(
                f"{actor!r} had a hand in these bills",
                hint="another person approves than who made them, accepted exceptions or changed "
                "the registry of the period",
                code="own_work",
            )
        uow.bills.add_act(BillAct(bill_set, BillActKind.APPROVE, actor, now, sha256, reason))
        detail = {"sha256": sha256, "run": head.run, "reason": reason}
        uow.audit.add(AuditEntry(now, actor, "bills.approve", bill_set, detail))
    return head


def close_bills(ledger: Ledger, bill_set: str, by_whom: Acting) -> BillExport:
    """Say that an approved set is handed over: from now on it is what was billed.

    A set that was closed stays as it was. Raises NotFound, Conflict.
    """
    actor, now = by_whom.actor, by_whom.now
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        view = _view(uow, _set(uow, bill_set))
        head = view.head
        if view.export is not None:
            return view.export
        if view.state is BillSetState.DRAFT:
            raise Conflict(
                f"set {bill_set} is not approved",
                hint=f"songlo collector billing bills approve {bill_set} {head.sha256}",
                code="not_approved",
            )
        if uow.bills.of_run(head.run)[-1] != head:
            raise Conflict(
                "another set was made of the run since",
                hint="approve and export that one",
                code="superseded",
            )
        export = BillExport(bill_set, head.run, head.sha256, now, actor)
        uow.bills.add_export(export)
        detail = {**_sums(head), "run": head.run}
        uow.audit.add(AuditEntry(now, actor, "bills.close", bill_set, detail))
    return export


def bills_file(
    ledger: Ledger, bill_set: str, form: str, by_whom: Acting
) -> tuple[BillSetHead, Iterator[bytes]]:
    """The file of a closed set for the receivables system, `csv` or `jsonl`, piece by piece.

    It has the same bytes each time, and an entry in the audit trail with its rows, sums and SHA-256
    before the last piece is handed out. Raises NotFound, Conflict.
    """
    actor, now = by_whom.actor, by_whom.now
    view = view_bills(ledger, bill_set)
    head = view.head
    if view.export is None:
        raise Conflict(
            f"set {bill_set} was not handed over",
            hint="approve it, then export it",
            code="not_exported",
        )
    pieces = (bills_csv if form == "csv" else bills_jsonl)(head, _pages(ledger, bill_set))

    def entry(sha256: str, size: int) -> AuditEntry:
        detail = {**_sums(head), "form": form, "file_sha256": sha256, "bytes": size}
        return AuditEntry(now, actor, "bills.export", bill_set, detail)

    return head, recorded(ledger, pieces, entry)


def export_bills(
    ledger: Ledger, bill_set: str, form: str, by_whom: Acting
) -> tuple[BillSetHead, Iterator[bytes]]:
    """Close an approved set and hand out its file. Raises NotFound, Conflict."""
    close_bills(ledger, bill_set, by_whom)
    return bills_file(ledger, bill_set, form, by_whom)


def verify_bills(ledger: Ledger) -> list[str]:
    """What is wrong with stored previews: their hashes, the sets' hashes and sums."""
    faults: list[str] = []
    after: str | None = None
    while views := list_bills(ledger, LIST_MAX, after):
        for view in views:
            faults += _set_faults(ledger, view)
        after = views[-1].head.bill_set
    return faults


def _set_faults(ledger: Ledger, view: BillSetView) -> list[str]:
    head = view.head
    where = f"set {head.bill_set} of run {head.run}"
    found: list[str] = []
    names: list[tuple[str, str]] = []
    total = 0
    for row, preview in _pages(ledger, head.bill_set):
        names.append((row.bill, row.sha256))
        total += row.total_vnd
        if hash_of(preview) != row.sha256:
            found.append(f"{where}: bill {row.bill} does not have its hash {row.sha256}")
    refused = refused_bills(ledger, head.bill_set)
    if bill_set_hash(head.run, head.run_sha256, head.split, names, refused) != head.sha256:
        found.append(f"{where}: its bills do not have its hash {head.sha256}")
    if total != head.total_vnd:
        found.append(f"{where}: its bills come to {total} đồng, not {head.total_vnd}")
    if view.export is not None and view.export.sha256 != head.sha256:
        found.append(f"{where}: another hash was handed over")
    return found


def _pages(ledger: Ledger, bill_set: str) -> Iterator[tuple[BillRow, bytes]]:
    after = -1
    while True:
        with ledger.read() as uow:
            page = uow.bills.previews(bill_set, after)
        for _, row, preview in page:
            yield row, preview
        if not page:
            return
        after = page[-1][0]


def _exceptions(uow: UnitOfWork, head: BillSetHead, by: RatedBy) -> list[BillException]:
    rows = uow.bills.rows(head.bill_set)
    names = {row.bill for row in rows}
    begins = min((row.from_day for row in rows), default=date.min)
    ends = max((row.to_day for row in rows), default=date.max)
    before = uow.bills.exported_last(names, _latest_start(rows, begins))
    year = (
        uow.bills.exported_between(names, ends - _YEAR - _YEAR_OFF, ends - _YEAR + _YEAR_OFF)
        if rows
        else {}
    )
    return bill_exceptions(rows, uow.bills.refused(head.bill_set), before, year, by.gate)


def _latest_start(rows: Iterable[BillRow], default: date) -> date:
    """Bills that end by then are earlier ones, for whoever begins when most do."""
    counted = Counter(row.from_day for row in rows)
    return counted.most_common(1)[0][0] if counted else default


def _refuse_open(found: Iterable[BillException], accepted: set[tuple[str, str]]) -> None:
    blocking = Counter(
        one.cause.value
        for one in found
        if one.blocks and (one.bill, one.cause.value) not in accepted
    )
    if blocking:
        counts = ", ".join(f"{cause} {count}" for cause, count in sorted(blocking.items()))
        raise Conflict(
            f"bills that nobody has answered for: {counts}",
            hint="songlo collector billing bills exceptions; put them right and make bills again, "
            "or accept them",
            code="exceptions_open",
        )


def _rated_version(uow: UnitOfWork, head: RunHead) -> VersionHead:
    export = uow.billing_runs.export_of(head.run)
    if export is None:
        return latest_version(uow, head.run)
    return uow.billing_runs.versions(head.run)[export.version - 1]


def _packed(one: RatedBill) -> StoredBill:
    preview = one.preview
    text = canonical_json(preview)
    row = BillRow(
        bill=preview.bill,
        point=one.determinants.points[0].point,
        root=one.root,
        from_day=preview.from_day,
        to_day=preview.to_day,
        energy_kwh=preview.energy_kwh,
        amount_vnd=preview.amount_vnd,
        vat_vnd=preview.vat_vnd,
        adjustments_vnd=preview.adjustments_vnd,
        total_vnd=preview.total_vnd,
        sha256=hash_of(text),
    )
    return packed(row, text, msgspec.json.encode(one.determinants))


def _stored(one: Refusal) -> StoredRefusal:
    return StoredRefusal(one.point, one.contract, one.error.code, str(one.error), one.error.hint)


def _head(
    run: RunHead,
    version: VersionHead,
    work: _Work,
    form: tuple[str, int],
    by_whom: Acting,
) -> BillSetHead:
    split, number = form
    rows: Sequence[BillRow] = [bill.row for bill in work.bills]
    names = [(row.bill, row.sha256) for row in rows]
    return BillSetHead(
        bill_set=str(uuid.uuid4()),
        run=run.run,
        version=version.version,
        run_sha256=version.sha256,
        number=number,
        made_at=by_whom.now,
        made_by=by_whom.actor,
        reason=by_whom.reason,
        split=split,
        bill_count=len(rows),
        refused_count=len(work.refused),
        energy_kwh=sum(row.energy_kwh for row in rows),
        amount_vnd=sum(row.amount_vnd for row in rows),
        vat_vnd=sum(row.vat_vnd for row in rows),
        adjustments_vnd=sum(row.adjustments_vnd for row in rows),
        total_vnd=sum(row.total_vnd for row in rows),
        sha256=bill_set_hash(run.run, version.sha256, split, names, work.refused),
    )


def _sums(head: BillSetHead) -> dict[str, str | int]:
    return {
        "sha256": head.sha256,
        "bills": head.bill_count,
        "refused": head.refused_count,
        "energy_kwh": head.energy_kwh,
        "amount_vnd": head.amount_vnd,
        "vat_vnd": head.vat_vnd,
        "adjustments_vnd": head.adjustments_vnd,
        "total_vnd": head.total_vnd,
    }


def _set(uow: UnitOfWork, bill_set: str) -> BillSetHead:
    head = uow.bills.get(bill_set)
    if head is None:
        raise NotFound(
            f"there is no set of bills {bill_set!r}", hint="songlo collector billing bills list"
        )
    return head


def _view(uow: UnitOfWork, head: BillSetHead) -> BillSetView:
    acts = uow.bills.acts(head.bill_set)
    export = uow.bills.export_of(head.bill_set)
    state = BillSetState.DRAFT
    if export is not None:
        state = BillSetState.EXPORTED
    elif any(act.act is BillActKind.APPROVE for act in acts):
        state = BillSetState.APPROVED
    return BillSetView(head, state, acts, export)


def _refuse_exported(uow: UnitOfWork, head: BillSetHead) -> None:
    if uow.bills.export_of(head.bill_set) is not None:
        raise Conflict(
            f"set {head.bill_set} was handed over and stays as it is",
            hint="what has changed since is adjusted by the bills of the next run",
            code="bills_exported",
        )
