"""The gate before a run may be approved: which lines somebody must look at.

Defaults as EVN's reading process has them: consumption a day against the period before, +30 %
warned of, +50 % read again, four times as much ("tăng trên 300 %") confirmed by a person who
answers for it. It must not know what was found of the reads behind a line; that is `collector.vee`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from contract.registers import IMPORT_ACTIVE


class Cause(StrEnum):
    """Why a line is an exception."""

    NO_CONSUMPTION = "no_consumption"
    HELD = "held"
    ESTIMATED = "estimated"
    RETURNED = "returned"
    CORRECTED = "corrected"
    HIGH = "high"
    VERY_HIGH = "very_high"
    EXTREME = "extreme"
    FROM_NOTHING = "from_nothing"
    STOPPED = "stopped"
    FINDING = "finding"
    PUT_IN = "put_in"  # a person's edit or estimate stands for an end of the line


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Ratios of a day's consumption to a day of the period before, in per cent; floors in Wh.

    Consumption of less than `floor_wh` in the period is never held to be high. A point that had
    less than `floor_wh` before and now has more than `from_nothing_wh` is an exception of its own.
    """

    high_percent: int = 130
    very_high_percent: int = 150
    extreme_percent: int = 400
    floor_wh: int = 50_000
    from_nothing_wh: int = 200_000


@dataclass(frozen=True, slots=True)
class RunException:
    """A point and register that somebody must look at; `blocks` until it is accepted by name."""

    point: str
    register: str
    cause: Cause
    blocks: bool
    billed: int | None = None
    before: int | None = None
    detail: str = ""


DEFAULT_LIMITS = GateLimits()

# What may not be billed without a person's word.
BLOCKING = frozenset(
    {Cause.NO_CONSUMPTION, Cause.EXTREME, Cause.FROM_NOTHING, Cause.CORRECTED, Cause.FINDING}
)

_HOUR = timedelta(hours=1)


def exceptions(
    lines: Sequence[RunLine],
    before: Iterable[RunLine],
    limits: GateLimits = DEFAULT_LIMITS,
) -> list[RunException]:
    """The exceptions among `lines`, by point and register; `before` is what was exported last."""
    found: list[RunException] = []
    for line in lines:
        key = line.point, line.register
        if line.kind is LineKind.CORRECTION:
            found.append(_of(*key, Cause.CORRECTED, line.billed, detail=line.cites or ""))
        elif line.kind is LineKind.HELD:
            found.append(_of(*key, Cause.HELD, None))
        elif line.billed is None:
            found.append(_of(*key, Cause.NO_CONSUMPTION, None))
        elif line.kind is LineKind.RETURN:
            found.append(_of(*key, Cause.RETURNED, line.billed))
        elif line.quality is LineQuality.ESTIMATED:
            found.append(_of(*key, Cause.ESTIMATED, line.billed))
    earlier = _by_register(before)
    for key, (billed, hours) in _by_register(lines).items():
        if key[1] == IMPORT_ACTIVE and key in earlier:
            cause = _compared(billed, hours, *earlier[key], limits)
            if cause is not None:
                found.append(_of(*key, cause, billed, earlier[key][0]))
    found.sort(key=lambda one: (one.point, one.register, one.cause))
    return found


def _of(
    point: str,
    register: str,
    cause: Cause,
    billed: int | None,
    before: int | None = None,
    detail: str = "",
) -> RunException:
    return RunException(point, register, cause, cause in BLOCKING, billed, before, detail)


def _by_register(lines: Iterable[RunLine]) -> Mapping[tuple[str, str], tuple[int, int]]:
    """What was consumed, and over how many hours, by point and register; without corrections."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for line in lines:
        if line.billed is None or line.kind is LineKind.CORRECTION:
            continue
        billed, hours = found.get((line.point, line.register), (0, 0))
        found[line.point, line.register] = (
            billed + line.billed,
            hours + (line.to_at - line.from_at) // _HOUR,
        )
    return found


def _compared(
    billed: int, hours: int, billed_before: int, hours_before: int, limits: GateLimits
) -> Cause | None:
    """Compared by the day, in integers: billed / hours against billed_before / hours_before."""
    if hours == 0 or hours_before == 0:
        return None
    if billed_before < limits.floor_wh:
        return Cause.FROM_NOTHING if billed > limits.from_nothing_wh else None
    if billed == 0:
        return Cause.STOPPED
    if billed < limits.floor_wh:
        return None
    now, then = billed * hours_before * 100, billed_before * hours
    for cause, percent in (
        (Cause.EXTREME, limits.extreme_percent),
        (Cause.VERY_HIGH, limits.very_high_percent),
        (Cause.HIGH, limits.high_percent),
    ):
        if now > then * percent:
            return cause
    return None
