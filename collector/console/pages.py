"""The pages' addresses: each takes a request, asks a view for its figures and renders them.

It must not compute; `views.py` does, from the same operations as the API.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from collector.balance.texts import BANDS, CAUSES, STANDINGS
from collector.console import (
    finding_pages,
    loss_views,
    run_files,
    run_pages,
    station_views,
    views,
)
from collector.console.locale import LANGUAGES
from collector.console.session import SESSION_COOKIE, SESSION_LIFETIME, Session, set_cookie
from collector.console.web import (
    LANGUAGE_COOKIE,
    LANGUAGE_LIFETIME,
    Operator,
    console_of,
    local_path,
    operator_of,
    render,
    speech_of,
)
from collector.errors import NotFound
from collector.operations import registry
from collector.operations.keys import KeyRefused, Scope
from collector.web.context import ContextParameter
from collector.web.knocking import TooManyWrongKeys, check_key_from
from collector.web.parameters import Day, NamePath
from collector.web.problems import Forbidden
from collector.web.scopes import require

STATIC = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)

PageQuery = Annotated[int, Query(ge=1, le=100_000)]
SearchQuery = Annotated[str, Query(max_length=64)]


def install(app: FastAPI) -> None:
    """Add the console's pages and files to `app`."""
    for part in (router, finding_pages.router, run_files.router, run_pages.router):
        app.include_router(part)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


