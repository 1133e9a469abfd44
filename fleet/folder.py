"""The authority's folder: keys, the book's journal, and the files that others are given.

Owns what lies where, with which mode, and that a kill or a power cut at any instant leaves the
folder as it was before or after an act. It must not decide who gets what.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from contract.certificate import BadCertificate, der_of
from fleet import certificates
from fleet.book import Begun, Book, Event, Kind
from fleet.certificates import Authority
from fleet.errors import DamagedFolder, FleetError
from fleet.journal import Journal

# One authority for each kind: a gateway's certificate is none at the services' door, a service's is
# none at the gateways', and the broker's is none at either.
AUTHORITIES = {
    Kind.GATEWAY: "gateways-ca",
    Kind.SERVICE: "services-ca",
    Kind.BROKER: "broker-ca",
}
# Longer than anything of the fleet stands: a new authority means a visit to every station.
AUTHORITY_LIFETIME = timedelta(days=30 * 365)

JOURNAL, LOCK = "journal", "lock"
# What goes to the broker, and what goes to the collector's machine.
BROKER_FOLDER, SERVICES_FOLDER = "broker", "services"

_SECRET, _PUBLIC, _FOLDER = 0o600, 0o644, 0o700


class Folder:
    """An authority's folder, held by one process until it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = Journal(path / JOURNAL)

    @property
    def book(self) -> Book:
        """What was done here."""
        return self._journal.book

    def record(self, event: Event) -> None:
        """Have an act done: from here on it counts, whatever happens."""
        self._journal.append(event)

    def authority_pem(self, kind: Kind) -> str:
        """An authority's certificate in PEM."""
        return _text(self.path / f"{AUTHORITIES[kind]}.pem")

    def authority(self, kind: Kind, passphrase: str | None) -> Authority:
        """An authority with its key. Raises FleetError."""
        path = self.path / f"{AUTHORITIES[kind]}.key"
        try:
            mode = path.stat().st_mode
            key = path.read_bytes()
        except OSError as error:
            raise FleetError(
                "no_key", f"{path}: {error.strerror}", "bring the key back for this"
            ) from error
        if mode & 0o077:
            raise FleetError(
                "open_key",
                f"{path} can be read by others",
                f"chmod 600 {path}, and think about who may have read it",
            )
        return Authority(self.authority_pem(kind), key, passphrase)

    def is_encrypted(self, kind: Kind) -> bool:
        """Whether an authority's key has a passphrase; False where there is no key."""
        path = self.path / f"{AUTHORITIES[kind]}.key"
        return path.exists() and b"ENCRYPTED" in path.read_bytes()

    def write_secret(self, folder: str, name: str, content: bytes) -> Path:
        """A file for its owner alone, whole or as it was before."""
        return self._write(folder, name, content, _SECRET)

    def write_public(self, folder: str, name: str, content: str) -> Path:
        """A file for everybody, whole or as it was before."""
        return self._write(folder, name, content.encode(), _PUBLIC)

    def read_public(self, folder: str, name: str) -> str | None:
        """Such a file's text; None where there is none."""
        path = self.path / folder / name
        return path.read_text(encoding="ascii") if path.is_file() else None

    def check_authorities(self) -> None:
        """Raises DamagedFolder where an authority is not the one that was made here."""
        begun = self.book.begun
        if begun is None:
            raise DamagedFolder(f"{self.path / JOURNAL} does not begin with its authorities")
        for kind, name in AUTHORITIES.items():
            try:
                found = _sha256(self.authority_pem(kind))
            except BadCertificate as error:
                raise DamagedFolder(f"{self.path / name}.pem: {error}") from error
            if begun.authorities.get(name) != found:
                raise DamagedFolder(f"{self.path / name}.pem is another one than was made here")

    def _write(self, folder: str, name: str, content: bytes, mode: int) -> Path:
        home = self.path / folder
        home.mkdir(mode=_FOLDER, exist_ok=True)
        return replace_file(home / name, content, mode)


def replace_file(path: Path, content: bytes, mode: int) -> Path:
    """Write a file beside and rename it: whole or as it was before, on the disk when it returns."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    _sync_folder(path.parent)
    return path


def make_folder(path: Path, passphrase: str | None, now: datetime) -> None:
    """New authorities in a new folder, there whole or not at all. Raises FleetError."""
    if path.exists():
        raise FleetError(
            "exists",
            f"{path} exists and is kept",
            "an authority is made once: choose another folder",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fingerprints = {}
        for name in AUTHORITIES.values():
            key, certificate = certificates.new_authority(name, AUTHORITY_LIFETIME, passphrase, now)
            replace_file(beside / f"{name}.key", key, _SECRET)
            replace_file(beside / f"{name}.pem", certificate.encode(), _PUBLIC)
            fingerprints[name] = _sha256(certificate)
        for name in (LOCK, JOURNAL):
            replace_file(beside / name, b"", _SECRET)
        Journal(beside / JOURNAL).append(Begun(now, fingerprints))
        beside.rename(path)
        _sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """The folder, for one process at a time. Raises FleetError."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except OSError as error:
        raise FleetError(
            "no_folder",
            f"{path} is no authority's folder: {error.strerror}",
            "name it with --ca, or make one with: songlo fleet init",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FleetError(
                "busy", f"{path} is in use by another command", "wait until it has ended"
            ) from error
        folder = Folder(path)
        folder.check_authorities()
        yield folder
    finally:
        os.close(lock)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFolder(f"{path} cannot be read: {error}") from error


def _sha256(certificate_pem: str) -> str:
    return hashlib.sha256(der_of(certificate_pem)).hexdigest()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
