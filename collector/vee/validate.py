"""All rules over one subject.

It must not know what any rule looks at, nor what becomes of the findings.
"""

from collections.abc import Collection
from dataclasses import dataclass

from collector.vee.catalogue import RULES
from collector.vee.limits import Limits
from collector.vee.values import Finding, Subject


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules found, and which of them applied."""

    findings: tuple[Finding, ...]
    applied: frozenset[str]


def validate(subject: Subject, limits: Limits, only: Collection[str] | None = None) -> Verdict:
    """The findings of all rules that are enabled, or of some, in the order of the rules."""
    findings: list[Finding] = []
    applied = []
    for rule in RULES:
        of_rule = limits.rules[rule.id]
        if not of_rule.enabled or (only is not None and rule.id not in only):
            continue
        found = rule.check(subject, of_rule)
        if found is not None:
            applied.append(rule.id)
            findings += found
    return Verdict(tuple(findings), frozenset(applied))
