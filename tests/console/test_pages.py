"""The pages as a client without scripts sees them: sessions, forms, states, languages."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from collector.console import station_views
from collector.console.session import SESSION_LIFETIME
from collector.errors import LedgerUnavailable
from collector.operations import fleet
from collector.operations.keys import add_key, revoke_key
from collector.readings.port import StoredRead, StoreUnavailable
from tests.api.world import CUSTOMERS, FIRST_AT, GATEWAY, NOW, STATION, World

PAGES = [
    "/",
    f"/stations/{STATION}",
    "/losses",
    "/findings",
    "/findings/decide?rule=V01",
    "/runs",
    "/runs/new",
    "/gateways",
]
PARTS = [
    "/console/overview",
    f"/console/stations/{STATION}/figures",
    f"/console/stations/{STATION}/balance",
    f"/console/stations/{STATION}/points",
    "/console/losses?month=2026-01-01",
    "/console/findings",
    "/console/runs",
    "/console/gateways",
]
DATA = f"/console/data/stations/{STATION}/day.json?day=2026-01-10"
PART = {"HX-Request": "true"}


@pytest.fixture
def visitor(url: str) -> Iterator[httpx.Client]:
    """A browser that is not logged in."""
    with httpx.Client(base_url=url, headers={"Accept-Language": "en"}, timeout=30) as client:
        yield client


@pytest.fixture
def operator(visitor: httpx.Client, utility: World) -> httpx.Client:
    """A browser that is."""
    answer = log_in(visitor, utility.keys["read"])
    assert answer.status_code == 303
    return visitor


def log_in(client: httpx.Client, key: str, next_: str = "/", **fields: str) -> httpx.Response:
    page = client.get("/login")
    token = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert token is not None
    form = {"key": key, "form_token": token[1], "next": next_}
    return client.post("/login", data=form | fields)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_a_session_leads_to_the_login_and_back(
    visitor: httpx.Client, utility: World, path: str
) -> None:
    answer = visitor.get(path, params={"day": "2026-01-10"} if "stations" in path else None)
    assert answer.status_code == 303
    target = answer.headers["Location"]
    assert target.startswith("/login?next=/")
    hidden = re.search(r'name="next" value="([^"]*)"', visitor.get(target).text)
    assert hidden is not None
    assert hidden[1].replace("&amp;", "&") == str(answer.request.url.raw_path, "ascii")
    assert log_in(visitor, utility.keys["read"], path).headers["Location"] == path


@pytest.mark.parametrize("path", PARTS)
def test_a_part_without_a_session_tells_the_page_that_the_session_ended(
    visitor: httpx.Client, path: str
) -> None:
    answer = visitor.get(path, headers=PART)
    assert answer.status_code == 401
    assert answer.text == ""


def test_data_without_a_session_is_a_problem(visitor: httpx.Client) -> None:
    answer = visitor.get(DATA)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", PAGES + PARTS)
def test_a_session_opens_every_page_under_a_strict_policy(
    operator: httpx.Client, path: str
) -> None:
    answer = operator.get(path)
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    # Nothing inline, nothing from elsewhere.
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=|https?://", answer.text)


def test_the_session_cookie_is_out_of_reach(visitor: httpx.Client, utility: World) -> None:
    answer = log_in(visitor, utility.keys["read"])
    cookie = next(
        line for line in answer.headers.get_list("set-cookie") if line.startswith("songlo_session")
    ).lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert utility.keys["read"] not in cookie
    assert "secure" not in cookie


def test_behind_tls_the_cookie_is_secure(visitor: httpx.Client, utility: World) -> None:
    # uvicorn believes a proxy on this machine.
    visitor.headers["X-Forwarded-Proto"] = "https"
    page = visitor.get("/login")
    assert all("secure" in line.lower() for line in page.headers.get_list("set-cookie"))


@pytest.mark.parametrize("key", ["", "nonsense", "sgl_00000000_" + "0" * 40, "x" * 201])
def test_a_wrong_key_does_not_log_in(visitor: httpx.Client, key: str) -> None:
    answer = log_in(visitor, key)
    assert answer.status_code in {401, 422}
    assert "songlo_session" not in visitor.cookies


def test_a_form_that_was_not_made_here_is_refused(visitor: httpx.Client, utility: World) -> None:
    assert log_in(visitor, utility.keys["read"], form_token="forged").status_code == 401
    with httpx.Client(base_url=visitor.base_url) as other:
        token = re.search(r'name="form_token" value="([^"]+)"', visitor.get("/login").text)
        assert token is not None
        form = {"key": utility.keys["read"], "form_token": token[1]}
        assert other.post("/login", data=form).status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil", "\t/x"])
def test_nobody_is_led_elsewhere(visitor: httpx.Client, utility: World, target: str) -> None:
    assert log_in(visitor, utility.keys["read"], target).headers["Location"] == "/"
    answer = visitor.get("/language/vi", params={"next": target})
    assert answer.headers["Location"] == "/"


def test_logging_out_closes_the_session(operator: httpx.Client) -> None:
    assert operator.post("/logout", data={"form_token": "forged"}).status_code == 403
    assert operator.get("/").status_code == 200
    token = re.search(r'name="form_token" value="([^"]+)"', operator.get("/").text)
    assert token is not None
    assert operator.post("/logout", data={"form_token": token[1]}).status_code == 303
    assert operator.get("/").status_code == 303


def test_a_session_ends_with_its_time_and_with_its_key(
    visitor: httpx.Client, utility: World
) -> None:
    name = "short-lived"
    key = add_key(utility.ledger, name=name, scopes=["read"], now=FIRST_AT)
    log_in(visitor, key)
    assert visitor.get("/").status_code == 200
    utility.now = NOW + SESSION_LIFETIME
    assert visitor.get("/").status_code == 303
    utility.now = NOW
    assert visitor.get("/").status_code == 200
    revoke_key(utility.ledger, name=name, now=NOW)
    assert visitor.get("/").status_code == 303
    expiring = add_key(
        utility.ledger,
        name="expiring",
        scopes=["snapshot"],
        now=FIRST_AT,
        expires_at=NOW + timedelta(hours=1),
    )
    log_in(visitor, expiring)
    assert visitor.get("/").status_code == 200
    utility.now = NOW + timedelta(hours=1)
    assert visitor.get("/").status_code == 303
    utility.now = NOW


def test_the_first_page_says_what_is_missing(operator: httpx.Client) -> None:
    text = operator.get("/console/overview").text
    assert STATION in text
    assert "Trạm Chiềng Ngần 12" in text
    assert "missing: 1" in re.sub(r"\s+", " ", text)


def test_stations_are_found_by_part_of_their_name(operator: httpx.Client) -> None:
    assert STATION in operator.get("/console/overview", params={"q": "chiềng"}).text
    assert "No station matches" in operator.get("/console/overview", params={"q": "xyz"}).text
    assert operator.get("/", params={"q": "xyz"}).status_code == 200


def test_a_stations_parts(operator: httpx.Client) -> None:
    points = operator.get(f"/console/stations/{STATION}/points").text
    # What lacks today's index comes first.
    assert points.index(CUSTOMERS[-1]) < points.index(CUSTOMERS[0])
    balance = operator.get(f"/console/stations/{STATION}/balance").text
    assert 'data-loss-percent="9.0909"' in balance
    assert "points lacking:" in balance
    figures = operator.get(f"/console/stations/{STATION}/figures").text
    assert "99.93" in figures
    assert "no answer 1" in figures


def test_the_days_data_add_up(operator: httpx.Client) -> None:
    day: dict[str, Any] = operator.get(DATA).json()
    assert len(day["starts_at"]) == 48
    assert day["step_s"] == 1800
    assert sum(day["received_wh"]) == 48 * 660
    # The index missed at the end of the day is bridged from the next read.
    assert sum(day["sold_wh"]) == 48 * 600
    assert all(day["complete"])
    assert day["measured"] == [True] * 47 + [False]
    assert day["power_w"][0] == 1320.0
    assert day["silent_points"] == []


def test_a_day_without_readings_is_all_unknown(operator: httpx.Client) -> None:
    day = operator.get(DATA.replace("2026-01-10", "2025-06-01")).json()
    assert set(day["received_wh"]) == {None}
    # No meter was there yet: no point is silent.
    assert day["points"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stations/NOWHERE", 404),
        ("/?station=NOWHERE", 404),
        ("/nothing", 404),
        ("/?day=yesterday", 422),
        ("/?page=0", 422),
        ("/findings/999", 404),
        ("/findings?rule=X", 422),
        ("/runs/nothing", 404),
        ("/runs/nothing/versions/1", 404),
        ("/runs/new?book=X", 404),
        ("/language/xx", 404),
    ],
)
def test_what_cannot_be_shown_is_said_on_a_page(
    operator: httpx.Client, path: str, status: int
) -> None:
    answer = operator.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert 'role="alert"' in answer.text


def test_a_language_is_chosen_and_kept(visitor: httpx.Client, utility: World) -> None:
    assert 'lang="en"' in visitor.get("/login").text
    answer = visitor.get("/language/vi", params={"next": "/login"})
    assert answer.headers["Location"] == "/login"
    page = visitor.get("/login")
    assert 'lang="vi"' in page.text
    assert page.headers["Content-Language"] == "vi"
    assert "Đăng nhập" in page.text
    log_in(visitor, utility.keys["read"])
    assert "99,93" in visitor.get(f"/console/stations/{STATION}/figures").text


def test_empty_states_say_what_to_do(empty_url: str, empty: World) -> None:
    with httpx.Client(base_url=empty_url, headers={"Accept-Language": "en"}) as client:
        log_in(client, empty.keys["read"])
        assert client.get("/").status_code == 200
        assert "songlo collector registry import DIR" in client.get("/console/overview").text
        assert "songlo gateway check" in client.get("/console/gateways").text


def away(*_: object, **__: object) -> Iterator[StoredRead]:
    raise StoreUnavailable("connection refused")


def ledger_away(*_: object, **__: object) -> None:
    raise LedgerUnavailable("the database is away", hint="see that it runs")


def test_the_store_away_is_an_error_of_the_plot_only(
    operator: httpx.Client, utility: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utility.store, "readings", away)
    answer = operator.get(DATA)
    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unavailable"
    assert operator.get(f"/stations/{STATION}").status_code == 200
    assert operator.get(f"/console/stations/{STATION}/points").status_code == 200


def test_the_ledger_away_is_said_in_the_part(
    operator: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "gateways", ledger_away)
    answer = operator.get("/console/gateways", headers=PART)
    assert answer.status_code == 503
    assert "see that it runs" in answer.text
    assert "<html" not in answer.text


def test_an_exchange_is_followed_by_the_plot(utility: World) -> None:
    meters = station_views.plot_meters(
        utility.app.state.context, STATION, NOW - timedelta(days=1), NOW
    )
    assert [meter.is_head for meter in meters] == [True, False, False, False]
    early = datetime(2020, 1, 1, tzinfo=NOW.tzinfo)
    assert (
        station_views.plot_meters(
            utility.app.state.context, STATION, early, early + timedelta(days=1)
        )
        == []
    )


def test_the_gateways_part_shows_delivery(operator: httpx.Client) -> None:
    text = operator.get("/console/gateways").text
    assert GATEWAY in text
    assert "2,019" in text


def test_the_losses_of_a_month_in_both_languages(operator: httpx.Client) -> None:
    part = operator.get("/console/losses?month=2026-01-01").text
    assert STATION in part
    # The month has not ended: its stations are there, and none is compared.
    assert "Stations that are not compared" in part
    assert "points without an index, counted as nothing" in part or "head meter without" in part
    operator.cookies.set("songlo_language", "vi")
    part = operator.get("/console/losses?month=2026-01-01").text
    assert "Trạm không xếp hạng" in part
    page = operator.get("/losses?month=2025-11-20").text
    assert "Tổn thất 11/2025" in page
    assert "/losses?month=2025-12-01" in page
    assert "/losses?month=2025-10-01" in page
