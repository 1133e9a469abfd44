"""A gateway's key, its request for a certificate and the proofs of both: by the openssl program.

Used by the command `enrol` alone, a few times in ten years. A library for it would cost every
gateway 16 MB of disk (docs/decisions/0020). It must not know which file is in force.
"""

import shutil
import subprocess
from pathlib import Path

from gateway.signature import sign_with_seed

OPENSSL_TIMEOUT_S = 60  # a Pi without entropy takes its time at the first start


class EnrolmentFailed(Exception):
    """Nothing was changed, for the reason in the text; `hint` says what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def new_key() -> bytes:
    """A new P-256 key, PKCS #8 in PEM. Raises EnrolmentFailed."""
    return _openssl(("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), b"")


def request_for(key_file: Path, gateway: str) -> str:
    """A request (PKCS #10 in PEM) for this name by the key in the file. Raises EnrolmentFailed."""
    command = ("req", "-new", "-sha256", "-key", str(key_file), "-subj", f"/CN={gateway}")
    return _openssl(command, b"").decode("ascii")


def proof_by_token(seed: bytes, message: bytes) -> bytes:
    """Ed25519 over `message` by the key that a claim token seeds."""
    return sign_with_seed(seed, message)


def proof_by_key(key_file: Path, message: bytes) -> bytes:
    """ECDSA with SHA-256 over `message` by the key in the file. Raises EnrolmentFailed."""
    return _openssl(("dgst", "-sha256", "-sign", str(key_file)), message)


def _openssl(arguments: tuple[str, ...], given: bytes) -> bytes:
    program = shutil.which("openssl")
    if program is None:
        raise EnrolmentFailed("the program openssl is missing", "apt-get install openssl")
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and every argument is made here
            [program, *arguments],
            input=given,
            capture_output=True,
            timeout=OPENSSL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnrolmentFailed(f"openssl {arguments[0]} did not end") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise EnrolmentFailed(f"openssl {arguments[0]} failed: {said}")
    return done.stdout
