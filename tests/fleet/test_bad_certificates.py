"""A gateway as a program whose certificate is not taken, and is taken once it is put right.

It says what is wrong, goes on by itself with the next good file, and needs no restart.
"""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.messages import decode_status
from contract.topics import StatusTopic, build
from fleet import operations
from fleet.book import CERTIFICATE_LIFETIME
from fleet.folder import opened
from tests.compose.mqtt import Peer, peer
from tests.fleet.broker import FleetBroker, fleet_broker
from tests.fleet.fleets import Fleet, today
from tests.fleet.test_over_tls import OWN, SAYS_S, gateway, says

Credentials = Callable[[FleetBroker, Path], Path]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBroker]:
    """An authority that is three years old; nobody has visited its gateway since."""
    folder = tmp_path_factory.mktemp("broker")
    fleet = Fleet.begun(folder / "ca", today() - CERTIFICATE_LIFETIME - timedelta(days=1))
    fleet.enrol(OWN, folder / OWN)
    fleet.now = today()
    with opened(fleet.path) as ca:
        operations.rotate_broker(ca, (), None, fleet.now)
        for name in ("intake", "commands", "monitor"):
            operations.rotate_service(ca, name, None, fleet.now)
    with fleet_broker(folder, fleet) as started:
        yield started


@pytest.fixture
def witness(broker: FleetBroker) -> Iterator[Peer]:
    with peer(broker.port, "witness", "witness") as connection:
        connection.subscribe("songlo/#")
        connection.arrived()
        yield connection


def ran_out(broker: FleetBroker, folder: Path) -> Path:
    del folder
    return broker.fleet.path.parent / OWN / f"{OWN}.pem"


def not_good_yet(broker: FleetBroker, folder: Path) -> Path:
    early = Fleet(folder / "ca", today() + timedelta(days=30))
    shutil.copytree(broker.fleet.path, early.path)
    return early.enrol(OWN, folder / "early", replaces=True)


def taken_back(broker: FleetBroker, folder: Path) -> Path:
    """Of another gateway's theft nobody is spared: the list names it."""
    credentials = broker.fleet.enrol(OWN, folder / "stolen", replaces=True)
    broker.fleet.revoke(OWN)
    broker.take_files()
    return credentials


@pytest.mark.parametrize("bad", [ran_out, not_good_yet, taken_back])
def test_a_gateway_whose_certificate_is_not_taken_says_so_and_goes_on_with_a_good_one(
    broker: FleetBroker, witness: Peer, tmp_path: Path, bad: Credentials
) -> None:
    home = tmp_path / "etc"
    home.mkdir()
    shutil.copy(broker.fleet.path / "broker-ca.pem", home)
    shutil.copy(bad(broker, tmp_path), home / f"{OWN}.pem")
    with gateway(home, broker.gateways_port) as log:
        says(log, "no connection to the broker", "certificate")
        assert "connected to the broker" not in log.read_text()
        assert witness.received.empty()
        good = broker.fleet.enrol(OWN, tmp_path / "good", replaces=True)
        shutil.copy(good, home / f"{OWN}.pem")
        says(log, "connected to the broker")
        while (arrived := witness.received.get(timeout=SAYS_S))[0] != build(StatusTopic(OWN)):
            pass
        assert decode_status(arrived[1]).online
