"""What people ask of the authority, one function each: decide by the book, sign, record, write.

The order is always the same: what is recorded counts, and what is written out is made again from
the record by the next command. It must not know the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from contract.certificate import certificate_facts, der_of
from contract.enrolment import (
    ClaimToken,
    EnrolmentAnswer,
    EnrolmentRequest,
    decode_request,
    new_token,
    proof_of,
    proven_bytes,
)
from contract.messages import MessageError
from fleet import book as rules
from fleet import certificates
from fleet.book import (
    CERTIFICATE_LIFETIME,
    SERVICES,
    Issued,
    Kind,
    Revoked,
    TokenMade,
    TokenWithdrawn,
)
from fleet.errors import FleetError
from fleet.folder import (
    AUTHORITIES,
    BROKER_FOLDER,
    SERVICES_FOLDER,
    Folder,
    make_folder,
    opened,
)

BROKER = "broker"

# Which authorities take certificates back; the broker's own are for its clients to judge, who are
# told by no list: a broker whose key was stolen needs a new authority (docs/fleet.md).
_LISTED = {Kind.GATEWAY: "gateways-crl.pem", Kind.SERVICE: "services-crl.pem"}


@dataclass(frozen=True, slots=True)
class Signed:
    """A gateway's new certificate, and those that it ended."""

    certificate: Issued
    answer: EnrolmentAnswer


def begin(path: Path, hosts: Sequence[str], passphrase: str | None, now: datetime) -> None:
    """A new authority, with certificates for the broker and the services. Raises FleetError."""
    make_folder(path, passphrase, now)
    with opened(path) as folder:
        rotate_broker(folder, hosts, passphrase, now)
        for service in SERVICES:
            rotate_service(folder, service, passphrase, now)
        write_out(folder, passphrase, now)


def new_claim(
    folder: Folder,
    gateway: str,
    *,
    random: bytes,
    lifetime: timedelta,
    replaces: bool,
    now: datetime,
) -> tuple[ClaimToken, TokenMade]:
    """A claim token, kept nowhere: the folder has its public half. Raises FleetError."""
    rules.check_clock(folder.book, now)
    rules.check_token_wanted(folder.book, gateway, now, replaces=replaces)
    token = new_token(random, der_of(folder.authority_pem(Kind.BROKER)))
    claim = certificates.claim_of(token.seed)
    made = TokenMade(now, claim, gateway, now + lifetime, replaces)
    folder.record(made)
    return token, made


def withdraw(folder: Folder, gateway: str, now: datetime) -> int:
    """Have a gateway's open tokens count no more; how many there were."""
    rules.check_clock(folder.book, now)
    found = [one for one in folder.book.open_tokens(now) if one.gateway == gateway]
    for token in found:
        folder.record(TokenWithdrawn(now, token.claim))
    return len(found)


def read_request(payload: bytes) -> EnrolmentRequest:
    """The request in a file. Raises FleetError."""
    try:
        return decode_request(payload)
    except MessageError as error:
        raise FleetError(
            "bad_request", f"this is no request of a gateway: {error}", "copy the file again"
        ) from error


def sign(
    folder: Folder, request: EnrolmentRequest, passphrase: str | None, now: datetime
) -> Signed:
    """A gateway's certificate, for a claim token or in succession. Raises FleetError."""
    book, gateway = folder.book, request.gateway
    rules.check_clock(book, now)
    rules.check_gateway_name(gateway)
    message, proof = _message(request), proof_of(request)
    if request.claim is not None:
        token = rules.check_claim(book, request.claim, gateway, now)
        is_proven = certificates.is_proven_by_claim(token.claim, proof, message)
        replaces = token.replaces
    else:
        held = rules.check_renewal(book, request.serial or "", gateway, now)
        is_proven = certificates.is_proven_by_certificate(held.certificate, proof, message)
        replaces = False
    if not is_proven:
        raise FleetError(
            "not_proven",
            "the request was not made by whom it says: it was changed on its way, or made without "
            "the token or the key that it names",
            "make it anew on the gateway",
        )
    for counting in book.counting(Kind.GATEWAY, gateway, now):
        if certificates.is_for_key_of(counting.certificate, request.csr, gateway):
            # The same file once more: another certificate would end an earlier one for nothing.
            return Signed(counting, answer_of(folder, counting))
    authority = folder.authority(Kind.GATEWAY, passphrase)
    pem = authority.sign_client(request.csr, gateway, CERTIFICATE_LIFETIME, now)
    keep_latest = not replaces
    ended = rules.ended_by(book, Kind.GATEWAY, gateway, now, keep_latest=keep_latest)
    issued = _record(folder, Kind.GATEWAY, gateway, pem, now, claim=request.claim, ended=ended)
    write_out(folder, passphrase, now)
    return Signed(issued, answer_of(folder, issued))


