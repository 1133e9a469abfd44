"""The gate before a run may be approved: which lines somebody must look at.

Defaults as EVN's reading process has them: consumption a day against the period before, +30 %
warned of, +50 % read again, four times as much ("tăng trên 300 %") confirmed by a person who
answers for it; and against the same period of last year. It must not know what was found of the
reads behind a line; that is `collector.vee`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    FIRST = (
        "first"  # billed for the first time, and nothing says whether its opening index is right
    )
    STOPPED = "stopped"
    FINDING = "finding"
    ZERO_MARK = "zero_mark"
    PUT_IN = "put_in"  # a person's edit or estimate stands for an end of the line
    NOT_VALIDATED = "not_validated"  # no rule was asked about days of it as they are now
    NO_BILL = "no_bill"  # the days are no period of the point's book: kWh, and no bill


class Reference(StrEnum):
    """What a consumption was compared with."""

    PERIOD = "period"  # what was billed last
    YEAR = "year"  # the period that ended a year before
    INSTALLATION = "installation"  # what the meter counted from there to its first opening index


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Ratios of a day's consumption to a day of the period before, in per cent; floors in Wh.

    Consumption of less than `floor_wh` in the period is never held to be high. A point that had
    less than `floor_wh` before and now has more than `from_nothing_wh` is an exception of its own.

    Sources: EVN's reading process (+30 % warned of; more than 300 % above, ×4, confirmed by unit
    leaders since 1/7/2020), EVNCPC (+50 % read twice). The floors are this product's own.
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
    reference: Reference | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is known by within a version."""
        return self.point, self.register, self.cause.value, self.detail


@dataclass(frozen=True, slots=True)
class ExceptionFilter:
    """Which exceptions are meant; what is None or empty does not narrow.

    `billed_max` is Wh (varh); `percent_max` is of a day's consumption against the reference's.
    """

    causes: frozenset[Cause] = frozenset()
    points: frozenset[str] = frozenset()
    billed_max: int | None = None
    percent_max: int | None = None

    def takes(self, one: RunException) -> bool:
        """Whether an exception is meant. One without the figure that is asked for is not."""
        if self.causes and one.cause not in self.causes:
            return False
        if self.points and one.point not in self.points:
            return False
        if self.billed_max is not None and (one.billed is None or one.billed > self.billed_max):
            return False
        if self.percent_max is None:
            return True
        if one.billed is None or not one.before:
            return False
        return one.billed * 100 <= one.before * self.percent_max


DEFAULT_LIMITS = GateLimits()

# What may not be billed without a person's word.
BLOCKING = frozenset(
    {
        Cause.NO_CONSUMPTION,
        Cause.EXTREME,
        Cause.FROM_NOTHING,
        Cause.FIRST,
        Cause.CORRECTED,
        Cause.FINDING,
        Cause.ZERO_MARK,
        Cause.NOT_VALIDATED,
        Cause.NO_BILL,
    }
)

# What nobody can answer for: something must be put right.
UNACCEPTABLE = frozenset({Cause.NO_CONSUMPTION, Cause.ZERO_MARK})

# A reader's marks (TTR_MOI) that say that nothing was used: not in use, nobody home, meter lost,
# over the limit, exchanged, cut off. Source: the reading program's own list of states.
ZERO_MARKS = frozenset("UVMLXD")
MARKS = ZERO_MARKS | frozenset("QCKTHG")

_HOUR = timedelta(hours=1)


