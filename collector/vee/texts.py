"""What rules, findings and methods are called and say, in a reader's language.

The texts are the English ones of the rules; `translate` gives them in another language. It must not
know where translations are kept.
"""

from collections.abc import Callable, Mapping
from string import Formatter

from collector.vee.catalogue import BY_ID, RULES
from collector.vee.estimation.estimate import TITLES
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity

Translate = Callable[[str], str]

_SEVERITIES = {
    Severity.WARNING: _("warning"),
    Severity.RECHECK: _("to be looked at again"),
    Severity.BLOCK: _("not billed until decided"),
}


def title(rule: str, translate: Translate) -> str:
    """The name of a rule; its id if it is of another version."""
    return translate(BY_ID[rule].title) if rule in BY_ID else rule


def severity_text(severity: Severity, translate: Translate) -> str:
    """What a finding of this severity asks for."""
    return translate(_SEVERITIES[severity])


def method_title(method: str, translate: Translate) -> str:
    """The name of a method of estimation."""
    return translate(TITLES[method])  # type: ignore[index]  # any text may be asked for


def found_text(finding: Finding, translate: Translate) -> str:
    """What was found, with its numbers; a fact that is not there is shown as `?`."""
    said = BY_ID[finding.rule].said.get(finding.variant) if finding.rule in BY_ID else None
    if said is None:
        return " ".join(f"{name}={value}" for name, value in finding.facts.items())
    return _Facts().vformat(translate(said.found), (), finding.facts)


def check_next_text(finding: Finding, translate: Translate) -> str:
    """What to check next; empty if the finding is of another version."""
    said = BY_ID[finding.rule].said.get(finding.variant) if finding.rule in BY_ID else None
    return "" if said is None else translate(said.check_next)


def all_texts() -> set[str]:
    """Every text that is shown to people."""
    texts = {*_SEVERITIES.values(), *TITLES.values()}
    for rule in RULES:
        texts |= {rule.title, rule.needs}
        for said in rule.said.values():
            texts |= {said.found, said.check_next}
    return texts


def rules_table(translate: Translate) -> str:
    """The rules as a Markdown table in both languages, with their limits' keys."""
    lines = [
        "| rule · quy tắc | what it finds · phát hiện | needs · cần có | limits · ngưỡng |",
        "|---|---|---|---|",
    ]
    for rule in RULES:
        keys = ", ".join(f"`{key}`" for key in rule.limits.__struct_fields__ if key != "enabled")
        lines.append(
            f"| **{rule.id}** {rule.name} | {rule.title} · {translate(rule.title)} "
            f"| {rule.needs} · {translate(rule.needs)} | {keys} |"
        )
    return "\n".join(lines) + "\n"


def methods_table(translate: Translate) -> str:
    """The methods of estimation as a Markdown table in both languages."""
    lines = ["| method · phương pháp | what it takes · cách tính |", "|---|---|"]
    lines += [f"| **{name}** | {text} · {translate(text)} |" for name, text in TITLES.items()]
    return "\n".join(lines) + "\n"


class _Facts(Formatter):
    """Fills facts into braces; never fails for what was stored by another version."""

    def get_value(self, key: int | str, args: object, kwargs: Mapping[str, Fact]) -> Fact:
        del args
        return kwargs.get(str(key), "?")
