"""The web application: routes, console, guards and errors brought together.

The only module that names them all; it must not know what runs it, nor open a store itself.
"""

from collections.abc import Callable
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse

from collector.api.routes import (
    audit,
    billing,
    bills,
    commands,
    district_losses,
    findings,
    fleet,
    health,
    indices,
    losses,
    readings,
    registry,
    registry_files,
    registry_rows,
    run_files,
    snapshots,
    states,
    validations,
)
from collector.console import pages
from collector.console.session import Signer
from collector.console.web import Console, render_problem
from collector.web import problems
from collector.web.context import Context
from collector.web.guards import BodyLimit, ProtectiveHeaders

DESCRIPTION = """\
Metering for a power company's transformer stations: stations, readings, balances and snapshots.

Energies are integers in Wh (varh, VAh), instants are RFC 3339, answers are in UTC, days are those
of the utility's zone. Every request under `/v1` needs an API key. Errors are problem details
(RFC 9457): programs decide by `code`, people read `detail` and `hint`.
"""


def create_app(context: Context, *, session_secret: bytes | None = None) -> FastAPI:
    """The API under /v1, the console at /, and /health, /metrics, /openapi.json.

    `session_secret` signs the console's cookies; the workers of one address share it, and by
    default it is drawn anew.
    """
    app = FastAPI(
        title="Songlo collector",
        version=version("songlo"),
        description=DESCRIPTION,
        # Their pages load scripts from elsewhere: docs/api.md and /openapi.json do without.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.context = context
    app.state.console = Console(Signer(session_secret))
    v1 = APIRouter(prefix="/v1", responses=problems.responses(401, 403, 422, 429, 503))
    for part in (
        snapshots,
        registry,
        losses,
        district_losses,
        readings,
        states,
        fleet,
        commands,
        audit,
        billing,
        bills,
        run_files,
        findings,
        validations,
        indices,
        # Files first: their paths are narrower than those of rows.
        registry_files,
        registry_rows,
    ):
        v1.include_router(part.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.add_api_route(
        "/openapi.json", _openapi(app), include_in_schema=False, response_class=JSONResponse
    )
    pages.install(app)
    problems.install(app, render_problem)
    app.add_middleware(BodyLimit)
    app.add_middleware(ProtectiveHeaders)
    return app


def _openapi(app: FastAPI) -> Callable[[], JSONResponse]:
    def document() -> JSONResponse:
        return JSONResponse(app.openapi())

    def described() -> dict[str, object]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            made["components"]["schemas"] |= problems.problem_schemas()
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way
    return document
