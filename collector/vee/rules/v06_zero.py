"""V06 zero consumption: an index that has stood still for days.

Oracle Utilities "Zero Consumption Check", which skips outages; California's "Zero consumption for
active meters". The index at which it stands makes it one finding, whichever period it is seen from.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from collector.civil import format_instant
from collector.vee.reads import DailyIndex
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Span, Subject

_HOUR = timedelta(hours=1)


class Limits(RuleLimits, frozen=True, kw_only=True):
    """The whole days, outages not counted, from which on it is told; of these registers."""

    severity: Severity
    days_min: int
    registers: tuple[str, ...]


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each index at which a register stood still for long enough."""
    asked = [register for register in limits.registers if len(subject.steps(register)) > 0]
    if not asked:
        return None
    found = []
    for register in asked:
        for first, last in _standing(subject.indices[register]):
            dark = sum((_within(first, last, outage) for outage in subject.outages), timedelta())
            # An hour is given for days that the clocks make shorter.
            if last.at - first.at - dark + _HOUR < timedelta(days=limits.days_min):
                continue
            facts: dict[str, Fact] = {
                "index_wh": first.value,
                "since": format_instant(first.at),
                "until": format_instant(last.at),
                "days_min": limits.days_min,
            }
            where = Place(register, str(first.value), first.at, last.at)
            found.append(finding("V06", limits.severity, subject, where, facts))
    return found


def _standing(
    indices: Sequence[DailyIndex | None],
) -> Iterator[tuple[DailyIndex, DailyIndex]]:
    """The first and the last of measured indices that are the same."""
    first: DailyIndex | None = None
    last: DailyIndex | None = None
    for one in indices:
        if one is None or not one.measured:
            continue
        if first is None or one.value != first.value:
            if first is not None and last is not None and last is not first:
                yield first, last
            first = one
        last = one
    if first is not None and last is not None and last is not first:
        yield first, last


def _within(first: DailyIndex, last: DailyIndex, outage: Span) -> timedelta:
    end = last.at if outage.to_at is None else min(outage.to_at, last.at)
    return max(end - max(outage.from_at, first.at), timedelta())


RULE = Rule(
    id="V06",
    name="zero_consumption",
    title=_("No consumption"),
    needs=_("two daily indices of a register"),
    source="Oracle Utilities Zero Consumption Check; California VEE",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "The index stood at {index_wh} Wh from {since} to {until} (told from {days_min} "
                "days on)."
            ),
            _(
                "See whether the place is empty or cut off. Otherwise the meter may have "
                "stopped: have it inspected, and bill by the average of three periods."
            ),
        )
    },
)
