"""Mosquitto with the product's files and what `songlo fleet` makes for it."""

import os
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.compose.mqtt import WAIT_S
from tests.compose.plain import ROOT, load_make_secrets, substituted
from tests.fleet.fleets import Fleet
from tests.services import ServerProcess, free_port
from tests.services.process import accepts_connections, find_program

SOURCE = ROOT / "firmware_config" / "broker"


@dataclass(frozen=True)
class FleetBroker:
    """A broker that stands on the authority's files alone: it has no password but the witness's."""

    port: int
    gateways_port: int
    services_port: int
    folder: Path
    fleet: Fleet
    process: ServerProcess

    def take_files(self) -> None:
        """Install what the authority has for the broker, and have it read."""
        for path in (self.fleet.path / "broker").iterdir():
            shutil.copy(path, self.folder)
        os.kill(self.process.pid, signal.SIGHUP)

    def context(
        self, certificate: Path | None, key: Path | None = None, *, tls13: bool = False
    ) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.fleet.path / "broker-ca.pem"))
        if not tls13:
            # Until TLS 1.3 the handshake itself tells the client that its certificate is refused.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key or certificate)
        return context

    def service(self, name: str) -> ssl.SSLContext:
        home = self.fleet.path / "services"
        return self.context(home / f"{name}.pem", home / f"{name}.key")


def shake_hands(port: int, context: ssl.SSLContext, host: str = "localhost") -> str:
    """Empty when the broker takes what the context shows, else why not."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host).close()
        except (ssl.SSLError, ConnectionError) as error:
            return str(error).lower()
    return ""


@contextmanager
def fleet_broker(folder: Path, fleet: Fleet) -> Iterator[FleetBroker]:
    """Mosquitto with firmware_config/broker."""
    home, listeners, data = folder / "songlo", folder / "songlo.d", folder / "kept"
    for path in (home, listeners, data):
        path.mkdir()
    for path in (fleet.path / "broker").iterdir():
        shutil.copy(path, home)
    (home / "passwords").write_text(load_make_secrets().mosquitto_line("witness", "witness"))
    acl = (SOURCE / "acl").read_text(encoding="utf-8")
    (home / "acl").write_text(acl + "\nuser witness\ntopic readwrite #\n")
    port, gateways, services = free_port(), free_port(), free_port()
    here = {"/etc/mosquitto/songlo/": f"{home}/"}
    text = substituted(
        SOURCE / "mosquitto.conf",
        {
            "listener 1883": f"listener {port} 127.0.0.1",
            "/etc/mosquitto/songlo.d": str(listeners),
            "/var/lib/mosquitto/": f"{data}/",
        }
        | here,
    )
    text = text.replace("include_dir", "user root\ninclude_dir") if os.geteuid() == 0 else text
    (home / "mosquitto.conf").write_text(text)
    for name, listener in (
        ("tls.conf", {"listener 8883": f"listener {gateways} 127.0.0.1"}),
        ("services.conf", {"listener 8884": f"listener {services} 127.0.0.1"}),
    ):
        (listeners / name).write_text(substituted(SOURCE / name, here | listener))
    process = ServerProcess(
        "mosquitto",
        [find_program("mosquitto", "mosquitto"), "-c", str(home / "mosquitto.conf")],
        folder / "mosquitto.log",
        lambda: all(map(accepts_connections, (port, gateways, services))),
    )
    try:
        process.start()
        yield FleetBroker(port, gateways, services, home, fleet, process)
    finally:
        process.close()
