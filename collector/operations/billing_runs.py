"""Billing runs: opened, made, looked at, approved by another person, exported once.

draft → (exceptions accepted) → approved → exported. It fetches, stores and says who may do what; it
must not decide what a line says, which `collector.billing` does.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from collector.billing.chain import (
    basis_hash,
    version_hash,
)
from collector.billing.run_values import LineKind, RunHead, RunLine, RunState, VersionHead
from collector.civil import civil_day, day_start, format_instant
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.billing_runs import Act, ActKind, Export
from collector.ledger.idempotency import Once
from collector.operations.billing_lines import (
    BilledBy,
    billed_lines,
    chain_now,
    points_of,
)
from collector.operations.demands import Counted, demands_hash, period_demands
from collector.operations.registry import unknown_station
from collector.operations.registry_history import unknown_book
from collector.operations.run_approval import ACTION as APPROVE_ACTION
from collector.operations.run_approval import refuse_seen_otherwise, run_editors, seen_of
from collector.operations.run_decisions import accept_exceptions, family_of, run_exceptions
from collector.operations.run_facts import (
    Acting,
    answered,
    exceptions_of,
    had_a_hand,
    latest_version,
    refuse_exported,
    refuse_left_out,
    refuse_open,
    run_head,
)
from collector.operations.snapshots import check_period

__all__ = [
    "LIST_MAX",
    "Acting",
    "LineChange",
    "Made",
    "RunView",
    "Scope",
    "accept_exceptions",
    "approve_run",
    "exclude_point",
    "export_run",
    "list_runs",
    "make_version",
    "open_run",
    "run_exceptions",
    "verify_runs",
    "version_changes",
    "version_lines",
    "view_run",
]

LIST_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Who is billed: a station's points, or a reading book's; all where neither is named."""

    station: str | None = None
    book: str | None = None


@dataclass(frozen=True, slots=True)
class LineChange:
    """What another version says of a point and register, in Wh or varh; None: nothing."""

    point: str
    register: str
    billed_before: int | None
    billed_after: int | None


