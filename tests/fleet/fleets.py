"""Authorities and enrolled gateways for tests, made by the product's own operations."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract.enrolment import EnrolmentRequest
from fleet import operations
from fleet.folder import opened
from fleet.operations import Signed
from gateway.enrolment import Files, install, request_first, request_next

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
HOSTS = ("localhost", "127.0.0.1")


def today() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Fleet:
    """An authority's folder, and whose time it is there."""

    path: Path
    now: datetime = NOW
    passphrase: str | None = None

    @classmethod
    def begun(cls, path: Path, now: datetime = NOW, passphrase: str | None = None) -> "Fleet":
        operations.begin(path, HOSTS, passphrase, now)
        return cls(path, now, passphrase)

    def token(self, gateway: str, *, replaces: bool = False, lifetime: timedelta = WEEK) -> str:
        with opened(self.path) as folder:
            made, _ = operations.new_claim(
                folder,
                gateway,
                random=secrets.token_bytes(16),
                lifetime=lifetime,
                replaces=replaces,
                now=self.now,
            )
        return made.text

    def sign(self, request: EnrolmentRequest) -> Signed:
        with opened(self.path) as folder:
            return operations.sign(folder, request, self.passphrase, self.now)

    def revoke(self, name: str) -> tuple[str, ...]:
        with opened(self.path) as folder:
            return operations.revoke(
                folder, name, reason="stolen", passphrase=self.passphrase, now=self.now
            )

    def warnings(self) -> list[str]:
        with opened(self.path) as folder:
            return operations.warnings(folder, self.now)

    def enrol(self, gateway: str, home: Path, *, replaces: bool = False) -> Path:
        """Key and certificate in `home`, all the way of a new gateway."""
        home.mkdir(exist_ok=True)
        files = Files(home, gateway)
        request = request_first(files, self.token(gateway, replaces=replaces))
        install(files, operations.encoded(self.sign(request).answer), self.now)
        return files.credentials

    def renew(self, gateway: str, home: Path) -> Signed:
        files = Files(home, gateway)
        signed = self.sign(request_next(files))
        install(files, operations.encoded(signed.answer), self.now)
        return signed
