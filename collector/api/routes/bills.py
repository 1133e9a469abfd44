"""Bill previews of billing runs: made, looked at, approved by another person, handed over.

It must not know how an amount comes about, nor who may approve.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, Security, status
from fastapi.responses import StreamingResponse

from collector.api.auth import needs
from collector.api.billing_models import (
    AcceptanceRequest,
    ApprovalRequest,
    BillActView,
    BillExceptionList,
    BillExceptionView,
    BillExportView,
    BillRowList,
    BillRowView,
    BillSetList,
    BillSetView,
    Decided,
    ReasonRequest,
    RefusalList,
    RefusalView,
    WhatIfView,
)
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.paging import LimitQuery
from collector.api.routes.billing import (
    NOT_MODIFIED,
    READS,
    Approver,
    Clerk,
    CursorQuery,
    Exporter,
    RunPath,
    acting,
    part,
)
from collector.billing.bill_gate import BillCause, BillFilter
from collector.billing.rating.preview import canonical_json, hash_of
from collector.operations import bills
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import Context, ContextParameter
from collector.web.etags import is_held
from collector.web.problems import responses
from contract.limits import NAME_CHARS_MAX

router = APIRouter(prefix="/billing", tags=["bills"])

SetPath = Annotated[str, Path(min_length=1, max_length=36)]
_LIST_MAX = 500


@router.post(
    "/runs/{run}/bills",
    status_code=status.HTTP_201_CREATED,
    summary="Preview a run's bills",
    responses=responses(400, 404, 409, 413, 422)
    | {200: {"model": BillSetView, "description": "Nothing has changed: the latest set"}},
)
def make_bills(
    run: RunPath,
    wanted: ReasonRequest,
    response: Response,
    context: ContextParameter,
    key: Clerk,
    idempotency_key: IdempotencyHeader = None,
) -> BillSetView:
    """Of its exported version, or of its latest. Who has no preview is under `refusals`."""
    made = bills.make_bills(
        context.ledger,
        run,
        context.rules.rated,
        acting(key, context, wanted.reason),
        once(key.name, idempotency_key, f"bills {run}", wanted),
    )
    if not made.is_new:
        response.status_code = status.HTTP_200_OK
    response.headers["Location"] = f"/v1/billing/bills/{made.head.bill_set}"
    return _view(bills.view_bills(context.ledger, made.head.bill_set))


@router.get(
    "/runs/{run}/what-if",
    summary="A run's bills under another table",
    dependencies=[Security(needs(Scope.SNAPSHOT))],
    responses=responses(404, 409, 422),
)
def what_if(
    run: RunPath,
    context: ContextParameter,
    table: Annotated[str, Query(min_length=1, max_length=NAME_CHARS_MAX)],
) -> WhatIfView:
    """The sums of both; nothing is stored. It takes seconds for a district."""
    found = bills.what_if_bills(context.ledger, run, table, context.rules.rated)
    return WhatIfView.model_validate(found)


@router.get("/bills", summary="List sets of bills", dependencies=READS, responses=responses(404))
def list_bills(
    context: ContextParameter,
    limit: Annotated[int, Query(ge=1, le=_LIST_MAX)] = 50,
    after: Annotated[
        str | None, Query(min_length=1, max_length=36, description="`next` of the page before")
    ] = None,
) -> BillSetList:
    """The newest sets first."""
    found = bills.list_bills(context.ledger, limit + 1, after)
    return BillSetList(
        bill_sets=[_view(one) for one in found[:limit]],
        next=found[limit - 1].head.bill_set if len(found) > limit else None,
    )


@router.get(
    "/bills/{bill_set}",
    summary="One set of bills",
    dependencies=READS,
    response_model=BillSetView,
    responses=responses(404) | NOT_MODIFIED,
)
def get_bills(
    bill_set: SetPath, request: Request, response: Response, context: ContextParameter
) -> BillSetView | Response:
    """Its sums, its hash, and how far it is."""
    found = bills.view_bills(context.ledger, bill_set)
    headers = {
        "ETag": f'"{bill_set}-{found.state}-{len(found.acts)}"',
        "Cache-Control": "private, no-cache",
    }
    if is_held(request, headers["ETag"]):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    response.headers.update(headers)
    return _view(found)


@router.get(
    "/bills/{bill_set}/rows", summary="A set's bills", dependencies=READS, responses=responses(404)
)
def bill_rows(
    bill_set: SetPath,
    context: ContextParameter,
    limit: LimitQuery = 200,
    after: CursorQuery = -1,
) -> BillRowList:
    """Sums of each bill, in the order of reading."""
    found = bills.bill_rows(context.ledger, bill_set, after, limit + 1)
    return BillRowList(
        bills=[BillRowView.model_validate(row) for row in found[:limit]],
        next=after + limit if len(found) > limit else None,
    )


@router.get(
    "/bills/{bill_set}/preview",
    summary="One bill with everything it rests on",
    dependencies=READS,
    response_class=Response,
    responses=responses(404)
    | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def get_bill(
    bill_set: SetPath,
    context: ContextParameter,
    contract: Annotated[str, Query(min_length=1, max_length=NAME_CHARS_MAX)],
) -> Response:
    """In its canonical form: the SHA-256 of these bytes is the bill's hash (docs/rating.md)."""
    text = canonical_json(bills.get_bill(context.ledger, bill_set, contract))
    headers = {"Songlo-Preview-Sha256": hash_of(text)}
    return Response(text, media_type="application/json", headers=headers)


