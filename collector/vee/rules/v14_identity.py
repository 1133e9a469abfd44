"""V14 identity: another meter answers than the one that is registered.

IESO "Changed Device ID"; California's "Meter identification".
"""

from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Finding, Severity, Subject


class Limits(RuleLimits, frozen=True, kw_only=True):
    """How grave it is."""

    severity: Severity


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding if the serial that was read is another one; leading zeros and blanks aside."""
    if subject.serial_read is None:
        return None
    if _bare(subject.serial_read) == _bare(subject.meter):
        return []
    facts = {"registered": subject.meter, "read": subject.serial_read}
    where = Place("", subject.serial_read, subject.starts[0], subject.starts[-1])
    return [finding("V14", limits.severity, subject, where, facts)]


def _bare(serial: str) -> str:
    return serial.strip().upper().lstrip("0")


RULE = Rule(
    id="V14",
    name="identity",
    title=_("Another meter answers"),
    needs=_("the serial as the meter says it"),
    source="IESO Changed Device ID; California VEE",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _("Meter {registered} is registered, {read} answered."),
            _(
                "See whether the meter was exchanged, or two have changed addresses; its reads "
                "are not billed to this point until it is settled."
            ),
        )
    },
)
