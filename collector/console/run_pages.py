"""The addresses of the pages of billing runs: opened, made, looked at, approved, exported.

It must not decide what is billed nor who may approve; the operations do, as for the API.
"""

import hashlib
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from collector.billing.gates import BLOCKING, UNACCEPTABLE, Cause, ExceptionFilter
from collector.console import run_views
from collector.console.form_values import (
    ActFields,
    ApprovalFields,
    ExceptionFields,
    ExportFields,
    Fields,
    Name,
    OpenFields,
    PointFields,
    ReasonFields,
)
from collector.console.web import (
    FORM_FAULTS,
    Operator,
    check_form,
    fault_of,
    operator_of,
    render,
)
from collector.errors import CollectorError
from collector.ledger.idempotency import Once
from collector.operations import billing_runs
from collector.operations.keys import KeyIdentity, Scope
from collector.operations.registry_history import book_names
from collector.operations.run_decisions import decide_exceptions
from collector.operations.run_facts import Acting
from collector.operations.run_validation import validate_run
from collector.web.context import Context, ContextParameter
from collector.web.parameters import Day
from collector.web.scopes import allows

_WH_OF_KWH = 1000
_VERSION_MAX = 1_000_000
_FIRST_MAX = 10**9

# What exceptions are decided of by their cause: what blocks, and can be answered for.
_CAUSES = [cause for cause in Cause if cause in BLOCKING and cause not in UNACCEPTABLE]

router = APIRouter(include_in_schema=False)

RunPath = Annotated[str, Path(min_length=1, max_length=36, pattern=r"^[0-9a-zA-Z-]+$")]
FirstQuery = Annotated[int, Query(ge=0, le=_FIRST_MAX)]


class RunListFields(Fields):
    """The run after which a list goes on."""

    after: Name | None = None


class BookFields(Fields):
    """A reading book, and any day of the month in which its periods end."""

    book: Name | None = None
    month: Day | None = None


class ShownFields(Fields):
    """Which exceptions a page shows, and what was just decided."""

    cause: Cause | None = None
    undecided: bool = False
    first: Annotated[int, Query(ge=0, le=_FIRST_MAX)] = 0
    decided: Annotated[int, Query(ge=0, le=_FIRST_MAX)] | None = None
    found: Annotated[int, Query(ge=0, le=_FIRST_MAX)] | None = None
    same: bool = False


@router.get("/runs")
def runs_page(
    request: Request, operator: Operator, asked: Annotated[RunListFields, Query()]
) -> Response:
    """All runs, newest first."""
    part_url = (
        f"/console/runs?{urlencode({'after': asked.after})}" if asked.after else "/console/runs"
    )
    return render(
        request,
        "runs.html",
        identity=operator,
        tab="runs",
        part_url=part_url,
        may_open=allows(operator, Scope.SNAPSHOT),
    )


@router.get("/console/runs", dependencies=[Depends(operator_of)])
def runs_part(
    request: Request, context: ContextParameter, asked: Annotated[RunListFields, Query()]
) -> Response:
    """The table of runs."""
    return render(request, "parts/runs.html", page=run_views.run_page(context, asked.after))


@router.get("/runs/new")
def new_run_page(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    asked: Annotated[BookFields, Query()],
) -> Response:
    """The forms that open a run: of a period of a book, or of days."""
    return _new_run(request, context, operator, asked)


@router.post("/runs")
def open_run(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    form: Annotated[OpenFields, Form()],
) -> Response:
    """Open a run and show it."""
    check_form(request, operator, Scope.SNAPSHOT, form.form_token)
    try:
        head = billing_runs.open_run(
            context.ledger,
            scope=billing_runs.Scope(form.station, form.book),
            from_at=run_views.start_of(context, form.from_day),
            to_at=run_views.start_of(context, form.to_day),
            zone=context.zone,
            by_whom=_acting(operator, context),
            once=_once(operator, form),
        )
    except FORM_FAULTS as error:
        asked = BookFields.model_construct(book=None, month=None)
        return _new_run(request, context, operator, asked, form, error)
    return RedirectResponse(f"/runs/{head.run}", 303)


@router.get("/runs/{run}")
def run_page(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    shown: Annotated[ShownFields, Query()],
) -> Response:
    """One run: its versions, what must be looked at, what can be done next."""
    return _run(request, context, operator, run, shown=shown)


@router.get("/console/runs/{run}/exceptions", dependencies=[Depends(operator_of)])
def exceptions_part(
    request: Request,
    context: ContextParameter,
    run: RunPath,
    shown: Annotated[ShownFields, Query()],
) -> Response:
    """What must be looked at in the latest version."""
    page = run_views.exception_page(
        context, run, shown.cause, shown.first, undecided_only=shown.undecided
    )
    return render(request, "parts/exceptions.html", page=page, run=run, shown=shown)


@router.get("/runs/{run}/versions/{number}")
def changes_page(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    number: Annotated[int, Path(ge=1, le=_VERSION_MAX)],
    first: FirstQuery = 0,
) -> Response:
    """What a version changed, and why it was made."""
    page = run_views.change_page(context, run, number, first)
    return render(request, "changes.html", identity=operator, tab="runs", page=page)


@router.post("/runs/{run}/versions")
def make_version(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    form: Annotated[ReasonFields, Form()],
) -> Response:
    """Work out the lines anew, and show what that changed."""

    def make() -> str:
        by_whom = _acting(operator, context, form.reason)
        made = billing_runs.make_version(context.ledger, run, context.rules.billed, by_whom)
        if not made.is_new:
            return f"/runs/{run}?same=true"
        return f"/runs/{run}/versions/{made.version.version}"

    check_form(request, operator, Scope.SNAPSHOT, form.form_token)
    return _done(request, context, operator, run, make, form)


