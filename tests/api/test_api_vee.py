"""The queue of findings, indices by hand and collection rates, asked as a program asks."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.api.app import create_app
from collector.ledger.findings import FindingFilter
from collector.operations.audit import list_audit
from collector.operations.commands import take_result
from collector.operations.vee import VeeRun, list_findings, run_vee
from collector.operations.vee_files import load_limits
from collector.vee.limits import read_limits
from collector.vee.values import Finding, Severity
from contract.commands import Detail, Result
from contract.messages import Scan, ScanKind
from tests.api.server import client_of
from tests.api.world import CUSTOMERS, FIRST_AT, GATEWAY, HEAD, NOW, STATION, ZONE, World, world

POINTS = [f"{STATION}/{number}" for number in range(4)]
LAST = FIRST_AT + timedelta(days=10)
RUN = VeeRun(date(2026, 1, 1), date(2026, 1, 10), ZONE, load_limits(None))

RATING = {"phases": 1, "voltage_v": 230, "current_max_a": 45}
SHIPPED = files("collector.vee").joinpath("limits.yaml").read_text(encoding="utf-8")


class Broker:
    """Takes everything, and keeps it."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        del payload, retain, timeout_s
        self.sent.append(topic)
        return True


@pytest.fixture(scope="module")
def broker() -> Broker:
    return Broker()


@pytest.fixture(scope="module")
def utility(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("vee")) as made:
        made.app = create_app(replace(made.app.state.context, sender=broker))
        run_vee(made.ledger, RUN, actor="test", now=NOW)
        yield made


@pytest.fixture(scope="module")
def client(utility: World) -> Iterator[httpx.Client]:
    with client_of(utility.app) as made:
        made.headers.update(utility.headers("admin"))
        yield made


def missing_one(client: httpx.Client) -> dict[str, Any]:
    """The finding of the one index that the world lacks."""
    found = client.get("/v1/findings", params={"rule": "V01", "state": "all"}).json()["findings"]
    (one,) = [row for row in found if row["meter"] == CUSTOMERS[-1]]
    return dict(one)


def add(utility: World, point: int, key: str, rule: str = "V06") -> int:
    """A finding about a week; its number."""
    meter = [HEAD, *CUSTOMERS][point]
    finding = Finding(
        rule,
        Severity.WARNING,
        POINTS[point],
        meter,
        "1-0:1.8.0",
        key,
        FIRST_AT,
        FIRST_AT + timedelta(days=7),
        {},
    )
    with utility.ledger.begin() as uow:
        uow.findings.add([finding], NOW)
    found = list_findings(utility.ledger, FindingFilter(rule=rule), limit=1000)
    return max(stored.id for stored in found if stored.finding.key == key)


def test_the_queue_in_pages_and_by_filter(client: httpx.Client, utility: World) -> None:
    for number in range(3):
        add(utility, 1, f"page {number}", "V07")
    whole = client.get("/v1/findings", params={"state": "all", "limit": 1000}).json()
    assert whole["next"] is None
    ids: list[int] = []
    after: int | None = 0
    while after is not None:
        part = client.get(
            "/v1/findings", params={"state": "all", "limit": 2, "after": after}
        ).json()
        ids += [row["id"] for row in part["findings"]]
        after = part["next"]
    assert ids == [row["id"] for row in whole["findings"]]
    for query, there in (
        ({"rule": "V07"}, True),
        ({"rule": "V07", "severity": "block"}, False),
        ({"rule": "V07", "station": STATION}, True),
        ({"rule": "V07", "station": "T9"}, False),
        ({"rule": "V07", "meter": CUSTOMERS[0], "last_day": "2026-01-01"}, True),
        ({"rule": "V07", "first_day": "2026-01-09"}, False),
        ({"rule": "V07", "state": "decided"}, False),
    ):
        found = client.get("/v1/findings", params=query).json()["findings"]
        assert bool(found) is there, query


def test_a_finding_with_its_reads_in_the_readers_language(client: httpx.Client) -> None:
    one = missing_one(client)
    shown = client.get(f"/v1/findings/{one['id']}", params={"language": "vi"}).json()
    assert "Không có chỉ số" in shown["finding"]["text"]
    assert shown["finding"]["text"] != one["text"]
    assert {row["register"] for row in shown["reads"]} == {"1-0:1.8.0"}
    assert [row["value"] for row in shown["reads"]] == [1_115_200, 1_129_600]
    assert client.get("/v1/findings/999999").json()["code"] == "not_found"


def test_a_re_read_is_followed_in_the_finding(
    client: httpx.Client, utility: World, broker: Broker
) -> None:
    number = missing_one(client)["id"]
    path = f"/v1/findings/{number}"
    body = {"decision": "re_read", "reason": "the line is up again"}
    first = client.post(f"{path}/decision", json=body, headers={"Idempotency-Key": "rr-1"}).json()
    again = client.post(f"{path}/decision", json=body, headers={"Idempotency-Key": "rr-1"}).json()
    (command,) = first["commands"]
    assert again == {**first, "again": True}
    assert [topic for topic in broker.sent if command in topic] == broker.sent
    shown = client.get(path).json()
    assert (shown["finding"]["open"], shown["re_reads"][0]["had"]) == (True, None)
    assert shown["decisions"][-1]["command"] == command
    scan = Scan(ScanKind.ON_DEMAND, LAST, missing=[(CUSTOMERS[-1], "timeout")])
    answer = Result(1, command, ok=False, code="partial", at=NOW, detail=Detail(scan=scan))
    assert take_result(utility.ledger, GATEWAY, answer)
    (outcome,) = client.get(path).json()["re_reads"]
    assert (outcome["state"], outcome["had"], outcome["why"]) == ("answered", False, "timeout")


