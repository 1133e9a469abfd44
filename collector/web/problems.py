"""Errors as RFC 9457 problem details: one shape for whatever goes wrong.

Owns the mapping from error to status; it must not know which route failed or why.
"""

import http
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collector.errors import (
    BadRows,
    CollectorError,
    Conflict,
    InvalidRequest,
    LedgerStateError,
    LedgerUnavailable,
    NotFound,
    Stale,
)
from collector.operations.commands import BrokerUnavailable
from collector.operations.keys import KeyRefused
from collector.readings.port import StoreUnavailable
from collector.registry.reasons_vi import in_vietnamese
from collector.web.knocking import TooManyRequests, TooManyWrongKeys
from collector.web.parameters import DAY_HINT, INSTANT_HINT

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:songlo:problem:"

# When to come back after a 503, in seconds: a database's restart takes about that long.
RETRY_AFTER_S = 10

# How many faults of a request are spelled out, and how much of each wrong input is repeated.
FAULTS_MAX = 20
INPUT_CHARS_MAX = 80

# How many bad rows of an import are: a person corrects them in a spreadsheet.
ROW_FAULTS_MAX = 1_000

_log = logging.getLogger(__name__)


class Fault(BaseModel):
    """One fault of a request: where it is and what is wrong with it."""

    where: str = Field(description="as query.from or body.station", examples=["query.from"])
    detail: str
    detail_vi: str | None = Field(default=None, description="the same in Vietnamese, for bad rows")


class Problem(BaseModel):
    """RFC 9457 problem details, with `code` for programs and `hint` for people."""

    type: str = Field(
        description="urn:songlo:problem:CODE", examples=["urn:songlo:problem:not_found"]
    )
    title: str
    status: int
    detail: str
    code: str = Field(description="stable; programs decide by it", examples=["not_found"])
    hint: str = Field(default="", description="what to do next")
    faults: list[Fault] | None = Field(
        default=None, description="only where code is validation or bad_rows"
    )


class Unauthorized(CollectorError):
    """The request carries no API key (HTTP 401)."""

    code = "unauthorized"


class Forbidden(CollectorError):
    """The API key is valid and does not have the scope that this needs (HTTP 403)."""

    code = "forbidden"


class PreconditionRequired(CollectorError):
    """A change was asked for without saying what of (HTTP 428)."""

    code = "precondition_required"


STATUS_OF: Mapping[type[CollectorError], int] = {
    Unauthorized: 401,
    KeyRefused: 401,
    Forbidden: 403,
    TooManyWrongKeys: 429,
    TooManyRequests: 429,
    NotFound: 404,
    Conflict: 409,
    Stale: 412,
    PreconditionRequired: 428,
    InvalidRequest: 422,
    LedgerStateError: 503,
    LedgerUnavailable: 503,
    BrokerUnavailable: 503,
}

RenderPage = Callable[[Request, Problem], Awaitable[Response | None]]
"""Renders a problem as a page where the request came from a person; None: answer in JSON."""


def status_of(error: CollectorError) -> int:
    """The HTTP status for `error`, that of its nearest class in STATUS_OF; 500 for others."""
    for kind in type(error).__mro__:
        if kind in STATUS_OF:
            return STATUS_OF[kind]
    return http.HTTPStatus.INTERNAL_SERVER_ERROR


def problem(status: int, code: str, detail: str, hint: str = "") -> Problem:
    """A problem whose title is the status's own phrase."""
    return Problem(
        type=TYPE_PREFIX + code,
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
    )


def problem_of(error: CollectorError) -> Problem:
    """The problem that `error` is to a caller."""
    found = problem(status_of(error), error.code, str(error), error.hint)
    if isinstance(error, BadRows):
        faults = [
            Fault(where=where, detail=why, detail_vi=in_vietnamese(why))
            for where, why in error.faults[:ROW_FAULTS_MAX]
        ]
        return found.model_copy(update={"faults": faults})
    return found


def store_problem(error: StoreUnavailable) -> Problem:
    """The problem of a reading store that is away; what comes from the ledger goes on."""
    return problem(
        503,
        "store_unavailable",
        f"the reading store cannot be used now: {error}",
        "try again later; snapshots and balances do not need it",
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer these problems, for OpenAPI."""
    return {
        status: {
            "description": http.HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI, render_page: RenderPage) -> None:
    """Answer every error of `app` with a problem, or with a page where `render_page` gives one."""

    async def answer(request: Request, error: Exception) -> Response:
        found = _describe(request, error)
        response = await render_page(request, found)
        if response is None:
            body = found.model_dump(exclude_none=True)
            response = JSONResponse(body, found.status, media_type=MEDIA_TYPE)
        if isinstance(error, HTTPException):
            response.headers.update(error.headers or {})
        if found.status == http.HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Bearer realm="songlo"'
        if isinstance(error, TooManyWrongKeys | TooManyRequests):
            response.headers["Retry-After"] = str(error.retry_after_s)
        if found.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    for kind in (
        CollectorError,
        StoreUnavailable,
        HTTPException,
        RequestValidationError,
        Exception,
    ):
        app.add_exception_handler(kind, answer)


def _describe(request: Request, error: Exception) -> Problem:
    match error:
        case CollectorError():
            found = problem_of(error)
        case StoreUnavailable():
            found = store_problem(error)
        case HTTPException():
            found = _http_problem(request, error)
        case RequestValidationError():
            found = _validation_problem(error.errors())
        case _:
            # The server logs the traceback; the number leads from the caller's screen to it.
            incident = secrets.token_hex(4)
            _log.error("%s %s failed, incident %s", request.method, request.url.path, incident)
            detail = f"the collector failed to answer this request (incident {incident})"
            hint = "report the incident's number with the time"
            found = problem(500, "internal_error", detail, hint)
    if found.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        _log.warning("%s %s: %s", request.method, request.url.path, found.detail)
    return found


_HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
}


def _http_problem(request: Request, error: HTTPException) -> Problem:
    code = _HTTP_CODES.get(error.status_code, "http_error")
    detail = error.detail
    hint = ""
    if error.status_code == http.HTTPStatus.NOT_FOUND:
        detail, hint = f"nothing is at {request.url.path}", "see /openapi.json for what there is"
    elif error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"{request.url.path} does not answer {request.method}"
        hint = f"use {allowed}"
    return problem(error.status_code, code, detail, hint)


def _validation_problem(errors: Sequence[Any]) -> Problem:
    faults = [
        Fault(where=".".join(str(part) for part in error["loc"]), detail=_fault_text(error))
        for error in errors[:FAULTS_MAX]
    ]
    detail = "; ".join(f"{fault.where}: {fault.detail}" for fault in faults)
    found = problem(422, "validation", detail, _validation_hint(errors))
    return found.model_copy(update={"faults": faults})


def _fault_text(error: Mapping[str, Any]) -> str:
    if error["type"] not in {"instant", "day"}:
        return str(error["msg"])
    return f"{str(error['input'])[:INPUT_CHARS_MAX]!r} {error['msg']}"


def _validation_hint(errors: Sequence[Mapping[str, Any]]) -> str:
    kinds = {error["type"] for error in errors}
    if "instant" in kinds:
        return INSTANT_HINT
    if "day" in kinds:
        return DAY_HINT
    return "see /openapi.json for what this request takes"


def problem_schemas() -> dict[str, Any]:
    """The JSON Schemas of a problem and its faults by name, for OpenAPI."""
    made = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    faults: dict[str, Any] = made.pop("$defs")
    return faults | {"Problem": made}
