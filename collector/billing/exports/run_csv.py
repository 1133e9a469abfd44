"""A version of a billing run as CSV: one line per point, register and stretch, in its order.

It knows columns; it must not compute anything.
"""

from collections.abc import Iterable, Iterator

from collector.billing.chain import line_document
from collector.billing.exports.csv_export import csv_pieces
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


def run_csv(lines: Iterable[RunLine]) -> Iterator[bytes]:
    """UTF-8, comma, header row, lines end in LF; what is not known is an empty cell."""
    return csv_pieces(COLUMNS, map(line_document, lines))
