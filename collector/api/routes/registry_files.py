"""The registry as files: a whole district brought or taken at once, as the command line does it.

Bodies are streamed to a file that its account alone can read, and that is gone with the answer. It
must not know what is in them.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Security
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader
from collector.api.registry_models import ImportView, RowErrorView, TouchedView
from collector.ledger.idempotency import Once
from collector.operations.keys import KeyIdentity, Scope
from collector.operations.registry_export import export_stream
from collector.operations.registry_import import ImportReport, import_registry, refused
from collector.operations.registry_workbook import WORKBOOK_SUFFIX
from collector.operations.registry_zip import ZIP_SUFFIX, is_workbook
from collector.web.context import Context, ContextParameter
from collector.web.problems import responses

router = APIRouter(prefix="/registry", tags=["registry"])

WritingKey = Annotated[KeyIdentity, Security(needs(Scope.REGISTRY))]

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ZIP = "application/zip"

# Bad rows that an answer spells out.
ERRORS_MAX = 10_000

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {ZIP: _BINARY, XLSX: _BINARY}}
}


@router.post(
    "/import",
    summary="Import the registry's files",
    openapi_extra=_BODY,
    responses=responses(400, 409, 413, 422),
)
async def import_files(
    request: Request,
    context: ContextParameter,
    key: WritingKey,
    dry_run: Annotated[bool, Query(description="say what would be done, and do nothing")] = False,
    correct: Annotated[
        str | None,
        Query(min_length=1, max_length=500, description="why dated rows may correct stored ones"),
    ] = None,
    idempotency_key: IdempotencyHeader = None,
) -> ImportView:
    """A zip file of the CSV files, or a workbook: all rows of it, or none.

    A dry run answers 200 with every bad row. Otherwise bad rows are a problem, `bad_rows`, and
    nothing was imported.
    """
    with tempfile.TemporaryDirectory(prefix="songlo-") as folder:
        path = Path(folder, "registry")
        digest = hashlib.sha256(f"registry import {correct}\n".encode())
        with await run_in_threadpool(path.open, "wb") as stream:
            async for piece in request.stream():
                digest.update(piece)
                await run_in_threadpool(stream.write, piece)
        sent = None
        if idempotency_key is not None and not dry_run:
            sent = Once(key.name, idempotency_key, digest.hexdigest())
        report = await run_in_threadpool(_import, context, path, key.name, correct, dry_run, sent)
    if report.errors and not dry_run:
        raise refused(report)
    return _view(report)


def _import(
    context: Context,
    path: Path,
    actor: str,
    correct: str | None,
    dry_run: bool,
    sent: Once | None,
) -> ImportReport:
    named = path.rename(path.with_suffix(WORKBOOK_SUFFIX if is_workbook(path) else ZIP_SUFFIX))
    return import_registry(
        context.ledger,
        named,
        actor,
        context.now(),
        zone=context.zone,
        dry_run=dry_run,
        correction=correct,
        once=sent,
    )


def _view(report: ImportReport) -> ImportView:
    return ImportView(
        written=report.written,
        repeated=report.repeated,
        added=report.added,
        closed=report.closed,
        closed_contracts=report.closed_contracts,
        completed=report.completed,
        corrected=report.corrected,
        corrected_customers=report.corrected_customers,
        unchanged=report.unchanged,
        error_count=len(report.errors),
        errors=[RowErrorView.model_validate(error) for error in report.errors[:ERRORS_MAX]],
        warnings=list(report.warnings),
        touched=None if report.touched is None else TouchedView.model_validate(report.touched),
    )


@router.get(
    "/export.zip",
    summary="The whole registry as CSV files in a zip file",
    response_class=StreamingResponse,
    responses={200: {"content": {ZIP: _BINARY}}},
)
def export_zip(context: ContextParameter, key: WritingKey) -> StreamingResponse:
    """Names and addresses too: who took it is in the audit trail."""
    return _exported(context, key, ZIP_SUFFIX, ZIP)


@router.get(
    "/export.xlsx",
    summary="The whole registry as a workbook",
    response_class=StreamingResponse,
    responses={200: {"content": {XLSX: _BINARY}}},
)
def export_xlsx(context: ContextParameter, key: WritingKey) -> StreamingResponse:
    """Names and addresses too: who took it is in the audit trail."""
    return _exported(context, key, WORKBOOK_SUFFIX, XLSX)


def _exported(context: Context, key: KeyIdentity, form: str, media_type: str) -> StreamingResponse:
    pieces = export_stream(context.ledger, form, key.name, context.now(), zone=context.zone)
    headers = {"Content-Disposition": f'attachment; filename="registry{form}"'}
    return StreamingResponse(pieces, media_type=media_type, headers=headers)
