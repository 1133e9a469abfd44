"""Billing runs: opened, made, looked at, approved by another person, exported.

A request may be sent twice: opening takes an `Idempotency-Key`, everything else is done once by
what it says. It must not know what a line says, nor who may approve.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response, Security, status

from collector.api.auth import needs
from collector.api.billing_models import (
    ActView,
    ApprovalRequest,
    ChangeList,
    ChangeView,
    Decided,
    DecisionRequest,
    ExceptionList,
    ExceptionView,
    ExportView,
    MarkRequest,
    PeriodList,
    PeriodView,
    PointRequest,
    ReasonRequest,
    RunLineList,
    RunLineView,
    RunList,
    RunRequest,
    RunView,
    Validated,
    ValidatedView,
    Verification,
    VersionMade,
    VersionView,
)
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.paging import LimitQuery
from collector.billing.gates import Cause, ExceptionFilter
from collector.civil import civil_day, day_start
from collector.operations import billing_runs, bills
from collector.operations.keys import KeyIdentity, Scope
from collector.operations.registry_history import book_periods
from collector.operations.run_decisions import (
    decide_exceptions,
    mark_point,
    open_exceptions,
    run_exceptions,
)
from collector.operations.run_facts import Acting
from collector.operations.run_validation import validate_run
from collector.web.context import Context, ContextParameter
from collector.web.etags import is_held
from collector.web.parameters import Day
from collector.web.problems import responses
from contract.limits import NAME_CHARS_MAX

VERSION_MAX = 1_000_000
OFFSET_MAX = 10**9

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "What `If-None-Match` names is what there is"}
}

router = APIRouter(prefix="/billing", tags=["billing"])

RunPath = Annotated[str, Path(min_length=1, max_length=36)]
VersionPath = Annotated[int, Path(ge=1, le=VERSION_MAX)]
VersionQuery = Annotated[int | None, Query(ge=1, le=VERSION_MAX, description="the latest if none")]
CursorQuery = Annotated[int, Query(ge=-1, le=OFFSET_MAX, description="`next` of the page before")]
Clerk = Annotated[KeyIdentity, Security(needs(Scope.SNAPSHOT))]
Approver = Annotated[KeyIdentity, Security(needs(Scope.APPROVE))]
Exporter = Annotated[KeyIdentity, Security(needs(Scope.EXPORT))]
READS = [Security(needs(Scope.READ))]

_Row = TypeVar("_Row")


@router.post(
    "/runs",
    status_code=status.HTTP_201_CREATED,
    summary="Open a billing run",
    responses=responses(400, 404, 409, 413, 422),
)
def open_run(
    wanted: RunRequest,
    response: Response,
    context: ContextParameter,
    key: Clerk,
    idempotency_key: IdempotencyHeader = None,
) -> RunView:
    """Begin the billing of a period. 409 `run_unfinished` while one of the same points is open."""
    head = billing_runs.open_run(
        context.ledger,
        scope=billing_runs.Scope(wanted.station, wanted.book),
        from_at=day_start(wanted.from_day, context.zone),
        to_at=day_start(wanted.to_day, context.zone),
        zone=context.zone,
        by_whom=acting(key, context),
        once=once(key.name, idempotency_key, "billing run", wanted),
    )
    response.headers["Location"] = f"/v1/billing/runs/{head.run}"
    return _view(billing_runs.view_run(context.ledger, head.run))


@router.get(
    "/periods",
    summary="The periods of a reading book",
    dependencies=READS,
    responses=responses(404, 422),
)
def list_periods(
    context: ContextParameter,
    book: Annotated[str, Query(min_length=1, max_length=NAME_CHARS_MAX)],
    month: Annotated[Day, Query(description="any day of the month in which they end")],
) -> PeriodList:
    """By the book's reading days, so that nobody has to work them out to open a run."""
    found = book_periods(context.ledger, book, month, context.zone)
    return PeriodList(
        periods=[
            PeriodView(
                book=one.book,
                number=one.number,
                from_day=civil_day(one.from_at, context.zone),
                to_day=civil_day(one.to_at, context.zone),
            )
            for one in found
        ]
    )


@router.get("/runs", summary="List billing runs", dependencies=READS, responses=responses(404))
def list_runs(
    context: ContextParameter,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[
        str | None, Query(min_length=1, max_length=36, description="`next` of the page before")
    ] = None,
) -> RunList:
    """The runs opened last, newest first."""
    found = billing_runs.list_runs(context.ledger, limit + 1, after)
    return RunList(
        runs=[_view(one) for one in found[:limit]],
        next=found[limit - 1].head.run if len(found) > limit else None,
    )


