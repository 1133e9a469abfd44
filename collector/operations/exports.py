"""Hand-over files of a snapshot: made as they are read, each with its entry in the audit trail.

It fetches, hashes and records; it must not know what a file looks like inside.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from collector.billing.exports.cmis.fill import Filler, Tally, fresh_rows
from collector.billing.exports.cmis.rows import cmis_rows
from collector.billing.exports.cmis.table1 import Table1Reader, own_form, write_table1
from collector.billing.exports.cmis.values import CmisContext, PointPaper
from collector.billing.exports.papers import statement_pdf
from collector.billing.exports.xlsx import check_rows, previews_xlsx, snapshot_xlsx
from collector.billing.rating.preview import BillPreview
from collector.billing.values import SnapshotHead
from collector.civil import civil_day, day_start, format_instant, zone_info
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.operations.snapshots import get_snapshot, snapshot_lines

# A workbook of a large station is held in memory, one of a district is not.
SPOOLED_BYTES_MAX = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024

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


@dataclass(frozen=True, slots=True)
class CmisDays:
    """NGAY_CU and NGAY_MOI where they are not the period's first and last day."""

    old: date | None = None
    new: date | None = None


AS_INCLUDED = CmisDays()


def export_cmis(ledger: Ledger, snapshot_id: str, by: By, days: CmisDays = AS_INCLUDED) -> Export:
    """A new GCS file of a snapshot. Raises NotFound, and InvalidRequest for a period that does
    not begin and end at midnight, both at once."""
    head = get_snapshot(ledger, snapshot_id)
    context = _cmis_context(ledger, head, by.zone, days)
    tally = Tally()
    ours = cmis_rows(snapshot_lines(ledger, snapshot_id), context)
    pieces = write_table1(own_form(), fresh_rows(ours, context, tally))
    return Export(recorded(ledger, pieces, _entry("export.cmis", head, by, tally)), head, tally)


def fill_cmis(
    ledger: Ledger,
    snapshot_id: str,
    theirs: Named,
    by: By,
    days: CmisDays = AS_INCLUDED,
    *,
    from_their_index: bool = False,
) -> Export:
    """The GCS file `theirs`, filled from a snapshot, row by row as it is read.

    Raises NotFound and InvalidRequest; the latter also while pieces are consumed, and what was
    consumed before then is of no use: see `write_file`.
    """
    head = get_snapshot(ledger, snapshot_id)
    context = _cmis_context(ledger, head, by.zone, days)
    source = _Hashed(theirs.stream)
    reader = Table1Reader(source, theirs.name)
    filler = Filler(
        reader.form,
        cmis_rows(snapshot_lines(ledger, snapshot_id), context),
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
        },
    )
    return Export(recorded(ledger, pieces, entry), head, filler.tally)


def export_xlsx(ledger: Ledger, snapshot_id: str, by: By) -> Export:
    """A snapshot as a workbook. Raises NotFound, and InvalidRequest for one that no sheet holds."""
    head = get_snapshot(ledger, snapshot_id)
    check_rows(head.line_count)
    tally = Tally()

    def write(stream: BinaryIO, folder: str) -> None:
        lines = snapshot_lines(ledger, snapshot_id)
        tally.rows = snapshot_xlsx(head, lines, zone_info(by.zone), stream, folder)

    pieces = _pieces_of(write)
    return Export(recorded(ledger, pieces, _entry("export.xlsx", head, by, tally)), head, tally)


def export_statement(ledger: Ledger, snapshot_id: str, by: By, point: str | None = None) -> Export:
    """The index statement of a snapshot, or of one point of it, as PDF. Raises NotFound."""
    head = get_snapshot(ledger, snapshot_id)
    lines = snapshot_lines(ledger, snapshot_id)
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

    entry = _entry("export.statement", head, by, tally, lambda: {"point": point})
    return Export(recorded(ledger, _pieces_of(write), entry), head, tally)


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

    return recorded(ledger, _pieces_of(partial(write, previews, created_at)), entry)


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
            f"{output} cannot be written: {error.strerror}", hint="name a file in a folder of yours"
        ) from error


def _pieces_of(write: Callable[[BinaryIO, str], object]) -> Iterator[bytes]:
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


def _cmis_context(ledger: Ledger, head: SnapshotHead, zone: str, days: CmisDays) -> CmisContext:
    first_day, end_day = civil_day(head.from_at, zone), civil_day(head.to_at, zone)
    for day, at in ((first_day, head.from_at), (end_day, head.to_at)):
        if day_start(day, zone) != at:
            raise InvalidRequest(
                f"the snapshot's period has {format_instant(at)}, which is no midnight in {zone}",
                hint="CMIS bills whole days: make a snapshot from midnight to midnight",
            )
    included_day = end_day - timedelta(days=1)
    with ledger.read() as uow:
        points = uow.registry.points(head.station)
        meters = uow.registry.meters(head.station)
    return CmisContext(
        first_day=days.old or first_day,
        # CMIS's dates are both included; a snapshot ends where the next begins.
        last_day=days.new or included_day,
        month_of=included_day,
        roll_overs_wh={meter.meter: meter.roll_over_wh for meter in meters},
        papers={
            point.point: PointPaper(station=point.station, name=point.name) for point in points
        },
    )


class _Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self.digest.update(content)
        return content
