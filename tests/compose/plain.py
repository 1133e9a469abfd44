"""The programs of docker-compose.yml that Debian has, as plain processes with the same files.

Paths of the containers are replaced by a test's own; nothing else about the files is changed.
"""

import importlib.machinery
import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.services import ServerProcess, free_port
from tests.services.process import accepts_connections, find_program

ROOT = Path(__file__).resolve().parents[2]


def load_make_secrets() -> ModuleType:
    """scripts/make-secrets as a module."""
    path = str(ROOT / "scripts" / "make-secrets")
    loader = importlib.machinery.SourceFileLoader("make_secrets", path)
    spec = importlib.util.spec_from_loader("make_secrets", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def substituted(path: Path, replacements: dict[str, str]) -> str:
    """The file's text with every replacement made; each must be needed at least once."""
    text = path.read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert old in text, f"{path} has no {old!r}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class PlainBroker:
    """A broker with the product's configuration: its ports and the folder of its files."""

    port: int
    tls_port: int
    folder: Path
    secrets: Path
    process: ServerProcess

    def reload(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)

    def password(self, identity: str) -> str:
        return (self.secrets / f"broker_{identity}_password").read_text()


@contextmanager
def plain_broker(folder: Path, *, passwords: dict[str, str]) -> Iterator[PlainBroker]:
    """Mosquitto with firmware_config/broker, secrets of its own, and a witness who may do all.

    `passwords` are users beside the services: the witness and gateways without a certificate.
    """
    make_secrets = load_make_secrets()
    make_secrets.run(["--project", str(folder)])
    source, secrets = ROOT / "firmware_config" / "broker", folder / "secrets"
    home, listeners, data = folder / "songlo", folder / "songlo.d", folder / "kept"
    for path in (home, listeners, data):
        path.mkdir()
    for name in ("broker.pem", "broker.key", "gateways-ca.pem", "gateways-crl.pem"):
        shutil.copy(secrets / name, home / name)
    lines = "".join(make_secrets.mosquitto_line(*entry) for entry in passwords.items())
    (home / "passwords").write_text((secrets / "broker_passwords").read_text() + lines)
    acl = (source / "acl").read_text(encoding="utf-8")
    (home / "acl").write_text(acl + "\nuser witness\ntopic readwrite #\n")
    port, tls_port = free_port(), free_port()
    text = substituted(
        source / "mosquitto.conf",
        {
            "listener 1883": f"listener {port} 127.0.0.1",
            "/etc/mosquitto/songlo.d": str(listeners),
            "/etc/mosquitto/songlo/": f"{home}/",
            "/var/lib/mosquitto/": f"{data}/",
        },
    )
    text = text.replace("include_dir", "user root\ninclude_dir") if os.geteuid() == 0 else text
    (home / "mosquitto.conf").write_text(text)
    tls = substituted(
        source / "tls.conf",
        {"listener 8883": f"listener {tls_port} 127.0.0.1", "/etc/mosquitto/songlo/": f"{home}/"},
    )
    (listeners / "tls.conf").write_text(tls)
    process = ServerProcess(
        "mosquitto",
        [find_program("mosquitto", "mosquitto"), "-c", str(home / "mosquitto.conf")],
        folder / "mosquitto.log",
        lambda: accepts_connections(port),
    )
    try:
        process.start()
        yield PlainBroker(port, tls_port, home, secrets, process)
    finally:
        process.close()
