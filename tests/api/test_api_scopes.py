"""Every route against every scope, as the OpenAPI document itself says what each needs."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from collector.operations.keys import Scope, add_key
from tests.api.server import client_of
from tests.api.world import FIRST_AT, World, world

# Written out, so that a change of what includes what is seen here.
ENOUGH = {
    "readings:read": {
        "readings:read", "vee:decide", "snapshot:create", "snapshot:approve", "command:send",
        "admin",
    },
    "export:read": {"export:read", "admin"},
    "registry:write": {"registry:write", "admin"},
    "vee:decide": {"vee:decide", "admin"},
    "snapshot:create": {"snapshot:create", "admin"},
    "snapshot:approve": {"snapshot:approve", "admin"},
    "command:send": {"command:send", "admin"},
    "admin": {"admin"},
}  # fmt: skip


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1")
    ]


def scope_of(operation: dict[str, Any]) -> str:
    """What an operation needs, by its own word: one scope, whichever header carries the key."""
    wanted = {
        (scheme, tuple(scopes))
        for requirement in operation.get("security", ())
        for scheme, scopes in requirement.items()
        if scopes
    }
    [scope] = {scopes for _, scopes in wanted}
    assert {scheme for scheme, _ in wanted} == {"bearer", "header"}
    [name] = scope
    return str(name)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("desk"), stations=False, reads=False) as made:
        for scope in Scope:
            made.keys[scope] = add_key(
                made.ledger, name=f"{scope.name}-only", scopes=[scope], now=FIRST_AT
            )
        yield made


@pytest.fixture(scope="module")
def client(desk: World) -> Iterator[httpx.Client]:
    with client_of(desk.app) as made:
        yield made


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_operation_names_the_one_scope_that_it_needs(document: dict[str, Any]) -> None:
    needed = {
        (method, path): scope_of(operation) for method, path, operation in operations(document)
    }
    assert len(needed) >= 20
    assert set(needed.values()) <= set(Scope)
    assert needed["POST", "/v1/snapshots"] == "snapshot:create"
    assert needed["GET", "/v1/snapshots/{snapshot_id}/lines.csv"] == "export:read"
    assert needed["POST", "/v1/gateways/{gateway}/commands"] == "command:send"
    assert needed["GET", "/v1/audit"] == "admin"
    # Whatever changes or sends something needs more than reading.
    assert all(
        scope not in {"readings:read", "export:read"}
        for (method, _), scope in needed.items()
        if method != "GET"
    )


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_opens_what_its_scope_is_enough_for_and_nothing_else(
    client: httpx.Client, desk: World, document: dict[str, Any], scope: Scope
) -> None:
    assert set(ENOUGH) == set(Scope)
    for method, path, operation in operations(document):
        filled = path
        for parameter in operation.get("parameters", ()):
            filled = filled.replace(f"{{{parameter['name']}}}", "none")
        answer = client.request(method, filled, headers=desk.headers(scope))
        needed = scope_of(operation)
        where = f"{method} {path} with {scope}"
        if scope in ENOUGH[needed]:
            assert answer.status_code in {200, 404, 409, 422}, where
        else:
            assert answer.status_code == 403, where
            assert answer.json()["code"] == "forbidden"
            assert f"--scope {needed}" in answer.json()["hint"]


def test_a_route_that_names_no_scope_would_be_seen() -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"security": []},
        {"security": [{"bearer": []}, {"header": []}]},
        {"security": [{"bearer": ["admin"]}, {"header": []}]},
        {"security": [{"bearer": ["admin"]}, {"header": ["readings:read"]}]},
    ]
    for operation in wrong:
        with pytest.raises((ValueError, AssertionError)):
            scope_of(operation)