@router.get(
    "/bills/{bill_set}/refusals",
    summary="Who has no preview",
    dependencies=READS,
    responses=responses(404),
)
def refusals(
    bill_set: SetPath, context: ContextParameter, limit: LimitQuery = 200, after: CursorQuery = -1
) -> RefusalList:
    """Each with its reason and what to do; a later set bills them."""
    rows, following = part(bills.refused_bills(context.ledger, bill_set), after, limit)
    return RefusalList(refusals=[RefusalView.model_validate(row) for row in rows], next=following)


@router.get(
    "/bills/{bill_set}/exceptions",
    summary="What must be looked at",
    dependencies=READS,
    responses=responses(404),
)
def exceptions(
    bill_set: SetPath,
    context: ContextParameter,
    cause: Annotated[BillCause | None, Query()] = None,
    limit: LimitQuery = 200,
    after: CursorQuery = -1,
) -> BillExceptionList:
    """The gate on the bill."""
    found = [
        one
        for one in bills.exceptions_of_bills(context.ledger, bill_set, context.rules.rated)
        if cause is None or one.cause is cause
    ]
    rows, following = part(found, after, limit)
    return BillExceptionList(
        exceptions=[BillExceptionView.model_validate(row) for row in rows], next=following
    )


@router.post(
    "/bills/{bill_set}/acceptances",
    summary="Accept exceptions, one or many",
    responses=responses(400, 404, 409, 413, 422),
)
def accept(
    bill_set: SetPath, wanted: AcceptanceRequest, context: ContextParameter, key: Clerk
) -> Decided:
    """All blocking ones that fit every given part of the filter; none given: all."""
    count = bills.accept_bills(
        context.ledger,
        bill_set,
        context.rules.rated,
        BillFilter(frozenset(wanted.causes), frozenset(wanted.contracts), wanted.amount_max_vnd),
        acting(key, context, wanted.reason),
    )
    return Decided(decided_count=count)


@router.post(
    "/bills/{bill_set}/approval",
    summary="Approve a set",
    responses=responses(400, 404, 409, 413, 422),
)
def approve(
    bill_set: SetPath, wanted: ApprovalRequest, context: ContextParameter, key: Approver
) -> BillSetView:
    """By its hash, by another person. 409 `hash_changed`, `own_work`, `exceptions_open`,
    `run_not_exported`, `superseded`."""
    by_whom = acting(key, context, wanted.reason)
    bills.approve_bills(context.ledger, bill_set, wanted.sha256, context.rules.rated, by_whom)
    return _view(bills.view_bills(context.ledger, bill_set))


@router.post("/bills/{bill_set}/export", summary="Hand a set over", responses=responses(404, 409))
def export(bill_set: SetPath, context: ContextParameter, key: Clerk) -> BillExportView:
    """From now on it is what was billed. A set that is closed stays as it is."""
    found = bills.close_bills(context.ledger, bill_set, acting(key, context))
    return BillExportView.model_validate(found)


def _file_responses(media_type: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "string"}}}
    return responses(404, 409) | {200: {"content": content}}


@router.get(
    "/bills/{bill_set}/bills.csv",
    summary="A set for the receivables system, as CSV",
    response_class=StreamingResponse,
    responses=_file_responses("text/csv"),
)
def bills_csv(bill_set: SetPath, context: ContextParameter, key: Exporter) -> Response:
    """One row a bill. 409 `not_exported` before it is handed over. Recorded in the audit trail."""
    return _file(bill_set, "csv", context, key)


@router.get(
    "/bills/{bill_set}/bills.jsonl",
    summary="A set for the receivables system, as JSON lines",
    response_class=StreamingResponse,
    responses=_file_responses("application/jsonl"),
)
def bills_jsonl(bill_set: SetPath, context: ContextParameter, key: Exporter) -> Response:
    """A preview with everything it rests on a line. Recorded in the audit trail."""
    return _file(bill_set, "jsonl", context, key)


def _file(bill_set: str, form: str, context: Context, key: KeyIdentity) -> Response:
    head, pieces = bills.bills_file(context.ledger, bill_set, form, acting(key, context))
    return StreamingResponse(
        pieces,
        media_type="text/csv; charset=utf-8" if form == "csv" else "application/jsonl",
        headers={
            "Songlo-Line-Count": str(head.bill_count),
            "Songlo-Total-Vnd": str(head.total_vnd),
            "Songlo-Bills-Sha256": head.sha256,
            "Content-Disposition": f'attachment; filename="bills-{bill_set}.{form}"',
        },
    )


def _view(found: bills.BillSetView) -> BillSetView:
    head = {name: getattr(found.head, name) for name in found.head.__dataclass_fields__}
    return BillSetView(
        **head,
        state=found.state,
        acts=[BillActView.model_validate(one) for one in found.acts],
        export=None if found.export is None else BillExportView.model_validate(found.export),
    )
