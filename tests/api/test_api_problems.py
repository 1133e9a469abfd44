"""Every way to be refused: one shape, a status, a code and a hint that helps."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.errors import Conflict, LedgerUnavailable
from collector.ledger import Ledger
from collector.operations import balances, snapshots
from collector.readings.port import StoredRead, StoreUnavailable
from collector.web.guards import BODY_BYTES_MAX
from tests.api.server import client_of
from tests.api.world import HEAD, STATION, World, world

PERIOD = {"from_at": "2026-01-01T00:00:00+07:00", "to_at": "2026-01-02T00:00:00+07:00"}
RANGE = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:songlo:problem:{code}"
    assert found["status"] == status
    assert found["code"] == code
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/stations/NOWHERE", "NOWHERE"),
        ("/v1/stations/NOWHERE/balance?" + RANGE, "NOWHERE"),
        ("/v1/stations/NOWHERE/daily-balance?first_day=2026-01-01&last_day=2026-01-02", "NOWHERE"),
        ("/v1/stations/NOWHERE/accounting?" + RANGE, "NOWHERE"),
        ("/v1/points?station=NOWHERE", "NOWHERE"),
        ("/v1/meters?station=NOWHERE", "NOWHERE"),
        ("/v1/meters/without-index?station=NOWHERE", "NOWHERE"),
        ("/v1/meters/NOBODY/readings?" + RANGE, "NOBODY"),
        ("/v1/snapshots/none", "none"),
        ("/v1/snapshots/none/lines.csv", "none"),
        ("/v1/snapshots/none/lines.json", "none"),
        ("/v1/nothing", "/v1/nothing"),
    ],
)
def test_what_does_not_exist(client: httpx.Client, utility: World, path: str, part: str) -> None:
    found = refused(client.get(path, headers=utility.headers()), 404, "not_found")
    assert part in found["detail"]
    assert found["hint"]


@pytest.mark.parametrize(
    ("query", "where", "hint"),
    [
        ("from=2026-01-01T00:00:00&to=2026-01-02T00:00:00Z", "query.from", "offset"),
        # A plus sign that nobody escaped arrives as a space.
        ("from=2026-01-01T00:00:00+07:00&to=2026-01-02T00:00:00Z", "query.from", "%2B"),
        ("from=1767225600&to=2026-01-02T00:00:00Z", "query.from", "offset"),
        ("from=2026-01-01&to=2026-01-02", "query.to", "offset"),
        ("from=0001-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", "query.from", "offset"),
        ("from=2026-13-01T00:00:00Z&to=2026-01-02T00:00:00Z", "query.from", ""),
        ("from=2026-01-01T00:00:00.0001Z&to=2026-01-02T00:00:00Z", "query.from", ""),
        ("to=2026-01-02T00:00:00Z", "query.from", ""),
    ],
)
@pytest.mark.parametrize("path", [f"/v1/stations/{STATION}/balance", f"/v1/meters/{HEAD}/readings"])
def test_an_instant_that_is_none(
    client: httpx.Client, utility: World, path: str, query: str, where: str, hint: str
) -> None:
    found = refused(client.get(f"{path}?{query}", headers=utility.headers()), 422, "validation")
    assert where in [fault["where"] for fault in found["faults"]]
    assert hint in found["hint"]


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/stations/{STATION}/balance?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        f"/v1/stations/{STATION}/balance?from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
        f"/v1/stations/{STATION}/accounting?from=2024-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
        f"/v1/meters/{HEAD}/readings?from=2024-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
        f"/v1/meters/{HEAD}/readings?{RANGE}&register=9-9:9.9.9",
        f"/v1/stations/{STATION}/daily-balance?first_day=2026-01-02&last_day=2026-01-01",
        f"/v1/stations/{STATION}/daily-balance?first_day=2020-01-02&last_day=2026-01-01",
        f"/v1/stations/{STATION}/daily-balance.csv?first_day=2026-01-02&last_day=2026-01-01",
    ],
)
def test_a_range_that_cannot_be(client: httpx.Client, utility: World, path: str) -> None:
    found = refused(client.get(path, headers=utility.headers()), 422, "invalid_request")
    assert found["hint"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stations?limit=0",
        "/v1/stations?limit=100000",
        "/v1/stations?after=" + "x" * 65,
        "/v1/stations/" + "x" * 65,
        "/v1/snapshots?limit=501",
        f"/v1/meters/{HEAD}/readings?{RANGE}&limit=10001",
        f"/v1/meters/{HEAD}/readings?{RANGE}" + "&register=1-0:1.8.0" * 41,
        "/v1/points?role=king",
        "/v1/meters/without-index?day=01/02/2026",
    ],
)
def test_limits(client: httpx.Client, utility: World, path: str) -> None:
    refused(client.get(path, headers=utility.headers()), 422, "validation")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"station": "NOWHERE"}, "not_found"),
        ({"to_at": "2031-01-01T00:00:00Z"}, "invalid_request"),
        ({"to_at": PERIOD["from_at"]}, "invalid_request"),
        ({"from_at": "2026-01-05T00:00:00Z"}, "invalid_request"),
        ({"from_at": "2001-01-01T00:00:00Z", "to_at": "2001-02-01T00:00:00Z"}, "empty_registry"),
        ({"from_at": "2026-01-01T00:00:00"}, "validation"),
        ({"from_at": 5}, "validation"),
        ({"stations": STATION}, "validation"),
        ({"station": ""}, "validation"),
    ],
)
def test_a_snapshot_that_cannot_be(
    client: httpx.Client, utility: World, body: dict[str, Any], code: str
) -> None:
    before = snapshots.list_snapshots(utility.ledger)
    answer = client.post("/v1/snapshots", json=PERIOD | body, headers=utility.headers("snapshot"))
    found = refused(answer, 404 if code == "not_found" else 422, code)
    assert found["hint"]
    assert snapshots.list_snapshots(utility.ledger) == before


def test_a_snapshot_of_an_empty_registry(empty: World) -> None:
    with client_of(empty.app) as client:
        answer = client.post("/v1/snapshots", json=PERIOD, headers=empty.headers("snapshot"))
    assert "registry import" in refused(answer, 422, "empty_registry")["hint"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"from_at": NaN}'])
def test_a_body_that_is_no_json(client: httpx.Client, utility: World, body: bytes) -> None:
    headers = utility.headers("snapshot") | {"Content-Type": "application/json"}
    answer = client.post("/v1/snapshots", content=body, headers=headers)
    assert answer.status_code in {400, 422}
    refused(answer, answer.status_code, answer.json()["code"])


def test_a_body_that_is_too_large(client: httpx.Client, utility: World) -> None:
    headers = utility.headers("snapshot") | {"Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * (BODY_BYTES_MAX // 4)

    whole = b" " * (BODY_BYTES_MAX + 1)
    for content in (whole, chunks()):
        answer = client.post("/v1/snapshots", content=content, headers=headers)
        refused(answer, 413, "too_large")


def test_a_method_that_is_not_answered(client: httpx.Client, utility: World) -> None:
    answer = client.delete("/v1/stations", headers=utility.headers())
    assert answer.headers["Allow"] == "GET"
    assert refused(answer, 405, "method_not_allowed")["hint"] == "use GET"


def test_a_name_with_traps_is_just_unknown(client: httpx.Client, utility: World) -> None:
    for name in ("%27%20OR%201=1--", "%00", "..%2F..", "%F0%9F%98%80"):
        answer = client.get(f"/v1/stations/{name}", headers=utility.headers())
        assert answer.status_code in {404, 422}
        assert answer.headers["Content-Type"] == "application/problem+json"


class BrokenStore:
    """A reading store that is away."""

    def readings(
        self, meter: str, from_at: datetime, to_at: datetime, limit: int = 1
    ) -> Iterator[StoredRead]:
        raise StoreUnavailable("connection refused")

    def count(self, from_at: datetime, to_at: datetime) -> int:
        raise StoreUnavailable("connection refused")


def test_the_store_away_only_degrades(utility: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BrokenStore()
    monkeypatch.setattr(utility.store, "readings", broken.readings)
    monkeypatch.setattr(utility.store, "count", broken.count)
    with client_of(utility.app) as client:
        answer = client.get(f"/v1/meters/{HEAD}/readings?{RANGE}", headers=utility.headers())
        refused(answer, 503, "store_unavailable")
        assert answer.headers["Retry-After"]
        health = client.get("/health")
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"
        assert "refused" in health.json()["parts"]["readings"]["detail"]
        balance = client.get(f"/v1/stations/{STATION}/balance?{RANGE}", headers=utility.headers())
        assert balance.status_code == 200


def test_a_ledger_that_is_not_migrated_is_said(tmp_path: Path) -> None:
    with world(tmp_path, stations=False, reads=False) as made:
        fresh = Ledger(f"sqlite:///{tmp_path / 'fresh.db'}")
        made.app.state.context = replace(made.app.state.context, ledger=fresh)
        with client_of(made.app) as client:
            health = client.get("/health")
            assert health.status_code == 503
            assert health.json()["status"] == "failing"
            assert "migrate" in health.json()["parts"]["ledger"]["detail"]
            answer = client.get("/v1/stations", headers=made.headers())
            assert "migrate" in refused(answer, 503, "ledger_state")["hint"]
        fresh.close()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LedgerUnavailable("the disk is away", hint="wait"), 503, "ledger_unavailable"),
        (Conflict("it is so already"), 409, "conflict"),
        (ZeroDivisionError("secret detail"), 500, "internal_error"),
    ],
)
def test_errors_from_below(
    client: httpx.Client,
    utility: World,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(balances, "period_balance", fail)
    answer = client.get(f"/v1/stations/{STATION}/balance?{RANGE}", headers=utility.headers())
    refused(answer, status, code)
    assert "secret" not in answer.text