def test_an_edit_is_made_once_and_stands_for_the_day(client: httpx.Client) -> None:
    number = missing_one(client)["id"]
    path = f"/v1/findings/{number}/decision"
    assert client.post(path, json={"decision": "edit", "reason": "x"}).status_code == 422
    refused = client.post(
        path, json={"decision": "estimate", "reason": "line down", "method": "E6"}
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "not_decided")
    body = {"decision": "edit", "value": 1_140_000, "reason": "line down", "photo": "IMG-1"}
    answers = [
        client.post(path, json=body, headers={"Idempotency-Key": "edit-1"}) for _ in range(2)
    ]
    first, again = (answer.json() for answer in answers)
    assert (first["again"], again["again"]) == (False, True)
    assert first["decided"] == again["decided"] == [number]
    assert first["indices"][0]["value"] == again["indices"][0]["value"]
    other = client.post(
        path, json={**body, "reason": "another"}, headers={"Idempotency-Key": "edit-1"}
    )
    assert other.json()["code"] == "idempotency_key_reused"
    days = client.get(
        "/v1/daily-indices",
        params={"point": POINTS[3], "first_day": "2026-01-10", "last_day": "2026-01-11"},
    ).json()["indices"]
    before, edited = days
    assert (before["origin"], before["distance_s"]) == ("slot", 0)
    assert (edited["origin"], edited["value"]) == ("edit", 1_140_000)
    assert (edited["manual"]["reason"], edited["manual"]["photo"]) == ("line down", "IMG-1")
    assert client.post(path, json=body).json()["code"] == "not_decided"


def test_a_bulk_decision_is_counted_first(client: httpx.Client, utility: World) -> None:
    numbers = [add(utility, point, f"bulk {point}") for point in (1, 2)]
    path = "/v1/findings/decisions"
    body: dict[str, Any] = {"filter": {"rule": "V06"}, "decision": "accept", "reason": "empty"}
    counted = client.post(path, json=body).json()
    assert (counted["written"], counted["count"]) == (False, 2)
    wrong = client.post(path, json={**body, "expected": 1})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "count_changed")
    assert client.get("/v1/findings", params={"rule": "V06"}).json()["findings"] != []
    done, again = (
        client.post(path, json={**body, "expected": 2}, headers={"Idempotency-Key": "bulk"}).json()
        for _ in range(2)
    )
    assert done["decided"] == again["decided"] == numbers
    assert (done["written"], again["again"]) == (True, True)
    trail = client.get("/v1/audit", params={"action": "vee.accept"}).json()["rows"]
    assert (trail[0]["actor"], trail[0]["detail"]["findings"]) == ("admin-key", 2)
    nothing = client.post(path, json={**body, "filter": {}})
    assert nothing.status_code == 422


