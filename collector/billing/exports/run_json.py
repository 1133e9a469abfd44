"""A version of a billing run as one JSON document: its head and, in order, its lines.

It knows the document's shape; it must not compute anything.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from collector.billing.chain import line_document
from collector.billing.exports.json_export import json_pieces
from collector.billing.run_values import RunHead, RunLine, VersionHead
from collector.civil import format_instant


def run_json(
    head: RunHead, version: VersionHead, selection: Mapping[str, str], lines: Iterable[RunLine]
) -> Iterator[bytes]:
    """`{…head…, "lines": […]}` in pieces; `line_count` is the version's, whatever is selected."""
    document = {
        "run": head.run,
        "station": head.station,
        "book": head.book,
        "from_at": format_instant(head.from_at),
        "to_at": format_instant(head.to_at),
        "version": version.version,
        "made_at": format_instant(version.made_at),
        "made_by": version.made_by,
        "line_count": version.line_count,
        "sha256": version.sha256,
        "selection": dict(selection),
    }
    return json_pieces(msgspec.json.encode(document), map(line_document, lines))
