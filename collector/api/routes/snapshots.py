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
from collector.operations import snapshots
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import ContextParameter
from collector.web.problems import responses

LIST_LIMIT_MAX = 500

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
    dependencies=[Security(needs(Scope.EXPORT))],
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
    dependencies=[Security(needs(Scope.EXPORT))],
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
