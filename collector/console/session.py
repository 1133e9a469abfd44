"""Sessions of the console: a signed cookie that says whose key opened it, and until when.

Owns signing, expiry and the protection of forms; it must not know what a page shows. The cookie
holds no secret: the key's name, which is looked up again at every request.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

SESSION_COOKIE = "songlo_session"
FORM_COOKIE = "songlo_form"

# A working day: who logs in at seven is still in at seven in the evening.
SESSION_LIFETIME = timedelta(hours=12)

_SECRET_BYTES = 32
_COOKIE_CHARS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Session:
    """An open session: the name of the key that opened it and when it ends."""

    key_name: str
    ends_at: datetime


class Signer:
    """Signs and checks what the console hands to browsers.

    The secret is drawn at the start of the process: a restart closes all sessions. Several API
    workers behind one address must be given the same `secret`.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(_SECRET_BYTES)

    def seal(self, session: Session) -> str:
        """The session as a cookie's value."""
        body = msgspec.json.encode((session.key_name, int(session.ends_at.timestamp())))
        return f"{_text(body)}.{_text(self._mac(b'session', body))}"

    def open(self, value: str, now: datetime) -> Session | None:
        """The session that `value` holds; None unless it was sealed here and has not ended."""
        body_text, _, mac_text = value[:_COOKIE_CHARS_MAX].partition(".")
        try:
            body, mac = urlsafe_b64decode(body_text), urlsafe_b64decode(mac_text)
        except (Base64Error, ValueError):
            return None
        if not hmac.compare_digest(mac, self._mac(b"session", body)):
            return None
        key_name, ends = msgspec.json.decode(body, type=tuple[str, int])
        session = Session(key_name, datetime.fromtimestamp(ends, UTC))
        return session if now < session.ends_at else None

    def form_token(self, nonce: str) -> str:
        """What a form must carry back beside the cookie that holds `nonce`."""
        return _text(self._mac(b"form", nonce.encode()))

    def form_is_ours(self, request: Request, token: str) -> bool:
        """Whether a posted form was rendered here, for this browser."""
        nonce = request.cookies.get(FORM_COOKIE, "")
        return bool(nonce) and hmac.compare_digest(token.encode(), self.form_token(nonce).encode())

    def _mac(self, purpose: bytes, body: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + body, hashlib.sha256)


def new_nonce() -> str:
    """A fresh random value for the form cookie."""
    return secrets.token_urlsafe(16)


def set_cookie(
    request: Request, response: Response, name: str, value: str, lifetime: timedelta
) -> None:
    """Set a cookie that scripts cannot read and that other sites cannot send."""
    response.set_cookie(
        name,
        value,
        max_age=int(lifetime.total_seconds()),
        httponly=True,
        samesite="strict",
        # Behind a TLS proxy the server must be told (uvicorn --proxy-headers) to know of it.
        secure=request.url.scheme == "https",
    )


def _text(value: bytes) -> str:
    return urlsafe_b64encode(value).decode()
