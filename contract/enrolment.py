"""How a gateway gets its certificate: claim tokens, and the two messages that carry files.

A *claim token* is what an operator gives to whoever installs a gateway. It seeds an Ed25519 key
(RFC 8032), whose public half, the *claim*, is all that the authority keeps and all that travels:
whoever reads the authority's folder or the request on its way cannot make another request. The
token also has the fingerprint of the broker's authority, so that the gateway knows the answer to be
from its own fleet. Pure; it must not know keys of gateways, files, or what a certificate says.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from contract.limits import ENROLMENT_BYTES_MAX
from contract.messages import Name, decode

# No I, L, O and U: nothing that is taken for a digit or for another letter (Crockford's Base32).
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SECRET_CHARS = 24  # 120 bits: not to be guessed, and not to be found from the claim
FINGERPRINT_CHARS = 19  # 95 bits of SHA-256: no second authority is made that has them
CHECK_CHARS = 2  # of a thousand mistyped tokens, 999 are seen before they go anywhere
TOKEN_CHARS = SECRET_CHARS + FINGERPRINT_CHARS + CHECK_CHARS
GROUP_CHARS = 5

_DOMAIN = b"songlo enrolment v1"
_SEED_DOMAIN = b"songlo claim token v1"
_ALIKE = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None, " ": None})

_Pem = Annotated[str, msgspec.Meta(min_length=1, max_length=ENROLMENT_BYTES_MAX)]
Claim = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
CertificateSerial = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,40}$")]


class EnrolmentRequest(msgspec.Struct, frozen=True):
    """A gateway asks for a certificate; the key is made there and stays there.

    Either `claim` (a first certificate: `proof` is Ed25519 by the token's key) or `serial` (another
    one: `proof` is ECDSA with SHA-256 by the key of the certificate with this serial number), over
    `proven_bytes`, in Base64. `csr` is PKCS #10 (RFC 2986) in PEM.
    """

    v: Literal[1]
    gateway: Name
    csr: _Pem
    proof: Annotated[str, msgspec.Meta(max_length=256)]
    claim: Claim | None = None
    serial: CertificateSerial | None = None


class EnrolmentAnswer(msgspec.Struct, frozen=True):
    """What the authority gives back: nothing of it is secret. All in PEM."""

    v: Literal[1]
    gateway: Name
    certificate: _Pem
    broker_ca: _Pem


@dataclass(frozen=True, slots=True)
class ClaimToken:
    """A token's parts: what only the gateway may know, and whom the gateway may believe."""

    secret: str
    fingerprint: str

    @property
    def seed(self) -> bytes:
        """The 32 bytes that the token's Ed25519 key is made of."""
        return hashlib.sha256(_SEED_DOMAIN + b"\0" + self.secret.encode("ascii")).digest()

    @property
    def text(self) -> str:
        """As people read and type it: groups of GROUP_CHARS."""
        body = self.secret + self.fingerprint
        whole = body + _check_chars(body)
        return "-".join(
            whole[start : start + GROUP_CHARS] for start in range(0, TOKEN_CHARS, GROUP_CHARS)
        )


class BadToken(Exception):
    """The text is no claim token: the sentence says what is wrong with it."""


_request_decoder = msgspec.json.Decoder(EnrolmentRequest)
_answer_decoder = msgspec.json.Decoder(EnrolmentAnswer)


def new_token(random: bytes, authority_der: bytes) -> ClaimToken:
    """A token from at least 15 random bytes and the broker's authority in DER."""
    return ClaimToken(_base32(random, SECRET_CHARS), fingerprint(authority_der))


def parse_token(text: str) -> ClaimToken:
    """What a person typed, in any case and grouping. Raises BadToken."""
    plain = text.strip().upper().translate(_ALIKE)
    if len(plain) != TOKEN_CHARS:
        raise BadToken(f"a claim token has {TOKEN_CHARS} letters and digits, this has {len(plain)}")
    if strange := sorted(set(plain) - set(ALPHABET)):
        raise BadToken(f"no claim token has {' '.join(strange)}")
    body = plain[:-CHECK_CHARS]
    if plain[-CHECK_CHARS:] != _check_chars(body):
        raise BadToken("the claim token is mistyped: its last two letters do not fit the others")
    return ClaimToken(body[:SECRET_CHARS], body[SECRET_CHARS:])


def fingerprint(certificate_der: bytes) -> str:
    """FINGERPRINT_CHARS of a certificate's SHA-256."""
    return _base32(hashlib.sha256(certificate_der).digest(), FINGERPRINT_CHARS)


def proven_bytes(gateway: str, credential: str, csr: str) -> bytes:
    """What a request's proof is over: domain, gateway, claim or serial, request; NUL between."""
    return b"\0".join((_DOMAIN, gateway.encode(), credential.encode(), csr.encode()))


def decode_request(payload: bytes) -> EnrolmentRequest:
    """The request in a file, its proof not looked at. Raises MessageError."""
    return decode(_request_decoder, payload, ENROLMENT_BYTES_MAX)


def decode_answer(payload: bytes) -> EnrolmentAnswer:
    """The answer in a file, nothing of it looked at. Raises MessageError."""
    return decode(_answer_decoder, payload, ENROLMENT_BYTES_MAX)


def proof_text(proof: bytes) -> str:
    """A proof as a request carries it."""
    return base64.b64encode(proof).decode("ascii")


def proof_of(request: EnrolmentRequest) -> bytes:
    """The proof's bytes; none where the text is no Base64, and nothing verifies under them."""
    try:
        return base64.b64decode(request.proof, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _base32(data: bytes, chars: int) -> str:
    number = int.from_bytes(data, "big") >> (8 * len(data) - 5 * chars)
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(chars)))


def _check_chars(body: str) -> str:
    return _base32(hashlib.sha256(body.encode("ascii")).digest(), CHECK_CHARS)
