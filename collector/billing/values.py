"""The values of billing: a snapshot's head and its lines.

They hold what was decided; it must not know how (that is `snapshot.py`) nor where it is kept.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction


class LineQuality(StrEnum):
    """What a line rests on."""

    ACTUAL = "A"  # both indices were read for their instant, or on the spot at an exchange
    SUBSTITUTED = "S"  # at least one is the nearest read within the window
    ESTIMATED = "E"  # at least one was estimated
    NONE = "N"  # an index is absent, or the index went backwards: no consumption


@dataclass(frozen=True, slots=True)
class SnapshotLine:
    """One register of one meter at one point, for one stretch of the period.

    Indices and `consumption` are integers of the register's unit (Wh or varh); `read_from_at` and
    `read_to_at` are the instants at which the indices were really read. `consumption` counts
    the multiplier in and is None where it cannot be told.
    """

    point: str
    meter: str
    register: str
    index_from: int | None
    index_to: int | None
    read_from_at: datetime | None
    read_to_at: datetime | None
    multiplier: Fraction
    consumption: int | None
    quality: LineQuality


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """A snapshot: the frozen determinants of [from_at, to_at) of one station or of all (None).

    `sha256` is the hexadecimal hash of its canonical JSON.
    """

    id: str
    station: str | None
    from_at: datetime
    to_at: datetime
    created_at: datetime
    created_by: str
    line_count: int
    sha256: str