@router.get(
    "/verification",
    summary="Check stored runs and bills",
    dependencies=[Security(needs(Scope.APPROVE))],
)
def verify(context: ContextParameter) -> Verification:
    """Computes all hashes and sums again. It takes a while where there are years of them."""
    faults = [*billing_runs.verify_runs(context.ledger), *bills.verify_bills(context.ledger)]
    return Verification(faults=faults)


@router.get(
    "/runs/{run}",
    summary="One billing run",
    dependencies=READS,
    response_model=RunView,
    responses=responses(404) | NOT_MODIFIED,
)
def get_run(
    run: RunPath, request: Request, response: Response, context: ContextParameter
) -> RunView | Response:
    """Its versions, what people did with it, and how far it is."""
    found = billing_runs.view_run(context.ledger, run)
    tag = f'"{run}-{found.state}-{len(found.versions)}-{len(found.acts)}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if is_held(request, tag):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    response.headers.update(headers)
    return _view(found)


@router.post(
    "/runs/{run}/versions",
    status_code=status.HTTP_201_CREATED,
    summary="Make a version",
    responses=responses(400, 404, 409, 413, 422)
    | {200: {"model": VersionMade, "description": "Nothing has changed: the latest version"}},
)
def make_version(
    run: RunPath, wanted: ReasonRequest, response: Response, context: ContextParameter, key: Clerk
) -> VersionMade:
    """Work out the lines from what is known now; if nothing has changed, the latest stands."""
    made = billing_runs.make_version(
        context.ledger, run, context.rules.billed, acting(key, context, wanted.reason)
    )
    if not made.is_new:
        response.status_code = status.HTTP_200_OK
    return VersionMade(
        version=VersionView.model_validate(made.version),
        is_new=made.is_new,
        changed_count=len(made.changes),
    )


@router.post(
    "/runs/{run}/validation",
    summary="Validate what a run bills",
    responses=responses(404, 409),
)
def validate(run: RunPath, context: ContextParameter, key: Clerk) -> Validated:
    """Ask all rules about the days of the run; what they find is under `/v1/findings`.

    Again after reads, indices or corrections that came later: nothing is found twice.
    """
    reports = validate_run(context.ledger, run, context.rules.billed, acting(key, context))
    return Validated(
        validated=[
            ValidatedView(
                first_day=one.first_day,
                last_day=one.last_day,
                meters=one.meters,
                days_due=one.days_due,
                days_missing=one.days_missing,
                found_count=one.found.total(),
                new_count=one.new,
                gone_count=one.gone,
            )
            for one in reports
        ]
    )


@router.get(
    "/runs/{run}/versions/{version}/changes",
    summary="What a version changed",
    dependencies=READS,
    responses=responses(404, 409),
)
def version_changes(
    run: RunPath,
    version: VersionPath,
    context: ContextParameter,
    limit: LimitQuery = 200,
    after: CursorQuery = -1,
) -> ChangeList:
    """What it says otherwise than the version before it, and why it was made."""
    changes = billing_runs.version_changes(context.ledger, run, version)
    view = billing_runs.view_run(context.ledger, run)
    rows, following = part(changes, after, limit)
    return ChangeList(
        version=version,
        reason=view.versions[version - 1].reason,
        changes=[ChangeView.model_validate(row) for row in rows],
        next=following,
    )


@router.get(
    "/runs/{run}/lines",
    summary="A version's lines",
    dependencies=READS,
    responses=responses(404, 409),
)
def run_lines(
    run: RunPath,
    context: ContextParameter,
    version: VersionQuery = None,
    limit: LimitQuery = 200,
    after: CursorQuery = -1,
) -> RunLineList:
    """Page by page; while no version is named, the latest of that moment."""
    found = billing_runs.version_lines(context.ledger, run, version, after, limit + 1)
    return RunLineList(
        lines=[RunLineView.model_validate(line) for line in found[:limit]],
        next=after + limit if len(found) > limit else None,
    )


@router.get(
    "/runs/{run}/exceptions",
    summary="What must be looked at",
    dependencies=READS,
    responses=responses(404, 409),
)
def exceptions(
    run: RunPath,
    context: ContextParameter,
    cause: Annotated[Cause | None, Query()] = None,
    undecided: Annotated[bool, Query(description="only what blocks and is not decided")] = False,
    limit: LimitQuery = 200,
    after: CursorQuery = -1,
) -> ExceptionList:
    """The gate's exceptions in the latest version."""
    ask = open_exceptions if undecided else run_exceptions
    found = [
        one
        for one in ask(context.ledger, run, context.rules.billed)
        if cause is None or one.cause is cause
    ]
    rows, following = part(found, after, limit)
    return ExceptionList(
        exceptions=[ExceptionView.model_validate(row) for row in rows], next=following
    )