def exceptions(
    lines: Sequence[RunLine],
    before: Iterable[RunLine],
    limits: GateLimits = DEFAULT_LIMITS,
    year_before: Iterable[RunLine] = (),
    marks: Mapping[str, str] | None = None,
    installed: Mapping[tuple[str, str], tuple[int, int]] | None = None,
) -> list[RunException]:
    """The exceptions among `lines`, by point and register.

    `before` is what was exported last, `year_before` what of the period that ended a year ago.
    `marks` are what readers found, by point. `installed` is for points without a bill before: Wh
    from installation to opening index, and over how many hours.
    """
    found = [one for one in map(_of_line, lines) if one is not None]
    earlier, year = _by_register(before), _by_register(year_before)
    for key, (billed, hours) in _by_register(lines).items():
        if key[1] != IMPORT_ACTIVE:
            continue
        mark = (marks or {}).get(key[0], "")
        if mark in ZERO_MARKS and billed > 0:
            found.append(RunException(*key, Cause.ZERO_MARK, True, billed, None, mark))
        before_that, last = earlier.get(key), Reference.PERIOD
        if before_that is None and key not in year:
            before_that, last = (installed or {}).get(key), Reference.INSTALLATION
            if before_that is None or before_that[0] < 0:
                # An opening index below the one of the installation compares with nothing.
                detail = "" if before_that is None else f"{-before_that[0]} Wh below installation"
                found.append(RunException(*key, Cause.FIRST, True, billed, None, detail))
                continue
        worst = _worst((billed, hours), before_that, year.get(key), limits)
        if worst is not None:
            cause, reference, then = worst
            reference = last if reference is Reference.PERIOD else reference
            blocks = cause in BLOCKING
            found.append(RunException(*key, cause, blocks, billed, then, reference=reference))
    found.sort(key=lambda one: (one.point, one.register, one.cause))
    return found


def _of_line(line: RunLine) -> RunException | None:
    """What a line is an exception for by itself."""
    detail = ""
    if line.kind is LineKind.CORRECTION:
        cause, detail = Cause.CORRECTED, line.cites or ""
    elif line.kind is LineKind.HELD:
        cause = Cause.HELD
    elif line.billed is None:
        cause = Cause.NO_CONSUMPTION
    elif line.kind is LineKind.RETURN:
        cause = Cause.RETURNED
    elif line.quality is LineQuality.ESTIMATED:
        cause = Cause.ESTIMATED
    else:
        return None
    return RunException(
        line.point, line.register, cause, cause in BLOCKING, line.billed, detail=detail
    )


def _worst(
    now: tuple[int, int],
    before: tuple[int, int] | None,
    year: tuple[int, int] | None,
    limits: GateLimits,
) -> tuple[Cause, Reference, int] | None:
    """The worse of both comparisons; last year's alone never blocks.

    Who moved in since then would be asked about for twelve periods.
    """
    percents = (limits.high_percent, limits.very_high_percent, limits.extreme_percent)
    floors = (limits.floor_wh, limits.from_nothing_wh)
    by_period = None if before is None else compared(now, before, percents, floors)
    if before is not None and by_period is not None and Cause(by_period) in BLOCKING:
        return Cause(by_period), Reference.PERIOD, before[0]
    by_year = None if year is None else compared(now, year, percents, floors)
    if year is not None and by_year is not None and by_year in HIGH_NAMES:
        cause = Cause.VERY_HIGH if by_year == Cause.EXTREME else Cause(by_year)
        if by_period not in HIGH_NAMES or by_period == Cause.HIGH != cause:
            return cause, Reference.YEAR, year[0]
    if before is None or by_period is None:
        return None
    return Cause(by_period), Reference.PERIOD, before[0]


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


HIGH_NAMES: Collection[str | None] = frozenset({Cause.HIGH, Cause.VERY_HIGH, Cause.EXTREME})


def compared(
    now: tuple[int, int],
    then: tuple[int, int],
    percents: tuple[int, int, int],
    floors: tuple[int, int],
) -> str | None:
    """What an amount over a span is, against an earlier one; None: nothing to look at.

    In integers: amount / span against amount / span, by `percents` (high, very high, extreme).
    `floors`: below the first nothing is high; from less than it to more than the second is
    `from_nothing`.
    """
    (amount, span), (amount_then, span_then) = now, then
    floor, from_nothing = floors
    if span == 0 or span_then == 0:
        return None
    if amount_then < floor:
        return "from_nothing" if amount > from_nothing else None
    if amount == 0:
        return "stopped"
    if amount < floor:
        return None
    for name, percent in zip(("extreme", "very_high", "high"), reversed(percents), strict=True):
        if amount * span_then * 100 > amount_then * span * percent:
            return name
    return None
