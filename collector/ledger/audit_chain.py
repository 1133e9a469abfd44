"""The audit trail as a chain: how a row is hashed, and what is wrong where a chain does not hold.

Pure: rows in, findings out. What is hashed here stays as it is for ever: rows of ten years ago are
checked by it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

FIRST_SEQUENCE = 1

# What the first row has in place of the hash of a row before it.
NO_PREVIOUS = "0" * 64


class ChainRow(NamedTuple):
    """One row as it is stored; `at` in milliseconds since 1970 UTC, `detail` canonical JSON.

    Values are of any type: what somebody wrote into the database behind our back is checked too.
    """

    sequence: Any
    at: Any
    actor: Any
    action: Any
    subject: Any
    detail: Any
    previous_sha256: Any
    sha256: Any


class Head(NamedTuple):
    """The last row of a chain: its number and its hash. Written `NUMBER:SHA256`."""

    sequence: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256}"


EMPTY = Head(FIRST_SEQUENCE - 1, NO_PREVIOUS)
"""The head of a chain without rows."""


class BreakKind(StrEnum):
    """How a chain was broken."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    MOVED = "moved"
    CUT = "cut"  # rows at its end are gone, or all of it was written anew


@dataclass(frozen=True, slots=True)
class Break:
    """The first thing that is wrong with a chain: which row, and what was done to it."""

    sequence: int
    kind: BreakKind
    text: str


def canonical_json(value: Any) -> str:  # noqa: ANN401  JSON
    """`value` as JSON with sorted keys, without spaces, in plain UTF-8."""
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=repr,  # only what was put into the database behind our back; it fits no hash
    )


def row_hash(row: ChainRow) -> str:
    """The hexadecimal SHA-256 of the row's canonical JSON, the hash of the row before included."""
    document = row._asdict()
    del document["sha256"]
    # Bytes that are no UTF-8 came in behind our back; they are hashed as they are.
    return hashlib.sha256(canonical_json(document).encode("utf-8", "surrogateescape")).hexdigest()


def link(head: Head, row: ChainRow) -> ChainRow:
    """`row` as the next one after `head`: with its number and both hashes."""
    placed = row._replace(sequence=head.sequence + 1, previous_sha256=head.sha256)
    return placed._replace(sha256=row_hash(placed))


class ChainCheck:
    """Follows a chain row by row, in the order of their numbers, up to the first break."""

    def __init__(self) -> None:
        self.head = EMPTY
        self.found: Break | None = None
        self.known_heads: dict[str, int] = {}
        self._wanted: Sequence[str] = ()

    def look_for(self, hashes: Sequence[str]) -> None:
        """Remember which rows have these hashes, in `known_heads`."""
        self._wanted = hashes

    def take(self, rows: Iterable[ChainRow]) -> None:
        """Check the next rows. Does nothing once a break was found."""
        for row in rows:
            if self.found is not None:
                return
            self.found = _break(self.head, row)
            if self.found is None:
                self.head = Head(row.sequence, row.sha256)
                if row.sha256 in self._wanted:
                    self.known_heads[row.sha256] = row.sequence


def _break(head: Head, row: ChainRow) -> Break | None:
    expected = head.sequence + 1
    if row.sequence < expected:
        return Break(
            row.sequence,
            BreakKind.INSERTED,
            f"row {row.sequence} was inserted: the trail begins with {FIRST_SEQUENCE}",
        )
    if row.sequence > expected:
        last = row.sequence - 1
        rows = f"row {expected}" if last == expected else f"rows {expected} to {last}"
        verb = "was" if last == expected else "were"
        return Break(expected, BreakKind.REMOVED, f"{rows} {verb} removed")
    if row_hash(row) != row.sha256:
        return _moved(row) or Break(
            expected, BreakKind.CHANGED, f"row {expected} was changed after it was written"
        )
    if row.previous_sha256 != head.sha256:
        return Break(
            expected,
            BreakKind.INSERTED,
            f"row {expected} does not follow the row before it:"
            " it was inserted, or rows before it were written anew",
        )
    return None


# How far from its place a row is looked for that was given another number.
_MOVED_MAX = 2_000


def _moved(row: ChainRow) -> Break | None:
    """Whether the row is whole, but was written under another number."""
    first = max(FIRST_SEQUENCE, row.sequence - _MOVED_MAX)
    for number in range(first, row.sequence + _MOVED_MAX + 1):
        if row_hash(row._replace(sequence=number)) != row.sha256:
            continue
        if number == row.sequence - 1:
            return Break(
                number,
                BreakKind.INSERTED,
                f"row {number} was inserted: the row after it was written as {number}",
            )
        return Break(
            row.sequence,
            BreakKind.MOVED,
            f"row {row.sequence} was written as {number}: rows were put into another order,"
            " or removed or inserted before it and the rest numbered anew",
        )
    return None
