"""Snapshots: make one, find it again, take its lines as CSV or JSON.

A snapshot never changes, so its lines carry its hash as their entity tag.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, Security, status
from fastapi.responses import StreamingResponse

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.models import SnapshotList, SnapshotRequest, SnapshotView
from collector.billing.values import SnapshotHead
from collector.operations import exports, snapshots
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import ContextParameter
from collector.web.etags import is_held
from collector.web.parameters import check_range
from collector.web.problems import responses
from contract.limits import NAME_CHARS_MAX

LIST_LIMIT_MAX = 500

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "What `If-None-Match` names is what there is"}
}

_CACHE = "private, no-cache"

router = APIRouter(prefix="/snapshots", tags=["snapshots"])

SnapshotId = Annotated[str, Path(min_length=1, max_length=36)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Make a snapshot",
    responses=responses(400, 404, 409, 413, 422),
)
def create_snapshot(
    wanted: SnapshotRequest,
    response: Response,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.SNAPSHOT))],
    idempotency_key: IdempotencyHeader = None,
) -> SnapshotView:
    """Freeze the indices and consumptions of a period. The same content has the same hash.

    With an `Idempotency-Key` the same request again answers with the snapshot of the first.
    """
    check_range(wanted.from_at, wanted.to_at)
    head = snapshots.create_snapshot(
        context.ledger,
        station=wanted.station,
        from_at=wanted.from_at,
        to_at=wanted.to_at,
        actor=key.name,
        now=context.now(),
        once=once(key.name, idempotency_key, "snapshot", wanted),
    )
    response.headers["Location"] = f"/v1/snapshots/{head.id}"
    return SnapshotView.model_validate(head)


@router.get(
    "",
    summary="List snapshots",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def list_snapshots(
    context: ContextParameter,
    limit: Annotated[int, Query(ge=1, le=LIST_LIMIT_MAX)] = 100,
    after: Annotated[
        str | None, Query(min_length=1, max_length=36, description="`next` of the page before")
    ] = None,
) -> SnapshotList:
    """The newest snapshots first."""
    heads = snapshots.list_snapshots(context.ledger, limit + 1, after)
    has_more = len(heads) > limit
    return SnapshotList(
        snapshots=[SnapshotView.model_validate(head) for head in heads[:limit]],
        truncated=has_more,
        next=heads[limit - 1].id if has_more else None,
    )


@router.get(
    "/{snapshot_id}",
    summary="One snapshot's head",
    dependencies=[Security(needs(Scope.READ))],
    response_model=SnapshotView,
    responses=responses(404) | NOT_MODIFIED,
)
def get_snapshot(
    snapshot_id: SnapshotId, request: Request, response: Response, context: ContextParameter
) -> SnapshotView | Response:
    """What was frozen, when, by whom, and its hash."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    headers = {"ETag": _tag(head, "head"), "Cache-Control": _CACHE}
    if is_held(request, headers["ETag"]):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    response.headers.update(headers)
    return SnapshotView.model_validate(head)


@router.get(
    "/{snapshot_id}/lines.csv",
    summary="A snapshot's lines as CSV",
    response_class=StreamingResponse,
    responses=responses(404)
    | NOT_MODIFIED
    | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def lines_csv(
    snapshot_id: SnapshotId,
    request: Request,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.EXPORT))],
) -> Response:
    """One line per point, register and installation; UTF-8 with a header row. Recorded in the
    audit trail."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    if is_held(request, _tag(head, "csv")):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=_headers(head, "csv"))
    by = exports.By(key.name, context.now(), context.zone)
    export = exports.export_csv(context.ledger, snapshot_id, by)
    return _streamed(export.pieces, "text/csv; charset=utf-8", _headers(head, "csv"))


@router.get(
    "/{snapshot_id}/lines.json",
    summary="A snapshot's lines as JSON",
    response_class=StreamingResponse,
    responses=responses(404)
    | NOT_MODIFIED
    | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def lines_json(
    snapshot_id: SnapshotId,
    request: Request,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.EXPORT))],
) -> Response:
    """The head, and the same lines as the CSV has, as one JSON document. Recorded in the audit
    trail."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    if is_held(request, _tag(head, "json")):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=_headers(head, "json"))
    by = exports.By(key.name, context.now(), context.zone)
    export = exports.export_json(context.ledger, snapshot_id, by)
    return _streamed(export.pieces, "application/json", _headers(head, "json"))


@router.get(
    "/{snapshot_id}/cmis.xml",
    summary="A snapshot as a reading file (GCS) for CMIS",
    response_class=StreamingResponse,
    responses=responses(404, 422)
    | {200: {"content": {"application/xml": {"schema": {"type": "string"}}}}},
)
def cmis_xml(
    snapshot_id: SnapshotId,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.EXPORT))],
) -> Response:
    """`Table1` rows with their inline XSD. The file's hash and what of it is not filled are in the
    audit trail before its last piece is sent."""
    by = exports.By(key.name, context.now(), context.zone)
    export = exports.export_cmis(context.ledger, snapshot_id, by)
    # What is known of points may change: it is no copy that can be kept under a snapshot's hash.
    headers = {name: text for name, text in _headers(export.head, "xml").items() if name != "ETag"}
    return _streamed(export.pieces, "application/xml", headers)


@router.get(
    "/{snapshot_id}/lines.xlsx",
    summary="A snapshot's lines as a workbook",
    response_class=StreamingResponse,
    responses=responses(404, 422)
    | NOT_MODIFIED
    | {200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}}},
)
def lines_xlsx(
    snapshot_id: SnapshotId,
    request: Request,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.EXPORT))],
) -> Response:
    """The same lines, in kWh, with the sum of each register. Recorded in the audit trail."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    headers = _headers(head, "xlsx")
    if is_held(request, _tag(head, "xlsx")):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    by = exports.By(key.name, context.now(), context.zone)
    export = exports.export_xlsx(context.ledger, snapshot_id, by)
    return _streamed(export.pieces, XLSX, headers)


@router.get(
    "/{snapshot_id}/statement.pdf",
    summary="The index statement (sao kê chỉ số), to print",
    response_class=StreamingResponse,
    responses=responses(404, 422)
    | {200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}},
)
def statement_pdf(
    snapshot_id: SnapshotId,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.EXPORT))],
    point: Annotated[str | None, Query(min_length=1, max_length=NAME_CHARS_MAX)] = None,
) -> Response:
    """Of all points or of one, in Vietnamese. Recorded in the audit trail."""
    by = exports.By(key.name, context.now(), context.zone)
    export = exports.export_statement(context.ledger, snapshot_id, by, point)
    headers = {name: text for name, text in _headers(export.head, "pdf").items() if name != "ETag"}
    return _streamed(export.pieces, "application/pdf", headers)


def _headers(head: SnapshotHead, form: str) -> dict[str, str]:
    """A snapshot's bytes never change: whoever has them may keep them, and knows if they are all.

    A stream that breaks off ends early; `Songlo-Line-Count` says how many lines there should be.
    """
    return {
        "ETag": _tag(head, form),
        "Cache-Control": _CACHE,
        "Songlo-Line-Count": str(head.line_count),
        "Songlo-Snapshot-Sha256": head.sha256,
        "Content-Disposition": f'attachment; filename="snapshot-{head.id}.{form}"',
    }


def _tag(head: SnapshotHead, form: str) -> str:
    return f'"{head.id}-{head.sha256}-{form}"'


def _streamed(
    pieces: Iterator[bytes], media_type: str, headers: dict[str, str]
) -> StreamingResponse:
    return StreamingResponse(pieces, media_type=media_type, headers=headers)
