"""How a page is made: templates in the reader's language, the session, the protection of forms.

It must not know which pages there are (`pages.py`) nor what they show (`views.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, cast
from urllib.parse import quote, urlsplit

from fastapi import Depends
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from collector.console import words
from collector.console.locale import LANGUAGES, Speech, negotiate, speech
from collector.console.session import (
    FORM_COOKIE,
    SESSION_COOKIE,
    SESSION_LIFETIME,
    Signer,
    new_nonce,
    set_cookie,
)
from collector.console.words import problem_text
from collector.errors import CollectorError, Conflict, InvalidRequest, NotFound
from collector.operations import keys
from collector.operations.commands import BrokerUnavailable
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import context_of
from collector.web.knocking import answering
from collector.web.problems import Forbidden, Problem, Unauthorized, problem_of
from collector.web.scopes import require

LANGUAGE_COOKIE = "songlo_language"
LANGUAGE_LIFETIME = timedelta(days=365)

# What programs ask for is answered in JSON even where it goes wrong.
_PROGRAM_PATHS = ("/v1", "/health", "/metrics", "/openapi.json", "/console/data/")


class LoginNeeded(Unauthorized):
    """A page was asked for without an open session (HTTP 401, or a way to the login page)."""

    code = "login_needed"


@dataclass(frozen=True, slots=True)
class Console:
    """What the console keeps for its life: the signer of its cookies."""

    signer: Signer = field(default_factory=Signer)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a form came to nothing: a sentence in the reader's language, and the facts."""

    status: int
    title: str
    detail: str
    hint: str


# What a person can put right in the form: it is shown again, with the reason.
FORM_FAULTS = (Conflict, InvalidRequest, NotFound, BrokerUnavailable)


def console_of(request: Request) -> Console:
    """The console of the application that serves this request."""
    return cast(Console, request.app.state.console)


def environment() -> Environment:
    """The templates' environment; texts come from the `speech` that each page is given."""
    made = Environment(
        loader=PackageLoader("collector.console"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        languages=LANGUAGES,
        act_text=words.act_text,
        cause_text=words.cause_text,
        decision_text=words.decision_text,
        decision_word=words.decision_word,
        manual_text=words.manual_text,
        reason_text=words.reason_text,
        reference_text=words.reference_text,
        role_text=words.role_text,
        run_state_text=words.run_state_text,
        unit_text=words.unit_text,
    )
    return made


_environment = environment()


def speech_of(request: Request) -> Speech:
    """The language of this request's reader."""
    language = negotiate(
        request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", "")
    )
    return speech(language, context_of(request).zone_info)


def render(request: Request, template: str, status: int = 200, **values: object) -> Response:
    """A page or a part of one, in the reader's language."""
    spoken = speech_of(request)
    nonce = request.cookies.get(FORM_COOKIE) or new_nonce()
    common: dict[str, object] = {
        "speech": spoken,
        "_": spoken.gettext,
        "ngettext": spoken.ngettext,
        "here": _here(request),
        "form_token": console_of(request).signer.form_token(nonce),
        "once": new_nonce(),
        "identity": None,
        "tab": "",
        "fault": None,
    }
    page = _environment.get_template(template).render(common | values)
    response = HTMLResponse(page, status, headers={"Content-Language": spoken.language})
    response.headers["Vary"] = "Cookie, Accept-Language"
    if FORM_COOKIE not in request.cookies:
        set_cookie(request, response, FORM_COOKIE, nonce, SESSION_LIFETIME)
    return response


def operator_of(request: Request) -> Iterator[KeyIdentity]:
    """Whose session this is, until its request is answered.

    The key must still be good. Raises LoginNeeded, Forbidden, TooManyRequests.
    """
    identity = _operator(request)
    with answering(context_of(request), identity):
        yield identity


Operator = Annotated[KeyIdentity, Depends(operator_of)]


def _operator(request: Request) -> KeyIdentity:
    context = context_of(request)
    now = context.now()
    session = console_of(request).signer.open(request.cookies.get(SESSION_COOKIE, ""), now)
    if session is not None:
        for key in keys.list_keys(context.ledger):
            if key.name == session.key_name and key.revoked_at is None:
                if key.expires_at is not None and key.expires_at <= now:
                    break
                identity = KeyIdentity(key.name, frozenset(key.scopes))
                require(identity, Scope.READ)
                return identity
    raise LoginNeeded("this page needs a login", hint="log in with an API key")


def check_form(request: Request, identity: KeyIdentity, scope: Scope, token: str) -> None:
    """Raises Forbidden unless this form was made here, for a key that may do what it asks for."""
    require(identity, scope)
    if not console_of(request).signer.form_is_ours(request, token):
        raise Forbidden(
            "this form was not made here", hint="load the page again", code="form_not_ours"
        )


def fault_of(request: Request, error: CollectorError) -> Fault:
    """What is wrong with a form, to be said above it."""
    found = problem_of(error)
    title = problem_text(speech_of(request), found)
    return Fault(found.status, title, found.detail, found.hint)


async def render_problem(request: Request, problem: Problem) -> Response | None:
    """A problem as a page, as a part of one, or None where a program asked."""
    if request.url.path.startswith(_PROGRAM_PATHS):
        return None
    is_part = request.headers.get("HX-Request") == "true"
    if problem.code == LoginNeeded.code:
        if is_part:
            return Response(status_code=401)  # the page itself goes to the login, once: console.js
        return Response(
            status_code=303, headers={"Location": f"/login?next={quote(_here(request))}"}
        )
    template = "parts/problem.html" if is_part else "problem.html"
    title = problem_text(speech_of(request), problem)
    return await run_in_threadpool(
        render, request, template, problem.status, problem=problem, problem_title=title
    )


def local_path(text: str) -> str:
    """`text` if it is a path of this console, else the first page: never another site."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_local else "/"


def _here(request: Request) -> str:
    if request.url.path.startswith(("/login", "/logout", "/console/")):
        return local_path(request.query_params.get("next", "/"))
    if request.method != "GET":
        # Nobody can go back to a form that was sent; its page is where it came from.
        page = urlsplit(request.headers.get("referer", ""))
        return local_path(page.path + (f"?{page.query}" if page.query else ""))
    query = f"?{request.url.query}" if request.url.query else ""
    return local_path(request.url.path + query)