def test_an_index_by_hand_stands_for_the_day(client: httpx.Client) -> None:
    body = {
        "point": POINTS[1],
        "meter": CUSTOMERS[0],
        "at": "2025-12-20T00:05:00+07:00",
        "value": 123,
        "reason": "the reader went there",
        "photo": "IMG-9",
    }
    first, again = (
        client.post("/v1/indices", json=body, headers={"Idempotency-Key": "hand"}) for _ in range(2)
    )
    assert (first.status_code, first.json()["author"]) == (201, "admin-key")
    assert again.json() == first.json()
    asked = {"point": POINTS[1], "first_day": "2025-12-20", "last_day": "2025-12-20"}
    (day,) = client.get("/v1/daily-indices", params=asked).json()["indices"]
    assert (day["value"], day["origin"], day["distance_s"]) == (123, "hand", 300)
    unknown = client.post("/v1/indices", json={**body, "meter": "M9"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert client.post("/v1/indices", json={**body, "value": -1}).status_code == 422


def test_a_stations_indices_come_in_pages_of_points(client: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "station": STATION,
        "first_day": "2026-01-02",
        "last_day": "2026-01-02",
        "limit": 3,
    }
    first = client.get("/v1/daily-indices", params=asked).json()
    then = client.get("/v1/daily-indices", params={**asked, "after": first["next"]}).json()
    assert [row["point"] for row in first["indices"] + then["indices"]] == POINTS
    assert then["next"] is None
    both = {**asked, "point": POINTS[0]}
    assert client.get("/v1/daily-indices", params=both).status_code == 422


def test_rates_of_collection(client: httpx.Client) -> None:
    asked = {"first_day": "2026-01-10", "last_day": "2026-01-11", "by": ["day", "class"]}
    rows = client.get("/v1/collection/rates", params=asked).json()["rates"]
    found = {(row["day"], row["point_class"]): row for row in rows}
    assert set(found) == {
        (day, of) for day in ("2026-01-10", "2026-01-11") for of in ("head", "public")
    }
    whole, last = found["2026-01-10", "public"], found["2026-01-11", "public"]
    assert (whole["due"], whole["had"], whole["late"]) == (3, 3, 0)
    assert (whole["exploited_percent"], whole["collected_percent"]) == ("100.00", "100.00")
    # One of three was not read for the day; it was edited by now, or not yet.
    assert (last["due"], last["had"], last["estimated"]) == (3, 2, 0)
    assert last["missing"] + last["by_hand"] == 1
    assert last["collected_percent"] == "66.66"
    (station,) = client.get(
        "/v1/collection/rates", params={"first_day": "2026-01-11", "last_day": "2026-01-11"}
    ).json()["rates"]
    assert (station["station"], station["commune"], station["due"]) == (
        STATION,
        "Chiềng Ngần",
        4,
    )
    lacking = client.get("/v1/meters/without-index", params={"day": "2026-01-11"}).json()
    assert [row["meter"] for row in lacking["meters"]] == [CUSTOMERS[-1]]


def test_without_a_broker_nothing_is_read_again(utility: World, client: httpx.Client) -> None:
    number = add(utility, 1, "no broker", "V09")
    app = create_app(replace(utility.app.state.context, sender=None))
    with client_of(app) as other:
        answer = other.post(
            f"/v1/findings/{number}/decision",
            json={"decision": "re_read", "reason": "x"},
            headers=utility.headers("admin"),
        )
    assert (answer.status_code, answer.json()["code"]) == (409, "commands_off")
    assert client.get(f"/v1/findings/{number}").json()["finding"]["open"]


def test_a_period_is_validated_by_a_request_once(tmp_path: Path) -> None:
    wanted = {"first_day": "2026-01-01", "last_day": "2026-01-10", "station": STATION}
    with world(tmp_path) as fresh, client_of(fresh.app) as client:
        client.headers.update(fresh.headers("admin"))
        path = "/v1/validations"
        counted = client.post(path, json=wanted | {"dry_run": True}).json()
        assert (counted["written"], counted["meters"], counted["days_missing"]) == (False, 4, 1)
        assert client.get("/v1/findings").json()["findings"] == []
        token = {"Idempotency-Key": "validate-1"}
        first = client.post(path, json=wanted, headers=token).json()
        assert (first["written"], first["again"]) == (True, False)
        assert first["new"] == first["found"] == counted["found"] > 0
        assert {row["rule"]: row["found"] for row in first["rules"]}["V01"] > 0
        queue = client.get("/v1/findings", params={"limit": 1000}).json()["findings"]
        assert len(queue) == first["new"]
        again = client.post(path, json=wanted, headers=token).json()
        assert again == {**first, "again": True, "rules": None}
        assert client.post(path, json=wanted).json()["new"] == 0
        other = client.post(path, json=wanted | {"station": None}, headers=token)
        assert other.json()["code"] == "idempotency_key_reused"
        (entry, *_) = list_audit(fresh.ledger, limit=1)
        assert (entry.action, entry.actor) == ("vee.run", "admin-key")


def test_a_validation_has_its_limits(client: httpx.Client, utility: World) -> None:
    day = "2026-01-01"
    for body, status in (
        ({"first_day": "2025-11-01", "last_day": day}, 200),
        ({"first_day": "2025-10-31", "last_day": "2026-01-01"}, 422),
        ({"first_day": day, "last_day": "2025-12-31"}, 422),
        ({"first_day": day, "last_day": "2026-01-12"}, 422),
        ({"first_day": day, "last_day": day, "station": "T9"}, 404),
        ({"first_day": day, "last_day": day, "more": 1}, 422),
    ):
        answer = client.post("/v1/validations", json=body)
        assert answer.status_code == status, body
    reader = client.post(
        "/v1/validations",
        json={"first_day": day, "last_day": day},
        headers=utility.headers("read"),
    )
    assert reader.status_code == 403
    busy = utility.app.state.context.validating
    with busy:
        answer = client.post("/v1/validations", json={"first_day": day, "last_day": day})
    assert (answer.status_code, answer.json()["code"]) == (409, "validation_running")
    assert client.post("/v1/validations", json={"first_day": day, "last_day": day}).is_success


def test_voltages_are_looked_at_where_they_are_asked_for(utility: World) -> None:
    limits = {"models": {"eastron-sdm120": {"rating": RATING}}}
    book = read_limits([("shipped", SHIPPED), ("here", json.dumps(limits))])
    context = replace(utility.app.state.context, limits=lambda: book)
    day = {"first_day": "2026-01-05", "last_day": "2026-01-05", "dry_run": True}
    with client_of(create_app(context)) as client:
        client.headers.update(utility.headers("admin"))
        for voltages, meters in ((False, 0), (True, 1)):
            found = client.post("/v1/validations", json=day | {"voltages": voltages}).json()
            assert {row["rule"]: row["meters"] for row in found["rules"]}["V16"] == meters
