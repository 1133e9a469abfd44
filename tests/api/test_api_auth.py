"""Who may ask what: every route of /v1 against every kind of key."""

from datetime import timedelta

import httpx
import pytest

from collector.operations.keys import add_key, revoke_key
from collector.web.wrong_keys import FREE_TRIES
from tests.api.server import client_of
from tests.api.world import FIRST_AT, NOW, World

OPEN = {"/health", "/metrics", "/openapi.json"}
SNAPSHOT = {"from_at": "2026-01-01T00:00:00+07:00", "to_at": "2026-01-02T00:00:00+07:00"}


def operations(client: httpx.Client) -> list[tuple[str, str]]:
    document = client.get("/openapi.json").json()
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith("/v1")
    ]


def call(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    filled = path.replace("{snapshot_id}", "none").replace("{station}", "none")
    filled = filled.replace("{gateway}", "none").replace("{command}", "none")
    return client.request(method, filled.replace("{serial}", "none"), headers=headers)


def test_every_route_needs_a_key(client: httpx.Client) -> None:
    found = operations(client)
    assert len(found) >= 15
    for method, path in found:
        answer = call(client, method, path, {})
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unauthorized"


@pytest.mark.parametrize("path", sorted(OPEN))
def test_what_probes_need_is_open(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer sgl_00000000_" + "0" * 40},
        {"X-Api-Key": "sgl_00000000_" + "0" * 40},
    ],
)
def test_a_wrong_key_opens_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.get("/v1/stations", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "key_refused"


def test_basic_authentication_is_no_key(client: httpx.Client) -> None:
    assert client.get("/v1/stations", auth=("a", "b")).json()["code"] == "unauthorized"


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key"])
def test_both_headers_carry_a_key(client: httpx.Client, utility: World, name: str) -> None:
    key = utility.keys["read"]
    value = f"Bearer {key}" if name == "Authorization" else key
    assert client.get("/v1/stations", headers={name: value}).status_code == 200


@pytest.mark.parametrize(
    ("scope", "read", "snapshot"), [("read", 200, 403), ("snapshot", 200, 201), ("admin", 200, 201)]
)
def test_scopes_include_those_below(
    client: httpx.Client, utility: World, scope: str, read: int, snapshot: int
) -> None:
    headers = utility.headers(scope)
    assert client.get("/v1/stations", headers=headers).status_code == read
    answer = client.post("/v1/snapshots", json=SNAPSHOT, headers=headers)
    assert answer.status_code == snapshot, answer.text
    if snapshot == 403:
        assert answer.json()["code"] == "forbidden"
        assert "--scope snapshot" in answer.json()["hint"]


def test_a_revoked_or_expired_key_opens_nothing(empty: World) -> None:
    short = add_key(
        empty.ledger,
        name="short",
        scopes=["read"],
        now=FIRST_AT,
        expires_at=NOW + timedelta(minutes=1),
    )
    with client_of(empty.app) as client:
        headers = {"X-Api-Key": short}
        assert client.get("/v1/stations", headers=headers).status_code == 200
        empty.now = NOW + timedelta(minutes=1)
        assert client.get("/v1/stations", headers=headers).status_code == 401
        assert client.get("/v1/stations", headers=empty.headers()).status_code == 200
        revoke_key(empty.ledger, name="read-key", now=empty.now)
        assert client.get("/v1/stations", headers=empty.headers()).status_code == 401


def test_an_address_that_guesses_has_to_wait(empty: World) -> None:
    good, quiet = empty.headers("read"), empty.headers("admin")
    with client_of(empty.app) as client:
        assert client.get("/v1/stations", headers=good).status_code == 200
        for number in range(FREE_TRIES + 3):
            guess = {"X-Api-Key": f"sgl_{number:08x}_{'0' * 40}"}
            answer = client.get("/v1/stations", headers=guess)
        assert answer.status_code == 429
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "too_many_wrong_keys"
        wait_s = int(answer.headers["Retry-After"])
        assert 1 <= wait_s <= 60
        # Whoever worked from there goes on; a key that is new there waits like everyone.
        assert client.get("/v1/stations", headers=good).status_code == 200
        assert client.get("/v1/stations", headers=quiet).status_code == 429
        empty.now += timedelta(seconds=wait_s)
        assert client.get("/v1/stations", headers=quiet).status_code == 200
