"""V04 high or low: consumption a day against the last period and the same period last year.

Oracle Utilities "High/Low Check"; California's "High/Low Usage". The utility's practice: a warning
from 30 % on, reading again from 50 % on, and no confirmation beyond a multiple without a manager.
A rise is worth looking at from a few kWh on; after a period without any consumption a share says
nothing, so that has a bound of its own.
"""

from dataclasses import replace

from collector.civil import format_instant
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Energy, Fact, Finding, Severity, Subject
from contract.registers import IMPORT_ACTIVE


class Limits(RuleLimits, frozen=True, kw_only=True):
    """Per cent of the reference's consumption a day, and bounds in Wh over the period.

    A rise of exactly the limit is not beyond it. `fall_warn_percent` 100: never.
    """

    days_min: int
    rise_warn_percent: int
    rise_recheck_percent: int
    rise_block_percent: int
    fall_warn_percent: int
    change_min_wh: int
    after_zero_min_wh: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """At most one finding for each of the two references."""
    now = subject.energy
    if now is None or now.days < limits.days_min:
        return None
    references = [
        (name, one)
        for name, one in (("last_period", subject.last_period), ("last_year", subject.last_year))
        if one is not None and one.days >= limits.days_min
    ]
    if not references:
        return None
    found = []
    for name, reference in references:
        judged = _judge(now, reference, limits)
        if judged is None:
            continue
        severity, variant = judged
        start, end = subject.starts[0], subject.starts[-1]
        facts: dict[str, Fact] = {
            "reference": name,
            "energy_wh": now.energy_wh,
            "days": now.days,
            "reference_wh": reference.energy_wh,
            "reference_days": reference.days,
            "percent": _percent(now, reference),
        }
        key = f"{name} {format_instant(start)} {format_instant(end)}"
        one = finding("V04", severity, subject, Place(IMPORT_ACTIVE, key, start, end), facts)
        found.append(replace(one, variant=variant))
    return found


def _judge(now: Energy, then: Energy, limits: Limits) -> tuple[Severity, str] | None:
    # All times both numbers of days: shares of consumptions a day, without a division.
    ours, theirs = now.energy_wh * then.days, then.energy_wh * now.days
    if theirs == 0:
        beyond = now.energy_wh >= limits.after_zero_min_wh and ours > 0
        return (Severity.RECHECK, "after_zero") if beyond else None
    if abs(ours - theirs) < limits.change_min_wh * then.days:
        return None
    rise = (ours - theirs) * 100
    for severity, percent in (
        (Severity.BLOCK, limits.rise_block_percent),
        (Severity.RECHECK, limits.rise_recheck_percent),
        (Severity.WARNING, limits.rise_warn_percent),
    ):
        if rise > theirs * percent:
            return severity, "high"
    return (Severity.WARNING, "low") if -rise > theirs * limits.fall_warn_percent else None


def _percent(now: Energy, then: Energy) -> int:
    """The change a day in whole per cent, towards zero; 0 where there is nothing to compare "
    "with."""
    theirs = then.energy_wh * now.days
    if theirs == 0:
        return 0
    change = (now.energy_wh * then.days - theirs) * 100
    return change // theirs if change >= 0 else -(-change // theirs)


_AGAINST = _(
    "See the daily indices for the day it began; check the multiplier, an exchange, and whether "
    "the use of the place changed. Send someone to read again where nothing explains it."
)

RULE = Rule(
    id="V04",
    name="high_low",
    title=_("High or low consumption"),
    needs=_("the consumption of the period, and of the last one or of last year's"),
    source="Oracle Utilities High/Low Check; California VEE",
    limits=Limits,
    check=check,
    said={
        "high": Said(
            _(
                "{energy_wh} Wh in {days} days against {reference_wh} Wh in {reference_days} "
                "days ({reference}): {percent} % more a day."
            ),
            _AGAINST,
        ),
        "low": Said(
            _(
                "{energy_wh} Wh in {days} days against {reference_wh} Wh in {reference_days} "
                "days ({reference}): {percent} % a day."
            ),
            _(
                "See whether the place was empty or cut off; a bypassed or failing meter looks "
                "the same."
            ),
        ),
        "after_zero": Said(
            _("{energy_wh} Wh in {days} days after none in {reference_days} days ({reference})."),
            _("See whether someone moved in, or the meter had stood still before."),
        ),
    },
)
