"""Snapshots: make one, find it again, take its lines as CSV or JSON.

A snapshot never changes, so its lines carry its hash as their entity tag.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, Security, status
from fastapi.responses import StreamingResponse

from collector.api.auth import needs
from collector.api.models import SnapshotList, SnapshotRequest, SnapshotView
from collector.billing.exports.csv_export import snapshot_csv
from collector.billing.exports.json_export import snapshot_json
from collector.billing.values import SnapshotHead
from collector.operations import exports, snapshots
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import ContextParameter
from collector.web.problems import responses
from contract.limits import NAME_CHARS_MAX

LIST_LIMIT_MAX = 500

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

router = APIRouter(prefix="/snapshots", tags=["snapshots"])

SnapshotId = Annotated[str, Path(min_length=1, max_length=36)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Make a snapshot",
    responses=responses(404, 422),
)
def create_snapshot(
    wanted: SnapshotRequest,
    response: Response,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.SNAPSHOT))],
) -> SnapshotView:
    """Freeze the indices and consumptions of a period. The same content has the same hash."""
    head = snapshots.create_snapshot(
        context.ledger,
        station=wanted.station,
        from_at=wanted.from_at,
        to_at=wanted.to_at,
        actor=key.name,
        now=context.now(),
    )
    response.headers["Location"] = f"/v1/snapshots/{head.id}"
    return SnapshotView.model_validate(head)


@router.get("", summary="List snapshots", dependencies=[Security(needs(Scope.READ))])
def list_snapshots(
    context: ContextParameter, limit: Annotated[int, Query(ge=1, le=LIST_LIMIT_MAX)] = 100
) -> SnapshotList:
    """The newest snapshots first."""
    heads = snapshots.list_snapshots(context.ledger, limit + 1)
    return SnapshotList(
        snapshots=[SnapshotView.model_validate(head) for head in heads[:limit]],
        truncated=len(heads) > limit,
    )


@router.get(
    "/{snapshot_id}",
    summary="One snapshot's head",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def get_snapshot(snapshot_id: SnapshotId, context: ContextParameter) -> SnapshotView:
    """What was frozen, when, by whom, and its hash."""
    return SnapshotView.model_validate(snapshots.get_snapshot(context.ledger, snapshot_id))


@router.get(
    "/{snapshot_id}/lines.csv",
    summary="A snapshot's lines as CSV",
    dependencies=[Security(needs(Scope.READ))],
    response_class=StreamingResponse,
    responses=responses(404) | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def lines_csv(snapshot_id: SnapshotId, request: Request, context: ContextParameter) -> Response:
    """One line per point, register and installation; UTF-8 with a header row."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    if _is_held(request, head):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=_headers(head, "csv"))
    lines = snapshots.snapshot_lines(context.ledger, snapshot_id)
    return _streamed(snapshot_csv(lines), "text/csv; charset=utf-8", _headers(head, "csv"))


@router.get(
    "/{snapshot_id}/lines.json",
    summary="A snapshot's lines as JSON",
    dependencies=[Security(needs(Scope.READ))],
    response_class=StreamingResponse,
    responses=responses(404)
    | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def lines_json(snapshot_id: SnapshotId, request: Request, context: ContextParameter) -> Response:
    """The head, and the same lines as the CSV has, as one JSON document."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    if _is_held(request, head):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=_headers(head, "json"))
    lines = snapshots.snapshot_lines(context.ledger, snapshot_id)
    return _streamed(snapshot_json(head, lines), "application/json", _headers(head, "json"))


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
    key: Annotated[KeyIdentity, Security(needs(Scope.READ))],
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
    | {200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}}},
)
def lines_xlsx(
    snapshot_id: SnapshotId,
    request: Request,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.READ))],
) -> Response:
    """The same lines, in kWh, with the sum of each register. Recorded in the audit trail."""
    head = snapshots.get_snapshot(context.ledger, snapshot_id)
    headers = _headers(head, "xlsx")
    if _is_held(request, head):
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
    key: Annotated[KeyIdentity, Security(needs(Scope.READ))],
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
        "ETag": f'"{head.id}-{head.sha256}-{form}"',
        "Cache-Control": "private, no-cache",
        "Songlo-Line-Count": str(head.line_count),
        "Songlo-Snapshot-Sha256": head.sha256,
        "Content-Disposition": f'attachment; filename="snapshot-{head.id}.{form}"',
    }


def _is_held(request: Request, head: SnapshotHead) -> bool:
    form = request.url.path.rpartition(".")[2]
    return request.headers.get("If-None-Match") == _headers(head, form)["ETag"]


def _streamed(
    pieces: Iterator[bytes], media_type: str, headers: dict[str, str]
) -> StreamingResponse:
    return StreamingResponse(pieces, media_type=media_type, headers=headers)
