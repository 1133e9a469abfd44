"""What a rule is: a name, limits, texts for people and one function over values.

Each module of `collector.vee.rules` makes one. It must not know any of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from collector.vee.values import Fact, Finding, Severity, Subject


class RuleLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every rule's section of the limits file has. Each rule adds its own keys."""

    enabled: bool


class Said(NamedTuple):
    """The texts of one kind of finding: what was found, with facts in braces; what to check next.

    They are the English sources of the catalogue.
    """

    found: str
    check_next: str


Check = Callable[[Subject, Any], "list[Finding] | None"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A validation rule. `check` gives its findings, or None where it does not apply.

    `limits` is the type of its section in the limits file. `needs` says what it cannot do without.
    """

    id: str
    name: str
    title: str
    needs: str
    source: str
    limits: type[RuleLimits]
    check: Check
    said: Mapping[str, Said]


class Place(NamedTuple):
    """Where and when something was found; `key` makes it the same finding when found again."""

    register: str
    key: str
    from_at: datetime
    to_at: datetime


def finding(
    rule: str, severity: Severity, subject: Subject, place: Place, facts: Mapping[str, Fact]
) -> Finding:
    """A finding about the subject's meter."""
    return Finding(
        rule,
        severity,
        subject.point,
        subject.meter,
        place.register,
        place.key,
        place.from_at,
        place.to_at,
        facts,
    )


def mark(text: str) -> str:
    """Marks a text for the catalogue; it is translated when it is shown."""
    return text
