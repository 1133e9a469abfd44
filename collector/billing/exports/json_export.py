"""A snapshot as one JSON document: its head and, in order, its lines.

It knows the document's shape; it must not compute anything.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from collector.billing.snapshot import line_document
from collector.billing.values import SnapshotHead, SnapshotLine
from collector.civil import format_instant

PIECE_LINES = 500

_NOTHING: Mapping[str, str] = {}


def head_document(head: SnapshotHead) -> dict[str, str | int | None]:
    """A snapshot's head as JSON shows it."""
    return {
        "id": head.id,
        "station": head.station,
        "from_at": format_instant(head.from_at),
        "to_at": format_instant(head.to_at),
        "created_at": format_instant(head.created_at),
        "created_by": head.created_by,
        "line_count": head.line_count,
        "sha256": head.sha256,
    }


def snapshot_json(
    head: SnapshotHead, lines: Iterable[SnapshotLine], selection: Mapping[str, str] = _NOTHING
) -> Iterator[bytes]:
    """`{…head…, "lines": […]}` in pieces; together they are one JSON document in UTF-8.

    A part of a snapshot has what was selected as `selection`; `line_count` and hash are the
    snapshot's.
    """
    document = {**head_document(head), **({"selection": dict(selection)} if selection else {})}
    return json_pieces(msgspec.json.encode(document), map(line_document, lines))


def json_pieces(head: bytes, lines: Iterable[Mapping[str, str | int | None]]) -> Iterator[bytes]:
    """A head, an object in JSON, with `lines` as its last member, some hundreds at once."""
    yield head[:-1] + b',"lines":['
    pieces: list[bytes] = []
    separator = b""
    for line in lines:
        pieces.append(msgspec.json.encode(line))
        if len(pieces) >= PIECE_LINES:
            yield separator + b",".join(pieces)
            separator = b","
            pieces.clear()
    if pieces:
        yield separator + b",".join(pieces)
    yield b"]}"
