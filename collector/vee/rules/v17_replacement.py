"""V17 replacement: a late read against an index that is final already.

Oracle Utilities "Final Measurement Replacement": the better condition wins, and only where the
change is worth it. The final index itself is never changed by this: whoever accepts the finding
has the period computed again, or an adjustment made.
"""

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, LateRead, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """Qualities from the best to the worst, and the change from which on it is worth it.

    Either of the two bounds is enough.
    """

    severity: Severity
    ranking: tuple[str, ...]
    change_min_wh: int
    change_min_percent: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each late read that should replace what is final."""
    if subject.late is None:
        return None
    return [
        finding(
            "V17",
            limits.severity,
            subject,
            Place(one.register, f"{format_instant(one.at)} {one.value_late}", one.at, one.at),
            {
                "at": format_instant(one.at),
                "final_wh": one.value_final,
                "final_quality": one.quality_final,
                "late_wh": one.value_late,
                "late_quality": one.quality_late,
                "change_wh": one.value_late - one.value_final,
            },
        )
        for one in subject.late
        if replaces(one, limits)
    ]


def replaces(late: LateRead, limits: Limits) -> bool:
    """Whether a late read is of better quality and changes enough."""
    if _rank(late.quality_late, limits) >= _rank(late.quality_final, limits):
        return False
    change = abs(late.value_late - late.value_final)
    in_percent = change * 100 >= abs(late.consumption_wh) * limits.change_min_percent
    return change > 0 and (change >= limits.change_min_wh or in_percent)


def _rank(quality: str, limits: Limits) -> int:
    """The place in the ranking; what is not in it is the worst."""
    return limits.ranking.index(quality) if quality in limits.ranking else len(limits.ranking)


RULE = Rule(
    id="V17",
    name="replacement",
    title=_("A late read against a final index"),
    needs=_("reads that came after the index was final"),
    source="Oracle Utilities Final Measurement Replacement",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "For {at} {final_wh} ({final_quality}) is final; {late_wh} ({late_quality}) "
                "came later, {change_wh} more."
            ),
            _(
                "Before the export make a new version of the snapshot; after it the difference "
                "is an adjustment in the next period."
            ),
        )
    },
)
