"""A version of a billing run as CSV: one line per point, register and stretch, in its order.

It knows columns; it must not compute anything.
"""

import csv
import io
from collections.abc import Iterable, Iterator

from collector.billing.chain import line_document
from collector.billing.run_values import RunLine

COLUMNS = (
    "point",
    "meter",
    "register",
    "kind",
    "from_at",
    "to_at",
    "index_from_wh",
    "index_to_wh",
    "read_from_at",
    "read_to_at",
    "multiplier",
    "billed_wh",
    "quality",
    "cites",
)

PIECE_LINES = 500


def run_csv(lines: Iterable[RunLine]) -> Iterator[bytes]:
    """UTF-8, comma, header row, lines end in LF; what is not known is an empty cell."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, line in enumerate(lines, 1):
        document = line_document(line)
        writer.writerow([document[column] for column in COLUMNS])
        if number % PIECE_LINES == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()
