"""What every request and every answer passes: bounds on bodies, and headers that protect.

Plain ASGI middleware; it must not know what is asked.
"""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Every real body of this API and every form is a few hundred bytes.
BODY_BYTES_MAX = 64 * 1024

# But for a whole registry, which is streamed to a file: as much as its readers take.
BODY_BYTES_MAX_OF = {"/v1/registry/import": 64 * 1024 * 1024}

# How long a body may take to come, in seconds; an import comes over an office's slow line.
BODY_S_MAX = 30.0
BODY_S_MAX_OF = {"/v1/registry/import": 900.0}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# A browser that came over TLS once comes over TLS for two years (RFC 6797).
HSTS = "max-age=63072000"

# What is not said to be cacheable is kept by nobody: pages and answers show present state.
CACHE_DEFAULT = "no-store"
CACHE_STATIC = "no-cache"  # kept, and asked about at each use: an upgrade shows at once


class BodyLimit:
    """Fails a request whose body is too large (413), however announced, or too slow (408)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; HTTPException is raised where the application reads the body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        limit = BODY_BYTES_MAX_OF.get(scope["path"], BODY_BYTES_MAX)

        is_whole = False
        ends_at_s = asyncio.get_running_loop().time() + BODY_S_MAX_OF.get(scope["path"], BODY_S_MAX)

        async def bounded() -> Message:
            nonlocal taken, is_whole
            try:
                # After the body, who waits here waits for the end of the connection.
                async with asyncio.timeout_at(None if is_whole else ends_at_s):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "the body came too slowly") from error
            is_whole = not message.get("more_body", False)
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
        is_tls = scope.get("scheme") == "https"
        is_static = scope["path"].startswith("/static/")

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if is_tls:
                    headers["Strict-Transport-Security"] = HSTS
                headers.setdefault("Cache-Control", CACHE_STATIC if is_static else CACHE_DEFAULT)
            await send(message)

        await self._app(scope, receive, protected)
