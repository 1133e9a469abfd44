"""Signatures of Ed25519, of station files and by claim tokens: the only module that uses PyNaCl.

It must not know where keys and messages come from, nor what follows.
"""

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from contract.signed_config import PUBLIC_KEY, SignedConfig, key_of, signature_of, signed_bytes


def is_signed_by(public_key: str, config: SignedConfig) -> bool:
    """Whether `config` was signed by the owner of the key in the text of a key file."""
    key, signature = key_of(PUBLIC_KEY, public_key), signature_of(config)
    if key is None or signature is None:
        return False
    message = signed_bytes(config.gateway, config.version, config.issued_at, config.station_file)
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def public_half(seed: bytes) -> bytes:
    """The public key that belongs to a seed of 32 bytes."""
    return bytes(SigningKey(seed).verify_key)


def sign_with_seed(seed: bytes, message: bytes) -> bytes:
    """The signature over `message` by the key of a seed of 32 bytes."""
    return SigningKey(seed).sign(message).signature
