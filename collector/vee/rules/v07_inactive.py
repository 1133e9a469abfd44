"""V07 consumption while inactive: a meter that was cut off or removed and goes on counting.

Oracle Utilities "Inactive Measurement Check"; California's "Usage for inactive meters".
"""

from datetime import datetime

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Span, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """What a register may move by all the same, in Wh."""

    severity: Severity
    tolerance_wh: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each register and each time the meter was inactive."""
    if not subject.inactive:
        return None
    found = []
    for span in subject.inactive:
        for register, reads in subject.reads.items():
            inside = sorted(read for read in reads if _covers(span, read.at))
            if not inside:
                continue
            energy_wh = inside[-1].value - inside[0].value
            if energy_wh <= limits.tolerance_wh:
                continue
            facts: dict[str, Fact] = {
                "inactive_since": format_instant(span.from_at),
                "from_at": format_instant(inside[0].at),
                "to_at": format_instant(inside[-1].at),
                "energy_wh": energy_wh,
            }
            key = format_instant(span.from_at)
            where = Place(register, key, inside[0].at, inside[-1].at)
            found.append(finding("V07", limits.severity, subject, where, facts))
    return found


def _covers(span: Span, at: datetime) -> bool:
    return span.from_at <= at and (span.to_at is None or at < span.to_at)


RULE = Rule(
    id="V07",
    name="inactive_consumption",
    title=_("Consumption while cut off or removed"),
    needs=_("when the meter was cut off or removed"),
    source="Oracle Utilities Inactive Measurement Check; California VEE",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "{energy_wh} Wh from {from_at} to {to_at}, though the meter is inactive since "
                "{inactive_since}."
            ),
            _(
                "See on the spot whether supply was taken up again without leave, or whether "
                "the cut or the removal was recorded for the wrong meter."
            ),
        )
    },
)