@router.post("/runs/{run}/validation")
def validate(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    form: Annotated[ActFields, Form()],
) -> Response:
    """Ask all rules about the run's days; what they find is in the queue of findings."""

    def validated() -> str:
        by_whom = _acting(operator, context)
        reports = validate_run(context.ledger, run, context.rules.billed, by_whom)
        return f"/runs/{run}?found={sum(one.new for one in reports)}"

    check_form(request, operator, Scope.SNAPSHOT, form.form_token)
    return _done(request, context, operator, run, validated, form)


@router.post("/runs/{run}/decisions")
def decide(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    form: Annotated[ExceptionFields, Form()],
) -> Response:
    """Accept undecided exceptions, or leave their points out."""

    def decided() -> str:
        most = form.billed_max_kwh
        count = decide_exceptions(
            context.ledger,
            run,
            context.rules.billed,
            ExceptionFilter(
                frozenset() if form.cause is None else frozenset({form.cause}),
                frozenset() if form.point is None else frozenset({form.point}),
                None if most is None else most * _WH_OF_KWH,
                form.percent_max,
            ),
            form.verdict,
            _acting(operator, context, form.reason),
        )
        return f"/runs/{run}?decided={count}"

    check_form(request, operator, Scope.SNAPSHOT, form.form_token)
    return _done(request, context, operator, run, decided, form)


@router.post("/runs/{run}/release")
def release(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    form: Annotated[PointFields, Form()],
) -> Response:
    """Take a point in again, from the next version on."""

    def released() -> str:
        by_whom = _acting(operator, context, form.reason)
        billing_runs.exclude_point(context.ledger, run, form.point, by_whom, include=True)
        return f"/runs/{run}"

    check_form(request, operator, Scope.SNAPSHOT, form.form_token)
    return _done(request, context, operator, run, released, form)


@router.post("/runs/{run}/approval")
def approve(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    form: Annotated[ApprovalFields, Form()],
) -> Response:
    """Approve the version whose hash the page showed."""

    def approved() -> str:
        by_whom = _acting(operator, context, form.reason)
        by = context.rules.billed
        billing_runs.approve_run(context.ledger, run, form.sha256, by, by_whom)
        return f"/runs/{run}"

    check_form(request, operator, Scope.APPROVE, form.form_token)
    return _done(request, context, operator, run, approved, form)


@router.post("/runs/{run}/export")
def export(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    run: RunPath,
    form: Annotated[ExportFields, Form()],
) -> Response:
    """Close the run: its approved version is what was billed."""

    def exported() -> str:
        by = context.rules.billed
        billing_runs.export_run(context.ledger, run, by, _acting(operator, context))
        return f"/runs/{run}"

    check_form(request, operator, Scope.SNAPSHOT, form.form_token)
    return _done(request, context, operator, run, exported, form)


def _done(
    request: Request,
    context: Context,
    operator: KeyIdentity,
    run: str,
    act: Callable[[], str],
    form: Fields,
) -> Response:
    """Do it and go where it leads; or show the run again, with what was wrong and was typed."""
    try:
        target = act()
    except FORM_FAULTS as error:
        return _run(request, context, operator, run, form=form, error=error)
    return RedirectResponse(target, 303)


def _run(  # noqa: PLR0913  what, whose, and what was wrong with the form
    request: Request,
    context: Context,
    operator: KeyIdentity,
    run: str,
    *,
    shown: ShownFields | None = None,
    form: Fields | None = None,
    error: CollectorError | None = None,
) -> Response:
    fault = None if error is None else fault_of(request, error)
    row = run_views.run_row(context, run)
    shown = shown or ShownFields()
    return render(
        request,
        "run.html",
        200 if fault is None else fault.status,
        identity=operator,
        tab="runs",
        here=f"/runs/{run}",
        row=row,
        sets=run_views.sets_of(context, run),
        shown=shown,
        part_url=_part_url(run, shown),
        causes=_CAUSES,
        may_bill=allows(operator, Scope.SNAPSHOT),
        may_approve=allows(operator, Scope.APPROVE),
        may_take=allows(operator, Scope.EXPORT),
        typed={} if form is None else form.model_dump(mode="json", exclude_none=True),
        fault=fault,
    )


def _part_url(run: str, shown: ShownFields) -> str:
    cause = f"&cause={shown.cause.value}" if shown.cause else ""
    undecided = str(shown.undecided).lower()
    return f"/console/runs/{run}/exceptions?undecided={undecided}&first={shown.first}{cause}"


def _new_run(
    request: Request,
    context: Context,
    operator: KeyIdentity,
    asked: BookFields,
    form: OpenFields | None = None,
    error: CollectorError | None = None,
) -> Response:
    month: date = asked.month or context.today()
    found: list[Any] | None = None
    try:
        found = run_views.periods(context, asked.book, month) if asked.book else None
    except FORM_FAULTS as unknown:
        error = unknown
    fault = None if error is None else fault_of(request, error)
    return render(
        request,
        "new_run.html",
        200 if fault is None else fault.status,
        identity=operator,
        tab="runs",
        here="/runs/new",
        books=book_names(context.ledger),
        asked=asked,
        month=month,
        periods=found,
        may_open=allows(operator, Scope.SNAPSHOT),
        typed={} if form is None else form.model_dump(mode="json", exclude_none=True),
        fault=fault,
    )


def _acting(operator: KeyIdentity, context: Context, reason: str = "") -> Acting:
    return Acting(operator.name, context.now(), reason)


def _once(operator: KeyIdentity, form: OpenFields) -> Once | None:
    if not form.once:
        return None
    document = f"console run {form.model_dump_json(exclude={'form_token'})}"
    return Once(operator.name, form.once, hashlib.sha256(document.encode()).hexdigest())
