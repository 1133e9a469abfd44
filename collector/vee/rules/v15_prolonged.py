"""V15 prolonged estimation: billing periods in a row that ended in an estimate.

Oracle Utilities "Prolonged Estimation Check".
"""

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """The periods in a row from which on it is told."""

    severity: Severity
    cycles_min: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding from so many periods on."""
    cycles = subject.cycles_estimated
    if cycles is None:
        return None
    if cycles < limits.cycles_min:
        return []
    facts = {"cycles": cycles, "cycles_min": limits.cycles_min}
    end = subject.starts[-1]
    where = Place("", format_instant(end), subject.starts[0], end)
    return [finding("V15", limits.severity, subject, where, facts)]


RULE = Rule(
    id="V15",
    name="prolonged_estimation",
    title=_("Estimated again and again"),
    needs=_("how many billing periods in a row ended in an estimate"),
    source="Oracle Utilities Prolonged Estimation Check",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("{cycles} periods in a row were estimated (told from {cycles_min} on)."),
            _("Have the index read by hand, with a photo, and the communication repaired."),
        )
    },
)
