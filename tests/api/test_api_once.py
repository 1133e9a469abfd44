"""What a client may rely on when the line breaks: tokens, entity tags, pages, limits."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collector.api.app import create_app
from contract.commands import Command, decode_command
from tests.api.server import client_of
from tests.api.world import GATEWAY, STATION, World, world

OCTOBER = {"from_at": "2026-01-01T00:00:00+07:00", "to_at": "2026-01-02T00:00:00+07:00"}
SNAPSHOTS = "/v1/snapshots"
COMMANDS = f"/v1/gateways/{GATEWAY}/commands"


class Broker:
    """Takes what it is told to take."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.takes = True

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        del topic, retain, timeout_s
        self.sent.append(decode_command(payload))
        return self.takes


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("once")) as made:
        yield made


@pytest.fixture
def broker(desk: World) -> Broker:
    made = Broker()
    desk.app = create_app(replace(desk.app.state.context, sender=made))
    return made


@pytest.fixture
def client(desk: World, broker: Broker) -> Iterator[httpx.Client]:
    del broker
    with client_of(desk.app) as made:
        made.headers.update(desk.headers("admin"))
        yield made


def post(
    client: httpx.Client, path: str, body: dict[str, Any], token: str | None
) -> httpx.Response:
    return client.post(path, json=body, headers={} if token is None else {"Idempotency-Key": token})


def test_a_snapshot_is_made_once_however_often_it_is_asked_for(client: httpx.Client) -> None:
    first = post(client, SNAPSHOTS, OCTOBER, "oct-1")
    again = post(client, SNAPSHOTS, OCTOBER, "oct-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert post(client, SNAPSHOTS, OCTOBER, None).json()["id"] != first.json()["id"]
    other = post(client, SNAPSHOTS, {**OCTOBER, "station": STATION}, "oct-1")
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_request_that_failed_may_be_sent_again_with_its_token(client: httpx.Client) -> None:
    wrong = {**OCTOBER, "station": "none"}
    assert post(client, SNAPSHOTS, wrong, "wrong").status_code == 404
    assert post(client, SNAPSHOTS, OCTOBER, "wrong").status_code == 201


@pytest.mark.parametrize("token", ["", "with space", "x" * 129])
def test_what_is_no_token_is_refused(client: httpx.Client, token: str) -> None:
    answer = post(client, SNAPSHOTS, OCTOBER, token)
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["where"] == "header.Idempotency-Key"


def test_a_command_is_sent_once(client: httpx.Client, broker: Broker) -> None:
    first = post(client, COMMANDS, {"kind": "ping"}, "cmd")
    again = post(client, COMMANDS, {"kind": "ping"}, "cmd")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert len(broker.sent) == 1
    assert post(client, COMMANDS, {"kind": "reload"}, "cmd").status_code == 409
    # Tokens of snapshots are not those of commands.
    assert post(client, SNAPSHOTS, OCTOBER, "cmd").status_code == 409


def test_a_command_that_the_broker_did_not_take_is_the_same_when_it_is_sent_again(
    client: httpx.Client, broker: Broker
) -> None:
    broker.takes = False
    body = {"kind": "read", "meters": ["m1", "m2"]}
    assert post(client, COMMANDS, body, "cut").status_code == 503
    broker.takes = True
    answer = post(client, COMMANDS, body, "cut")
    assert answer.status_code == 202
    assert answer.json()["state"] == "sent"
    first, second = broker.sent
    assert first == second
    assert post(client, COMMANDS, body, "cut").json() == answer.json()
    assert len(broker.sent) == 2


def test_commands_come_in_pages(client: httpx.Client) -> None:
    for number in range(3):
        post(client, COMMANDS, {"kind": "ping"}, f"page-{number}")
    whole = client.get(COMMANDS, params={"limit": 500}).json()
    assert whole["next"] is None
    ids: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get(COMMANDS, params={"limit": 2, **after}).json()
        ids += [row["id"] for row in page["commands"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert ids == [row["id"] for row in whole["commands"]]
    assert len(set(ids)) == len(ids) >= 3
    assert client.get(COMMANDS, params={"after": "none"}).status_code == 404


def test_gateways_come_in_pages(client: httpx.Client, desk: World) -> None:
    names = [GATEWAY, *(f"Z{number}" for number in range(4))]
    with desk.ledger.begin() as uow:
        uow.delivery.touch(dict.fromkeys(names[1:]), (), desk.now)
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/v1/gateways", params={"limit": 2, **after}).json()
        assert len(page["gateways"]) <= 2
        found += [row["gateway"] for row in page["gateways"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == names


@pytest.mark.parametrize("form", ["", "/lines.csv", "/lines.json"])
def test_who_holds_a_snapshot_is_not_sent_it_again(client: httpx.Client, form: str) -> None:
    path = f"{post(client, SNAPSHOTS, OCTOBER, 'etag').headers['Location']}{form}"
    tag = client.get(path).headers["ETag"]
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(path, headers={"If-None-Match": held})
        assert (answer.status_code, answer.content) == (304, b""), held
        assert answer.headers["ETag"] == tag
    for other in ('"other"', tag.strip('"'), tag[:-1] + 'x"', ""):
        assert client.get(path, headers={"If-None-Match": other}).status_code == 200, other


def test_the_forms_of_a_snapshot_have_tags_of_their_own(client: httpx.Client) -> None:
    path = post(client, SNAPSHOTS, OCTOBER, "etag").headers["Location"]
    tags = {client.get(path + form).headers["ETag"] for form in ("", "/lines.csv", "/lines.json")}
    assert len(tags) == 3


def test_snapshots_come_in_pages(client: httpx.Client) -> None:
    for number in range(3):
        post(client, SNAPSHOTS, OCTOBER, f"page-{number}")
    whole = client.get(SNAPSHOTS, params={"limit": 500}).json()
    assert whole["next"] is None
    ids: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = client.get(SNAPSHOTS, params={"limit": 2, **after}).json()
        ids += [row["id"] for row in page["snapshots"]]
        assert page["truncated"] is (page["next"] is not None)
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert ids == [row["id"] for row in whole["snapshots"]]
    assert client.get(SNAPSHOTS, params={"after": "none"}).status_code == 404


def test_the_trail_comes_in_pages_and_with_its_head(client: httpx.Client) -> None:
    head = client.get("/v1/audit/head").json()
    whole = client.get("/v1/audit", params={"limit": 900}).json()["rows"]
    assert [row["sequence"] for row in whole] == list(range(head["sequence"], 0, -1))
    assert len(head["sha256"]) == 64
    first = client.get("/v1/audit", params={"limit": 2}).json()
    then = client.get("/v1/audit", params={"limit": 2, "before": first["next"]}).json()
    assert first["rows"] + then["rows"] == whole[:4]
    made = client.get("/v1/audit", params={"action": "key.add", "limit": 900}).json()
    assert made["next"] is None
    assert {row["action"] for row in made["rows"]} == {"key.add"}


def test_a_period_longer_than_a_year_is_refused(client: httpx.Client) -> None:
    answer = post(client, SNAPSHOTS, {**OCTOBER, "from_at": "2020-01-01T00:00:00+07:00"}, None)
    assert answer.status_code == 422
    assert "366" in answer.json()["detail"]


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    answer = client.post(COMMANDS, json={"kind": "read", "meters": ["m" * 60] * 2_000})
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"
    assert answer.headers["Content-Type"] == "application/problem+json"
