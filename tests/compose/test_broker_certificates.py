"""Gateways and broker over TLS: whose certificate counts, and what a refused gateway says."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from contract.messages import decode_status
from contract.topics import StatusTopic, build
from tests.compose.mqtt import WAIT_S, Peer, peer
from tests.compose.plain import PlainBroker, load_make_secrets, plain_broker
from tests.services import free_port

OWN, OTHER, GONE = "PA25SL-T012", "PA25SL-T013", "PA25SL-T014"
STATUS = build(StatusTopic(OWN))
SAYS_S = 30.0


@pytest.fixture(scope="module")
def make_secrets() -> ModuleType:
    return load_make_secrets()


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, make_secrets: ModuleType
) -> Iterator[PlainBroker]:
    folder = tmp_path_factory.mktemp("broker")
    with plain_broker(folder, passwords={"witness": "witness-password"}) as started:
        for name in (OWN, OTHER, GONE):
            make_secrets.run(["--folder", str(started.secrets), "gateway", name])
        yield started


@pytest.fixture
def witness(broker: PlainBroker) -> Iterator[Peer]:
    with peer(broker.port, "witness", "witness-password") as connection:
        connection.subscribe("songlo/#")
        connection.arrived()
        yield connection


def shake_hands(broker: PlainBroker, certificate: Path) -> str:
    """Empty when the broker takes the certificate (a path without suffix), else why not."""
    context = ssl.create_default_context(cafile=str(broker.secrets / "broker-ca.pem"))
    # Until TLS 1.3 the handshake itself tells the client that its certificate is refused.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
    address = ("127.0.0.1", broker.tls_port)
    with socket.create_connection(address, WAIT_S) as plain:
        try:
            context.wrap_socket(plain, server_hostname="localhost").close()
        except (ssl.SSLError, ConnectionError) as error:
            return str(error).lower()
    return ""


def certificate_of(folder: Path, authority: Path, name: str, start: str, end: str) -> Path:
    """A certificate for any period, signed by any authority; its path without suffix."""
    folder.mkdir()
    (folder / "index").touch()
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index\nrand_serial = yes\nnew_certs_dir = .\n"
        "default_md = sha256\npolicy = p\nx509_extensions = e\n[p]\ncommonName = supplied\n"
        "[e]\nbasicConstraints = critical,CA:FALSE\nextendedKeyUsage = clientAuth\n"
    )
    key = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    sign = ("ca", "-config", "ca.cnf", "-batch", "-notext", "-in", "n.csr", "-out", f"{name}.pem")
    for command in (
        (*key, "-out", f"{name}.key"),
        ("req", "-new", "-key", f"{name}.key", "-out", "n.csr", "-subj", f"/CN={name}"),
        (
            *(*sign, "-cert", f"{authority}.pem", "-keyfile", f"{authority}.key"),
            *("-startdate", start, "-enddate", end),
        ),
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return folder / name


# -- whose certificate counts


def test_each_gateway_with_a_certificate_of_the_authority_comes_in(broker: PlainBroker) -> None:
    assert [shake_hands(broker, broker.secrets / "gateways" / name) for name in (OWN, OTHER)] == [
        "",
        "",
    ]


def test_a_certificate_that_has_run_out_or_not_begun_is_refused(
    broker: PlainBroker, tmp_path: Path
) -> None:
    authority = broker.secrets / "gateways-ca"
    old = certificate_of(tmp_path / "old", authority, OWN, "20200101000000Z", "20200201000000Z")
    assert "expired" in shake_hands(broker, old)
    early = certificate_of(tmp_path / "early", authority, OWN, "20900101000000Z", "20910101000000Z")
    assert shake_hands(broker, early) != ""
    fit = certificate_of(tmp_path / "fit", authority, OWN, "20200101000000Z", "20900201000000Z")
    assert shake_hands(broker, fit) == "", "the same way of making one, with a period that fits"


def test_another_authoritys_certificate_is_refused_whatever_name_it_bears(
    broker: PlainBroker, make_secrets: ModuleType, tmp_path: Path
) -> None:
    make_secrets.run(["--project", str(tmp_path)])
    make_secrets.run(["--project", str(tmp_path), "gateway", OWN])
    assert shake_hands(broker, tmp_path / "secrets" / "gateways" / OWN) != ""
    # The broker's authority signs brokers, and no gateways.
    forged = certificate_of(
        tmp_path / "forged", broker.secrets / "broker-ca", OWN, "20200101000000Z", "20900101000000Z"
    )
    assert shake_hands(broker, forged) != ""


def test_a_certificate_taken_back_is_refused_from_the_next_reload_on(
    broker: PlainBroker, make_secrets: ModuleType
) -> None:
    gateways = broker.secrets / "gateways"
    assert shake_hands(broker, gateways / GONE) == ""
    (changed,) = make_secrets.run(["--folder", str(broker.secrets), "revoke", GONE])
    shutil.copy(changed, broker.folder / changed.name)
    broker.reload()
    aside = gateways / "revoked" / f"{GONE}.1"
    deadline = time.monotonic() + SAYS_S
    while not (said := shake_hands(broker, aside)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "revoked" in said
    assert shake_hands(broker, gateways / OWN) == ""
    # The name is free again, and its new certificate counts.
    make_secrets.run(["--folder", str(broker.secrets), "gateway", GONE])
    assert shake_hands(broker, gateways / GONE) == ""


# -- the gateway itself


def station(folder: Path, broker: PlainBroker, *, host: str = "localhost", name: str = OWN) -> Path:
    """A station file for this broker, with the certificates beside it."""
    shutil.copy(broker.secrets / "broker-ca.pem", folder)
    for suffix in ("pem", "key"):
        if not (folder / f"{OWN}.{suffix}").exists():
            shutil.copy(broker.secrets / "gateways" / f"{OWN}.{suffix}", folder)
    files = f"{{ca_file: broker-ca.pem, certificate_file: {OWN}.pem, key_file: {OWN}.key}}"
    path = folder / "station.yaml"
    path.write_text(
        f"station: {name}\ndata: data\n"
        f"broker: {{host: {host}, port: {broker.tls_port}, tls: {files}}}\n"
        "lines:\n  - name: bridge-1\n"
        f"    modbus_tcp: {{host: 127.0.0.1, port: {free_port()}}}\n"
        '    meters: [{serial: "1", address: 1, profile: eastron-sdm120}]\n'
    )
    return path


@contextmanager
def running(config: Path) -> Iterator[Path]:
    """The gateway as a process; the path of what it says."""
    log = config.parent / "log"
    command = [sys.executable, "-m", "songlo", "gateway", "run", "--config", str(config)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stderr=out)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(SAYS_S) == 0
        finally:
            process.kill()


def says(log: Path, *words: str) -> str:
    """The line of the log that has all `words`."""
    deadline = time.monotonic() + SAYS_S
    while True:
        for line in log.read_text().splitlines():
            if all(word in line for word in words):
                return line
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_gateway_delivers_over_tls_under_the_name_of_its_certificate(
    broker: PlainBroker, witness: Peer, tmp_path: Path
) -> None:
    with running(station(tmp_path, broker)):
        topic, payload = witness.received.get(timeout=SAYS_S)
        while topic != STATUS:
            topic, payload = witness.received.get(timeout=SAYS_S)
        assert decode_status(payload).online
    offline = [payload for topic, payload in witness.arrived() if topic == STATUS]
    assert json.loads(offline[-1])["online"] is False


def test_a_gateway_refuses_a_broker_of_another_authority_or_name(
    broker: PlainBroker, make_secrets: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "name").mkdir()
    with running(station(tmp_path / "name", broker, host="127.0.0.1")) as log:
        says(log, "no connection to the broker", "certificate verify failed")
    make_secrets.run(["--project", str(tmp_path)])
    (tmp_path / "authority").mkdir()
    config = station(tmp_path / "authority", broker)
    shutil.copy(tmp_path / "secrets" / "broker-ca.pem", config.parent)
    with running(config) as log:
        says(log, "no connection to the broker", "certificate verify failed")


def test_a_gateway_that_the_broker_refuses_says_why(broker: PlainBroker, tmp_path: Path) -> None:
    authority = broker.secrets / "gateways-ca"
    old = certificate_of(tmp_path / "old", authority, OWN, "20200101000000Z", "20200201000000Z")
    for suffix in ("pem", "key"):
        shutil.copy(f"{old}.{suffix}", tmp_path)
    with running(station(tmp_path, broker)) as log:
        line = says(log, "no connection to the broker")
    assert "may not accept this gateway's certificate" in line, line


def test_a_gateway_under_another_name_is_heard_by_nobody(
    broker: PlainBroker, witness: Peer, tmp_path: Path
) -> None:
    with running(station(tmp_path, broker, name=OTHER)) as log:
        says(log, "connected to the broker")
        # What it says first goes out at once; a message of its own comes after that.
        with peer(broker.port, "witness", "witness-password") as after:
            after.publish("songlo/after", b"x")
        assert witness.received.get(timeout=SAYS_S) == ("songlo/after", b"x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes secrets for another user")
def test_what_root_adds_belongs_to_the_user_of_the_folder(
    make_secrets: ModuleType, tmp_path: Path
) -> None:
    make_secrets.run(["--project", str(tmp_path)])
    secrets = tmp_path / "secrets"
    owner = secrets.stat().st_uid
    assert owner == 10001
    make_secrets.run(["--project", str(tmp_path), "gateway", OWN])
    (secrets / "broker.key").unlink()
    made = make_secrets.run(["--project", str(tmp_path), "broker"])
    made += make_secrets.run(["--project", str(tmp_path), "revoke", OWN])
    assert {path.stat().st_uid for path in made} == {owner}
