"""Commands in the ledger: recorded, answered once, found again, with the gateway's own record."""

from datetime import UTC, datetime, timedelta

import pytest

from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.delivery import NewEvent
from collector.ledger.receipts import BatchKey
from collector.operations.commands import (
    GRACE,
    BrokerUnavailable,
    CommandState,
    Wanted,
    get_command,
    list_commands,
    list_events,
    send_command,
    take_result,
)
from contract.commands import Arguments, Command, Detail, Result, decode_command
from contract.topics import CommandTopic, parse

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
GATEWAY = "G1"


class Broker:
    """Takes what is sent, or does not."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.sent: list[tuple[str, Command]] = []

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        assert not retain
        assert timeout_s > 0
        self.sent.append((topic, decode_command(payload)))
        return self.takes


@pytest.fixture(autouse=True)
def _known(ledger: Ledger) -> None:
    with ledger.begin() as uow:
        uow.delivery.touch({GATEWAY: None}, [], NOW)


def wanted(kind: str = "read", *meters: str, gateway: str = GATEWAY) -> Wanted:
    return Wanted(gateway, kind, list(meters) or None, "desk", 120)


def result(command: str, code: str = "done", **changes: object) -> Result:
    return Result(1, command, True, code, NOW + timedelta(seconds=2), "ok", **changes)  # type: ignore[arg-type]  # given by keyword


def test_what_is_sent_is_recorded_and_answered(ledger: Ledger) -> None:
    broker = Broker()
    sent = send_command(ledger, broker, wanted("read", "m1", "m2", "m1"), NOW)
    ((topic, command),) = broker.sent
    assert parse(topic) == CommandTopic(GATEWAY, sent.command.id)
    assert command.id == sent.command.id
    assert command.arguments == Arguments(["m1", "m2"])
    assert command.expires_at - command.issued_at == timedelta(seconds=120)
    assert sent.state is CommandState.SENT
    assert take_result(ledger, GATEWAY, result(command.id, detail=Detail(reads=2)))
    found = get_command(ledger, gateway=GATEWAY, command=command.id, now=NOW)
    assert found.state is CommandState.ANSWERED
    stored = found.command
    assert (stored.ok, stored.code, stored.text) == (True, "done", "ok")
    assert stored.detail == {"reads": 2}
    assert stored.answered_at == NOW + timedelta(seconds=2)


def test_only_the_first_answer_of_the_right_gateway_stands(ledger: Ledger) -> None:
    """Every process hears every result, and a gateway answers a repeated command again."""
    command = send_command(ledger, Broker(), wanted(), NOW).command.id
    assert not take_result(ledger, "G2", result(command))
    assert take_result(ledger, GATEWAY, result(command))
    assert not take_result(ledger, GATEWAY, result(command, "failed"))
    assert not take_result(ledger, GATEWAY, result("never-sent"))
    found = get_command(ledger, gateway=GATEWAY, command=command, now=NOW)
    assert found.command.code == "done"
    with pytest.raises(NotFound):
        get_command(ledger, gateway="G2", command=command, now=NOW)


def test_what_the_broker_does_not_take_stays_issued(ledger: Ledger) -> None:
    broker = Broker(takes=False)
    with pytest.raises(BrokerUnavailable):
        send_command(ledger, broker, wanted("ping"), NOW)
    (found,) = list_commands(ledger, gateway=GATEWAY, limit=10, now=NOW)
    assert found.state is CommandState.ISSUED
    # It may have arrived all the same.
    assert take_result(ledger, GATEWAY, result(broker.sent[0][1].id))


def test_without_an_answer_it_expires(ledger: Ledger) -> None:
    command = send_command(ledger, Broker(), wanted("ping"), NOW).command
    end = command.expires_at + GRACE
    for now, state in ((end, CommandState.SENT), (end + GRACE, CommandState.EXPIRED)):
        assert get_command(ledger, gateway=GATEWAY, command=command.id, now=now).state is state


def test_the_gateways_own_record_is_found(ledger: Ledger) -> None:
    command = send_command(ledger, Broker(), wanted("ping"), NOW).command.id
    key = BatchKey(GATEWAY, "0" * 32, 1)
    details = [f"{command}x ping by a: done", f"{command} ping by desk: done: here", "% all"]
    with ledger.begin() as uow:
        uow.delivery.add_events(
            NewEvent(key, number, NOW + timedelta(seconds=number), "command", None, None, detail)
            for number, detail in enumerate(details)
        )
    found = get_command(ledger, gateway=GATEWAY, command=command, now=NOW)
    assert found.event is not None
    assert found.event.detail == details[1]
    events = list_events(ledger, gateway=GATEWAY, limit=2)
    assert [event.detail for event in events] == [details[2], details[1]]


def test_the_newest_come_first(ledger: Ledger) -> None:
    ids = [
        send_command(ledger, Broker(), wanted("ping"), NOW + timedelta(seconds=n)).command.id
        for n in range(5)
    ]
    found = list_commands(ledger, gateway=GATEWAY, limit=3, now=NOW)
    assert [view.command.id for view in found] == ids[:1:-1]


def test_each_command_is_in_the_audit_trail(ledger: Ledger) -> None:
    sent = send_command(ledger, Broker(), wanted("set_clock", "m1"), NOW).command
    with ledger.read() as uow:
        (entry,) = uow.audit.newest(1)
    assert (entry.actor, entry.action, entry.subject) == ("desk", "command.send", GATEWAY)
    assert entry.detail == {"id": sent.id, "kind": "set_clock", "arguments": {"meters": ["m1"]}}


@pytest.mark.parametrize(
    "bad",
    [
        wanted("explode"),
        wanted("set_clock"),
        wanted("set_clock", "m1", "m2"),
        wanted("ping", "m1"),
        Wanted(GATEWAY, "ping", None, "x", 0),
        Wanted(GATEWAY, "ping", None, "x", 10**6),
        wanted("read", *(f"meter-{n:058d}" for n in range(1_500))),
    ],
)
def test_what_cannot_be_is_refused_and_not_sent(ledger: Ledger, bad: Wanted) -> None:
    broker = Broker()
    with pytest.raises(InvalidRequest):
        send_command(ledger, broker, bad, NOW)
    assert broker.sent == []
    assert list_commands(ledger, gateway=GATEWAY, limit=10, now=NOW) == []


@pytest.mark.parametrize("name", ["G9", "a/b", "#"])
def test_a_gateway_nobody_heard_of_is_not_found(ledger: Ledger, name: str) -> None:
    broker = Broker()
    with pytest.raises(NotFound):
        send_command(ledger, broker, wanted("ping", gateway=name), NOW)
    with pytest.raises(NotFound):
        list_events(ledger, gateway=name, limit=1)
    assert broker.sent == []
