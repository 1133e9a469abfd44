"""The registry row by row: looking at the rows of a kind, adding, changing and correcting some.

Rows are judged and written as an import's are, all or none. It must not judge them itself, nor know
HTTP.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from collector.civil import format_instant
from collector.errors import BadRows, Conflict, InvalidRequest, NotFound, Stale
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.idempotency import Once
from collector.ledger.registry_rows import began_column, can_filter
from collector.operations.registry_import import load, plan
from collector.operations.registry_writing import (
    Touched,
    ahead_says,
    changed_rows,
    heard,
    new_rows,
    touched,
    write,
)
from collector.operations.tariffs import load_tariffs, price_groups
from collector.registry import cells
from collector.registry.files import RowError
from collector.registry.planning import RegistryChanges
from collector.registry.rows import (
    CORRECTABLE,
    KEYS,
    PERSONAL,
    Row,
    form_of,
    parse_rows,
    show_row,
)

ACTION = "registry.change"

# Rows of one request. A list of prices has at most 150, an exchange two; more is an import.
ROWS_MAX = 200

_CURSOR_CHARS_MAX = 1_024


class Purpose(StrEnum):
    """What a request means to do."""

    CREATE = "create"  # names that have no row of the kind yet
    CHANGE = "change"  # what is different from an instant on, or has ended
    CORRECT = "correct"  # what was wrong from the beginning


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows to write. `name` is whose they are; None where new names come.

    `tags` are what the caller believes that name's rows to be, one of them; None: nothing.
    """

    kind: str
    purpose: Purpose
    rows: Sequence[Row]
    name: str | None = None
    reason: str | None = None
    tags: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class By:
    """Who writes, when, and in which zone days begin."""

    actor: str
    now: datetime
    zone: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did. `repeated`: it had been done before by the same request.

    `tag` names the rows of the name as they are now; None where new names came.
    """

    change: str
    kind: str
    added: int
    ended: int
    completed: int
    corrected: int
    unchanged: int
    warnings: tuple[str, ...] = ()
    touched: Touched | None = None
    tag: str | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a kind as text and numbers; `tag` names just these, of one name."""

    kind: str
    rows: tuple[Row, ...]
    tag: str


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows in the order of their keys; `next` leads to the next page, None at the end."""

    kind: str
    rows: tuple[Row, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows are wanted: those that `filters` name, that hold `at` an instant."""

    kind: str
    limit: int
    after: str | None = None
    at: datetime | None = None
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnOf:
    """A column of a kind; `key`: it is of what makes a row the one it is."""

    column: str
    key: bool
    optional: bool


@dataclass(frozen=True, slots=True)
class KindOf:
    """A kind of rows, and what can be done with them."""

    kind: str
    dated: bool
    correctable: bool
    columns: tuple[ColumnOf, ...]


def kinds(zone: str) -> list[KindOf]:
    """The kinds of rows, in the order in which they depend on each other."""
    return [
        KindOf(
            kind,
            began_column(kind) is not None,
            kind in CORRECTABLE or kind == PERSONAL,
            tuple(
                ColumnOf(name, name in key, column.optional)
                for name, column in form_of(kind, zone).columns.items()
            ),
        )
        for kind, key in KEYS.items()
    ]


def list_rows(ledger: Ledger, asked: Asked, zone: str) -> RowPage:
    """A page of the rows of a kind, in the order of their keys.

    Raises InvalidRequest for a filter or an instant that the kind does not have, and for an `after`
    that no page gave.
    """
    kind = asked.kind
    for column in asked.filters:
        if not can_filter(kind, column):
            raise InvalidRequest(
                f"{kind} have no {column}", hint=f"ask for {kind} without {column!r}"
            )
    if asked.at is not None and began_column(kind) is None:
        raise InvalidRequest(
            f"{kind} have no dates", hint="ask for them without 'at'; see docs/registry-files.md"
        )
    after = None if asked.after is None else _key(kind, asked.after)
    with ledger.read() as uow:
        found = uow.registry_rows.page(kind, after, asked.limit + 1, asked.filters, asked.at)
    page = found[: asked.limit]
    return RowPage(
        kind,
        tuple(show_row(kind, value, zone) for value in page),
        _cursor(kind, page[-1]) if len(found) > asked.limit else None,
    )


