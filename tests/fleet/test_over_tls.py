"""Gateway and collector as programs, over a real broker's TLS, with what `songlo fleet` makes."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.config import BrokerConfig, TlsConfig
from collector.errors import InvalidRequest
from collector.intake.link import start_of
from collector.intake.mqtt import DeskLink
from collector.intake.tls import EXPIRES_SOON, concern, context_of
from collector.intake.wire import Tls
from contract.messages import decode_status
from contract.topics import AckTopic, BatchTopic, CommandTopic, StatusTopic, build
from fleet.book import CERTIFICATE_LIFETIME
from tests.compose.mqtt import WAIT_S, Peer, peer
from tests.compose.plain import ROOT
from tests.fleet.broker import FleetBroker, fleet_broker
from tests.fleet.fleets import Fleet, today
from tests.intake.kit import until
from tests.services import free_port

OWN, OTHER = "PA25SL-T012", "PA25SL-T013"
SAYS_S = 30.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBroker]:
    folder = tmp_path_factory.mktemp("broker")
    fleet = Fleet.begun(folder / "ca", today())
    for name in (OWN, OTHER):
        fleet.enrol(name, folder / name)
    with fleet_broker(folder, fleet) as started:
        yield started


@pytest.fixture
def witness(broker: FleetBroker) -> Iterator[Peer]:
    with peer(broker.port, "witness", "witness") as connection:
        connection.subscribe("songlo/#")
        connection.arrived()
        yield connection


@pytest.fixture
def home(broker: FleetBroker, tmp_path: Path) -> Path:
    shutil.copytree(broker.fleet.path.parent / OWN, tmp_path / "etc")
    return tmp_path / "etc"


# -- the gateway


@contextmanager
def gateway(home: Path, port: int) -> Iterator[Path]:
    """The gateway as a process; the path of what it says."""
    tls = f"{{ca_file: broker-ca.pem, certificate_file: {OWN}.pem, key_file: {OWN}.pem}}"
    config, log = home / "station.yaml", home / "log"
    config.write_text(
        f"station: {OWN}\ndata: data\nbroker: {{host: localhost, port: {port}, tls: {tls}}}\n"
        "lines:\n  - name: bridge-1\n"
        f"    modbus_tcp: {{host: 127.0.0.1, port: {free_port()}}}\n"
        '    meters: [{serial: "1", address: 1, profile: eastron-sdm120}]\n'
    )
    command = [sys.executable, "-m", "songlo", "gateway", "run", "--config", str(config)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stderr=out)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            # It ended because it was asked to, and not before.
            assert process.wait(SAYS_S) == 0, log.read_text()
        finally:
            process.kill()


def says(log: Path, *words: str) -> None:
    deadline = time.monotonic() + SAYS_S
    while not any(all(word in line for word in words) for line in log.read_text().splitlines()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_an_enrolled_gateway_delivers(broker: FleetBroker, witness: Peer, home: Path) -> None:
    with gateway(home, broker.gateways_port):
        while (arrived := witness.received.get(timeout=SAYS_S))[0] != build(StatusTopic(OWN)):
            pass
        assert decode_status(arrived[1]).online


def test_a_gateway_whose_key_does_not_fit_says_so_and_goes_on(
    broker: FleetBroker, witness: Peer, home: Path
) -> None:
    """It did not: the exception ended the program, and with it the reading of meters."""
    good = (home / f"{OWN}.pem").read_text()
    key, certificate = good.split("-----BEGIN CERTIFICATE-----")
    other = (broker.fleet.path.parent / OTHER / f"{OTHER}.pem").read_text()
    foreign = other.split("-----BEGIN CERTIFICATE-----")[1]
    (home / f"{OWN}.pem").write_text(f"{key}-----BEGIN CERTIFICATE-----{foreign}")
    with gateway(home, broker.gateways_port) as log:
        says(log, "certificate", "is not the key of the certificate in")
        says(log, "no connection to the broker", "is not the key of the certificate in")
        # What is put right counts from the next try on, without a restart.
        (home / f"{OWN}.pem").write_text(f"{key}-----BEGIN CERTIFICATE-----{certificate}")
        says(log, "connected to the broker")


def test_a_gateway_before_a_broker_of_another_authority_says_so(
    broker: FleetBroker, home: Path, tmp_path: Path
) -> None:
    stranger = Fleet.begun(tmp_path / "ca", today())
    shutil.copy(stranger.path / "broker-ca.pem", home)
    with gateway(home, broker.gateways_port) as log:
        says(log, "the broker's certificate is of another authority than ca_file")


# -- the collector's connections


def _tls(broker: FleetBroker, name: str) -> Tls:
    home = broker.fleet.path / "services"
    return Tls(str(home / "broker-ca.pem"), str(home / f"{name}.pem"), str(home / f"{name}.key"))


def _config(broker: FleetBroker, tls: Tls) -> BrokerConfig:
    assert tls.certificate_file is not None
    assert tls.key_file is not None
    files = TlsConfig(
        ca_file=Path(tls.ca_file),
        certificate_file=Path(tls.certificate_file),
        key_file=Path(tls.key_file),
    )
    return BrokerConfig(host="localhost", port=broker.services_port, tls=files)


def test_the_desk_commands_as_what_its_certificate_says(broker: FleetBroker, witness: Peer) -> None:
    topic = build(CommandTopic(OWN, "c1"))
    for name, arrives in (("intake", []), ("commands", [(topic, b"{}")])):
        start = start_of(_config(broker, _tls(broker, name)), None, is_passing=True)
        link = DeskLink(start, lambda news: None)
        link.start()
        try:
            assert link.ready(WAIT_S)
            assert link.send(topic, b"{}", retain=False, timeout_s=WAIT_S)
        finally:
            link.stop()
        assert witness.arrived() == arrives


def test_the_collector_stores_over_tls_as_intake(
    broker: FleetBroker, witness: Peer, tmp_path: Path
) -> None:
    home = broker.fleet.path / "services"
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: sqlite:///{tmp_path}/ledger.db\n"
        f"readings: {{store: duckdb, path: {tmp_path}/readings.duckdb}}\n"
        f"broker: {{host: localhost, port: {broker.services_port}, tls: {{"
        f"ca_file: {home}/broker-ca.pem, certificate_file: {home}/intake.pem, "
        f"key_file: {home}/intake.key}}}}\n"
        f"intake: {{tick_s: 0.2}}\napi: {{port: {free_port()}}}\n"
    )
    epoch = "0123456789abcdef" * 2
    batch = (ROOT / "tests" / "contract" / "golden" / "batch-tombstone.json").read_bytes()
    command = [sys.executable, "-m", "songlo", "collector"]
    subprocess.run([*command, "migrate", "--config", config], check=True, capture_output=True)
    process = subprocess.Popen([*command, "run", "--config", config], stderr=subprocess.DEVNULL)
    try:
        until(
            lambda: _acked(witness, OWN, epoch, batch), "the batch was never acknowledged", SAYS_S
        )
    finally:
        process.terminate()
        assert process.wait(SAYS_S) == 0


def _acked(witness: Peer, gateway_name: str, epoch: str, batch: bytes) -> bool:
    """Send the batch, as a gateway does until it is acknowledged, and see whether it is by now."""
    witness.publish(build(BatchTopic(gateway_name, epoch, 1)), batch)
    acks = [load for topic, load in witness.arrived() if topic == build(AckTopic(gateway_name))]
    return any(epoch.encode() in ack for ack in acks)


def test_files_that_cannot_be_used_are_named_before_anything_starts(
    broker: FleetBroker, tmp_path: Path
) -> None:
    good = _tls(broker, "intake")
    context_of(good)
    missing = Tls(good.ca_file, good.certificate_file, str(tmp_path / "intake.key"))
    with pytest.raises(InvalidRequest, match=r"intake\.key does not exist"):
        context_of(missing)
    crossed = Tls(good.ca_file, good.certificate_file, _tls(broker, "commands").key_file)
    with pytest.raises(InvalidRequest, match="is not the key of the certificate in"):
        context_of(crossed)
    with pytest.raises(InvalidRequest, match="is not the key"):
        start_of(_config(broker, crossed), None, is_passing=False)
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(InvalidRequest, match="cannot be used as the broker's authority"):
        context_of(Tls(str(tmp_path / "ca.pem"), None, None))


def test_the_collectors_own_certificate_is_of_concern_in_time(broker: FleetBroker) -> None:
    tls, end = _tls(broker, "intake"), broker.fleet.now + CERTIFICATE_LIFETIME
    assert concern(tls, broker.fleet.now) == ""
    assert concern(tls, end - EXPIRES_SOON).startswith("the certificate of intake runs out in 90")
    assert "has run out" in concern(tls, end)