def answer_of(folder: Folder, certificate: Issued) -> EnrolmentAnswer:
    """What goes back to a gateway for a certificate that it was given."""
    ca = folder.authority_pem(Kind.BROKER)
    return EnrolmentAnswer(1, certificate.name, certificate.certificate, ca)


def latest(folder: Folder, gateway: str, now: datetime) -> Issued:
    """A gateway's newest certificate that counts. Raises FleetError."""
    if not (found := folder.book.counting(Kind.GATEWAY, gateway, now)):
        raise FleetError(
            "no_certificate", f"{gateway} has no certificate that counts", "see: songlo fleet list"
        )
    return found[-1]


def rotate_service(folder: Folder, name: str, passphrase: str | None, now: datetime) -> Path:
    """A new key and certificate for a service; the last one goes on until it ends."""
    if name not in SERVICES:
        known = ", ".join((BROKER, *SERVICES))
        raise FleetError(
            "unknown_service",
            f"{name!r} is none of {known}",
            "a gateway asks for its own next certificate: songlo gateway enrol renew",
        )
    rules.check_clock(folder.book, now)
    key, csr = certificates.new_key_and_request(name)
    authority = folder.authority(Kind.SERVICE, passphrase)
    pem = authority.sign_client(csr, name, CERTIFICATE_LIFETIME, now)
    ended = rules.ended_by(folder.book, Kind.SERVICE, name, now, keep_latest=True)
    _record(folder, Kind.SERVICE, name, pem, now, ended=ended)
    folder.write_secret(SERVICES_FOLDER, f"{name}.key", key)
    ca = folder.authority_pem(Kind.BROKER)
    folder.write_public(SERVICES_FOLDER, f"{AUTHORITIES[Kind.BROKER]}.pem", ca)
    return folder.write_public(SERVICES_FOLDER, f"{name}.pem", pem)


def rotate_broker(
    folder: Folder, hosts: Sequence[str], passphrase: str | None, now: datetime
) -> Path:
    """A new key and certificate for the broker, under these names or else its last ones."""
    rules.check_clock(folder.book, now)
    before = folder.book.of(Kind.BROKER, BROKER)
    if not hosts and before:
        hosts = certificates.hosts_of(before[-1].certificate)
    if not hosts:
        raise FleetError(
            "no_host", "the broker needs a name that gateways reach it by", "give it: --host"
        )
    key, csr = certificates.new_key_and_request(BROKER)
    authority = folder.authority(Kind.BROKER, passphrase)
    pem = authority.sign_server(csr, BROKER, hosts, CERTIFICATE_LIFETIME, now)
    _record(folder, Kind.BROKER, BROKER, pem, now)
    folder.write_secret(BROKER_FOLDER, "broker.key", key)
    return folder.write_public(BROKER_FOLDER, "broker.pem", pem)


def revoke(
    folder: Folder,
    name: str,
    *,
    reason: str,
    passphrase: str | None,
    now: datetime,
    serial: str | None = None,
) -> tuple[str, ...]:
    """Take back all certificates of a gateway or service, or one; their serials."""
    rules.check_clock(folder.book, now)
    kind = Kind.SERVICE if name in SERVICES else Kind.GATEWAY
    serials = tuple(
        one.serial
        for one in folder.book.counting(kind, name, now)
        if serial is None or one.serial == serial
    )
    withdraw(folder, name, now)
    if not serials:
        raise FleetError(
            "no_certificate",
            f"{name} has no such certificate that counts",
            "see: songlo fleet list. A token of it that was open is withdrawn",
        )
    folder.record(Revoked(now, serials, reason))
    write_out(folder, passphrase, now)
    return serials