def get_rows(ledger: Ledger, kind: str, name: str, zone: str) -> Rows:
    """All rows of one name: what it is, or everything dated of it. Raises NotFound."""
    with ledger.read() as uow:
        found = _shown(uow, kind, name, zone)
    if not found.rows:
        raise NotFound(f"there are no {kind} of {name!r}", hint=f"see `GET /v1/registry/{kind}`")
    return found


def note_looked(ledger: Ledger, by: By, what: str, rows: int) -> None:
    """Put on record that somebody saw names and addresses (Law 91/2025/QH15)."""
    with ledger.begin() as uow:
        uow.audit.add(AuditEntry(by.now, by.actor, "registry.look", what, {"rows": rows}))


def change_rows(ledger: Ledger, wanted: Wanted, by: By, once: Once | None = None) -> Changed:
    """Write rows of one kind, all or none, and say what of the past they touch.

    Raises BadRows for rows that cannot stand beside what is stored, Stale where the name's rows are
    no longer those of the tag, Conflict for a new name that is there, NotFound for one that is
    not, InvalidRequest for a correction without a reason. A request that was sent `once` before
    gets what it did then.
    """
    _check(wanted)
    groups = price_groups(load_tariffs(())) if wanted.kind == "allocations" else frozenset()
    change = str(uuid.uuid4())
    with ledger.begin() as uow:
        uow.registry.lock()
        if once is not None:
            earlier = uow.idempotency.claim(once, change, by.now)
            if earlier is not None:
                return replace(_earlier(uow, earlier), tag=_tag_now(uow, wanted, by))
        rows = _named(uow, wanted, by.zone)
        stored_rows = [] if wanted.name is None else uow.registry_rows.of(wanted.kind, wanted.name)
        files = parse_rows(wanted.kind, rows, stored_rows, by.zone)
        stored = load(uow)
        correcting = wanted.purpose is Purpose.CORRECT
        changes = plan(stored, files, groups, correcting=correcting)
        if changes.errors:
            raise bad_rows(changes.errors, _hint(wanted))
        write(uow, changes, stored, by.now)
        follows = touched(uow, changes, stored, by.now)
        done = _done(change, wanted.kind, changes, follows)
        detail: dict[str, Any] = {
            "kind": wanted.kind,
            "purpose": wanted.purpose.value,
            "name": wanted.name,
            "reason": wanted.reason,
            "added": new_rows(changes, wanted.kind, by.zone),
            "changed": changed_rows(changes, stored, by.zone),
            "counts": _counts(done),
            "touched": None if follows is None else follows.says(),
            **ahead_says(changes, stored, by.now),
        }
        uow.audit.add(AuditEntry(by.now, by.actor, ACTION, change, detail))
        return replace(done, tag=_tag_now(uow, wanted, by))


def bad_rows(errors: Sequence[RowError], hint: str) -> BadRows:
    """The error for rows of a request; where each fault is in its body."""
    faults = []
    for error in errors:
        column = f".{error.column}" if error.column else ""
        faults.append((f"body.rows.{error.row - 1}{column}", error.reason))
    return BadRows(faults, hint)


def _tag_now(uow: UnitOfWork, wanted: Wanted, by: By) -> str | None:
    return None if wanted.name is None else _shown(uow, wanted.kind, wanted.name, by.zone).tag


