"""The signed station configuration: the envelope, and the bytes that its signature is over.

Owns shape and canonical form. It must not know keys, nor what a station file may say.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from contract.limits import CONFIG_BYTES_MAX, SEQ_MAX
from contract.messages import Instant, Name, decode

# A signature of this product over anything else can never be taken for one of a configuration.
DOMAIN = b"songlo station configuration v1"

SIGNATURE_BYTES = 64  # Ed25519 (RFC 8032)
KEY_BYTES = 32

# A key file is one line: what it is, then the key in Base64.
PUBLIC_KEY = "songlo-config-public-key"
PRIVATE_KEY = "songlo-config-private-key"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class SignedConfig(msgspec.Struct, frozen=True):
    """The retained message under `config`: a station file, whole, for one gateway.

    `version` only grows. `signature` is Ed25519 over `signed_bytes`, in Base64.
    """

    v: Literal[1]
    gateway: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]
    issued_at: Instant
    station_file: Annotated[str, msgspec.Meta(min_length=1)]
    signature: Annotated[str, msgspec.Meta(max_length=128)]


_decoder = msgspec.json.Decoder(SignedConfig)


def decode_config(payload: bytes) -> SignedConfig:
    """The envelope in `payload`, its signature not looked at. Raises MessageError."""
    return decode(_decoder, payload, CONFIG_BYTES_MAX)


def signed_bytes(gateway: str, version: int, issued_at: datetime, station_file: str) -> bytes:
    """What the signature is over: domain, gateway, version, milliseconds since 1970, station file.

    They are separated by NUL, which none but the last can hold, and it is the rest.
    """
    issued_ms = (issued_at - _EPOCH) // _MILLISECOND
    head = (DOMAIN, gateway.encode(), str(version).encode(), str(issued_ms).encode())
    return b"\0".join((*head, station_file.encode()))


def signature_of(config: SignedConfig) -> bytes | None:
    """The signature's bytes, or None where the text is no Base64 of SIGNATURE_BYTES."""
    try:
        signature = base64.b64decode(config.signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    return signature if len(signature) == SIGNATURE_BYTES else None


def signature_text(signature: bytes) -> str:
    """The signature as the envelope carries it."""
    return base64.b64encode(signature).decode("ascii")


def key_text(label: str, key: bytes) -> str:
    """The line of a key file; `label` is PUBLIC_KEY or PRIVATE_KEY."""
    return f"{label} {base64.b64encode(key).decode('ascii')}"


def key_of(label: str, text: str) -> bytes | None:
    """The key of KEY_BYTES in the text of a key file; None where that holds none of this kind."""
    found, _, encoded = text.strip().partition(" ")
    if found != label:
        return None
    try:
        key = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def is_public_key(text: str) -> bool:
    """Whether the text of a file holds a public key."""
    return key_of(PUBLIC_KEY, text) is not None
