"""V01 missing: an index or intervals that were due and are not there.

Oracle Utilities "Raise Missing Quantity Exception"; IESO "Intervals Found vs Expected". A day of
half hours is complete with 47 of 48 marks in the district practice.
"""

from dataclasses import replace

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """`severity` of a missing daily index; a day with fewer than `intervals_min` is incomplete."""

    severity: Severity
    intervals_min: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each day that lacks an index of its start, one for each incomplete day."""
    found = []
    applies = subject.interval_counts is not None
    for place, start in enumerate(subject.starts):
        if not subject.due(start):
            continue
        applies = True
        lacking = [
            register
            for register in subject.registers
            if subject.indices.get(register, (None,) * len(subject.starts))[place] is None
        ]
        if lacking:
            at = format_instant(start)
            where = Place("", f"index {at}", start, start)
            facts: dict[str, Fact] = {"at": at, "registers": " ".join(lacking)}
            found.append(finding("V01", limits.severity, subject, where, facts))
    return found + _incomplete(subject, limits) if applies else None


def _incomplete(subject: Subject, limits: Limits) -> list[Finding]:
    found = []
    for place, count in enumerate(subject.interval_counts or ()):
        start, end = subject.starts[place], subject.starts[place + 1]
        if count < limits.intervals_min and subject.due(start):
            at = format_instant(start)
            facts: dict[str, Fact] = {
                "at": at,
                "intervals": count,
                "intervals_min": limits.intervals_min,
            }
            where = Place("", f"intervals {at}", start, end)
            one = finding("V01", Severity.WARNING, subject, where, facts)
            found.append(replace(one, variant="intervals"))
    return found


RULE = Rule(
    id="V01",
    name="missing",
    title=_("Missing index or intervals"),
    needs=_("an installed meter; for intervals, how many of a day were read"),
    source="Oracle Utilities; IESO; Itron Gap Check",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("No index for {at} within the widest window ({registers})."),
            _(
                "Read the meter again; see whether its gateway and line were up, and the list "
                "of what was missing."
            ),
        ),
        "intervals": Said(
            _("Only {intervals} intervals of the day from {at}; {intervals_min} make it complete."),
            _(
                "Have the meter's load profile read back; an incomplete day is left out of the "
                "balance."
            ),
        ),
    },
)
