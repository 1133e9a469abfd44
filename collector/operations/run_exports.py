"""Hand-over files of a billing run: its approved or exported version, whole or a part of it.

The version is what is billed; a file of it is made as it is read and recorded in the audit trail.
It fetches and records; it must not know what a file looks like inside.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from collector.billing.exports.cmis.fill import Filler, Tally, fresh_rows
from collector.billing.exports.cmis.point_papers import in_book_order
from collector.billing.exports.cmis.run_rows import run_rows
from collector.billing.exports.cmis.table1 import Table1Reader, own_form, write_table1
from collector.billing.exports.cmis.values import CmisContext
from collector.billing.exports.run_csv import run_csv
from collector.billing.exports.run_json import run_json
from collector.billing.exports.run_paper import run_statement_pdf
from collector.billing.exports.xlsx import run_xlsx
from collector.billing.run_values import LineKind, RunHead, RunLine, RunState, VersionHead
from collector.civil import zone_info
from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.operations.billing_runs import view_run
from collector.operations.cmis_context import AS_INCLUDED, CmisDays, cmis_context
from collector.operations.export_selection import (
    EVERYTHING,
    Selection,
    nothing_selected,
    selected_points,
)
from collector.operations.exports import By, Hashed, Named, counted, pieces_of, recorded
from collector.operations.run_approval import refuse_marked_since

# Lines that are fetched at once while a file is made.
PAGE_LINES = 5_000

_BESIDE = frozenset({LineKind.CORRECTION, LineKind.HELD})


@dataclass(slots=True)
class RunExport:
    """A file on its way: its pieces, once, and what is known of it when they were consumed."""

    pieces: Iterator[bytes]
    head: RunHead
    version: VersionHead
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _Source:
    """An approved version, and who of it is wanted."""

    ledger: Ledger
    head: RunHead
    version: VersionHead
    state: RunState
    wanted: Selection
    points: set[str] | None

    def in_order(self) -> Iterator[RunLine]:
        """The lines in the version's order, fetched as they are consumed."""
        return self._some(self._pages())

    def by_point(self) -> Iterator[RunLine]:
        """The lines by point: what stands behind all others comes with its point."""
        with self.ledger.read() as uow:
            beside = uow.billing_runs.beside_consumption(self.head.run, self.version.version)
        beside.sort(key=_point)
        counted = (line for line in self._pages() if line.kind not in _BESIDE)
        return self._some(heapq.merge(counted, beside, key=_point))

    def _some(self, lines: Iterable[RunLine]) -> Iterator[RunLine]:
        points, found = self.points, False
        for line in lines:
            if points is None or line.point in points:
                found = True
                yield line
        if not found:
            raise nothing_selected(self.wanted)

    def _pages(self) -> Iterator[RunLine]:
        # One short transaction a page: a slow reader holds no view of the ledger open.
        run, version = self.head.run, self.version
        for first in range(0, version.line_count, PAGE_LINES):
            with self.ledger.read() as uow:
                page = uow.billing_runs.page(run, version.version, first, PAGE_LINES)
            yield from page


def export_run_cmis(
    ledger: Ledger,
    run: str,
    by: By,
    days: CmisDays = AS_INCLUDED,
    wanted: Selection = EVERYTHING,
) -> RunExport:
    """A new GCS file of a run, by book and position. Raises NotFound, Conflict, InvalidRequest."""
    source = _source(ledger, run, wanted)
    context = _context(source, by, days)
    tally = Tally()
    rows = in_book_order(run_rows(source.by_point(), context, by.zone), context.papers)
    pieces = write_table1(own_form(), fresh_rows(rows, context, tally))
    entry = _entry("export.cmis", source, by, tally)
    return RunExport(recorded(ledger, pieces, entry), source.head, source.version, tally)


def fill_run_cmis(  # noqa: PLR0913  what, whose, by whom, and how
    ledger: Ledger,
    run: str,
    theirs: Named,
    by: By,
    days: CmisDays = AS_INCLUDED,
    wanted: Selection = EVERYTHING,
    *,
    from_their_index: bool = False,
) -> RunExport:
    """The GCS file `theirs`, filled from a run, row by row as it is read.

    Raises NotFound, Conflict and InvalidRequest; the last also while pieces are consumed, and what
    was consumed before then is of no use: see `write_file`.
    """
    source = _source(ledger, run, wanted)
    context = _context(source, by, days)
    stream = Hashed(theirs.stream)
    reader = Table1Reader(stream, theirs.name)
    filler = Filler(
        reader.form,
        run_rows(source.by_point(), context, by.zone),
        context,
        from_their_index=from_their_index,
    )
    pieces = write_table1(reader.form, filler.rows(reader.rows()))
    entry = _entry(
        "export.cmis",
        source,
        by,
        filler.tally,
        lambda: {
            "source_sha256": stream.digest.hexdigest(),
            "from_their_index": from_their_index,
            "old_day": context.first_day.isoformat(),
            "new_day": context.last_day.isoformat(),
        },
    )
    return RunExport(recorded(ledger, pieces, entry), source.head, source.version, filler.tally)


