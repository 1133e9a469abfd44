"""What a certificate says of itself, read from its DER without a library (X.690, RFC 5280 §4.1).

The gateway must know when its certificate runs out, and a library for it would cost 11 MB of its
memory. Reads only; nothing here is a proof of anything, which is TLS's part. Pure.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----", re.ASCII
)

_INTEGER, _OID, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x06, 0x17, 0x18
_SEQUENCE, _SET, _VERSION = 0x30, 0x31, 0xA0
_COMMON_NAME = bytes((0x55, 0x04, 0x03))  # id-at-commonName, 2.5.4.3


class BadCertificate(Exception):
    """There is no certificate in the text, or not one that can be read."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """Serial number in hexadecimal, the subject's common name, and the period it is good for."""

    serial: str
    common_name: str
    not_before_at: datetime
    not_after_at: datetime


def der_of(pem: str) -> bytes:
    """The first certificate in a PEM file's text. Raises BadCertificate."""
    found = _PEM.search(pem)
    if found is None:
        raise BadCertificate("there is no certificate in it")
    try:
        return base64.b64decode("".join(found[1].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCertificate("its certificate is damaged") from error


def certificate_facts(pem: str) -> CertificateFacts:
    """What the first certificate in a PEM file's text says. Raises BadCertificate."""
    try:
        ((_, certificate),) = _parts(der_of(pem))
        fields = [part for part in _parts(next(_parts(certificate))[1]) if part[0] != _VERSION]
        (serial_tag, serial), _algorithm, _issuer, (_, validity), (_, subject), *_rest = fields
        if serial_tag != _INTEGER:
            raise BadCertificate("its certificate is damaged")
        begin, end = (_instant(*part) for part in _parts(validity))
        number = int.from_bytes(serial, "big")
        return CertificateFacts(f"{number:x}", _common_name(subject), begin, end)
    except (ValueError, StopIteration, IndexError) as error:
        raise BadCertificate("its certificate is damaged") from error


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element. Raises ValueError, IndexError for what is no DER."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("an element is longer than what holds it")
        yield tag, data[at : at + length]
        at += length


def _common_name(subject: bytes) -> str:
    for tag, relative in _parts(subject):
        for _, pair in _parts(relative) if tag == _SET else ():
            (kind, oid), (_, value) = _parts(pair)
            if kind == _OID and oid == _COMMON_NAME:
                return value.decode("utf-8")
    return ""


def _instant(tag: int, content: bytes) -> datetime:
    """RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime after, both in UTC to the second."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # Years from 50 on are of the last century.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