@router.get("/login")
def login_page(request: Request, next_: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The form that takes an API key."""
    return render(request, "login.html", next=local_path(next_))


@router.post("/login")
def log_in(
    request: Request,
    context: ContextParameter,
    key: Annotated[str, Form(max_length=200)],
    form_token: Annotated[str, Form(max_length=200)],
    next_: Annotated[str, Form(alias="next", max_length=500)] = "/",
) -> Response:
    """Open a session for a key with the scope read, and go where the reader wanted to."""
    _ = speech_of(request).gettext
    signer = console_of(request).signer
    identity, fault = None, ""
    if not signer.form_is_ours(request, form_token):
        fault = _("The page was open for too long. Try again.")
    else:
        try:
            identity = check_key_from(request, context, key.strip())
            require(identity, Scope.READ)
        except TooManyWrongKeys:
            fault = _("Too many wrong keys came from here. Wait a while, then try again.")
        except KeyRefused:
            fault = _("This key is not valid. Check that all of it was pasted.")
        except Forbidden:
            fault = _("This key may not read. Ask for one with the scope readings:read.")
    if fault or identity is None:
        return render(request, "login.html", 401, fault=fault, next=local_path(next_))
    response = RedirectResponse(local_path(next_), 303)
    sealed = signer.seal(Session(identity.name, context.now() + SESSION_LIFETIME))
    set_cookie(request, response, SESSION_COOKIE, sealed, SESSION_LIFETIME)
    return response


@router.post("/logout")
def log_out(request: Request, form_token: Annotated[str, Form(max_length=200)]) -> Response:
    """Close the session of this browser."""
    if not console_of(request).signer.form_is_ours(request, form_token):
        raise Forbidden(
            "this form was not made here", hint="load the page again", code="form_not_ours"
        )
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/language/{language}")
def choose_language(
    request: Request, language: str, next_: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    """Remember a language and go back to where the reader was."""
    if language not in LANGUAGES:
        raise NotFound(f"there is no language {language!r}", hint=f"one of {', '.join(LANGUAGES)}")
    response = RedirectResponse(local_path(next_), 303)
    set_cookie(request, response, LANGUAGE_COOKIE, language, LANGUAGE_LIFETIME)
    return response


@router.get("/")
def stations_page(  # noqa: PLR0913  each is one parameter of the URL
    request: Request,
    context: ContextParameter,
    operator: Operator,
    q: SearchQuery = "",
    page: PageQuery = 1,
    station: Annotated[str | None, Query(max_length=64)] = None,
    day: Day | None = None,
) -> Response:
    """All stations, and the day of one of them: of the only one, or of the one asked for."""
    chosen = views.chosen_station(context, station, q)
    query = {"q": q, "page": page, "chosen": chosen.station if chosen else ""}
    return render(
        request,
        "stations.html",
        identity=operator,
        tab="stations",
        query=q,
        chosen=chosen,
        overview_url=f"/console/overview?{urlencode(query)}",
        **_day(context.today(), day),
    )


@router.get("/stations/{station}")
def station_page(
    request: Request,
    context: ContextParameter,
    operator: Operator,
    station: NamePath,
    day: Day | None = None,
) -> Response:
    """One station: its day, its balance by day, its points."""
    return render(
        request,
        "station.html",
        identity=operator,
        tab="stations",
        station=registry.station(context.ledger, station).station,
        **_day(context.today(), day),
    )


@router.get("/losses")
def losses_page(
    request: Request, context: ContextParameter, operator: Operator, month: Day | None = None
) -> Response:
    """A month's losses; the last one that is over where none is asked for."""
    newest = loss_views.last_month(context.today())
    first = (month or newest).replace(day=1)
    return render(
        request,
        "losses.html",
        identity=operator,
        tab="losses",
        month=first,
        earlier=loss_views.last_month(first),
        later=(first + timedelta(days=31)).replace(day=1) if first < newest else None,
    )


@router.get("/gateways")
def gateways_page(request: Request, operator: Operator) -> Response:
    """All gateways and what they still have to deliver."""
    return render(request, "gateways.html", identity=operator, tab="gateways")


@router.get("/console/overview", dependencies=[Depends(operator_of)])
def overview_part(
    request: Request,
    context: ContextParameter,
    q: SearchQuery = "",
    page: PageQuery = 1,
    chosen: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """The figures and the table of the first page."""
    overview = views.overview(context, q, page, chosen)
    return render(request, "parts/overview.html", overview=overview)


@router.get("/console/stations/{station}/figures", dependencies=[Depends(operator_of)])
def figures_part(request: Request, context: ContextParameter, station: NamePath) -> Response:
    """A station's figures: today's index, how much was read, its gateway."""
    return render(request, "parts/figures.html", figures=station_views.figures(context, station))


@router.get("/console/stations/{station}/balance", dependencies=[Depends(operator_of)])
def balance_part(request: Request, context: ContextParameter, station: NamePath) -> Response:
    """A station's balance by day, newest first."""
    return render(request, "parts/balance.html", days=station_views.balance_days(context, station))


@router.get("/console/stations/{station}/points", dependencies=[Depends(operator_of)])
def points_part(request: Request, context: ContextParameter, station: NamePath) -> Response:
    """A station's points with the last index of each."""
    return render(request, "parts/points.html", points=station_views.point_rows(context, station))


@router.get("/console/losses", dependencies=[Depends(operator_of)])
def losses_part(request: Request, context: ContextParameter, month: Day) -> Response:
    """The tables of a month's losses."""
    return render(
        request,
        "parts/losses.html",
        page=loss_views.month_losses(context, month),
        texts=CAUSES,
        bands=BANDS,
        standings=STANDINGS,
    )


@router.get("/console/gateways", dependencies=[Depends(operator_of)])
def gateways_part(request: Request, context: ContextParameter) -> Response:
    """The table of gateways."""
    return render(request, "parts/gateways.html", gateways=views.gateway_rows(context))


@router.get("/console/data/stations/{station}/day.json", dependencies=[Depends(operator_of)])
def day_data(context: ContextParameter, station: NamePath, day: Day) -> station_views.DayData:
    """A station's day in columns, for the plot."""
    return station_views.day_data(context, station, day)


def _day(today: date, day: date | None) -> dict[str, Any]:
    """The day to plot; a fixed one is not left at midnight."""
    return {"day": day or today, "today": today, "fixed": day is not None and day != today}