def export_run_csv(ledger: Ledger, run: str, by: By, wanted: Selection = EVERYTHING) -> RunExport:
    """A run's lines as CSV, in the version's order. Raises NotFound, Conflict, InvalidRequest."""
    source, tally = _source(ledger, run, wanted), Tally()
    pieces = run_csv(counted(source.in_order(), tally))
    entry = _entry("export.csv", source, by, tally)
    return RunExport(recorded(ledger, pieces, entry), source.head, source.version, tally)


def export_run_json(ledger: Ledger, run: str, by: By, wanted: Selection = EVERYTHING) -> RunExport:
    """A run's version and lines as one JSON document. Raises as `export_run_csv`."""
    source, tally = _source(ledger, run, wanted), Tally()
    lines = counted(source.in_order(), tally)
    pieces = run_json(source.head, source.version, wanted.document(), lines)
    entry = _entry("export.json", source, by, tally)
    return RunExport(recorded(ledger, pieces, entry), source.head, source.version, tally)


def export_run_xlsx(ledger: Ledger, run: str, by: By, wanted: Selection = EVERYTHING) -> RunExport:
    """A run's lines as a workbook, by point. Raises as `export_run_csv`."""
    source, tally = _source(ledger, run, wanted), Tally()

    def write(stream: BinaryIO, folder: str) -> None:
        lines = source.by_point()
        zone = zone_info(by.zone)
        tally.rows = run_xlsx((source.head, source.version), lines, zone, stream, folder)

    entry = _entry("export.xlsx", source, by, tally)
    pieces = recorded(ledger, pieces_of(write), entry)
    return RunExport(pieces, source.head, source.version, tally)


def export_run_statement(
    ledger: Ledger, run: str, by: By, wanted: Selection = EVERYTHING
) -> RunExport:
    """The index statement of a run as PDF, by point. Raises as `export_run_csv`."""
    source, tally = _source(ledger, run, wanted), Tally()

    def write(stream: BinaryIO, _folder: str) -> None:
        tally.rows = run_statement_pdf(
            (source.head, source.version),
            source.by_point(),
            zone_info(by.zone),
            stream,
            wanted.document(),
        )

    entry = _entry("export.statement", source, by, tally)
    pieces = recorded(ledger, pieces_of(write), entry)
    return RunExport(pieces, source.head, source.version, tally)


def _source(ledger: Ledger, run: str, wanted: Selection) -> _Source:
    """The version that was exported, or that is approved; a draft is nobody's truth."""
    view = view_run(ledger, run)
    if view.state is RunState.DRAFT or not view.versions:
        raise Conflict(
            f"run {run} is a draft: what it bills is not approved",
            hint=f"songlo collector billing exceptions {run}; then have another person approve it",
            code="not_approved",
        )
    number = view.versions[-1].version if view.export is None else view.export.version
    (version,) = (one for one in view.versions if one.version == number)
    with ledger.read() as uow:
        if view.export is None:
            # Its files say marks, and a run that is exported takes no more of them.
            refuse_marked_since(uow, version)
        points = selected_points(uow, wanted, view.head.to_at)
    source = _Source(ledger, view.head, version, view.state, wanted, points)
    if points is not None:
        # Told before anything is written, and before a reader was answered.
        next(source.in_order())
    return source


def _context(source: _Source, by: By, days: CmisDays) -> CmisContext:
    period = source.head.from_at, source.head.to_at
    owner = source.head.run, source.version.version
    with source.ledger.read() as uow:
        marks = uow.billing_runs.marks(source.head.run)
    return replace(cmis_context(source.ledger, period, by.zone, days, owner), marks=marks)


def _entry(
    action: str,
    source: _Source,
    by: By,
    tally: Tally,
    more: Callable[[], Mapping[str, Any]] = dict,
) -> Callable[[str, int], AuditEntry]:
    def made(sha256: str, size: int) -> AuditEntry:
        detail = {
            "version": source.version.version,
            "version_sha256": source.version.sha256,
            "state": source.state.value,
            "selection": source.wanted.document(),
            "rows": tally.rows,
            "bytes": size,
            "sha256": sha256,
            **more(),
        }
        if action == "export.cmis":
            detail |= {"filled": tally.filled, "disagreements": tally.by_reason()}
        return AuditEntry(by.now, by.actor, action, source.head.run, detail)

    return made


def _point(line: RunLine) -> str:
    return line.point
