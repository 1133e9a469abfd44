"""What a line and its meters have been like: plain counters for status and for decisions.

Counts what the engine tells it; draws no conclusion and keeps no history.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class LineState(StrEnum):
    """Whether the port or connection is there. Says nothing about the meters behind it."""

    OPENING = "opening"
    UP = "up"
    DOWN = "down"


@dataclass(slots=True)
class MeterHealth:
    """One meter: requests sent, replies, and how many reads in a row have failed."""

    requests: int = 0
    replies: int = 0
    failed_in_a_row: int = 0
    answered_at: datetime | None = None
    round_trip_s: float | None = None


@dataclass(slots=True)
class LineHealth:
    """One line: its state, why it is down, and what became of its requests since the start."""

    state: LineState = LineState.OPENING
    detail: str = ""
    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    bad_replies: int = 0
    exceptions: int = 0
    opened: int = 0
    answered_at: datetime | None = None
    meters: dict[str, MeterHealth] = field(default_factory=dict)

    @property
    def answering(self) -> int:
        """How many meters answered the last time they were read."""
        return sum(
            meter.failed_in_a_row == 0 and meter.answered_at is not None
            for meter in self.meters.values()
        )