@dataclass(frozen=True, slots=True)
class Made:
    """A version, whether it is a new one, and what it changed of the one before it."""

    version: VersionHead
    is_new: bool
    changes: list[LineChange]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands."""

    head: RunHead
    state: RunState
    versions: list[VersionHead]
    acts: list[Act]
    export: Export | None
    excluded: list[str]


def open_run(  # noqa: PLR0913  what, who, and whether once
    ledger: Ledger,
    *,
    from_at: datetime,
    to_at: datetime,
    zone: str,
    by_whom: Acting,
    scope: Scope,
    once: Once | None = None,
) -> RunHead:
    """Begin the billing of [from_at, to_at) for a station or a reading book, or for all (None).

    A request that was sent `once` before gets the run that it opened then.

    Raises InvalidRequest for a period that is empty, in the future, or not of whole civil days of
    the zone; NotFound for an unknown station or book; Conflict where a run is not finished.
    """
    if once is not None:
        with ledger.read() as uow:
            if (earlier := uow.idempotency.find(once, by_whom.now)) is not None:
                return run_head(uow, earlier)
    station, book = scope.station, scope.book
    if station is not None and book is not None:
        raise InvalidRequest(
            "a run is of a station or of a book", hint="name one of them, or none for all points"
        )
    now, actor = by_whom.now, by_whom.actor
    check_period(from_at, to_at, now)
    for name, at in (("from", from_at), ("to", to_at)):
        if day_start(civil_day(at, zone), zone) != at:
            raise InvalidRequest(
                f"{name} {format_instant(at)} is not the start of a day in {zone}",
                hint="billing is by whole days: give a date",
            )
    head = RunHead(
        str(uuid.uuid4()), station, book, from_at.astimezone(UTC), to_at.astimezone(UTC), now, actor
    )
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        if station is not None and not uow.registry.stations(station):
            raise unknown_station(station)
        if book is not None and book not in {row.book for row in uow.contracts.books()}:
            raise unknown_book(book)
        if once is not None and (earlier := uow.idempotency.claim(once, head.run, now)):
            return run_head(uow, earlier)
        unfinished = [one for one in uow.billing_runs.unfinished() if _may_share(one, head)]
        if unfinished:
            raise Conflict(
                f"run {unfinished[0].run} of the same points is not exported yet",
                hint="finish that one first; a point is billed by one run at a time",
                code="run_unfinished",
            )
        uow.billing_runs.open(head)
        detail = {
            "station": station,
            "book": book,
            "from_at": format_instant(from_at),
            "to_at": format_instant(to_at),
        }
        uow.audit.add(AuditEntry(now, actor, "billing.open", head.run, detail))
    return head


def make_version(ledger: Ledger, run: str, by: BilledBy, by_whom: Acting) -> Made:
    """Work out what the run bills with what is known now; a new version if that has changed.

    Raises NotFound; Conflict where the run is exported, or another version was made meanwhile;
    InvalidRequest where nothing is to be billed.
    """
    actor, now, reason = answered(by_whom)
    with ledger.read() as uow:
        head = run_head(uow, run)
        refuse_exported(uow, head)
        versions = uow.billing_runs.versions(run)
        excluded = _excluded(uow.billing_runs.acts(run))
        lines, chain = billed_lines(uow, head, excluded, by)
        latest = versions[-1] if versions else None
        known = [] if latest is None else uow.billing_runs.lines(run, latest.version)
        before = latest if latest is not None else uow.billing_runs.exported_last(head)
        demands = period_demands(uow, _counted(lines))
    basis = basis_hash(chain)
    if latest is not None and known == lines and latest.basis_sha256 == basis:
        with ledger.read() as uow:
            _refuse_held_meanwhile(uow, run, excluded)
        return Made(latest, is_new=False, changes=[])
    number = 1 if latest is None else latest.version + 1
    previous = None if before is None else before.sha256
    version = VersionHead(
        run=run,
        version=number,
        made_at=now,
        made_by=actor,
        reason=reason,
        line_count=len(lines),
        sha256=version_hash(lines, _hashed_head(head, number, previous, basis)),
        previous_sha256=previous,
        basis_sha256=basis,
    )
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        refuse_exported(uow, head)
        if uow.billing_runs.versions(run) != versions:
            raise _changed_meanwhile(run)
        _refuse_held_meanwhile(uow, run, excluded)
        uow.billing_runs.add_version(version, lines)
        detail: dict[str, Any] = {"version": number, "sha256": version.sha256, "lines": len(lines)}
        if demands:
            uow.demands.freeze(run, number, demands)
            detail |= {"demands": len(demands), "demands_sha256": demands_hash(demands)}
        uow.audit.add(AuditEntry(now, actor, "billing.make", run, detail | {"reason": reason}))
    return Made(version, is_new=True, changes=_changes(known, lines))


def exclude_point(ledger: Ledger, run: str, point: str, by_whom: Acting, *, include: bool) -> None:
    """Leave a point out of the run, or take it in again; it counts from the next version on.

    A point that is left out is billed by a later run from where its chain ended: nothing is lost.
    Sub-meters and the meter before them go together, where they are in the run.
    """
    actor, now, reason = answered(by_whom)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = run_head(uow, run)
        refuse_exported(uow, head)
        points = points_of(uow, head)
        known = set(uow.registry.load(None).points) if points is None else points
        if point not in known:
            raise NotFound(f"the run has no point {point!r}", hint="see its lines for the names")
        kind = ActKind.INCLUDE if include else ActKind.EXCLUDE
        number = len(uow.billing_runs.versions(run))
        for name in sorted(family_of(uow, point) & known):
            uow.billing_runs.add_act(Act(run, number, kind, actor, now, name, reason))
        detail = {"point": point, "reason": reason}
        uow.audit.add(AuditEntry(now, actor, f"billing.{kind.value}", run, detail))


def approve_run(
    ledger: Ledger, run: str, sha256: str, by: BilledBy, by_whom: Acting
) -> VersionHead:
    """Approve the latest version, whose hash the approver gives as he saw it.

    Raises Conflict where the hash is another version's, where exceptions that block were not
    accepted, or where the approver had a hand in what he approves.
    """
    actor, now, reason = answered(by_whom)
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = run_head(uow, run)
        refuse_exported(uow, head)
        version = latest_version(uow, run)
        if version.sha256 != sha256:
            raise Conflict(
                f"version {version.version} of run {run} has the hash {version.sha256}",
                hint="look at that version; approve the hash that you have seen",
                code="hash_changed",
            )
        lines = uow.billing_runs.lines(run, version.version)
        refuse_left_out(_excluded(uow.billing_runs.acts(run)), lines, version)
        found = exceptions_of(uow, head, lines, by)
        refuse_open(uow, found, version)
        if had_a_hand(actor, run_editors(uow, head, lines)):
            raise Conflict(
                f"{actor!r} had a hand in this run",
                hint="another person approves: neither who made a version or accepted exceptions, "
                "nor who put in an index, decided a finding or changed the registry of the period",
                code="own_work",
            )
        uow.billing_runs.add_act(
            Act(run, version.version, ActKind.APPROVE, actor, now, sha256, reason)
        )
        detail = {"version": version.version, "sha256": sha256, "reason": reason}
        detail |= seen_of(uow, head, lines, found)
        uow.audit.add(AuditEntry(now, actor, APPROVE_ACTION, run, detail))
    return version


def export_run(ledger: Ledger, run: str, by: BilledBy, by_whom: Acting) -> Export:
    """Close the run: its approved version is what was billed, for ever. Raises NotFound, Conflict.

    The version must rest on what has been exported by now, and could be approved now as it was
    then: by who approved it, over the same exceptions, marks and decisions.
    """
    actor, now = by_whom.actor, by_whom.now
    with ledger.begin() as uow:
        uow.billing_runs.lock()
        head = run_head(uow, run)
        refuse_exported(uow, head)
        version = latest_version(uow, run)
        acts = uow.billing_runs.acts(run)
        if _state(version, acts, None) is not RunState.APPROVED:
            raise Conflict(
                f"version {version.version} of run {run} is not approved",
                hint=f"songlo collector billing approve {run} {version.sha256}",
                code="not_approved",
            )
        lines = uow.billing_runs.lines(run, version.version)
        refuse_left_out(_excluded(acts), lines, version)
        chain = chain_now(uow, head)
        if basis_hash(chain) != version.basis_sha256:
            raise Conflict(
                "other runs were exported since this version was made",
                hint=f"songlo collector billing make {run}",
                code="basis_changed",
            )
        found = exceptions_of(uow, head, lines, by)
        refuse_open(uow, found, version)
        seen = seen_of(uow, head, lines, found)
        refuse_seen_otherwise(uow, version, seen, run_editors(uow, head, lines))
        export = Export(run, version.version, version.sha256, now, actor)
        uow.billing_runs.add_export(export)
        detail = {"version": version.version, "sha256": version.sha256}
        uow.audit.add(AuditEntry(now, actor, "billing.export", run, detail))
    return export


def view_run(ledger: Ledger, run: str) -> RunView:
    """A run as it stands. Raises NotFound."""
    with ledger.read() as uow:
        return _view(uow, run_head(uow, run))


def list_runs(ledger: Ledger, limit: int = 100, after: str | None = None) -> list[RunView]:
    """The runs opened last, newest first, at most `limit` (up to 1,000).

    `after` is a run: those that come after it in that order. Raises NotFound.
    """
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(
            f"limit {limit} is not from 1 to {LIST_MAX}", hint=f"ask for {LIST_MAX} at most"
        )
    with ledger.read() as uow:
        last = None if after is None else run_head(uow, after)
        return [_view(uow, head) for head in uow.billing_runs.newest(limit, last)]


def version_lines(
    ledger: Ledger,
    run: str,
    version: int | None = None,
    after: int = -1,
    limit: int | None = None,
) -> list[RunLine]:
    """The lines of a version, of the latest if None: all, or those after an ordinal (from 0).

    Raises NotFound, Conflict where there is no version yet.
    """
    with ledger.read() as uow:
        run_head(uow, run)
        latest = latest_version(uow, run).version
        if version is not None and not 1 <= version <= latest:
            raise NotFound(
                f"run {run} has no version {version}", hint=f"it has versions 1 to {latest}"
            )
        wanted = latest if version is None else version
        return uow.billing_runs.lines(run, wanted, after, limit)


def version_changes(ledger: Ledger, run: str, version: int) -> list[LineChange]:
    """What a version changed of the one before it. Raises NotFound."""
    before = [] if version == 1 else version_lines(ledger, run, version - 1)
    return _changes(before, version_lines(ledger, run, version))


def verify_runs(ledger: Ledger) -> list[str]:
    """What is wrong with the runs as they are stored: hashes, their chain, and what was billed.

    Each fault names run, version and what differs; an empty list says that all is as it was made.
    """
    faults: list[str] = []
    with ledger.read() as uow:
        versions = {
            head: uow.billing_runs.versions(head.run)
            for head in reversed(uow.billing_runs.newest(None))
        }
        hashes = {version.sha256 for of_run in versions.values() for version in of_run}
        for head, of_run in versions.items():
            for version in of_run:
                faults += _version_faults(uow, head, version, hashes)
            export = uow.billing_runs.export_of(head.run)
            if export is not None and export.sha256 not in hashes:
                faults.append(f"run {head.run}: what was exported has the hash of no version")
        faults += _chain_faults(uow)
    return faults


def _version_faults(
    uow: UnitOfWork, head: RunHead, version: VersionHead, hashes: Collection[str]
) -> list[str]:
    where = f"run {head.run} version {version.version}"
    lines = uow.billing_runs.lines(head.run, version.version)
    found = []
    if len(lines) != version.line_count:
        found.append(f"{where}: {len(lines)} lines of {version.line_count}")
    hashed = _hashed_head(head, version.version, version.previous_sha256, version.basis_sha256)
    if version_hash(lines, hashed) != version.sha256:
        found.append(f"{where}: its lines do not have its hash {version.sha256}")
    if version.previous_sha256 is not None and version.previous_sha256 not in hashes:
        found.append(f"{where}: the version before it, {version.previous_sha256}, is not here")
    return found


def _chain_faults(uow: UnitOfWork) -> list[str]:
    """Exported lines of one register of a point that do not begin where the last one ended."""
    found = []
    ends: dict[tuple[str, str], RunLine] = {}
    exported = uow.billing_runs.exported(None, datetime.min.replace(tzinfo=UTC))
    counted = [one.line for one in exported if one.line.kind is not LineKind.CORRECTION]
    counted.sort(key=lambda line: (line.point, line.register, line.from_at, line.to_at))
    for line in counted:
        if line.billed is None:
            continue
        key = line.point, line.register
        last = ends.get(key)
        if last is not None and line.from_at < last.to_at:
            found.append(
                f"point {line.point} register {line.register}: billed twice from "
                f"{format_instant(line.from_at)}"
            )
        ends[key] = line
    return found


def _may_share(one: RunHead, other: RunHead) -> bool:
    """Whether two runs may bill the same points; a point is in one book, and at one station."""
    if one.book is not None and other.book is not None:
        return one.book == other.book
    if one.station is not None and other.station is not None:
        return one.station == other.station
    return True


def _counted(lines: Iterable[RunLine]) -> Iterator[Counted]:
    """When which meter counted where, of all that the run bills."""
    for line in lines:
        if line.kind is LineKind.CONSUMPTION or line.kind is LineKind.RETURN:
            yield Counted(line.point, line.meter, line.from_at, line.to_at, line.multiplier)


def _excluded(acts: Iterable[Act]) -> list[str]:
    found: dict[str, bool] = {}
    for act in acts:
        if act.act in {ActKind.EXCLUDE, ActKind.INCLUDE}:
            found[act.subject] = act.act is ActKind.EXCLUDE
    return sorted(point for point, is_out in found.items() if is_out)


def _state(version: VersionHead | None, acts: Iterable[Act], export: Export | None) -> RunState:
    if export is not None:
        return RunState.EXPORTED
    approved = version is not None and any(
        act.act is ActKind.APPROVE and act.subject == version.sha256 for act in acts
    )
    return RunState.APPROVED if approved else RunState.DRAFT


def _view(uow: UnitOfWork, head: RunHead) -> RunView:
    versions = uow.billing_runs.versions(head.run)
    acts = uow.billing_runs.acts(head.run)
    export = uow.billing_runs.export_of(head.run)
    state = _state(versions[-1] if versions else None, acts, export)
    return RunView(head, state, versions, acts, export, _excluded(acts))


def _refuse_held_meanwhile(uow: UnitOfWork, run: str, excluded: Collection[str]) -> None:
    """Raises Conflict where points were left out or taken in while a version was worked out."""
    differ = sorted(set(_excluded(uow.billing_runs.acts(run))) ^ set(excluded))
    if differ:
        raise Conflict(
            f"{len(differ)} points were left out or taken in meanwhile, {differ[0]} among them",
            hint=f"make it again: songlo collector billing make {run}",
            code="changed_meanwhile",
        )


def _changed_meanwhile(run: str) -> Conflict:
    return Conflict(
        f"somebody made another version of run {run} meanwhile",
        hint="look at it, and make a version again if it is needed",
        code="changed_meanwhile",
    )


def _hashed_head(
    head: RunHead, version: int, previous: str | None, basis: str
) -> dict[str, str | int | None]:
    """What of a version is hashed beside its lines; not when and by whom it was made."""
    return {
        "basis_sha256": basis,
        "book": head.book,
        "from_at": format_instant(head.from_at),
        "previous_sha256": previous,
        "run": head.run,
        "station": head.station,
        "to_at": format_instant(head.to_at),
        "version": version,
    }


def _changes(before: Iterable[RunLine], after: Iterable[RunLine]) -> list[LineChange]:
    first, second = _sums(before), _sums(after)
    return [
        LineChange(*key, first.get(key), second.get(key))
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def _sums(lines: Iterable[RunLine]) -> dict[tuple[str, str], int | None]:
    found: dict[tuple[str, str], int | None] = {}
    for line in lines:
        key = line.point, line.register
        held = found.get(key)
        if line.billed is not None:
            held = line.billed + (held or 0)
        found[key] = held
    return found
