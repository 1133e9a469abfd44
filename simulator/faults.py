"""What meters do wrong on purpose, and when.

Owns the choice of a fault for each request, from rules and a seed, so that a run can be repeated.
It must not know how a fault is carried out: that differs between a serial line and a socket.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ANY_METER = "*"


class FaultKind(StrEnum):
    """Ways in which a reply goes wrong."""

    SILENT = "silent"  # no reply at all
    LATE = "late"  # the reply, long after the reader has given up
    DUPLICATE = "duplicate"  # the reply, twice
    CORRUPT = "corrupt"  # a bit of the reply is wrong (on a socket: of its transaction number)
    TRUNCATED = "truncated"  # only the first half of the reply
    WRONG_UNIT = "wrong_unit"  # the reply carries another meter's address


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do wrong with one reply; `late_s` is by how much a late one is late."""

    kind: FaultKind
    late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FaultRule:
    """Requests to `meter` (a serial, or any) between two instants go wrong with `probability`.

    Instants are milliseconds since 1970 on the simulator's clock, None for no bound; the later is
    not included.
    """

    meter: str
    fault: Fault
    probability: float = 1.0
    from_ms: int | None = None
    to_ms: int | None = None


class FaultPlan:
    """Decides request by request; the same requests in the same order get the same faults."""

    def __init__(self, rules: Sequence[FaultRule], *, seed: int) -> None:
        self._rules = tuple(rules)
        self._seed = seed
        self._chances: dict[str, random.Random] = {}

    def next(self, serial: str, at_ms: int) -> Fault | None:
        """The fault of the next reply of meter `serial`: that of the first rule to apply."""
        for rule in self._rules:
            if rule.meter not in (ANY_METER, serial):
                continue
            if rule.from_ms is not None and at_ms < rule.from_ms:
                continue
            if rule.to_ms is not None and at_ms >= rule.to_ms:
                continue
            if rule.probability >= 1 or self._chance(serial) < rule.probability:
                return rule.fault
        return None

    def _chance(self, serial: str) -> float:
        if serial not in self._chances:
            # Repeatable on purpose; nothing secret depends on it.
            self._chances[serial] = random.Random(f"{self._seed}/{serial}")  # noqa: S311
        return self._chances[serial].random()
