"""Keys, certificates, requests and revocation lists: the only module that uses `cryptography`.

It must not know files, tokens' rules or who may have what.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.errors import FleetError

# A certificate begins an hour ago: the clock of whom it is shown to may be behind.
BACKDATED = timedelta(hours=1)
_SHA256 = hashes.SHA256()
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Authority:
    """One authority: its certificate, and its key where that is at hand."""

    def __init__(self, certificate_pem: str, key_pem: bytes, passphrase: str | None) -> None:
        self._certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        self._key = _load_key(key_pem, passphrase)
        if self._key.public_key() != self._certificate.public_key():
            raise FleetError("damaged", "an authority's key is not that of its certificate")

    def sign_client(self, csr_pem: str, name: str, lifetime: timedelta, now: datetime) -> str:
        """A client's certificate in PEM. Raises FleetError if the request is not for `name`."""
        csr = _checked_csr(csr_pem, name)
        return self._sign(_public_key(csr), name, lifetime, now, _CLIENT, ())

    def sign_server(
        self, csr_pem: str, name: str, hosts: Sequence[str], lifetime: timedelta, now: datetime
    ) -> str:
        """A server's certificate in PEM, for these host names and addresses. Raises FleetError."""
        csr = _checked_csr(csr_pem, name)
        return self._sign(_public_key(csr), name, lifetime, now, _SERVER, hosts)

    def revocation_list(self, revoked: Iterable[tuple[str, datetime]], now: datetime) -> str:
        """The signed list of these serials, in PEM.

        It is good for as long as the authority: a broker whose list has run out refuses every
        gateway, which would be an outage of the whole fleet for one forgotten file.
        """
        certificate = self._certificate
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(certificate.subject)
            .last_update(now - BACKDATED)
            .next_update(certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(_issuer_id(certificate), critical=False)
        )
        for serial, at in revoked:
            entry = x509.RevokedCertificateBuilder()
            entry = entry.serial_number(int(serial, 16)).revocation_date(at)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, _SHA256).public_bytes(serialization.Encoding.PEM).decode()

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        lifetime: timedelta,
        now: datetime,
        usage: x509.ObjectIdentifier,
        hosts: Sequence[str],
    ) -> str:
        issuer = self._certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_issuer_id(issuer), critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(self._key, _SHA256)
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def new_authority(
    name: str, lifetime: timedelta, passphrase: str | None, now: datetime
) -> tuple[bytes, str]:
    """A new authority: key (PKCS #8 in PEM, encrypted where a passphrase is given), certificate."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Songlo"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, _SHA256)
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return _key_pem(key, passphrase), pem


def new_key_and_request(name: str) -> tuple[bytes, str]:
    """A new P-256 key (PKCS #8 in PEM) and a request for `name`, of what is made here."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(key, _SHA256)
    return _key_pem(key, None), csr.public_bytes(serialization.Encoding.PEM).decode()


def claim_of(seed: bytes) -> str:
    """The public half, in hexadecimal, of the Ed25519 key that a claim token seeds."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    return key.public_key().public_bytes_raw().hex()


def is_proven_by_claim(claim: str, proof: bytes, message: bytes) -> bool:
    """Whether whoever signed `message` had the claim token."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(claim)).verify(proof, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_proven_by_certificate(certificate_pem: str, proof: bytes, message: bytes) -> bool:
    """Whether whoever signed `message` had the key of this certificate."""
    key = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(proof, message, ec.ECDSA(_SHA256))
    except InvalidSignature:
        return False
    return True


def is_for_key_of(certificate_pem: str, csr_pem: str, name: str) -> bool:
    """Whether a certificate is for the key that asks in a request. Raises FleetError for none."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    return certificate.public_key() == _public_key(_checked_csr(csr_pem, name))


def hosts_of(certificate_pem: str) -> list[str]:
    """The host names and addresses that a server's certificate is for."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def listed_serials(revocation_list_pem: str) -> set[str]:
    """The serials on a revocation list."""
    found = x509.load_pem_x509_crl(revocation_list_pem.encode())
    return {f"{one.serial_number:x}" for one in found}


def _checked_csr(csr_pem: str, name: str) -> x509.CertificateSigningRequest:
    """A request whose signature, name and key are as they must be. Raises FleetError."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        is_signed = csr.is_signature_valid
        key = csr.public_key()
        names = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, InvalidSignature) as error:
        raise FleetError("bad_request", f"the request cannot be read: {error}") from error
    if not is_signed:
        raise FleetError("bad_request", "the request is not signed by the key that it names")
    if [one.value for one in names] != [name] or len(csr.subject) != 1:
        found = csr.subject.rfc4514_string()
        raise FleetError(
            "other_gateway",
            f"the key's request is for {found or 'nobody'}, not for CN={name}",
            "make the request anew on the gateway that it is for",
        )
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FleetError("bad_key", "the request's key is not of the curve P-256")
    return csr


def _public_key(csr: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _load_key(pem: bytes, passphrase: str | None) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(
            pem, None if passphrase is None else passphrase.encode()
        )
    except TypeError as error:
        # The library's way to say that a passphrase is missing, or that none is wanted.
        if passphrase is not None:
            return _load_key(pem, None)
        raise FleetError(
            "passphrase", "the authority's key has a passphrase", "give it: --passphrase-file"
        ) from error
    except ValueError as error:
        raise FleetError(
            "passphrase", "the passphrase is not the one of the authority's key"
        ) from error
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issuer_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
