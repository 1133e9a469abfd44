"""The broker's configuration, in a real Mosquitto: who may publish and read what."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract import topics
from contract.limits import BATCH_BYTES_MAX, STATUS_BYTES_MAX
from tests.compose.mqtt import WAIT_S, Peer, RefusedByBrokerError, peer
from tests.compose.plain import ROOT, PlainBroker, load_make_secrets, plain_broker

OWN, OTHER = "PA25SL-T012", "PA25SL-T013"
PASSWORDS = {OWN: "own-password", "witness": "witness-password"}
EPOCH = "0123456789abcdef" * 2


def _topics(gateway: str) -> dict[str, str]:
    return {
        "batches": topics.build(topics.BatchTopic(gateway, EPOCH, 1)),
        "ack": topics.build(topics.AckTopic(gateway)),
        "status": topics.build(topics.StatusTopic(gateway)),
        "command": topics.build(topics.CommandTopic(gateway, "c1")),
        "result": topics.build(topics.ResultTopic(gateway, "c1")),
        "config": topics.build(topics.ConfigTopic(gateway)),
    }


ALL = [*_topics(OWN).values(), *_topics(OTHER).values()]

MAY_PUBLISH = {
    OWN: {_topics(OWN)[kind] for kind in ("batches", "status", "result")},
    "intake": {_topics(gateway)["ack"] for gateway in (OWN, OTHER)},
    "commands": {
        _topics(gateway)[kind] for gateway in (OWN, OTHER) for kind in ("command", "config")
    },
    "monitor": set[str](),
}
MAY_READ = {
    OWN: {_topics(OWN)[kind] for kind in ("ack", "command", "config")},
    "intake": {
        _topics(gateway)[kind] for gateway in (OWN, OTHER) for kind in ("batches", "status", "ack")
    },
    "commands": {
        _topics(gateway)[kind] for gateway in (OWN, OTHER) for kind in ("result", "config")
    },
    "monitor": set[str](),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainBroker]:
    with plain_broker(tmp_path_factory.mktemp("broker"), passwords=PASSWORDS) as started:
        yield started


@pytest.fixture
def connect(broker: PlainBroker) -> Iterator["Connect"]:
    with ExitStack() as stack:
        yield Connect(broker, stack)


class Connect:
    """Opens connections that end with the test."""

    def __init__(self, broker: PlainBroker, stack: ExitStack) -> None:
        self._broker, self._stack = broker, stack

    def __call__(self, identity: str) -> Peer:
        password = PASSWORDS.get(identity) or self._broker.password(identity)
        return self._stack.enter_context(peer(self._broker.port, identity, password))

    def tls(self, name: str, *, username: str | None = None, client_id: str = "") -> Peer:
        gateways = self._broker.secrets / "gateways"
        if not (gateways / f"{name}.pem").exists():
            load_make_secrets().run(["--folder", str(self._broker.secrets), "gateway", name])
        context = _context(self._broker, gateways / name)
        return self._stack.enter_context(
            peer(self._broker.tls_port, username, None, client_id=client_id, tls=context)
        )


def _context(broker: PlainBroker, certificate: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(broker.secrets / "broker-ca.pem"))
    # Until TLS 1.3 the handshake itself tells the client that its certificate is refused.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
    return context


@pytest.mark.parametrize("identity", sorted(MAY_PUBLISH))
def test_each_identity_publishes_only_what_is_its_own(connect: Connect, identity: str) -> None:
    witness, client = connect("witness"), connect(identity)
    witness.subscribe("songlo/#")
    for topic in ALL:
        client.publish(topic, identity.encode())
    assert {topic for topic, _ in witness.arrived()} == MAY_PUBLISH[identity]


@pytest.mark.parametrize("identity", sorted(MAY_READ))
def test_a_subscription_to_everything_brings_only_what_is_its_own(
    connect: Connect, identity: str
) -> None:
    witness, client = connect("witness"), connect(identity)
    for everything in ("#", "songlo/v1/+/ack", f"songlo/v1/{OTHER}/#"):
        client.subscribe(everything)
    for topic in ALL:
        witness.publish(topic, b"x")
    assert {topic for topic, _ in client.arrived()} == MAY_READ[identity]


def test_a_retained_ack_of_another_gateway_is_not_handed_out(connect: Connect) -> None:
    witness, client = connect("witness"), connect(OWN)
    for gateway in (OWN, OTHER):
        witness.publish(_topics(gateway)["ack"], b"{}", retain=True)
    client.subscribe("songlo/v1/+/ack")
    arrived = client.arrived()
    for gateway in (OWN, OTHER):
        witness.publish(_topics(gateway)["ack"], b"", retain=True)
    assert [topic for topic, _ in arrived] == [_topics(OWN)["ack"]]


def test_the_intake_takes_batches_from_a_shared_subscription(connect: Connect) -> None:
    gateway, workers = connect(OWN), (connect("intake"), connect("intake"))
    for worker in workers:
        worker.subscribe(topics.shared("intake", topics.batches_filter()))
    sent = [topics.build(topics.BatchTopic(OWN, EPOCH, seq)) for seq in range(1, 41)]
    for topic in sent:
        gateway.publish(topic, b"{}")
    arrived = [topic for worker in workers for topic, _ in worker.arrived()]
    assert sorted(arrived) == sorted(sent)


def test_monitor_reads_the_brokers_figures_and_gateways_do_not(connect: Connect) -> None:
    monitor, gateway = connect("monitor"), connect(OWN)
    for client in (monitor, gateway):
        client.subscribe("$SYS/broker/version")
    assert [topic for topic, _ in monitor.arrived()] == ["$SYS/broker/version"]
    assert gateway.arrived() == []


@pytest.mark.parametrize(
    ("username", "password"),
    [(None, None), ("intake", None), ("intake", "wrong"), ("nobody", "x"), (OTHER, "own-password")],
)
def test_strangers_are_refused(
    broker: PlainBroker, username: str | None, password: str | None
) -> None:
    with pytest.raises(RefusedByBrokerError), peer(broker.port, username, password):
        pass


def test_the_largest_message_of_the_contract_passes_and_a_larger_one_does_not(
    connect: Connect,
) -> None:
    witness, client = connect("witness"), connect(OWN)
    witness.subscribe("songlo/#")
    assert BATCH_BYTES_MAX < STATUS_BYTES_MAX
    status = _topics(OWN)["status"]
    client.publish(status, b"x" * STATUS_BYTES_MAX)
    client.publish(status, b"x" * (STATUS_BYTES_MAX + 1))
    assert [len(payload) for _, payload in witness.arrived()] == [STATUS_BYTES_MAX]


def test_queues_are_bounded_in_the_file() -> None:
    text = (ROOT / "firmware_config" / "broker" / "mosquitto.conf").read_text(encoding="utf-8")
    settings = dict(
        line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")
    )
    assert int(settings["max_inflight_messages"]) > 0
    assert 0 < int(settings["max_queued_messages"]) <= 20_000
    assert 0 < int(settings["max_queued_bytes"]) <= 2**28
    assert int(settings["message_size_limit"]) == STATUS_BYTES_MAX
    assert settings["allow_anonymous"] == "false"
    assert settings["persistence"] == "true"


def test_over_tls_the_certificate_says_who_it_is(connect: Connect) -> None:
    witness, client = connect("witness"), connect.tls(OWN, username=OTHER)
    witness.subscribe("songlo/#")
    for topic in ALL:
        client.publish(topic, b"x")
    assert {topic for topic, _ in witness.arrived()} == MAY_PUBLISH[OWN]


def test_over_tls_no_gateway_takes_over_the_connection_of_another(connect: Connect) -> None:
    first = connect.tls(OWN, client_id="same")
    second = connect.tls(OTHER, client_id="same")
    second.publish(_topics(OTHER)["status"], b"{}")
    first.publish(_topics(OWN)["status"], b"{}")
    assert not first.disconnected.is_set()


@pytest.mark.parametrize("certificate", [None, "broker"])
def test_without_a_gateways_certificate_the_handshake_fails(
    broker: PlainBroker, certificate: str | None
) -> None:
    # The broker's own certificate is none of a gateway.
    identity = None if certificate is None else broker.secrets / certificate
    context = _context(broker, identity)
    with (
        socket.create_connection(("127.0.0.1", broker.tls_port), WAIT_S) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


def test_one_gateway_can_be_shut_out_by_two_lines(tmp_path: Path) -> None:
    with plain_broker(tmp_path, passwords=PASSWORDS | {OTHER: "other"}) as broker:
        acl = broker.folder / "acl"
        acl.write_text(acl.read_text() + f"\nuser {OTHER}\ntopic deny songlo/v1/#\n")
        with ExitStack() as stack:
            identities = {**PASSWORDS, OTHER: "other"}
            witness, own, other = (
                stack.enter_context(peer(broker.port, name, identities[name]))
                for name in ("witness", OWN, OTHER)
            )
            witness.subscribe("songlo/#")
            other.publish(_topics(OTHER)["status"], b"before")
            assert len(witness.arrived()) == 1
            broker.reload()
            _until_denied(other, witness)
            own.publish(_topics(OWN)["status"], b"after")
            assert witness.arrived() == [(_topics(OWN)["status"], b"after")]


def _until_denied(client: Peer, witness: Peer) -> None:
    """A reload takes effect between two messages; wait for the first that goes nowhere."""
    deadline = time.monotonic() + WAIT_S
    while True:
        client.publish(_topics(OTHER)["status"], b"again")
        if not witness.arrived():
            return
        assert time.monotonic() < deadline, "the reload never took effect"
