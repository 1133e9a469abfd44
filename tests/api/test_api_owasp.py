"""OWASP's ten risks of APIs, where no other test of this folder has them (docs/security.md)."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.ledger.commands import StoredCommand
from collector.metrics import Metrics
from collector.operations.keys import add_key
from collector.web import guards
from contract.messages import encode
from contract.topics import BatchTopic, build
from tests.api.server import client_of
from tests.api.test_api_openapi import operations
from tests.api.world import EPOCH, FIRST_AT, GATEWAY, NOW, STATION, World, _batch

# Written out: what is taken out of the guards is missed here. The policy is looked at apart.
PROTECTING = {
    "Content-Security-Policy": None,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# Everything that answers and is not in the OpenAPI document: pages, for people who logged in.
PAGES_WITHOUT_A_SESSION = {"/login", "/logout", "/language/{language}", "/openapi.json"}


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def routes(world: World) -> set[tuple[str, str]]:
    """Every method and path that the application answers, whether it is documented or not."""
    return {
        (method, context.path.replace(":path}", "}"))
        for context in iter_route_contexts(world.app.routes)
        for method in context.methods or ()
        if method != "HEAD" and context.path is not None
    }


def test_api9_every_route_of_programs_is_in_the_document(
    utility: World, document: dict[str, Any]
) -> None:
    documented = {(method.upper(), path) for path, method, _ in operations(document)}
    found = routes(utility)
    programs = {(method, path) for method, path in found if path.startswith("/v1")}
    assert len(programs) >= 25
    assert programs <= documented
    assert documented <= found
    # One version is served: no old one is left open beside it.
    versions = {re.match(r"/v\d+", path) for _, path in found}
    assert {match[0] for match in versions if match} == {"/v1"}


def test_api2_every_page_needs_a_session(client: httpx.Client, utility: World) -> None:
    pages = {
        path
        for method, path in routes(utility)
        if method == "GET" and not path.startswith(("/v1", "/health", "/metrics"))
    } - PAGES_WITHOUT_A_SESSION
    assert len(pages) >= 9
    for path in pages:
        filled = path.replace("{station}", STATION)
        answer = client.get(filled, params={"day": "2026-01-10"})
        assert answer.status_code in {303, 401}, path
        if answer.status_code == 303:
            assert answer.headers["Location"].startswith("/login"), path


def objects(document: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Every object that a schema of a body reaches."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            yield from objects(document, document["components"]["schemas"][name])
            return
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(document, value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(document, value)


def test_api3_no_body_takes_what_it_does_not_name(document: dict[str, Any]) -> None:
    checked = 0
    for path, method, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        for schema in objects(document, content.get("application/json", {}).get("schema")):
            # Either closed, or the cells of a row, whose columns the registry's forms name.
            rest = schema.get("additionalProperties", True)
            assert rest is False or (rest is not True and "anyOf" in rest), (method, path, schema)
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/snapshots", {
            "from_at": "2026-01-01T00:00:00Z", "to_at": "2026-01-02T00:00:00Z", "made_by": "x",
        }),
        ("POST", f"/v1/gateways/{GATEWAY}/commands", {"kind": "ping", "issuer": "x"}),
        ("POST", "/v1/registry/books", {"rows": [{"book": "B1", "name": "b"}], "actor": "x"}),
        ("POST", "/v1/registry/books", {"rows": [{"book": "B1", "name": "b", "version": 7}]}),
        ("PATCH", "/v1/registry/terms/HD-1", {"rows": [{"made_by": "x"}], "reason": "r"}),
    ],
)  # fmt: skip
def test_api3_what_only_the_system_says_cannot_be_sent(
    client: httpx.Client, utility: World, method: str, path: str, body: dict[str, Any]
) -> None:
    headers = {**utility.headers("admin"), "If-Match": '"x"'}
    answer = client.request(method, path, json=body, headers=headers)
    assert answer.status_code in {404, 422}, answer.text
    if answer.status_code == 422:
        unknown = re.search(r"made_by|issuer|actor|version", answer.text)
        assert unknown or answer.json()["code"] == "commands_off", answer.text


def test_api1_a_thing_is_found_only_under_what_it_belongs_to(empty: World) -> None:
    """A key reads the whole utility; a path that names an owner is answered for it alone."""
    pipeline = Pipeline(empty.ledger, empty.store, lambda: NOW, Metrics())
    pipeline.claim(
        [
            Message(build(BatchTopic(gateway, EPOCH, 1)), encode(_batch(1, FIRST_AT, 1)))
            for gateway in ("GW-A", "GW-B")
        ]
    )
    issued = (NOW, NOW + timedelta(minutes=2))
    with empty.ledger.begin() as uow:
        uow.commands.add(StoredCommand("c0ffee", "GW-A", "ping", {}, "key:x", *issued))
    with client_of(empty.app) as client:
        found = client.get("/v1/gateways/GW-A/commands/c0ffee", headers=empty.headers())
        assert found.status_code == 200, found.text
        other = client.get("/v1/gateways/GW-B/commands/c0ffee", headers=empty.headers())
        assert other.status_code == 404


def test_api1_tokens_of_one_key_are_nothing_to_another(empty: World) -> None:
    """What one key sent once cannot be fetched, nor blocked, by another with the same token."""
    keys = [
        add_key(empty.ledger, name=name, scopes=["registry:write"], now=FIRST_AT)
        for name in ("one", "other")
    ]
    with client_of(empty.app) as client:
        made = [
            client.post(
                "/v1/registry/books",
                json={"rows": [{"book": f"B{number}", "name": "b"}]},
                headers={"X-Api-Key": key, "Idempotency-Key": "the-same"},
            )
            for number, key in enumerate(keys)
        ]
    assert [answer.status_code for answer in made] == [201, 201], made[1].text
    assert not made[1].json()["repeated"]


def test_api8_answers_protect_who_gets_them(
    client: httpx.Client, utility: World, document: dict[str, Any]
) -> None:
    headers = utility.headers("admin")
    policy = guards.HEADERS["Content-Security-Policy"]
    for path, method, _ in operations(document):
        filled = re.sub(r"\{\w+\}", "none", path)
        answer = client.request(method, filled, headers=headers)
        found = {name: answer.headers.get(name) for name in PROTECTING}
        assert found == PROTECTING | {"Content-Security-Policy": policy}, path
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy


def test_api8_names_and_addresses_are_kept_by_nobody_on_the_way(
    client: httpx.Client, utility: World
) -> None:
    for path in ("customers", "export.zip", "export.xlsx"):
        answer = client.get(f"/v1/registry/{path}", headers=utility.headers("admin"))
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize("path", ["/v1/stations", "/v1/snapshots", "/login", "/health"])
def test_api8_no_other_site_is_let_in(client: httpx.Client, utility: World, path: str) -> None:
    asking = {
        "Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }  # fmt: skip
    for answer in (
        client.options(path, headers=asking),
        client.get(path, headers={**utility.headers(), "Origin": "https://elsewhere.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect", "/.env", "/static/"])
def test_api8_nothing_of_the_framework_is_left_open(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404
    for trap in ("/static/../api/app.py", "/static/%2e%2e/web.py", "/static/..%2fweb.py"):
        assert client.get(trap).status_code == 404


def test_api8_a_failure_tells_nothing_of_the_inside(
    utility: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collector.operations import registry_pages

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("SELECT secret FROM inside")

    monkeypatch.setattr(registry_pages, "station_page", broken)
    with client_of(utility.app) as client:
        answer = client.get("/v1/stations", headers=utility.headers())
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert re.search("incident [0-9a-f]{8}", answer.json()["detail"])
    for inside in ("SELECT", "secret", "RuntimeError", "Traceback", ".py"):
        assert inside not in answer.text


def test_a_ledger_without_keys_opens_to_nobody(empty: World, document: dict[str, Any]) -> None:
    """There is no first key that everybody knows: the one who runs the collector makes it."""
    with empty.ledger.begin() as uow:
        for name in ("read-key", "snapshot-key", "admin-key"):
            uow.keys.revoke(name, NOW)
    with client_of(empty.app) as client:
        for path, method, _ in operations(document):
            if path.startswith("/v1"):
                filled = re.sub(r"\{\w+\}", "none", path)
                assert client.request(method, filled).status_code == 401, path
                assert client.request(method, filled, auth=("admin", "admin")).status_code == 401