def rows_tag(rows: Sequence[Row]) -> str:
    """What names just these rows: the start of the SHA-256 of their canonical JSON."""
    text = json.dumps(list(rows), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _check(wanted: Wanted) -> None:
    if not 1 <= len(wanted.rows) <= ROWS_MAX:
        raise InvalidRequest(
            f"{len(wanted.rows)} rows, not 1 to {ROWS_MAX}", hint="import many rows as files"
        )
    if wanted.reason is not None:
        try:
            cells.free_text(wanted.reason)
        except ValueError as error:
            raise InvalidRequest(f"reason: {error}", hint="say it in one line") from error
    if wanted.purpose is not Purpose.CORRECT:
        return
    if wanted.reason is None or not wanted.reason.strip():
        raise InvalidRequest("a correction needs a reason", hint="say what was wrong, and why")
    if wanted.kind not in CORRECTABLE and wanted.kind != PERSONAL:
        raise InvalidRequest(
            f"{wanted.kind} are not corrected: what was billed from stays as it was",
            hint="change them from an instant on, or end them and begin anew"
            f" (corrected are {', '.join(sorted({*CORRECTABLE, PERSONAL}))})",
        )


def _named(uow: UnitOfWork, wanted: Wanted, zone: str) -> list[dict[str, Any]]:
    """The rows with whose they are; what is believed of them is true."""
    kind = wanted.kind
    column = KEYS[kind][0]
    if wanted.name is None:
        for name in sorted({str(row.get(column) or "").strip() for row in wanted.rows} - {""}):
            if uow.registry_rows.of(kind, name):
                raise Conflict(
                    f"there are {kind} of {name!r} already",
                    hint=f"get `/v1/registry/{kind}/{name}`, and change it under its ETag",
                )
        return [dict(row) for row in wanted.rows]
    now = _shown(uow, kind, wanted.name, zone)
    if not now.rows:
        raise NotFound(
            f"there are no {kind} of {wanted.name!r}",
            hint=f"add the first with POST /v1/registry/{kind}",
        )
    if wanted.tags is not None and now.tag not in wanted.tags:
        raise Stale(
            f"{kind} of {wanted.name!r} have been changed since you looked",
            hint=f"get `/v1/registry/{kind}/{wanted.name}` again, look, and send its ETag",
        )
    named = []
    for number, row in enumerate(wanted.rows, 1):
        if row.get(column, wanted.name) != wanted.name:
            reason = f"this is not {wanted.name!r}, whose rows these are"
            error = RowError(f"{kind}.csv", number, column, reason)
            raise bad_rows([error], "leave the column out, or give the path's name")
        named.append({**row, column: wanted.name})
    return named


def _hint(wanted: Wanted) -> str:
    if wanted.purpose is Purpose.CORRECT:
        return "correct the rows named in faults, and send them all again"
    return (
        "correct the rows named in faults, and send them all again; what has changed has a later"
        " date, what was wrong is put right by PATCH"
    )


def _shown(uow: UnitOfWork, kind: str, name: str, zone: str) -> Rows:
    found = uow.registry_rows.of(kind, name)
    rows = tuple(show_row(kind, value, zone) for value in found)
    return Rows(kind, rows, rows_tag(rows))


def _done(change: str, kind: str, changes: RegistryChanges, follows: Touched | None) -> Changed:
    return Changed(
        change,
        kind,
        len(getattr(changes, kind)),
        len(changes.closed) + len(changes.closed_contracts),
        len(changes.completed_stations)
        + len(changes.completed_meters)
        + len(changes.completed_applications),
        len(changes.corrected_customers) + sum(len(rows) for rows in changes.corrected.values()),
        changes.unchanged,
        tuple(changes.warnings),
        follows,
    )


def _counts(done: Changed) -> dict[str, int]:
    names = ("added", "ended", "completed", "corrected", "unchanged")
    return {name: getattr(done, name) for name in names}


def _earlier(uow: UnitOfWork, change: str) -> Changed:
    """What a change did, as the audit trail has it."""
    entry = uow.audit.of_subject(ACTION, change)
    assert entry is not None
    return Changed(
        change,
        entry.detail["kind"],
        **entry.detail["counts"],
        touched=heard(entry.detail["touched"]),
        repeated=True,
    )


def _cursor(kind: str, value: object) -> str:
    key = [getattr(value, column) for column in KEYS[kind]]
    parts = [format_instant(part) if isinstance(part, datetime) else part for part in key]
    text = json.dumps(parts, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _key(kind: str, cursor: str) -> tuple[Any, ...]:
    """The key in a cursor. Raises InvalidRequest where no page gave it."""
    wrong = InvalidRequest("'after' is of no page", hint="send the `next` of the page before")
    columns = KEYS[kind]
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(parts, list) or len(parts) != len(columns):
            raise wrong
        return tuple(_part(column, part) for column, part in zip(columns, parts, strict=True))
    except (ValueError, RecursionError, TypeError) as error:
        raise wrong from error


def _part(column: str, part: object) -> object:
    if column.endswith("_at"):
        return cells.instant(str(part), "UTC")
    if column == "position":
        if not isinstance(part, int) or not 0 <= part <= cells.INT32_MAX:
            raise ValueError(column)
        return part
    if not isinstance(part, str):
        raise ValueError(column)  # noqa: TRY004  a wrong cursor, whatever is in it
    return cells.name(part) if part else part
