"""V09 multiplier: the registry's against the transformers' ratios as the meter has them.

Oracle Utilities "Multiplier Check". The registry's multiplier is TU × TI, as is the meter's, where
its ratios can be read.
"""

from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """How grave it is."""

    severity: Severity


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding if the two differ."""
    if subject.multiplier is None or subject.multiplier_read is None:
        return None
    if subject.multiplier == subject.multiplier_read:
        return []
    facts = {"registry": str(subject.multiplier), "meter": str(subject.multiplier_read)}
    key = f"{facts['registry']} {facts['meter']}"
    where = Place("", key, subject.starts[0], subject.starts[-1])
    return [finding("V09", limits.severity, subject, where, facts)]


RULE = Rule(
    id="V09",
    name="multiplier",
    title=_("Multiplier unlike the meter's ratios"),
    needs=_("the ratios that the meter is programmed with"),
    source="Oracle Utilities Multiplier Check",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("The registry says {registry}, the meter's ratios make {meter}."),
            _(
                "Look at the plates of the transformers. Correct the registry from the day it "
                "was wrong: what it touches is computed again."
            ),
        )
    },
)