def write_out(folder: Folder, passphrase: str | None, now: datetime) -> list[Path]:
    """The broker's files from the book: authorities, and what is revoked."""
    written = []
    for kind, name in _LISTED.items():
        revoked = [
            (serial, revocation.at)
            for serial, revocation in folder.book.revoked.items()
            if folder.book.issued[serial].kind is kind
        ]
        text = folder.authority(kind, passphrase).revocation_list(revoked, now)
        written.append(folder.write_public(BROKER_FOLDER, name, text))
        ca = AUTHORITIES[kind]
        written.append(folder.write_public(BROKER_FOLDER, f"{ca}.pem", folder.authority_pem(kind)))
    return written


def warnings(folder: Folder, now: datetime) -> list[str]:
    """What a person must do something about: what runs out, and lists that are behind the book."""
    book = folder.book
    found = [
        f"{kind} {name}: has no certificate: make one with songlo fleet rotate {name}"
        for kind, names in ((Kind.BROKER, (BROKER,)), (Kind.SERVICE, SERVICES))
        for name in names
        if not book.of(kind, name)
    ]
    for certificate in book.issued.values():
        kind, name, end = certificate.kind, certificate.name, certificate.not_after_at
        if certificate is not book.of(kind, name)[-1]:
            continue
        match book.state(certificate, now):
            case rules.State.EXPIRES_SOON:
                days = (end - now).days
                found.append(
                    f"{kind} {name}: the certificate runs out in {days} days ({end.date()})"
                )
            case rules.State.EXPIRED:
                found.append(f"{kind} {name}: the certificate has run out ({end.date()})")
    for kind, name in AUTHORITIES.items():
        end = certificate_facts(folder.authority_pem(kind)).not_after_at
        if now >= end - CERTIFICATE_LIFETIME:
            found.append(
                f"{name}: the authority itself ends {end.date()}, and all it signs with it"
            )
    for kind, name in _LISTED.items():
        text = folder.read_public(BROKER_FOLDER, name)
        listed = certificates.listed_serials(text) if text else set()
        due = {serial for serial in book.revoked if book.issued[serial].kind is kind}
        if text is None or due - listed:
            found.append(f"{BROKER_FOLDER}/{name} is behind: write it with songlo fleet lists")
    return found


def rows(folder: Folder, now: datetime) -> list[dict[str, object]]:
    """Every name's newest certificate and open tokens, for a list."""
    found: list[dict[str, object]] = [
        {
            "kind": str(one.kind),
            "name": one.name,
            "state": str(folder.book.state(one, now)),
            "until": one.not_after_at.date().isoformat(),
            "serial": one.serial,
        }
        for one in folder.book.issued.values()
        if one is folder.book.of(one.kind, one.name)[-1]
    ]
    found.extend(
        {
            "kind": "token",
            "name": token.gateway,
            "state": "open",
            "until": rules.said(token.expires_at),
            "serial": "",
        }
        for token in folder.book.open_tokens(now)
    )
    return sorted(found, key=lambda row: (str(row["kind"]), str(row["name"])))


def encoded(answer: EnrolmentAnswer) -> bytes:
    """An answer as its file has it."""
    return msgspec.json.format(msgspec.json.encode(answer)) + b"\n"


def _message(request: EnrolmentRequest) -> bytes:
    if (request.claim is None) == (request.serial is None):
        raise FleetError("bad_request", "the request must have either a claim or a serial")
    credential = request.claim or request.serial or ""
    return proven_bytes(request.gateway, credential, request.csr)


def _record(  # noqa: PLR0913  a certificate's facts are these
    folder: Folder,
    kind: Kind,
    name: str,
    pem: str,
    now: datetime,
    *,
    claim: str | None = None,
    ended: tuple[str, ...] = (),
) -> Issued:
    facts = certificate_facts(pem)
    issued = Issued(now, kind, name, facts.serial, facts.not_after_at, pem, claim, ended)
    folder.record(issued)
    return issued
