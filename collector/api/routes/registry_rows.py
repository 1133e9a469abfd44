"""The registry's rows: looked at, added, changed from an instant on, put right; nothing is deleted.

Names and addresses of customers need the scope of those who bring the registry, and who looked at
them is on record.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request, Response, Security, status

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.paging import PAGE_LIMIT_DEFAULT, LimitQuery
from collector.api.registry_models import (
    ChangeView,
    ColumnView,
    Kind,
    KindList,
    KindView,
    NamedRows,
    OpenKind,
    RowList,
    RowsRequest,
)
from collector.ledger.idempotency import Once
from collector.operations import registry_changes
from collector.operations.keys import KeyIdentity, Scope
from collector.operations.registry_changes import Asked, By, Purpose, Wanted
from collector.registry.rows import PERSONAL
from collector.web.context import Context, ContextParameter
from collector.web.etags import is_held, strong_tags
from collector.web.parameters import Instant, NameQuery
from collector.web.problems import PreconditionRequired, responses
from contract.limits import NAME_CHARS_MAX

router = APIRouter(prefix="/registry", tags=["registry"])

ReadingKey = Annotated[KeyIdentity, Security(needs(Scope.READ))]
WritingKey = Annotated[KeyIdentity, Security(needs(Scope.REGISTRY))]

# The whole rest of the path: names may have slashes.
RowName = Annotated[str, Path(min_length=1, max_length=NAME_CHARS_MAX)]
CursorQuery = Annotated[
    str | None, Query(min_length=1, max_length=1024, description="`next` of the page before")
]
AtQuery = Annotated[Instant | None, Query(description="rows that hold at this instant; all")]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=512, description="the ETag of what you saw")
]

_CACHE = "private, no-cache"
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "What `If-None-Match` names is what there is"}
}


@router.get("", summary="What kinds of rows there are", dependencies=[Security(needs(Scope.READ))])
def kinds(context: ContextParameter) -> KindList:
    """The kinds with their columns, as docs/registry-files.md explains them."""
    return KindList(
        kinds=[
            KindView(
                kind=row.kind,
                dated=row.dated,
                correctable=row.correctable,
                columns=[ColumnView.model_validate(column) for column in row.columns],
            )
            for row in registry_changes.kinds(context.zone)
        ]
    )


@router.get("/customers", summary="Customers with names and addresses")
def customers(
    context: ContextParameter,
    key: WritingKey,
    limit: LimitQuery = PAGE_LIMIT_DEFAULT,
    after: CursorQuery = None,
) -> RowList:
    """By code. That they were looked at is in the audit trail."""
    page = registry_changes.list_rows(context.ledger, Asked(PERSONAL, limit, after), context.zone)
    registry_changes.note_looked(context.ledger, _by(key, context), PERSONAL, len(page.rows))
    return RowList.model_validate(page)


@router.get(
    "/customers/{name:path}",
    summary="One customer with name and address",
    response_model=NamedRows,
    responses=responses(404) | _NOT_MODIFIED,
)
def customer(
    name: RowName, request: Request, response: Response, context: ContextParameter, key: WritingKey
) -> NamedRows | Response:
    """That it was looked at is in the audit trail."""
    found = registry_changes.get_rows(context.ledger, PERSONAL, name, context.zone)
    registry_changes.note_looked(context.ledger, _by(key, context), f"{PERSONAL} {name}", 1)
    return _named(name, found, request, response)


@router.get(
    "/{kind}",
    summary="List rows of a kind",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def list_rows(  # noqa: PLR0913  one parameter per filter
    kind: OpenKind,
    context: ContextParameter,
    limit: LimitQuery = PAGE_LIMIT_DEFAULT,
    after: CursorQuery = None,
    at: AtQuery = None,
    station: NameQuery = None,
    point: NameQuery = None,
    meter: NameQuery = None,
    contract: NameQuery = None,
    customer: NameQuery = None,
    book: NameQuery = None,
) -> RowList:
    """By key. A filter names a column that the kind has; `station` of points is their first one."""
    given = {
        "station": station, "point": point, "meter": meter, "contract": contract,
        "customer": customer, "book": book,
    }  # fmt: skip
    filters = {column: value for column, value in given.items() if value is not None}
    asked = Asked(kind, limit, after, at, filters)
    return RowList.model_validate(registry_changes.list_rows(context.ledger, asked, context.zone))


@router.get(
    "/{kind}/{name:path}",
    summary="All rows of one name",
    dependencies=[Security(needs(Scope.READ))],
    response_model=NamedRows,
    responses=responses(404) | _NOT_MODIFIED,
)
def get_rows(
    kind: OpenKind, name: RowName, request: Request, response: Response, context: ContextParameter
) -> NamedRows | Response:
    """What it is, or everything dated of it; its `ETag` is what a change of it is asked under."""
    found = registry_changes.get_rows(context.ledger, kind, name, context.zone)
    return _named(name, found, request, response)


@router.post(
    "/{kind}",
    status_code=status.HTTP_201_CREATED,
    summary="Add rows of new names",
    responses=responses(400, 404, 409, 413, 422),
)
def create(
    kind: Kind,
    wanted: RowsRequest,
    response: Response,
    context: ContextParameter,
    key: WritingKey,
    idempotency_key: IdempotencyHeader = None,
) -> ChangeView:
    """All rows, or none. What a name has already is changed under it."""
    return _change(
        context,
        key,
        Wanted(kind, Purpose.CREATE, wanted.rows, reason=wanted.reason),
        once(key.name, idempotency_key, f"registry create {kind}", wanted),
        response,
    )


@router.post(
    "/{kind}/{name:path}",
    summary="Change a name's rows from an instant on, or end them",
    responses=responses(400, 404, 409, 412, 413, 422, 428),
)
def change(  # noqa: PLR0913  what, whose, under which tag, by whom
    kind: Kind,
    name: RowName,
    wanted: RowsRequest,
    response: Response,
    context: ContextParameter,
    key: WritingKey,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyHeader = None,
) -> ChangeView:
    """A change is a row with a later date, an end a date in a stored row. None is overwritten."""
    return _change(
        context,
        key,
        Wanted(kind, Purpose.CHANGE, wanted.rows, name, wanted.reason, _tags(if_match)),
        once(key.name, idempotency_key, f"registry change {kind} {name} {if_match}", wanted),
        response,
    )


@router.patch(
    "/{kind}/{name:path}",
    summary="Put a name's rows right",
    responses=responses(400, 404, 409, 412, 413, 422, 428),
)
def correct(  # noqa: PLR0913  what, whose, under which tag, by whom
    kind: Kind,
    name: RowName,
    wanted: RowsRequest,
    response: Response,
    context: ContextParameter,
    key: WritingKey,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyHeader = None,
) -> ChangeView:
    """Rows that were wrong from their date on, with the reason; those they replace are kept."""
    return _change(
        context,
        key,
        Wanted(kind, Purpose.CORRECT, wanted.rows, name, wanted.reason, _tags(if_match)),
        once(key.name, idempotency_key, f"registry correct {kind} {name} {if_match}", wanted),
        response,
    )


def _change(
    context: Context, key: KeyIdentity, wanted: Wanted, sent: Once | None, response: Response
) -> ChangeView:
    done = registry_changes.change_rows(context.ledger, wanted, _by(key, context), sent)
    if wanted.name is not None:
        response.headers["ETag"] = f'"{done.tag}"'
        response.headers["Content-Location"] = f"/v1/registry/{wanted.kind}/{quote(wanted.name)}"
    return ChangeView.model_validate(done)


def _named(
    name: str, found: registry_changes.Rows, request: Request, response: Response
) -> NamedRows | Response:
    headers: Mapping[str, str] = {"ETag": f'"{found.tag}"', "Cache-Control": _CACHE}
    if is_held(request, headers["ETag"]):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=dict(headers))
    response.headers.update(headers)
    return NamedRows(kind=found.kind, name=name, rows=[dict(row) for row in found.rows])


def _by(key: KeyIdentity, context: Context) -> By:
    return By(key.name, context.now(), context.zone)


def _tags(if_match: str | None) -> frozenset[str] | None:
    """What the caller saw; None for `*`, which is anything that is there."""
    if if_match is None:
        raise PreconditionRequired(
            "a change needs the ETag of what it changes",
            hint="get the rows, look, and send their ETag in If-Match",
        )
    return None if if_match.strip() == "*" else strong_tags(if_match)
