"""V16 voltage: a phase that is lost.

IESO "Current and Voltage". A meter on two of three phases counts two thirds.
"""

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """Lost is below `lost_percent` of the nominal voltage, in `reads_min` reads at least."""

    severity: Severity
    lost_percent: int
    reads_min: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each phase that was lost."""
    if not subject.voltages or subject.rating is None:
        return None
    least = subject.rating.voltage_v * limits.lost_percent
    found = []
    for phase in sorted({one.phase for one in subject.voltages}):
        # mV × 100 against V × per cent × 1000.
        low = sorted(
            one
            for one in subject.voltages
            if one.phase == phase and one.voltage_mv * 100 < least * 1000
        )
        if len(low) < max(limits.reads_min, 1):
            continue
        facts: dict[str, Fact] = {
            "phase": phase,
            "lowest_mv": min(one.voltage_mv for one in low),
            "voltage_v": subject.rating.voltage_v,
            "reads": len(low),
            "from_at": format_instant(low[0].at),
            "to_at": format_instant(low[-1].at),
        }
        where = Place("", f"{phase} {facts['from_at']}", low[0].at, low[-1].at)
        found.append(finding("V16", limits.severity, subject, where, facts))
    return found


RULE = Rule(
    id="V16",
    name="voltage",
    title=_("A phase is lost"),
    needs=_("phase voltages and the rating of the meter's model"),
    source="IESO Current and Voltage",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "Phase {phase} was down to {lowest_mv} mV of {voltage_v} V in {reads} reads "
                "from {from_at} to {to_at}."
            ),
            _(
                "Check fuses and the meter's voltage leads; energy that was not counted is "
                "adjusted after an inspection."
            ),
        )
    },
)
