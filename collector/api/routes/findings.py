"""The queue of findings: look through it, decide one, count what a filter says and decide it.

It must not know what a rule looks for, nor what a decision does.
"""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Security

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.vee_models import (
    ID_MAX,
    BulkRequest,
    DecidedView,
    DecisionRequest,
    DecisionView,
    FindingDetail,
    FindingList,
    FindingView,
    ManualIndexView,
    ReadView,
    RefusalView,
    ReReadView,
)
from collector.civil import day_start
from collector.errors import Conflict, InvalidRequest
from collector.ledger.findings import Decision, FindingFilter, ManualIndex, StoredFinding
from collector.operations import findings, vee
from collector.operations.daily import DAY
from collector.operations.deciding import DecideReport, Deciding
from collector.operations.keys import KeyIdentity, Scope
from collector.operations.vee_files import translation
from collector.vee.texts import Translate, check_next_text, found_text, title
from collector.vee.values import Severity
from collector.web.context import Context, ContextParameter
from collector.web.deciding import place_of, refuse_everything
from collector.web.parameters import Day, NameQuery
from collector.web.problems import responses

router = APIRouter(prefix="/findings", tags=["findings"])

FindingId = Annotated[int, Path(ge=1, le=ID_MAX)]
LanguageQuery = Annotated[Literal["en", "vi"], Query(description="of texts for people")]


@router.get("", summary="The queue of findings", dependencies=[Security(needs(Scope.READ))])
def list_findings(  # noqa: PLR0913  one parameter per query
    context: ContextParameter,
    rule: Annotated[str | None, Query(pattern="^V[0-9]{2}$")] = None,
    severity: Severity | None = None,
    station: NameQuery = None,
    point: NameQuery = None,
    meter: NameQuery = None,
    first_day: Day | None = None,
    last_day: Day | None = None,
    state: Annotated[Literal["open", "decided", "all"], Query()] = "open",
    limit: Annotated[int, Query(ge=1, le=vee.LIST_MAX)] = 100,
    after: Annotated[int, Query(ge=0, le=ID_MAX, description="`next` of the page before")] = 0,
    language: LanguageQuery = "en",
) -> FindingList:
    """Findings in the order in which they were found; those that are open unless asked otherwise.

    Days are those that a finding reaches into; a station is where its point was then.
    """
    wanted = FindingFilter(
        rule=rule,
        severity=severity,
        station=_printed(station),
        point=_printed(point),
        meter=_printed(meter),
        from_at=_start(context, first_day),
        to_at=_end(context, last_day),
        open={"open": True, "decided": False, "all": None}[state],
    )
    found = vee.list_findings(context.ledger, wanted, limit=limit, after_id=after)
    translate = translation(language)
    return FindingList(
        findings=[_view(stored, translate) for stored in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get(
    "/{finding}",
    summary="One finding, with its reads and its history",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def get_finding(
    finding: FindingId, context: ContextParameter, language: LanguageQuery = "en"
) -> FindingDetail:
    """What it rests on, all that was decided of it, and what became of commands to read again."""
    shown = findings.show_finding(context.ledger, finding, context.now())
    return FindingDetail(
        finding=_view(shown.stored, translation(language)),
        decisions=[DecisionView.model_validate(one) for one in shown.history],
        reads=[
            ReadView(at=at, register=register, value=value, slot=slot)
            for at, register, value, slot in shown.reads
        ],
        indices=[manual_view(one, number) for number, one in shown.indices],
        re_reads=[ReReadView.model_validate(one) for one in shown.re_reads],
    )


@router.post(
    "/decisions",
    summary="Decide all findings of a filter",
    responses=responses(400, 404, 409, 413, 422, 503),
)
def decide_many(
    wanted: BulkRequest,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.VEE))],
    idempotency_key: IdempotencyHeader = None,
) -> DecidedView:
    """Without `expected` it says what would be done; with the `count` of that answer it is done.

    Where the number is another by then, nothing is done (409, `count_changed`). Findings that
    cannot be decided stay open and are in `refused`.
    """
    asked = FindingFilter(
        rule=wanted.filter.rule,
        severity=wanted.filter.severity,
        station=wanted.filter.station,
        point=wanted.filter.point,
        meter=wanted.filter.meter,
        from_at=_start(context, wanted.filter.first_day),
        to_at=_end(context, wanted.filter.last_day),
    )
    refuse_everything(asked)
    deciding = Deciding(Decision(wanted.decision), key.name, wanted.reason, method=wanted.method)
    counting = wanted.expected is None
    token = None if counting else once(key.name, idempotency_key, "findings", wanted)
    place = place_of(context, deciding, token, wanted.expected)
    return _decided(findings.decide(context.ledger, asked, deciding, place, dry_run=counting))


@router.post(
    "/{finding}/decision",
    summary="Decide one finding",
    responses=responses(400, 404, 409, 413, 422, 503),
)
def decide_one(
    finding: FindingId,
    wanted: DecisionRequest,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.VEE))],
    idempotency_key: IdempotencyHeader = None,
) -> DecidedView:
    """Accept it, put an estimate or an index in its place, or have its meter read again.

    Where that cannot be, the finding stays open (409, `not_decided`) and the answer says why.
    """
    deciding = Deciding(
        Decision(wanted.decision),
        key.name,
        wanted.reason,
        value=wanted.value,
        photo=wanted.photo,
        method=wanted.method,
    )
    token = once(key.name, idempotency_key, f"finding {finding}", wanted)
    place = place_of(context, deciding, token)
    report = findings.decide(context.ledger, FindingFilter(ids=[finding]), deciding, place)
    if report.refused:
        raise Conflict(
            f"finding {finding}: {report.refused[0][1]}",
            hint="see it at GET /v1/findings/{finding}",
            code="not_decided",
        )
    return _decided(report)


def manual_view(one: ManualIndex, number: int | None = None) -> ManualIndexView:
    """An index that was put in, with its id where it is known."""
    return ManualIndexView.model_validate(one).model_copy(update={"id": number})


def _printed(text: str | None) -> str | None:
    """A name as it may be stored: no row has one with a NUL, and PostgreSQL refuses to look."""
    if text is not None and "\0" in text:
        raise InvalidRequest("a name has no NUL in it", hint="see GET /v1/points")
    return text


def _start(context: Context, day: Day | None) -> datetime | None:
    return None if day is None else day_start(day, context.zone)


def _end(context: Context, day: Day | None) -> datetime | None:
    return None if day is None else day_start(day + DAY, context.zone)


def _decided(report: DecideReport) -> DecidedView:
    return DecidedView(
        written=report.written,
        again=report.again,
        count=len(report.decided),
        decided=report.decided,
        refused=[RefusalView(finding=number, why=why) for number, why in report.refused],
        indices=[manual_view(one) for one in report.indices],
        commands=report.commands,
    )


def _view(stored: StoredFinding, translate: Translate) -> FindingView:
    finding = stored.finding
    return FindingView(
        id=stored.id,
        rule=finding.rule,
        title=title(finding.rule, translate),
        severity=finding.severity.value,
        point=finding.point,
        meter=finding.meter,
        register=finding.register,
        from_at=finding.from_at,
        to_at=finding.to_at,
        found_at=stored.found_at,
        facts=dict(finding.facts),
        text=found_text(finding, translate),
        check_next=check_next_text(finding, translate),
        open=stored.open,
        decision=None if stored.decision is None else stored.decision.value,
        author=stored.author,
        decided_at=stored.decided_at,
        reason=stored.reason,
    )
