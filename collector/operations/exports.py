"""Hand-over files of a snapshot: made as they are read, each with its entry in the audit trail.

It fetches, hashes and records; it must not know what a file looks like inside.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from collector.billing.exports.cmis.fill import Filler, Tally, fresh_rows
from collector.billing.exports.cmis.point_papers import in_book_order
from collector.billing.exports.cmis.rows import cmis_rows
from collector.billing.exports.cmis.table1 import Table1Reader, own_form, write_table1
from collector.billing.exports.csv_export import snapshot_csv
from collector.billing.exports.json_export import snapshot_json
from collector.billing.exports.papers import statement_pdf
from collector.billing.exports.xlsx import check_rows, previews_xlsx, snapshot_xlsx
from collector.billing.rating.preview import BillPreview
from collector.billing.run_values import RunLine
from collector.billing.values import SnapshotHead, SnapshotLine
from collector.civil import day_start, zone_info
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.operations.cmis_context import AS_INCLUDED, CmisDays, cmis_context
from collector.operations.export_selection import (
    EVERYTHING,
    Selection,
    nothing_selected,
    selected_points,
)
from collector.operations.snapshots import get_snapshot, snapshot_lines

# A workbook of a large station is held in memory, one of a district is not.
SPOOLED_BYTES_MAX = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024

_Line = TypeVar("_Line", SnapshotLine, RunLine)

WritePreviews = Callable[[Iterable[BillPreview], datetime, BinaryIO, str], int]


@dataclass(slots=True)
class Export:
    """A file on its way: its pieces, once, and what is known of it when they were consumed."""

    pieces: Iterator[bytes]
    head: SnapshotHead
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class By:
    """Who asks for a file, when, in which zone its days are."""

    actor: str
    now: datetime
    zone: str


@dataclass(frozen=True, slots=True)
class Named:
    """A file of theirs that is open, and what it is called in messages."""

    stream: BinaryIO
    name: str


def export_cmis(
    ledger: Ledger,
    snapshot_id: str,
    by: By,
    days: CmisDays = AS_INCLUDED,
    wanted: Selection = EVERYTHING,
) -> Export:
    """A new GCS file of a snapshot, by book and position. Raises NotFound, and InvalidRequest for
    a period that does not begin and end at midnight, both at once."""
    head = get_snapshot(ledger, snapshot_id)
    lines = _selected_lines(ledger, head, wanted)
    context = cmis_context(ledger, (head.from_at, head.to_at), by.zone, days, (head.id, 0))
    tally = Tally()
    ours = in_book_order(cmis_rows(lines, context), context.papers)
    pieces = write_table1(own_form(), fresh_rows(ours, context, tally))
    entry = _entry("export.cmis", head, by, tally, partial(_named, wanted))
    return Export(recorded(ledger, pieces, entry), head, tally)


def fill_cmis(  # noqa: PLR0913  what, whose, by whom, and how
    ledger: Ledger,
    snapshot_id: str,
    theirs: Named,
    by: By,
    days: CmisDays = AS_INCLUDED,
    wanted: Selection = EVERYTHING,
    *,
    from_their_index: bool = False,
) -> Export:
    """The GCS file `theirs`, filled from a snapshot, row by row as it is read.

    Raises NotFound and InvalidRequest; the latter also while pieces are consumed, and what was
    consumed before then is of no use: see `write_file`.
    """
    head = get_snapshot(ledger, snapshot_id)
    context = cmis_context(ledger, (head.from_at, head.to_at), by.zone, days, (head.id, 0))
    lines = _selected_lines(ledger, head, wanted)
    source = Hashed(theirs.stream)
    reader = Table1Reader(source, theirs.name)
    filler = Filler(
        reader.form,
        cmis_rows(lines, context),
        context,
        from_their_index=from_their_index,
    )
    pieces = write_table1(reader.form, filler.rows(reader.rows()))
    entry = _entry(
        "export.cmis",
        head,
        by,
        filler.tally,
        lambda: {
            "source_sha256": source.digest.hexdigest(),
            "from_their_index": from_their_index,
            "old_day": context.first_day.isoformat(),
            "new_day": context.last_day.isoformat(),
            **_named(wanted),
        },
    )
    return Export(recorded(ledger, pieces, entry), head, filler.tally)


def export_csv(ledger: Ledger, snapshot_id: str, by: By, wanted: Selection = EVERYTHING) -> Export:
    """A snapshot's lines as CSV, in its order, in Wh. Raises NotFound, InvalidRequest."""
    head = get_snapshot(ledger, snapshot_id)
    tally = Tally()
    pieces = snapshot_csv(counted(_selected_lines(ledger, head, wanted), tally))
    entry = _entry("export.csv", head, by, tally, partial(_named, wanted))
    return Export(recorded(ledger, pieces, entry), head, tally)