@router.post(
    "/runs/{run}/decisions",
    summary="Decide exceptions, one or many",
    responses=responses(400, 404, 409, 413, 422),
)
def decide(run: RunPath, wanted: DecisionRequest, context: ContextParameter, key: Clerk) -> Decided:
    """All undecided ones that fit every given part of the filter; none given: all.

    Points that are held are left out from the next version on.
    """
    count = decide_exceptions(
        context.ledger,
        run,
        context.rules.billed,
        ExceptionFilter(
            frozenset(wanted.causes),
            frozenset(wanted.points),
            wanted.billed_max_wh,
            wanted.percent_max,
        ),
        wanted.verdict,
        acting(key, context, wanted.reason),
    )
    return Decided(decided_count=count)


@router.post(
    "/runs/{run}/hold", summary="Leave a point out", responses=responses(400, 404, 409, 413, 422)
)
def hold(run: RunPath, wanted: PointRequest, context: ContextParameter, key: Clerk) -> RunView:
    """From the next version on; a later run bills it from where it was billed to."""
    return _exclude(run, wanted, context, key, include=False)


@router.post(
    "/runs/{run}/release",
    summary="Take a point in again",
    responses=responses(400, 404, 409, 413, 422),
)
def release(run: RunPath, wanted: PointRequest, context: ContextParameter, key: Clerk) -> RunView:
    """From the next version on."""
    return _exclude(run, wanted, context, key, include=True)


@router.post(
    "/runs/{run}/marks",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Say what the reader found",
    responses=responses(400, 404, 409, 413, 422),
)
def mark(run: RunPath, wanted: MarkRequest, context: ContextParameter, key: Clerk) -> None:
    """409 `mark_refused` where the mark says that nothing was used and the meter counted."""
    by_whom = acting(key, context, wanted.reason)
    mark_point(context.ledger, run, wanted.point, wanted.mark or "", by_whom)


@router.post(
    "/runs/{run}/approval",
    summary="Approve the latest version",
    responses=responses(400, 404, 409, 413, 422),
)
def approve(
    run: RunPath, wanted: ApprovalRequest, context: ContextParameter, key: Approver
) -> RunView:
    """By its hash. 409 `hash_changed`, `own_work`, `exceptions_open`."""
    by_whom = acting(key, context, wanted.reason)
    billing_runs.approve_run(context.ledger, run, wanted.sha256, context.rules.billed, by_whom)
    return _view(billing_runs.view_run(context.ledger, run))


@router.post(
    "/runs/{run}/export",
    summary="Close the run",
    responses=responses(404, 409),
)
def export(run: RunPath, context: ContextParameter, key: Clerk) -> ExportView:
    """Its approved version is what was billed, for ever. A run that is closed stays as it is.

    409 `exceptions_open` where something came up since it was approved, `approval_fell` where marks
    or decisions are others: another person approves again.
    """
    ledger = context.ledger
    done = billing_runs.view_run(ledger, run).export
    found = done or billing_runs.export_run(ledger, run, context.rules.billed, acting(key, context))
    return ExportView.model_validate(found)


def acting(key: KeyIdentity, context: Context, reason: str = "") -> Acting:
    """Who asks, by the key's name: a person's key is named as the account that gives commands, so
    that nobody approves with one what was done with the other."""
    return Acting(key.name, context.now(), reason)


def part(rows: Sequence[_Row], after: int, limit: int) -> tuple[Sequence[_Row], int | None]:
    """The rows after a place (from 0), and the place that leads to more, if there are."""
    first = after + 1
    found = rows[first : first + limit]
    return found, first + limit - 1 if first + limit < len(rows) else None


def _exclude(
    run: str, wanted: PointRequest, context: Context, key: KeyIdentity, *, include: bool
) -> RunView:
    by_whom = acting(key, context, wanted.reason)
    billing_runs.exclude_point(context.ledger, run, wanted.point, by_whom, include=include)
    return _view(billing_runs.view_run(context.ledger, run))


def _view(found: billing_runs.RunView) -> RunView:
    head = found.head
    return RunView(
        run=head.run,
        station=head.station,
        book=head.book,
        from_at=head.from_at,
        to_at=head.to_at,
        opened_at=head.opened_at,
        opened_by=head.opened_by,
        state=found.state,
        versions=[VersionView.model_validate(one) for one in found.versions],
        acts=[ActView.model_validate(one) for one in found.acts],
        export=None if found.export is None else ExportView.model_validate(found.export),
        held_points=found.excluded,
    )
