"""What the pages of findings show: the queue, one finding with what it rests on, what was decided.

Gathered from the operations that the API uses too; it must not know HTTP or templates.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from urllib.parse import urlencode

from collector.civil import day_start
from collector.console.form_values import FindingFields, FindingListFields
from collector.console.locale import Speech
from collector.errors import InvalidRequest
from collector.ledger.findings import FindingFilter, StoredFinding
from collector.operations import findings, vee
from collector.operations.daily import DAY
from collector.operations.findings import ShownFinding
from collector.operations.vee_files import translation
from collector.vee.catalogue import RULES
from collector.vee.texts import check_next_text, found_text, severity_text, title
from collector.vee.values import Fact, Severity
from collector.web.context import Context
from contract.limits import ENERGY_MAX

FINDINGS_PER_PAGE = 50

# How many of what could not be decided are spelled out.
REFUSED_SHOWN = 50

_BADGES = {Severity.WARNING: "", Severity.RECHECK: "warn", Severity.BLOCK: "bad"}
_WH_OF_KWH = 1000

# How rules write the instants among their facts.
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding in the reader's language."""

    stored: StoredFinding
    title: str
    severity: str
    badge: str
    text: str
    check_next: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FindingPage:
    """Some findings, and where the next ones are; an empty address: nowhere."""

    rows: Sequence[FindingRow]
    is_narrowed: bool
    is_first: bool
    first_url: str
    next_url: str
    decide_url: str


def filter_of(context: Context, asked: FindingFields) -> FindingFilter:
    """Which findings are meant."""
    zone = context.zone
    return FindingFilter(
        rule=asked.rule,
        severity=asked.severity,
        station=asked.station,
        point=asked.point,
        meter=asked.meter,
        from_at=None if asked.first_day is None else day_start(asked.first_day, zone),
        to_at=None if asked.last_day is None else day_start(asked.last_day + DAY, zone),
        open={"open": True, "decided": False, "all": None}[asked.state],
    )


def finding_page(context: Context, asked: FindingListFields, speech: Speech) -> FindingPage:
    """A page of the queue."""
    found = vee.list_findings(
        context.ledger,
        filter_of(context, asked),
        limit=FINDINGS_PER_PAGE + 1,
        after_id=asked.after,
    )
    shown = found[:FINDINGS_PER_PAGE]
    more = len(found) > FINDINGS_PER_PAGE
    return FindingPage(
        rows=[row_of(stored, speech) for stored in shown],
        is_narrowed=asked.model_copy(update={"after": 0}) != FindingListFields(),
        is_first=asked.after == 0,
        first_url=address("/findings", asked),
        next_url=address("/findings", asked, after=shown[-1].id) if more else "",
        decide_url=address("/findings/decide", asked) if is_decidable(context, asked) else "",
    )


def is_decidable(context: Context, asked: FindingFields) -> bool:
    """Whether several can be decided at once: of a filter, and while they are open."""
    return asked.state == "open" and filter_of(context, asked) != FindingFilter()


def address(path: str, asked: FindingFields, **more: int) -> str:
    """The address of a page about what is asked for; without the page's number."""
    fields = asked.model_dump(mode="json", exclude_defaults=True, exclude={"after"}) | more
    return f"{path}?{urlencode(fields)}" if fields else path


def row_of(stored: StoredFinding, speech: Speech) -> FindingRow:
    """A finding as this reader writes words, numbers and instants."""
    translate = translation(speech.language)
    facts = {name: _told(value, speech) for name, value in stored.finding.facts.items()}
    finding = replace(stored.finding, facts=facts)
    return FindingRow(
        stored,
        title(finding.rule, translate),
        severity_text(finding.severity, translate),
        _BADGES[finding.severity],
        found_text(finding, translate),
        check_next_text(finding, translate),
        facts,
    )


def shown_finding(context: Context, number: int) -> ShownFinding:
    """One finding with its reads and its history. Raises NotFound."""
    return findings.show_finding(context.ledger, number, context.now())


def rule_choices(language: str) -> list[tuple[str, str]]:
    """Every rule with its name."""
    translate = translation(language)
    return [(rule.id, title(rule.id, translate)) for rule in RULES]


def severity_choices(language: str) -> list[tuple[str, str]]:
    """Every severity with its name."""
    translate = translation(language)
    return [(one.value, severity_text(one, translate)) for one in Severity]


def _told(fact: Fact, speech: Speech) -> str:
    """A fact as the reader writes numbers and instants; names as they are."""
    if isinstance(fact, int):
        return speech.number(fact)
    if _INSTANT.fullmatch(fact):
        return speech.instant(datetime.fromisoformat(fact))
    return fact


def wh_of(text: str | None) -> int | None:
    """Wh of what a display shows in kWh, written with a point or a comma. Raises InvalidRequest."""
    if text is None:
        return None
    try:
        wh = Decimal(text.strip().replace(",", ".")) * _WH_OF_KWH
    except InvalidOperation:
        wh = Decimal("NaN")
    if not wh.is_finite() or not 0 <= wh <= ENERGY_MAX or wh != int(wh):
        raise InvalidRequest(
            f"{text!r} is no index in kWh", hint="write 12345 or 12345.678, without thousands"
        )
    return int(wh)
