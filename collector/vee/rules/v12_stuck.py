"""V12 stuck register: the same energy, not zero, interval after interval.

Oracle Utilities "Consecutive Interval Check". Equal intervals of a few steps of the display are
ordinary: it is looked at only where the resolution could have shown a change.
"""

from itertools import groupby

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """Equal intervals in a row, and the steps of the display that an interval must have."""

    severity: Severity
    intervals_min: int
    steps_min: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each run of equal intervals that is long enough."""
    if not subject.intervals or subject.resolution_wh is None:
        return None
    least_wh = limits.steps_min * subject.resolution_wh
    found = []
    runs = groupby(
        sorted(subject.intervals), key=lambda one: (one.energy_wh, one.to_at - one.from_at)
    )
    for (energy_wh, _length), run in runs:
        alike = list(run)
        if energy_wh == 0 or energy_wh < least_wh or len(alike) < limits.intervals_min:
            continue
        facts = {
            "energy_wh": energy_wh,
            "intervals": len(alike),
            "from_at": format_instant(alike[0].from_at),
            "to_at": format_instant(alike[-1].to_at),
        }
        where = Place("", format_instant(alike[0].from_at), alike[0].from_at, alike[-1].to_at)
        found.append(finding("V12", limits.severity, subject, where, facts))
    return found


RULE = Rule(
    id="V12",
    name="stuck_register",
    title=_("The same consumption again and again"),
    needs=_("intervals and the resolution"),
    source="Oracle Utilities Consecutive Interval Check",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "{intervals} intervals in a row of exactly {energy_wh} Wh, from {from_at} to "
                "{to_at}."
            ),
            _(
                "See whether the gateway or a converter repeats an old answer; compare with the "
                "display."
            ),
        )
    },
)
