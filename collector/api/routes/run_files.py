"""Hand-over files of billing runs, and Green Button of one customer.

Each is made as it is sent, and is in the audit trail before its last piece.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response, Security
from fastapi.responses import StreamingResponse

from collector.api.auth import needs
from collector.civil import day_start
from collector.operations import run_exports
from collector.operations.daily import DAY
from collector.operations.export_selection import Selection
from collector.operations.exports import By
from collector.operations.green_button import Cadence, export_green_button
from collector.operations.half_hours import export_half_hours
from collector.operations.keys import KeyIdentity, Scope
from collector.registry.values import Role
from collector.web.context import Context, ContextParameter
from collector.web.parameters import Day, NamePath, NameQuery
from collector.web.problems import responses
from contract.limits import NAME_CHARS_MAX

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XML, CSV, JSON, PDF = "application/xml", "text/csv", "application/json", "application/pdf"

router = APIRouter(tags=["exports"])

RunId = Annotated[str, Path(min_length=1, max_length=36)]
ExportKey = Annotated[KeyIdentity, Security(needs(Scope.EXPORT))]


def _selection(
    book: NameQuery = None,
    commune: Annotated[str | None, Query(min_length=1, max_length=NAME_CHARS_MAX)] = None,
    station: NameQuery = None,
    kind: Annotated[Role | None, Query(description="the points' role")] = None,
    point: NameQuery = None,
) -> Selection:
    return Selection(book, commune, station, kind, point)


SelectionQuery = Annotated[Selection, Depends(_selection)]


@router.get(
    "/billing/runs/{run}/cmis.xml",
    summary="A run as a reading file (GCS) for CMIS",
    response_class=StreamingResponse,
    responses=responses(404, 409) | {200: {"content": {XML: {"schema": {"type": "string"}}}}},
)
def cmis_xml(
    run: RunId, context: ContextParameter, key: ExportKey, wanted: SelectionQuery
) -> Response:
    """What the approved or exported version bills, by book and position. 409: it is a draft."""
    by = _by(context, key)
    made = run_exports.export_run_cmis(context.ledger, run, by, wanted=wanted)
    return _streamed(made, XML, "xml")


@router.get(
    "/billing/runs/{run}/lines.csv",
    summary="A run's lines as CSV",
    response_class=StreamingResponse,
    responses=responses(404, 409) | {200: {"content": {CSV: {"schema": {"type": "string"}}}}},
)
def lines_csv(
    run: RunId, context: ContextParameter, key: ExportKey, wanted: SelectionQuery
) -> Response:
    """Of the approved or exported version, in its order; energies in Wh."""
    made = run_exports.export_run_csv(context.ledger, run, _by(context, key), wanted)
    return _streamed(made, f"{CSV}; charset=utf-8", "csv")


@router.get(
    "/billing/runs/{run}/lines.json",
    summary="A run's version and lines as JSON",
    response_class=StreamingResponse,
    responses=responses(404, 409) | {200: {"content": {JSON: {"schema": {"type": "object"}}}}},
)
def lines_json(
    run: RunId, context: ContextParameter, key: ExportKey, wanted: SelectionQuery
) -> Response:
    """Of the approved or exported version, in its order; energies in Wh."""
    made = run_exports.export_run_json(context.ledger, run, _by(context, key), wanted)
    return _streamed(made, JSON, "json")


@router.get(
    "/billing/runs/{run}/lines.xlsx",
    summary="A run's lines as a workbook",
    response_class=StreamingResponse,
    responses=responses(404, 409)
    | {200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}}},
)
def lines_xlsx(
    run: RunId, context: ContextParameter, key: ExportKey, wanted: SelectionQuery
) -> Response:
    """By point, in kWh, with the sum of each register."""
    made = run_exports.export_run_xlsx(context.ledger, run, _by(context, key), wanted)
    return _streamed(made, XLSX, "xlsx")


@router.get(
    "/billing/runs/{run}/statement.pdf",
    summary="A run's index statement (sao kê chỉ số), to print",
    response_class=StreamingResponse,
    responses=responses(404, 409)
    | {200: {"content": {PDF: {"schema": {"type": "string", "format": "binary"}}}}},
)
def statement_pdf(
    run: RunId, context: ContextParameter, key: ExportKey, wanted: SelectionQuery
) -> Response:
    """By point, in Vietnamese."""
    made = run_exports.export_run_statement(context.ledger, run, _by(context, key), wanted)
    return _streamed(made, PDF, "pdf")


@router.get(
    "/customers/{customer}/green-button.xml",
    summary="Green Button (ESPI) of one customer",
    response_class=StreamingResponse,
    responses=responses(404) | {200: {"content": {XML: {"schema": {"type": "string"}}}}},
)
def green_button_xml(
    customer: NamePath,
    first_day: Day,
    last_day: Day,
    context: ContextParameter,
    key: ExportKey,
    cadence: Annotated[Cadence, Query(alias="by", description="by what energies are given")] = (
        Cadence.DAY
    ),
) -> Response:
    """The energy of each day, or of each half-hour that was read at both its ends, of the
    customer's points while their contracts were in force. Both days are included; by half-hour 366
    at most."""
    zone = context.zone
    period = day_start(first_day, zone), day_start(last_day + DAY, zone)
    by = _by(context, key)
    if cadence is Cadence.HALF_HOUR:
        made = export_half_hours(context.ledger, customer, period, by)
    else:
        made = export_green_button(context.ledger, customer, period, context.limits(), by)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": 'attachment; filename="green-button.xml"',
    }
    return StreamingResponse(made.pieces, media_type=XML, headers=headers)


def _by(context: Context, key: KeyIdentity) -> By:
    return By(key.name, context.now(), context.zone)


def _streamed(made: run_exports.RunExport, media_type: str, form: str) -> StreamingResponse:
    """A part has fewer lines than `Songlo-Line-Count`, which is the version's."""
    pieces: Iterator[bytes] = made.pieces
    headers = {
        "Cache-Control": "private, no-cache",
        "Songlo-Line-Count": str(made.version.line_count),
        "Songlo-Version-Sha256": made.version.sha256,
        "Content-Disposition": f'attachment; filename="run-{made.head.run}.{form}"',
    }
    return StreamingResponse(pieces, media_type=media_type, headers=headers)
