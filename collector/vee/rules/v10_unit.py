"""V10 unit and interval: what the meter says it counts in, and how long its intervals are.

Oracle Utilities "Unit of Measure Check" and "Interval Size Validation".
"""

from dataclasses import replace

from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject
from contract.registers import BY_OBIS


class Limits(RuleLimits, frozen=True, kw_only=True):
    """An interval may be longer or shorter than expected by `tolerance_s`; `severity` of units."""

    severity: Severity
    tolerance_s: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each register with another unit, one for intervals of another length."""
    units = _units(subject, limits)
    intervals = _intervals(subject, limits)
    if units is None and intervals is None:
        return None
    return (units or []) + (intervals or [])


def _units(subject: Subject, limits: Limits) -> list[Finding] | None:
    if subject.units is None:
        return None
    found = []
    for register, unit in subject.units.items():
        if register in BY_OBIS and unit != BY_OBIS[register].unit:
            facts = {"unit": unit, "expected": BY_OBIS[register].unit.value}
            where = Place(register, unit, subject.starts[0], subject.starts[-1])
            found.append(finding("V10", limits.severity, subject, where, facts))
    return found


def _intervals(subject: Subject, limits: Limits) -> list[Finding] | None:
    expected_s = subject.interval_expected_s
    if expected_s is None or not subject.interval_lengths_s:
        return None
    # An interval that was missed makes its neighbour a whole number of times as long: that is V01.
    wrong = [
        length
        for length in subject.interval_lengths_s
        if min(length % expected_s, -length % expected_s) > limits.tolerance_s or length == 0
    ]
    if not wrong:
        return []
    facts = {
        "expected_s": expected_s,
        "shortest_s": min(wrong),
        "longest_s": max(wrong),
        "count": len(wrong),
    }
    where = Place("", f"interval {expected_s}", subject.starts[0], subject.starts[-1])
    return [replace(finding("V10", Severity.WARNING, subject, where, facts), variant="interval")]


RULE = Rule(
    id="V10",
    name="unit_interval",
    title=_("Wrong unit or interval"),
    needs=_("the unit as the meter says it, or the length of its intervals"),
    source="Oracle Utilities Unit of Measure Check, Interval Size Validation",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("The meter says {unit}; this register is in {expected}."),
            _("Check the meter profile: register, unit and scale."),
        ),
        "interval": Said(
            _(
                "{count} intervals from {shortest_s} to {longest_s} s long, where {expected_s} "
                "s are expected."
            ),
            _("Check the period of the meter's load profile and the gateway's cadence."),
        ),
    },
)
