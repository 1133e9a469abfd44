"""What one caller may take: requests, bodies, time, connections; the others go on."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from collector.api import serving
from collector.config import ApiConfig
from collector.operations import registry_pages
from collector.web import guards
from collector.web.rates import Rates
from tests.api.server import client_of, serve
from tests.api.test_api_openapi import operations
from tests.api.world import HEAD, STATION, World
from tests.intake.kit import until
from tests.services.process import free_port


@contextmanager
def limited(world: World, *, burst: int = 1_000, at_once: int = 9) -> Iterator[World]:
    """The world with other rates, for the block; nothing comes back with time."""
    before = world.app.state.context
    world.app.state.context = replace(
        before, rates=Rates(burst=burst, at_once=at_once, monotonic=lambda: 0.0)
    )
    try:
        yield world
    finally:
        world.app.state.context = before


def test_a_key_that_asks_too_often_waits_and_others_do_not(empty: World) -> None:
    with limited(empty, burst=5), client_of(empty.app) as client:
        answers = [client.get("/v1/stations", headers=empty.headers()) for _ in range(7)]
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        refused = answers[-1]
        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_requests"
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/v1/stations", headers=empty.headers("admin")).status_code == 200
        assert client.get("/health").status_code == 200
        # The console of somebody with this key is that key.
        page = client.get("/login")
        token = page.text.split('name="form_token" value="')[1].split('"')[0]
        form = {"key": empty.keys["read"], "form_token": token}
        assert client.post("/login", data=form).status_code == 303
        assert client.get("/gateways").status_code == 429


def test_a_key_is_answered_only_so_often_at_the_same_time(
    empty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()
    found = registry_pages.station_page

    def slow(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever it takes
        entered.release()
        go_on.wait(30)
        return found(*args, **kwargs)

    def ask(url: str, answers: list[int]) -> None:
        answers.append(
            httpx.get(f"{url}/v1/stations", headers=empty.headers(), timeout=30).status_code
        )

    answers: list[int] = []
    with limited(empty, at_once=2), serve(empty.app) as url:
        monkeypatch.setattr(registry_pages, "station_page", slow)
        threads = [threading.Thread(target=ask, args=(url, answers)) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert all(entered.acquire(timeout=30) for _ in threads)
        third = httpx.get(f"{url}/v1/stations", headers=empty.headers())
        assert third.status_code == 429
        go_on.set()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]
        assert httpx.get(f"{url}/v1/stations", headers=empty.headers()).status_code == 200


def test_who_is_refused_or_fails_holds_no_place(empty: World) -> None:
    with limited(empty, at_once=1), client_of(empty.app) as client:
        for _ in range(3):
            assert client.get("/v1/audit", headers=empty.headers()).status_code == 403
            assert client.get("/v1/snapshots/none", headers=empty.headers()).status_code == 404
            assert client.get("/v1/stations?limit=x", headers=empty.headers()).status_code == 422
        assert client.get("/v1/stations", headers=empty.headers()).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(
    empty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "BODY_S_MAX", 0.3)
    with serve(empty.app) as url:
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(
                b"POST /v1/snapshots HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + f"X-Api-Key: {empty.keys['admin']}\r\n".encode()
                + b"Content-Length: 1000\r\n\r\n{"
            )
            answer = line.recv(4096)
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert b"too_slow" in answer


def test_more_connections_than_there_is_room_for_are_turned_away(
    empty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "CONNECTIONS_MAX", 4)
    with running(empty.app, ApiConfig(port=free_port())) as url:
        port = int(url.rsplit(":", 1)[1])
        assert httpx.get(f"{url}/health").status_code == 200
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        until(lambda: httpx.get(f"{url}/health").status_code == 503, "nobody is turned away")
        for line in idle:
            line.close()
        until(lambda: httpx.get(f"{url}/health").status_code == 200, "they are not forgotten")


@contextmanager
def running(app: FastAPI, api: ApiConfig) -> Iterator[str]:
    """The application on the collector's own server."""
    server: uvicorn.Server = serving.server_of(app, api)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the server does not start")
        yield f"http{'' if api.tls is None else 's'}://{api.host}:{api.port}"
    finally:
        server.should_exit = True
        thread.join()


def test_every_list_and_every_range_has_a_bound(client: httpx.Client, utility: World) -> None:
    document = client.get("/openapi.json").json()
    limits, ranges = 0, 0
    for path, _, operation in operations(document):
        parameters = {one["name"]: one for one in operation.get("parameters", ())}
        if "limit" in parameters:
            assert parameters["limit"]["schema"]["maximum"] <= 10_000, path
            limits += 1
        for first, last, asked in (
            ("from", "to", ("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z")),
            ("first_day", "last_day", ("2020-01-01", "2026-01-01")),
        ):
            # A filter of a list that is cut into pages needs no bound of its own.
            if {first, last} <= set(parameters) and "limit" not in parameters:
                filled = path.replace("{station}", STATION).replace("{serial}", HEAD)
                params = dict(zip((first, last), asked, strict=True))
                answer = client.get(filled, params=params, headers=utility.headers())
                assert answer.status_code == 422, path
                assert re.search(
                    r"(at most|more than) \d+|\d+ days at most", answer.json()["detail"]
                ), path
                ranges += 1
        for one in parameters.values():
            if one["in"] == "path" and one["schema"].get("type") == "string":
                assert (
                    one["schema"].get("maxLength")
                    or one["schema"].get("pattern")
                    or one["schema"].get("enum")
                ), (path, one["name"])
    assert limits >= 7
    assert ranges >= 4


def test_the_guard_does_not_cut_off_who_waits_for_the_end_of_a_long_answer() -> None:
    """After the body the same channel tells that the reader left: that has no time limit."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:  # noqa: ANN401  ASGI
        if messages:
            return messages.pop()
        await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    async def application(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        del scope, send
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    async def nothing(_: Any) -> None: ...  # noqa: ANN401  ASGI

    before, guards.BODY_S_MAX = guards.BODY_S_MAX, 0.05
    try:
        guard = guards.BodyLimit(application)
        asyncio.run(guard({"type": "http", "path": "/"}, receive, nothing))
    finally:
        guards.BODY_S_MAX = before
