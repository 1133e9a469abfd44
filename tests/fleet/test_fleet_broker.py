"""A real Mosquitto and real certificates: who comes in, as whom, and who does not."""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from collector.intake import tls as collector_tls
from collector.intake import wire
from contract import topics
from contract.tls_words import explained
from fleet import operations
from fleet.book import CERTIFICATE_LIFETIME
from fleet.folder import opened
from gateway import config as gateway_config
from gateway import credentials as gateway_credentials
from tests.compose.mqtt import WAIT_S, Peer, peer
from tests.fleet.broker import FleetBroker, fleet_broker, shake_hands
from tests.fleet.fleets import Fleet, today

OWN, OTHER, OLD, GONE = "PA25SL-T012", "PA25SL-T013", "PA25SL-T009", "PA25SL-T014"
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


ALL = {*_topics(OWN).values(), *_topics(OTHER).values()}
OF_ALL = {kind: {_topics(gateway)[kind] for gateway in (OWN, OTHER)} for kind in _topics(OWN)}
WRITES = {
    OWN: {_topics(OWN)[kind] for kind in ("batches", "status", "result")},
    "intake": OF_ALL["ack"],
    "commands": OF_ALL["command"] | OF_ALL["config"],
    "monitor": set[str](),
}
READS = {
    OWN: {_topics(OWN)[kind] for kind in ("ack", "command", "config")},
    "intake": OF_ALL["batches"] | OF_ALL["status"] | OF_ALL["ack"],
    "commands": OF_ALL["result"] | OF_ALL["config"],
    "monitor": set[str](),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """An authority that is three years old, with one gateway that nobody has visited since."""
    folder = tmp_path_factory.mktemp("fleet")
    fleet = Fleet.begun(folder / "ca", today() - CERTIFICATE_LIFETIME - timedelta(days=1))
    fleet.enrol(OLD, folder / OLD)
    fleet.now = today()
    with opened(fleet.path) as ca:
        operations.rotate_broker(ca, (), None, fleet.now)
        for name in ("intake", "commands", "monitor"):
            operations.rotate_service(ca, name, None, fleet.now)
    for name in (OWN, OTHER, GONE):
        fleet.enrol(name, folder / name)
    return fleet


@pytest.fixture(scope="module")
def broker(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBroker]:
    with fleet_broker(tmp_path_factory.mktemp("broker"), fleet) as started:
        yield started


@pytest.fixture
def connect(broker: FleetBroker) -> Iterator["Connect"]:
    with ExitStack() as stack:
        yield Connect(broker, stack)


class Connect:
    """Opens connections that end with the test."""

    def __init__(self, broker: FleetBroker, stack: ExitStack) -> None:
        self._broker, self._stack = broker, stack

    def __call__(self, name: str, *, client_id: str = "", username: str | None = None) -> Peer:
        broker = self._broker
        if name == "witness":
            return self._stack.enter_context(peer(broker.port, "witness", "witness"))
        if name in WRITES and name != OWN:
            port, tls = broker.services_port, broker.service(name)
        else:
            port, tls = broker.gateways_port, broker.context(_credentials(broker.fleet, name))
        opened_peer = peer(port, username, None, client_id=client_id, tls=tls)
        return self._stack.enter_context(opened_peer)


def _credentials(fleet: Fleet, name: str) -> Path:
    return fleet.path.parent / name / f"{name}.pem"


# -- as whom


@pytest.mark.parametrize("identity", WRITES)
def test_each_identity_writes_its_own_topics_and_no_others(connect: Connect, identity: str) -> None:
    # What a client says of itself counts for nothing.
    witness, client = connect("witness"), connect(identity, username="commands")
    witness.subscribe("songlo/#")
    for topic in sorted(ALL):
        client.publish(topic, b"x")
    assert {topic for topic, _ in witness.arrived()} == WRITES[identity]


@pytest.mark.parametrize("identity", READS)
def test_each_identity_reads_its_own_topics_and_no_others(connect: Connect, identity: str) -> None:
    witness, client = connect("witness"), connect(identity)
    for topic_filter in ("#", "songlo/#", *sorted(ALL)):
        client.subscribe(topic_filter)
    for topic in sorted(ALL):
        witness.publish(topic, b"x")
    assert {topic for topic, _ in client.arrived()} == READS[identity]


def test_no_gateway_takes_over_the_connection_of_another(connect: Connect) -> None:
    first, second = connect(OWN, client_id="same"), connect(OTHER, client_id="same")
    second.publish(_topics(OTHER)["status"], b"x")
    first.publish(_topics(OWN)["status"], b"x")
    assert not first.disconnected.is_set()


def test_workers_of_one_intake_live_side_by_side(connect: Connect) -> None:
    first, second = connect("intake", client_id="one"), connect("intake", client_id="two")
    for worker in (first, second):
        worker.publish(_topics(OWN)["ack"], b"")
        assert not worker.disconnected.is_set()


# -- who


def test_a_good_certificate_comes_in_by_tls_1_2_and_1_3(broker: FleetBroker) -> None:
    for tls13 in (False, True):
        context = broker.context(_credentials(broker.fleet, OWN), tls13=tls13)
        assert shake_hands(broker.gateways_port, context) == ""
    assert shake_hands(broker.services_port, broker.service("intake")) == ""


def test_without_a_certificate_nobody_comes_in(broker: FleetBroker) -> None:
    for port in (broker.gateways_port, broker.services_port):
        assert "handshake failure" in shake_hands(port, broker.context(None))


def test_a_certificate_that_ran_out_is_refused(broker: FleetBroker) -> None:
    said = shake_hands(broker.gateways_port, broker.context(_credentials(broker.fleet, OLD)))
    assert "alert certificate expired" in said
    assert explained(said).startswith("the broker says that our certificate has run out")


def test_a_certificate_that_is_not_good_yet_is_refused(broker: FleetBroker, tmp_path: Path) -> None:
    early = Fleet(tmp_path / "ca", today() + timedelta(days=30))
    shutil.copytree(broker.fleet.path, early.path)
    context = broker.context(early.enrol("EARLY", tmp_path / "EARLY"))
    assert "alert" in shake_hands(broker.gateways_port, context)


def test_another_authoritys_certificate_is_refused_whatever_name_it_bears(
    broker: FleetBroker, tmp_path: Path
) -> None:
    stranger = Fleet.begun(tmp_path / "ca", today())
    context = broker.context(stranger.enrol(OWN, tmp_path / "gateway"))
    said = shake_hands(broker.gateways_port, context)
    assert "alert unknown ca" in said
    assert explained(said).startswith("the broker does not know the authority of our certificate")


def test_each_door_is_for_its_own_authority(broker: FleetBroker) -> None:
    gateway = broker.context(_credentials(broker.fleet, OWN))
    assert "alert unknown ca" in shake_hands(broker.services_port, gateway)
    for name in ("intake", "commands", "monitor"):
        assert "alert unknown ca" in shake_hands(broker.gateways_port, broker.service(name))
    home = broker.fleet.path / "broker"
    itself = broker.context(home / "broker.pem", home / "broker.key")
    for port in (broker.gateways_port, broker.services_port):
        assert shake_hands(port, itself) != ""


def test_a_certificate_taken_back_is_refused_and_a_new_one_is_not(
    broker: FleetBroker, tmp_path: Path
) -> None:
    fleet = broker.fleet
    context = broker.context(_credentials(fleet, GONE))
    assert shake_hands(broker.gateways_port, context) == ""
    fleet.revoke(GONE)
    broker.take_files()
    assert "alert certificate revoked" in _refusal(broker.gateways_port, context)
    assert shake_hands(broker.gateways_port, broker.context(_credentials(fleet, OWN))) == ""
    again = fleet.enrol(GONE, tmp_path / GONE)
    assert shake_hands(broker.gateways_port, broker.context(again)) == ""


def test_a_services_certificate_taken_back_is_refused(broker: FleetBroker) -> None:
    context = broker.service("monitor")
    assert shake_hands(broker.services_port, context) == ""
    broker.fleet.revoke("monitor")
    broker.take_files()
    assert "alert certificate revoked" in _refusal(broker.services_port, context)
    with opened(broker.fleet.path) as folder:
        operations.rotate_service(folder, "monitor", None, broker.fleet.now)
    assert shake_hands(broker.services_port, broker.service("monitor")) == ""


def _refusal(port: int, context: ssl.SSLContext) -> str:
    """A reload takes effect between two connections; wait for the first that it refuses."""
    deadline = time.monotonic() + WAIT_S
    while not (said := shake_hands(port, context)):
        assert time.monotonic() < deadline, "the reload never took effect"
        time.sleep(0.02)
    return said


# -- how


def _old(broker: FleetBroker, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks this old version alone, with everything that it needs for it."""
    context = broker.context(_credentials(broker.fleet, OWN))
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = version
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_1_0_and_1_1_are_not_spoken(broker: FleetBroker, version: ssl.TLSVersion) -> None:
    for port in (broker.gateways_port, broker.services_port):
        assert "alert protocol version" in shake_hands(port, _old(broker, version))


def test_the_old_client_does_speak_what_it_says(broker: FleetBroker) -> None:
    """Another server shows that it is the broker that refuses, and not the client's own OpenSSL."""
    version = ssl.TLSVersion.TLSv1_1
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("DEFAULT@SECLEVEL=0")
    server.load_cert_chain(broker.folder / "broker.pem", broker.folder / "broker.key")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.minimum_version = version
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        served = pool.submit(server.wrap_socket, theirs, server_side=True)
        with _old(broker, version).wrap_socket(ours, server_hostname="localhost") as connection:
            assert connection.version() == "TLSv1.1"
        served.result(WAIT_S).close()


def test_a_broker_of_another_authority_or_name_is_refused_by_its_clients(
    broker: FleetBroker, tmp_path: Path
) -> None:
    ours = broker.fleet.path / "broker-ca.pem"
    strangers = Fleet.begun(tmp_path / "ca", today()).path / "broker-ca.pem"
    for client, port in ((_gateway, broker.gateways_port), (_intake, broker.services_port)):
        context = client(broker.fleet, ours)
        assert shake_hands(port, context) == ""
        said = shake_hands(port, context, host="broker.example.vn")
        assert explained(said).startswith("the broker's certificate is for another host name")
        said = shake_hands(port, client(broker.fleet, strangers))
        assert explained(said).startswith("the broker's certificate is of another authority")


def _gateway(fleet: Fleet, ca: Path) -> ssl.SSLContext:
    """What a gateway comes to the broker with, made by its own code."""
    mine = _credentials(fleet, OWN)
    return gateway_credentials.context_of(gateway_config.Tls(ca, mine, mine))


def _intake(fleet: Fleet, ca: Path) -> ssl.SSLContext:
    """The same of the collector's intake."""
    home = fleet.path / "services"
    files = (str(ca), str(home / "intake.pem"), str(home / "intake.key"))
    return collector_tls.context_of(wire.Tls(*files))
