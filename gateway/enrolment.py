"""Getting a certificate: the request that leaves the gateway, and taking the answer in.

The key is made here and stays here. Whatever ends the command at any instant, the certificate that
was in force still is, with its key. It must not know the command line.
"""

import os
import pwd
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from contract.certificate import BadCertificate, certificate_facts, der_of
from contract.enrolment import (
    BadToken,
    EnrolmentAnswer,
    EnrolmentRequest,
    decode_answer,
    fingerprint,
    parse_token,
    proof_text,
    proven_bytes,
)
from contract.messages import MessageError
from contract.topics import is_name
from gateway.enrolment_key import (
    EnrolmentFailed,
    new_key,
    proof_by_key,
    proof_by_token,
    request_for,
)
from gateway.signature import public_half

BROKER_CA = "broker-ca.pem"
ACCOUNT = "songlo-gateway"  # firmware_config/sysusers


class _Pending(msgspec.Struct, frozen=True):
    """What must be kept between request and answer: whose authority the answer must name."""

    gateway: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Files:
    """Where a gateway's credentials lie: `folder` is that of the station file by custom."""

    folder: Path
    gateway: str

    @property
    def credentials(self) -> Path:
        """Key and certificate in force."""
        return self.folder / f"{self.gateway}.pem"

    @property
    def broker_ca(self) -> Path:
        """The broker's authority in force."""
        return self.folder / BROKER_CA

    @property
    def next_key(self) -> Path:
        """The key whose certificate is asked for."""
        return self.folder / f"{self.gateway}.next.key"

    @property
    def pending(self) -> Path:
        """What the request in hand was made with."""
        return self.folder / f"{self.gateway}.pending.json"


def request_first(files: Files, token_text: str) -> EnrolmentRequest:
    """A request by a claim token. Raises EnrolmentFailed."""
    if not is_name(files.gateway):
        raise EnrolmentFailed(f"{files.gateway!r} cannot name a gateway")
    try:
        token = parse_token(token_text)
    except BadToken as error:
        raise EnrolmentFailed(str(error), "type it again as it was given") from error
    csr = _new_request(files, token.fingerprint)
    claim = public_half(token.seed).hex()
    proof = proof_by_token(token.seed, proven_bytes(files.gateway, claim, csr))
    return EnrolmentRequest(1, files.gateway, csr, proof_text(proof), claim=claim)


def request_next(files: Files) -> EnrolmentRequest:
    """A request by the certificate in force. Raises EnrolmentFailed."""
    try:
        serial = certificate_facts(files.credentials.read_text(encoding="ascii")).serial
        authority = der_of(files.broker_ca.read_text(encoding="ascii"))
    except (OSError, BadCertificate, UnicodeDecodeError) as error:
        raise EnrolmentFailed(
            f"there is no certificate to renew: {error}",
            "enrol with a claim token: songlo gateway enrol request",
        ) from error
    csr = _new_request(files, fingerprint(authority))
    proof = proof_by_key(files.credentials, proven_bytes(files.gateway, serial, csr))
    return EnrolmentRequest(1, files.gateway, csr, proof_text(proof), serial=serial)


def install(files: Files, payload: bytes, now: datetime) -> datetime:
    """Take an answer in; until when its certificate is good. Raises EnrolmentFailed."""
    try:
        answer = decode_answer(payload)
        pending = msgspec.json.decode(files.pending.read_bytes(), type=_Pending)
        key = files.next_key.read_bytes()
    except MessageError as error:
        raise EnrolmentFailed(f"this is no answer of an authority: {error}") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise EnrolmentFailed(
            f"{files.folder} waits for no answer for {files.gateway}",
            "an answer fits only the request that was made last, on this machine",
        ) from error
    until = _checked(files, answer, pending, now)
    _replace(files, files.broker_ca, answer.broker_ca.encode(), 0o644)
    beside = _written(files.credentials, key + answer.certificate.encode(), 0o600)
    try:
        _check_key(beside, files)
    except EnrolmentFailed:
        beside.unlink()
        raise
    beside.rename(files.credentials)
    _sync_folder(files.folder)
    # In this order: what is pending has its key as long as it is there.
    files.pending.unlink()
    files.next_key.unlink()
    return until


def _checked(files: Files, answer: EnrolmentAnswer, pending: _Pending, now: datetime) -> datetime:
    if {answer.gateway, pending.gateway} != {files.gateway}:
        raise EnrolmentFailed(f"the answer is for {answer.gateway}, not for {files.gateway}")
    try:
        facts = certificate_facts(answer.certificate)
        found = fingerprint(der_of(answer.broker_ca))
    except BadCertificate as error:
        raise EnrolmentFailed(f"the answer is damaged: {error}", "copy the file again") from error
    if facts.common_name != files.gateway:
        raise EnrolmentFailed(f"the certificate is of {facts.common_name}, not of {files.gateway}")
    if found != pending.fingerprint:
        raise EnrolmentFailed(
            "the answer is not from the authority that made the claim token",
            "do not use it: somebody may want to be taken for the broker. Ask who made the token",
        )
    if now >= facts.not_after_at:
        raise EnrolmentFailed(f"the certificate has run out ({facts.not_after_at.date()})")
    return facts.not_after_at


def _check_key(credentials: Path, files: Files) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(credentials, password="")
    except ssl.SSLError as error:
        raise EnrolmentFailed(
            f"the certificate is not for the key in {files.next_key}",
            "the answer belongs to an earlier request: have the last one signed",
        ) from error


def _new_request(files: Files, authority: str) -> str:
    if not files.folder.is_dir():
        raise EnrolmentFailed(f"{files.folder} does not exist", "name it with --folder")
    files.pending.unlink(missing_ok=True)
    _replace(files, files.next_key, new_key(), 0o600)
    csr = request_for(files.next_key, files.gateway)
    pending = msgspec.json.encode(_Pending(files.gateway, authority))
    _replace(files, files.pending, pending, 0o600)
    return csr


def _replace(files: Files, path: Path, content: bytes, mode: int) -> None:
    _written(path, content, mode).rename(path)
    _sync_folder(files.folder)


def _written(path: Path, content: bytes, mode: int) -> Path:
    """The content beside `path`, on the disk; what root makes is for the gateway's own user."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        if os.geteuid() == 0 and (account := _account()) is not None:
            os.fchown(file.fileno(), *account)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _account() -> tuple[int, int] | None:
    try:
        found = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None
    return found.pw_uid, found.pw_gid


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
