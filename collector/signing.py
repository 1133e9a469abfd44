"""Keys and signatures of station configurations: the collector's only module that uses PyNaCl.

It must not know where keys are kept, nor what a station file says.
"""

from datetime import datetime

from nacl.signing import SigningKey

from contract.signed_config import (
    PRIVATE_KEY,
    PUBLIC_KEY,
    SignedConfig,
    key_of,
    key_text,
    signature_text,
    signed_bytes,
)


def new_key_pair() -> tuple[str, str]:
    """A new pair as the texts of two key files: private, public."""
    key = SigningKey.generate()
    return key_text(PRIVATE_KEY, bytes(key)), key_text(PUBLIC_KEY, bytes(key.verify_key))


def public_key_of(private_key: str) -> str | None:
    """The public key's text that belongs to a private key's text; None if that holds none."""
    key = key_of(PRIVATE_KEY, private_key)
    return None if key is None else key_text(PUBLIC_KEY, bytes(SigningKey(key).verify_key))


def signed_config(
    private_key: str, *, gateway: str, version: int, issued_at: datetime, station_file: str
) -> SignedConfig:
    """A station file in its signed envelope. Raises ValueError if the key's text holds none."""
    key = key_of(PRIVATE_KEY, private_key)
    if key is None:
        raise ValueError("no private key of a configuration")
    message = signed_bytes(gateway, version, issued_at, station_file)
    signature = signature_text(SigningKey(key).sign(message).signature)
    return SignedConfig(1, gateway, version, issued_at, station_file, signature)
