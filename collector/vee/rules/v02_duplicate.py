"""V02 duplicate: one read, two values.

Oracle Utilities "Duplicate IMD Check". The same meter, register and instant with another value: the
first is kept, the other kept aside.
"""

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """Values that differ by no more than `tolerance_wh` are taken for the same."""

    severity: Severity
    tolerance_wh: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each refused value."""
    if subject.conflicts is None:
        return None
    return [
        finding(
            "V02",
            limits.severity,
            subject,
            Place(one.register, f"{format_instant(one.at)} {one.value_refused}", one.at, one.at),
            {
                "at": format_instant(one.at),
                "kept_wh": one.value_kept,
                "refused_wh": one.value_refused,
            },
        )
        for one in subject.conflicts
        if abs(one.value_kept - one.value_refused) > limits.tolerance_wh
    ]


RULE = Rule(
    id="V02",
    name="duplicate",
    title=_("Two values for one read"),
    needs=_("what was refused because the same read is stored with another value"),
    source="Oracle Utilities Duplicate IMD Check",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("At {at} the register showed {kept_wh} (kept) and {refused_wh} (refused)."),
            _(
                "See whether two gateways read this serial or a card was cloned; read the meter "
                "on the spot."
            ),
        )
    },
)
