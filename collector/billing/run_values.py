"""The values of a billing run: its versions, their lines, and what has been exported before.

They hold what was decided; how a line comes about is `chain.py`, what must be looked at `gates.py`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from collector.billing.values import LineQuality


class LineKind(StrEnum):
    """Why a line is in the run."""

    CONSUMPTION = "consumption"  # counted from the last exported closing index on
    RETURN = "return"  # the last exported closing index was too high: less is billed now
    CORRECTION = "correction"  # what is known today of a period that has been exported
    HELD = "held"  # left out by a person: nothing is billed, and a later run goes on from its start


@dataclass(frozen=True, slots=True)
class RunLine:
    """One register of one meter at one point, for one stretch; or a correction of earlier ones.

    Indices are integers of the register's unit (Wh or varh), floored to whole billed steps.
    `billed` counts the multiplier in; it is None where it cannot be told (quality N), below zero
    only in a return or a correction. A correction has no indices: `cites` names the run whose
    period it corrects.
    """

    point: str
    meter: str
    register: str
    kind: LineKind
    from_at: datetime
    to_at: datetime
    index_from: int | None
    index_to: int | None
    read_from_at: datetime | None
    read_to_at: datetime | None
    multiplier: Fraction
    billed: int | None
    quality: LineQuality
    cites: str | None = None


@dataclass(frozen=True, slots=True)
class ExportedLine:
    """A line of a version that was exported, and the run that it was exported in."""

    run: str
    line: RunLine


class RunState(StrEnum):
    """How far a run is. It goes forward only; a new version makes it a draft again."""

    DRAFT = "draft"
    APPROVED = "approved"
    EXPORTED = "exported"


@dataclass(frozen=True, slots=True)
class RunHead:
    """A billing run: the billing of [from_at, to_at) of one station or reading book, or of all.

    Both are None where it is of all.
    """

    run: str
    station: str | None
    book: str | None
    from_at: datetime
    to_at: datetime
    opened_at: datetime
    opened_by: str


@dataclass(frozen=True, slots=True)
class VersionHead:
    """One version of a run's lines, immutable.

    `sha256` is over its canonical JSON, in which the hash of the version before it stands
    (`previous_sha256`: in the same run, or of what was exported last): versions are a chain.
    `basis_sha256` is over what had been exported before when it was made.
    """

    run: str
    version: int
    made_at: datetime
    made_by: str
    reason: str
    line_count: int
    sha256: str
    previous_sha256: str | None
    basis_sha256: str