def export_json(ledger: Ledger, snapshot_id: str, by: By, wanted: Selection = EVERYTHING) -> Export:
    """A snapshot's head and lines as one JSON document. Raises as `export_csv`.

    Its `line_count` and `sha256` are the snapshot's; a part says what was selected.
    """
    head = get_snapshot(ledger, snapshot_id)
    tally = Tally()
    lines = counted(_selected_lines(ledger, head, wanted), tally)
    pieces = snapshot_json(head, lines, wanted.document())
    entry = _entry("export.json", head, by, tally, partial(_named, wanted))
    return Export(recorded(ledger, pieces, entry), head, tally)


def export_xlsx(ledger: Ledger, snapshot_id: str, by: By, wanted: Selection = EVERYTHING) -> Export:
    """A snapshot as a workbook. Raises NotFound, and InvalidRequest for one that no sheet holds."""
    head = get_snapshot(ledger, snapshot_id)
    lines = _selected_lines(ledger, head, wanted)
    check_rows(head.line_count)
    tally = Tally()

    def write(stream: BinaryIO, folder: str) -> None:
        tally.rows = snapshot_xlsx(head, lines, zone_info(by.zone), stream, folder)

    entry = _entry("export.xlsx", head, by, tally, partial(_named, wanted))
    return Export(recorded(ledger, pieces_of(write), entry), head, tally)


def export_statement(
    ledger: Ledger,
    snapshot_id: str,
    by: By,
    point: str | None = None,
    wanted: Selection = EVERYTHING,
) -> Export:
    """The index statement of a snapshot, or of one point of it, as PDF. Raises NotFound."""
    head = get_snapshot(ledger, snapshot_id)
    lines = _selected_lines(ledger, head, wanted)
    if point is not None:
        of_point = [line for line in lines if line.point == point]
        if not of_point:
            raise NotFound(
                f"snapshot {snapshot_id} has no point {point!r}", hint="see the snapshot's lines"
            )
        lines = iter(of_point)
    tally = Tally()

    def write(stream: BinaryIO, _folder: str) -> None:
        tally.rows = statement_pdf(head, lines, zone_info(by.zone), stream, point)

    entry = _entry("export.statement", head, by, tally, lambda: {"point": point, **_named(wanted)})
    return Export(recorded(ledger, pieces_of(write), entry), head, tally)


def export_bills(
    ledger: Ledger,
    previews: Sequence[BillPreview],
    source: str,
    by: By,
    write: WritePreviews = previews_xlsx,
) -> Iterator[bytes]:
    """Bill previews as a file of the form of `write`, recorded under the name of their `source`.

    The file is dated the last day of the bills: made again it has the same bytes. Raises
    InvalidRequest without bills.
    """
    if not previews:
        raise InvalidRequest("there are no bills", hint="look at the file of determinants")
    last = day_start(max(preview.to_day for preview in previews), by.zone)
    created_at = last.astimezone(zone_info(by.zone))

    def entry(sha256: str, size: int) -> AuditEntry:
        detail = {
            "rows": len(previews),
            "total_vnd": sum(preview.total_vnd for preview in previews),
            "bytes": size,
            "sha256": sha256,
        }
        return AuditEntry(by.now, by.actor, "export.bills", source, detail)

    return recorded(ledger, pieces_of(partial(write, previews, created_at)), entry)


