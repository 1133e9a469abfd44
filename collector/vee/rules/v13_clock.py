"""V13 clock: a meter's clock that is fast or slow.

IESO "Time Tolerance", "Clock overflow", "Time reset". Rate registers and maximum demand are counted
by the meter's own clock.
"""

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """Beyond `warn_s` it is told, beyond `fail_s` rates are not billed without a decision."""

    warn_s: int
    fail_s: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for the days: the widest drift."""
    if not subject.drifts:
        return None
    widest = max(subject.drifts, key=lambda one: (abs(one.drift_s), one.at))
    drift_s = abs(widest.drift_s)
    if drift_s <= limits.warn_s:
        return []
    severity = Severity.BLOCK if drift_s > limits.fail_s else Severity.WARNING
    facts: dict[str, Fact] = {
        "at": format_instant(widest.at),
        "drift_s": widest.drift_s,
        "warn_s": limits.warn_s,
        "fail_s": limits.fail_s,
    }
    where = Place("", format_instant(widest.at), widest.at, widest.at)
    return [finding("V13", severity, subject, where, facts)]


RULE = Rule(
    id="V13",
    name="clock",
    title=_("The meter's clock is off"),
    needs=_("the meter's time beside the gateway's"),
    source="IESO Time Tolerance",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "At {at} the meter's clock was off by {drift_s} s (told beyond {warn_s}, failed "
                "beyond {fail_s})."
            ),
            _("Set the clock; where it drifts again, the meter's battery is to be exchanged."),
        )
    },
)
