"""V05 spike: more energy than the meter's highest current can carry.

Oracle Utilities "Interval Spike Check"; Itron "Demand Tolerance". The bound is physical:
phases × phase voltage × highest current × time, with a margin for high voltage (1.1). For three
phases that is √3 × line voltage × current.
"""

from datetime import timedelta

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Subject
from contract.registers import BY_OBIS, Kind

_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


class Limits(RuleLimits, frozen=True, kw_only=True):
    """The bound in per cent of the rated power."""

    severity: Severity
    margin_percent: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each step between two indices that is beyond the bound."""
    rating = subject.rating
    if rating is None:
        return None
    power_w = rating.phases * rating.voltage_v * rating.current_max_a
    # What lies between two reads may show one step of the display too much.
    slack_wh = subject.resolution_wh or 0
    found = []
    for register in subject.indices:
        if register not in BY_OBIS or BY_OBIS[register].kind is not Kind.CUMULATIVE:
            continue
        for start, end in subject.steps(register):
            elapsed = end.read_at - start.read_at
            energy_wh = end.value - start.value
            # Integers: Wh × hour against W × time, both in microseconds, per cent multiplied out.
            bound = power_w * limits.margin_percent * (elapsed // _MICROSECOND)
            if (energy_wh - slack_wh) * 100 * (_HOUR // _MICROSECOND) <= bound:
                continue
            facts: dict[str, Fact] = {
                "from_at": format_instant(start.read_at),
                "to_at": format_instant(end.read_at),
                "energy_wh": energy_wh,
                "bound_wh": bound // (100 * (_HOUR // _MICROSECOND)),
                "phases": rating.phases,
                "voltage_v": rating.voltage_v,
                "current_max_a": rating.current_max_a,
            }
            where = Place(register, format_instant(end.at), start.at, end.at)
            found.append(finding("V05", limits.severity, subject, where, facts))
    return found


RULE = Rule(
    id="V05",
    name="spike",
    title=_("More than the meter can carry"),
    needs=_("the rating of the meter's model"),
    source="Oracle Utilities Interval Spike Check; Itron Demand Tolerance",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "{energy_wh} Wh from {from_at} to {to_at}; {phases} × {voltage_v} V × "
                "{current_max_a} A cannot carry more than {bound_wh} Wh."
            ),
            _(
                "One of the two indices was misread, or the meter profile has the wrong scale: "
                "compare with the display. Not billed until decided."
            ),
        )
    },
)
