"""Commands over the API: who may send them, what is answered, what is found afterwards."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from collector.api.app import create_app
from collector.ledger.delivery import NewEvent
from collector.ledger.receipts import BatchKey
from collector.operations.commands import take_result
from collector.operations.keys import add_key
from contract.commands import Command, Detail, Result, decode_command
from tests.api.server import client_of
from tests.api.world import EPOCH, FIRST_AT, GATEWAY, NOW, World, world

PATH = f"/v1/gateways/{GATEWAY}/commands"


class Broker:
    """Takes what is sent, unless `takes` is false."""

    def __init__(self) -> None:
        self.takes = True
        self.sent: list[Command] = []

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        del topic, retain, timeout_s
        self.sent.append(decode_command(payload))
        return self.takes


@pytest.fixture(scope="module")
def broker() -> Broker:
    return Broker()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("desk"), stations=False) as made:
        made.app = create_app(replace(made.app.state.context, sender=broker, command_lifetime_s=90))
        made.keys["command"] = add_key(
            made.ledger, name="desk-key", scopes=["command:send"], now=FIRST_AT
        )
        yield made


@pytest.fixture(scope="module")
def client(desk: World) -> Iterator[httpx.Client]:
    with client_of(desk.app) as made:
        yield made


def test_a_command_is_sent_and_found_with_its_result(
    client: httpx.Client, desk: World, broker: Broker
) -> None:
    headers = desk.headers("command")
    answer = client.post(PATH, json={"kind": "read", "meters": ["m1"]}, headers=headers)
    assert answer.status_code == 202
    sent = answer.json()
    command = broker.sent[-1]
    assert (sent["id"], sent["state"], sent["issuer"]) == (command.id, "sent", "desk-key")
    assert (command.kind, command.arguments.meters) == ("read", ["m1"])
    assert (command.expires_at - command.issued_at).total_seconds() == 90
    with desk.ledger.read() as uow:
        (entry,) = uow.audit.newest(1)
    # As everything else that is done with this key: who sent commands is found by one name.
    assert (entry.action, entry.actor) == ("command.send", "desk-key")
    location = answer.headers["Location"]
    assert client.get(location, headers=headers).json() == sent
    take_result(
        desk.ledger, GATEWAY, Result(1, command.id, False, "failed", NOW, "0 of 1", Detail(reads=0))
    )
    with desk.ledger.begin() as uow:
        uow.delivery.add_events(
            [NewEvent(BatchKey(GATEWAY, EPOCH, 9_999), 0, NOW, "command", None, None,
                      f"{command.id} read by desk-key: failed: 0 of 1")]
        )  # fmt: skip
    found = client.get(location, headers=desk.headers("read")).json()
    assert found["state"] == "answered"
    assert found["result"] == {
        "ok": False, "code": "failed", "text": "0 of 1", "detail": {"reads": 0},
        "answered_at": found["result"]["answered_at"],
    }  # fmt: skip
    assert found["event"]["detail"].startswith(command.id)
    listed = client.get(PATH, headers=desk.headers("read")).json()["commands"]
    assert [row["id"] for row in listed][:1] == [command.id]
    events = client.get(f"/v1/gateways/{GATEWAY}/events", headers=desk.headers("read")).json()
    assert events["events"][0] == found["event"]


@pytest.mark.parametrize(
    ("scope", "status"), [("read", 403), ("snapshot", 403), ("command", 202), ("admin", 202)]
)
def test_who_may_send(client: httpx.Client, desk: World, scope: str, status: int) -> None:
    answer = client.post(PATH, json={"kind": "ping"}, headers=desk.headers(scope))
    assert answer.status_code == status


def test_a_key_for_commands_reads_and_makes_no_snapshots(client: httpx.Client, desk: World) -> None:
    headers = desk.headers("command")
    assert client.get("/v1/stations", headers=headers).status_code == 200
    period = {"from_at": "2026-01-01T00:00:00+07:00", "to_at": "2026-01-02T00:00:00+07:00"}
    assert client.post("/v1/snapshots", json=period, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/gateways/none/commands", {"kind": "ping"}, 404, "not_found"),
        (PATH, {"kind": "explode"}, 422, "validation"),
        (PATH, {"kind": "set_clock"}, 422, "invalid_request"),
        (PATH, {"kind": "read", "meters": []}, 422, "validation"),
        (PATH, {"kind": "ping", "lifetime_s": 0}, 422, "validation"),
        (PATH, {"kind": "ping", "when": "now"}, 422, "validation"),
    ],
)
def test_what_cannot_be_is_refused(
    client: httpx.Client, desk: World, path: str, body: object, status: int, code: str
) -> None:
    answer = client.post(path, json=body, headers=desk.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_broker_that_is_away_is_said(client: httpx.Client, desk: World, broker: Broker) -> None:
    broker.takes = False
    answer = client.post(PATH, json={"kind": "ping"}, headers=desk.headers("admin"))
    broker.takes = True
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")


def test_without_the_section_commands_are_off(tmp_path: Path) -> None:
    with world(tmp_path, stations=False) as made, client_of(made.app) as plain:
        answer = plain.post(PATH, json={"kind": "ping"}, headers=made.headers("admin"))
        assert (answer.status_code, answer.json()["code"]) == (409, "commands_off")
        assert "docs/commands.md" in answer.json()["hint"]
        assert plain.get(f"{PATH}/none", headers=made.headers()).status_code == 404


def test_gateways_say_which_station_file_they_run(client: httpx.Client, desk: World) -> None:
    (row,) = client.get("/v1/gateways", headers=desk.headers("read")).json()["gateways"]
    assert row["config"] is None
