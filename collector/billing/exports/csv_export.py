"""A snapshot as CSV: one line per point, register and stretch, in the snapshot's order.

It knows columns and quoting; it must not compute anything.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from collector.billing.snapshot import line_document
from collector.billing.values import SnapshotLine
from collector.registry.cells import tame_cell

COLUMNS = (
    "point",
    "meter",
    "register",
    "index_from_wh",
    "index_to_wh",
    "read_from_at",
    "read_to_at",
    "multiplier",
    "consumption_wh",
    "quality",
)

# Lines to a piece: some tens of kB, so that a slow reader holds little.
PIECE_LINES = 500


def snapshot_csv(lines: Iterable[SnapshotLine]) -> Iterator[bytes]:
    """UTF-8, comma, header row, lines end in LF; what is not known is an empty cell."""
    return csv_pieces(COLUMNS, map(line_document, lines))


def csv_pieces(
    columns: Sequence[str], documents: Iterable[Mapping[str, str | int | None]]
) -> Iterator[bytes]:
    """Documents as CSV, some hundreds at once; see snapshot_csv for its form. No text of them is
    taken for a formula where somebody opens the file."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for number, document in enumerate(documents, 1):
        writer.writerow([tame_cell(document[column]) for column in columns])
        if number % PIECE_LINES == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()
