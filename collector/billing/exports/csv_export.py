"""A snapshot as CSV: one line per point, register and stretch, in the snapshot's order.

It knows columns and quoting; it must not compute anything.
"""

import csv
import io
from collections.abc import Iterable, Iterator

from collector.billing.snapshot import line_document
from collector.billing.values import SnapshotLine

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
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    held = 0
    for line in lines:
        document = line_document(line)
        writer.writerow([document[column] for column in COLUMNS])
        held += 1
        if held >= PIECE_LINES:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
            held = 0
    yield buffer.getvalue().encode()
