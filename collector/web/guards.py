"""What every request and every answer passes: a bound on bodies, and headers that protect.

Plain ASGI middleware; it must not know what is asked.
"""

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Every real body of this API and every form is a few hundred bytes.
BODY_BYTES_MAX = 64 * 1024

# But for a whole registry, which is streamed to a file: as much as its readers take.
BODY_BYTES_MAX_OF = {"/v1/registry/import": 64 * 1024 * 1024}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# What is not said to be cacheable is kept by nobody: pages and answers show present state.
CACHE_DEFAULT = "no-store"
CACHE_STATIC = "no-cache"  # kept, and asked about at each use: an upgrade shows at once


class BodyLimit:
    """Fails a request with 413 once its body exceeds its limit, however it is announced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; HTTPException is raised where the application reads the body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        limit = BODY_BYTES_MAX_OF.get(scope["path"], BODY_BYTES_MAX)

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise HTTPException(413, f"a body may have at most {limit} bytes")
            return message

        await self._app(scope, bounded, send)


class ProtectiveHeaders:
    """Adds HEADERS to every answer, and a Cache-Control where the answer has none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_static = scope["path"].startswith("/static/")

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", CACHE_STATIC if is_static else CACHE_DEFAULT)
            await send(message)

        await self._app(scope, receive, protected)
