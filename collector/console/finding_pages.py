"""The addresses of the pages of findings: the queue, one finding, deciding one or all of a filter.

It must not decide; `operations.findings` does, as for the API.
"""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from collector.console import finding_views
from collector.console.form_values import (
    ID_MAX,
    BulkFields,
    DecideFields,
    FindingFields,
    FindingListFields,
)
from collector.console.web import (
    FORM_FAULTS,
    Fault,
    Operator,
    check_form,
    fault_of,
    operator_of,
    render,
    speech_of,
)
from collector.errors import CollectorError, Conflict
from collector.ledger.findings import Decision, FindingFilter
from collector.ledger.idempotency import Once
from collector.operations import findings
from collector.operations.deciding import DecideReport, Deciding
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import Context, ContextParameter
from collector.web.deciding import place_of, refuse_everything
from collector.web.scopes import allows

router = APIRouter(include_in_schema=False)

FindingId = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("/findings")
def findings_page(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    asked: Annotated[FindingListFields, Query()],
) -> Response:
    """The queue, and what narrows it."""
    language = speech_of(request).language
    return render(
        request,
        "findings.html",
        identity=operator,
        tab="findings",
        asked=asked,
        rules=finding_views.rule_choices(language),
        severities=finding_views.severity_choices(language),
        part_url=finding_views.address("/console/findings", asked, after=asked.after),
        may_decide=allows(operator, Scope.VEE),
    )


@router.get("/console/findings", dependencies=[Depends(operator_of)])
def findings_part(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    asked: Annotated[FindingListFields, Query()],
) -> Response:
    """The table of findings."""
    page = finding_views.finding_page(context, asked, speech_of(request))
    may_decide = allows(operator, Scope.VEE)
    return render(request, "parts/findings.html", page=page, asked=asked, may_decide=may_decide)


@router.get("/findings/decide")
def bulk_page(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    asked: Annotated[FindingFields, Query()],
) -> Response:
    """The form that decides all findings of a filter."""
    return _bulk(request, context, operator, asked)


@router.post("/findings/decide")
def decide_many(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    form: Annotated[BulkFields, Form()],
) -> Response:
    """Count them first; with the count that was seen, decide them."""
    check_form(request, operator, Scope.VEE, form.form_token)
    asked = finding_views.filter_of(context, form)
    try:
        refuse_everything(asked)
        decision = Decision(form.decision)
        deciding = Deciding(decision, operator.name, form.reason, method=form.method)
        counting = form.expected is None
        token = None if counting else _once(operator, form.once, form)
        place = place_of(context, deciding, token, form.expected)
        report = findings.decide(context.ledger, asked, deciding, place, dry_run=counting)
    except FORM_FAULTS as error:
        return _bulk(request, context, operator, form, fault=fault_of(request, error))
    return _bulk(request, context, operator, form, report=report)


@router.get("/findings/{finding}")
def finding_page(
    request: Request, context: ContextParameter, operator: Operator, finding: FindingId
) -> Response:
    """One finding with what it rests on, and the form that decides it."""
    return _finding(request, context, operator, finding)


@router.post("/findings/{finding}/decision")
def decide_one(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    finding: FindingId,
    form: Annotated[DecideFields, Form()],
) -> Response:
    """Decide one finding and show it again."""
    check_form(request, operator, Scope.VEE, form.form_token)
    try:
        _decide(context, operator, finding, form)
    except FORM_FAULTS as error:
        return _finding(request, context, operator, finding, error, form)
    return RedirectResponse(f"/findings/{finding}#history", 303)


def _decide(context: Context, operator: KeyIdentity, finding: int, form: DecideFields) -> None:
    deciding = Deciding(
        Decision(form.decision),
        operator.name,
        form.reason,
        value=finding_views.wh_of(form.value_kwh),
        photo=form.photo,
        method=form.method,
    )
    place = place_of(context, deciding, _once(operator, form.once, form))
    report = findings.decide(context.ledger, FindingFilter(ids=[finding]), deciding, place)
    if report.refused:
        raise Conflict(f"finding {finding}: {report.refused[0][1]}", code="not_decided")


def _finding(
    request: Request,
    context: Context,
    operator: KeyIdentity,
    finding: int,
    error: CollectorError | None = None,
    form: DecideFields | None = None,
) -> Response:
    shown = finding_views.shown_finding(context, finding)
    fault = None if error is None else fault_of(request, error)
    return render(
        request,
        "finding.html",
        200 if fault is None else fault.status,
        identity=operator,
        tab="findings",
        here=f"/findings/{finding}",
        shown=shown,
        row=finding_views.row_of(shown.stored, speech_of(request)),
        may_decide=allows(operator, Scope.VEE),
        has_sender=context.sender is not None,
        form=form,
        fault=fault,
    )


def _bulk(
    request: Request,
    context: Context,
    operator: KeyIdentity,
    asked: FindingFields,
    report: DecideReport | None = None,
    fault: Fault | None = None,
) -> Response:
    language = speech_of(request).language
    fields = FindingFields.model_validate(asked.model_dump(include=set(FindingFields.model_fields)))
    return render(
        request,
        "decide.html",
        200 if fault is None else fault.status,
        identity=operator,
        tab="findings",
        here=finding_views.address("/findings/decide", fields),
        asked=fields,
        fields=fields.model_dump(mode="json", exclude_defaults=True),
        back_url=finding_views.address("/findings", fields),
        rules=dict(finding_views.rule_choices(language)),
        severities=dict(finding_views.severity_choices(language)),
        is_decidable=finding_views.is_decidable(context, fields),
        may_decide=allows(operator, Scope.VEE),
        has_sender=context.sender is not None,
        form=asked if isinstance(asked, BulkFields) else None,
        report=report,
        refused=[] if report is None else report.refused[: finding_views.REFUSED_SHOWN],
        fault=fault,
    )


def _once(operator: KeyIdentity, token: str, form: DecideFields | BulkFields) -> Once | None:
    """A form that is sent twice, by a second click or by loading the page again, is done once."""
    if not token:
        return None
    document = f"console {form.model_dump_json(exclude={'form_token'})}"
    sha256 = hashlib.sha256(document.encode()).hexdigest()
    return Once(operator.name, token, sha256)
