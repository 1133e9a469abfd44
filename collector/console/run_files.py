"""Files of billing runs and of their bills, for people who are logged in.

The same bytes as from the API, made as they are sent; it must not know what is in them.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from collector.console.web import Operator
from collector.errors import NotFound
from collector.ledger import Ledger
from collector.operations import bills, run_exports
from collector.operations.exports import By
from collector.operations.keys import Scope
from collector.operations.run_exports import RunExport
from collector.operations.run_facts import Acting
from collector.web.context import ContextParameter
from collector.web.scopes import require

router = APIRouter(include_in_schema=False)

RunId = Annotated[str, Path(min_length=1, max_length=36)]


class _Form(NamedTuple):
    """How a file of a run is made, and what it is."""

    make: Callable[[Ledger, str, By], RunExport]
    media_type: str


_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

FORMS: Mapping[str, _Form] = {
    "lines.csv": _Form(run_exports.export_run_csv, "text/csv; charset=utf-8"),
    "lines.xlsx": _Form(run_exports.export_run_xlsx, _XLSX),
    "lines.json": _Form(run_exports.export_run_json, "application/json"),
    "statement.pdf": _Form(run_exports.export_run_statement, "application/pdf"),
    "cmis.xml": _Form(run_exports.export_run_cmis, "application/xml"),
}

_BILL_FORMS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}


@router.get("/runs/{run}/files/{name}")
def run_file(context: ContextParameter, operator: Operator, run: RunId, name: str) -> Response:
    """A file of an approved or exported run; it is in the audit trail before it is whole."""
    require(operator, Scope.EXPORT)
    form = FORMS.get(name)
    if form is None:
        raise NotFound(f"a run has no file {name!r}", hint=f"one of {', '.join(FORMS)}")
    made = form.make(context.ledger, run, By(operator.name, context.now(), context.zone))
    head = {"Content-Disposition": f'attachment; filename="run-{made.head.run}-{name}"'}
    return StreamingResponse(made.pieces, media_type=form.media_type, headers=head)


@router.get("/bills/{bill_set}/files/bills.{form}")
def bills_file(
    context: ContextParameter, operator: Operator, bill_set: RunId, form: str
) -> Response:
    """A set of bills that was handed over, for the receivables system."""
    require(operator, Scope.EXPORT)
    if form not in _BILL_FORMS:
        raise NotFound(f"bills have no file {form!r}", hint=f"one of {', '.join(_BILL_FORMS)}")
    by_whom = Acting(operator.name, context.now())
    head, pieces = bills.bills_file(context.ledger, bill_set, form, by_whom)
    headers = {"Content-Disposition": f'attachment; filename="bills-{head.bill_set}.{form}"'}
    return StreamingResponse(pieces, media_type=_BILL_FORMS[form], headers=headers)