def counted(lines: Iterable[_Line], tally: Tally) -> Iterator[_Line]:
    """The lines, each counted in the tally as it is taken."""
    for line in lines:
        tally.rows += 1
        yield line


def recorded(
    ledger: Ledger, pieces: Iterable[bytes], entry: Callable[[str, int], AuditEntry]
) -> Iterator[bytes]:
    """The pieces; the last is held back until `entry(sha256, bytes)` is in the audit trail.

    So whoever holds a whole file finds it there; one that broke off is not.
    """
    digest, size, held = hashlib.sha256(), 0, b""
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if held:
            yield held
        held = piece
    with ledger.begin() as uow:
        uow.audit.add(entry(digest.hexdigest(), size))
    yield held


def check_target(output: Path, *, force: bool) -> None:
    """Raises Conflict where something is there already that was not to be replaced."""
    if output.exists() and not force:
        raise Conflict(
            f"{output} is there already",
            hint="name another file, or give --force to replace it",
            code="target_exists",
        )


def write_file(pieces: Iterable[bytes], output: Path) -> None:
    """Write a file whole or not at all; what was there before is replaced. Raises InvalidRequest.

    It has customers' names in it: only its owner may read it.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=output.parent, delete=False) as stream:
            part = Path(stream.name)
            try:
                stream.writelines(pieces)
                stream.flush()
                # The audit trail says that it was handed over: a power cut may not take it back.
                os.fsync(stream.fileno())
                part.replace(output)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidRequest(
            f"{output} cannot be written: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0, "name a file in a folder of yours"),
            code="not_written",
        ) from error


_NO_ROOM = "make room there and in the folder for temporary files; nothing was half written"
_HINTS = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM)


def pieces_of(write: Callable[[BinaryIO, str], object]) -> Iterator[bytes]:
    """What `write` puts into a file that can be gone back in, given a folder for more of them."""
    with (
        tempfile.TemporaryDirectory(prefix="songlo-export-") as folder,
        tempfile.SpooledTemporaryFile(SPOOLED_BYTES_MAX, dir=folder) as stream,
    ):
        write(cast(BinaryIO, stream), folder)
        stream.seek(0)
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _entry(
    action: str,
    head: SnapshotHead,
    by: By,
    tally: Tally,
    more: Callable[[], Mapping[str, Any]] = dict,
) -> Callable[[str, int], AuditEntry]:
    def made(sha256: str, size: int) -> AuditEntry:
        detail = {
            "snapshot_sha256": head.sha256,
            "rows": tally.rows,
            "bytes": size,
            "sha256": sha256,
            **more(),
        }
        if action == "export.cmis":
            detail |= {"filled": tally.filled, "disagreements": tally.by_reason()}
        return AuditEntry(by.now, by.actor, action, head.id, detail)

    return made


def _selected_lines(
    ledger: Ledger, head: SnapshotHead, wanted: Selection
) -> Iterator[SnapshotLine]:
    """The lines of a snapshot that are of the selected points. Raises at once if there are none."""
    lines = snapshot_lines(ledger, head.id)
    with ledger.read() as uow:
        points = selected_points(uow, wanted, head.to_at)
    if points is None:
        return lines
    found = (line for line in lines if line.point in points)
    first = next(found, None)
    if first is None:
        raise nothing_selected(wanted)
    return chain((first,), found)


def _named(wanted: Selection) -> Mapping[str, Any]:
    """What the audit trail says of a part; a whole file needs no such entry."""
    return {} if wanted == EVERYTHING else {"selection": wanted.document()}


class Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        content = self._stream.read(size)
        self.digest.update(content)
        return content
