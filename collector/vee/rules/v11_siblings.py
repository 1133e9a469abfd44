"""V11 sibling missing: a rate register without the others of its direction.

Oracle Utilities "Ensure IMD Exists for Sibling MCs". A bill by rates needs normal, peak and
off-peak (BT, CĐ, TĐ) of the same day.
"""

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject

_SIBLINGS = (
    ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3"),
    ("1-0:2.8.1", "1-0:2.8.2", "1-0:2.8.3"),
)


class Limits(RuleLimits, frozen=True, kw_only=True):
    """How grave it is."""

    severity: Severity


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each day and direction that has some of its rates and not all."""
    found = []
    applies = False
    nothing = (None,) * len(subject.starts)
    for siblings in _SIBLINGS:
        expected = [register for register in siblings if register in subject.registers]
        if not expected:
            continue
        applies = True
        for place, start in enumerate(subject.starts):
            there = [
                one for one in expected if subject.indices.get(one, nothing)[place] is not None
            ]
            lacking = [register for register in siblings if register not in there]
            if not there or not lacking or not subject.due(start):
                continue
            at = format_instant(start)
            facts = {"at": at, "there": " ".join(there), "lacking": " ".join(lacking)}
            where = Place(lacking[0], at, start, start)
            found.append(finding("V11", limits.severity, subject, where, facts))
    return found if applies else None


RULE = Rule(
    id="V11",
    name="sibling_missing",
    title=_("Rates that are not all there"),
    needs=_("a meter with rate registers"),
    source="Oracle Utilities Ensure IMD Exists for Sibling MCs",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("At {at} there is {there} and not {lacking}."),
            _(
                "Read the meter again; if it never has them, the meter profile names registers "
                "that this model lacks."
            ),
        )
    },
)
