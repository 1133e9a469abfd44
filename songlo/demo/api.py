"""The demo's view of the collector's API: what an operator's script would use.

It adds nothing to what the API answers and keeps nothing.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode

TIMEOUT_S = 60.0
CHUNK_BYTES = 64 * 1024


class ApiError(RuntimeError):
    """The API answered with a problem, or did not answer; `status` is 0 in the second case."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class CollectorApi:
    """A client of one collector. Raises ApiError."""

    def __init__(self, base_url: str, key: str) -> None:
        """`key` is an API key with the scopes that the calls need."""
        self._base_url = base_url.rstrip("/")
        self._key = key

    def healthy(self) -> bool:
        """Whether the collector answers and calls itself healthy."""
        try:
            self.get("/health")
        except ApiError:
            return False
        return True

    def get(self, path: str, **query: object) -> dict[str, object]:
        """The JSON object at `path`."""
        return _object(b"".join(self._call("GET", self._url(path, query), None)))

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """What a POST of `body` as JSON answers."""
        return _object(b"".join(self._call("POST", self._url(path, {}), json.dumps(body).encode())))

    def stream(self, path: str, **query: object) -> Iterator[bytes]:
        """The body at `path`, in chunks."""
        return self._call("GET", self._url(path, query), None)

    def _url(self, path: str, query: dict[str, object]) -> str:
        text = urlencode(query)
        return f"{self._base_url}{quote(path)}" + (f"?{text}" if text else "")

    def _call(self, method: str, url: str, body: bytes | None) -> Iterator[bytes]:
        request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - our URL
        request.add_header("Authorization", f"Bearer {self._key}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                while chunk := response.read(CHUNK_BYTES):
                    yield chunk
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(CHUNK_BYTES).decode(errors="replace")
            raise ApiError(error.code, f"{method} {url}: {error.code} {detail}") from error
        except OSError as error:
            raise ApiError(0, f"{method} {url}: {error}") from error


def wait_healthy(api: CollectorApi, check: Callable[[], None], timeout_s: float = 60.0) -> None:
    """Return once the collector is healthy; `check()` raises if its process has ended."""
    deadline = time.monotonic() + timeout_s
    while not api.healthy():
        check()
        if time.monotonic() > deadline:
            raise ApiError(0, f"the collector was not healthy within {timeout_s:.0f} s")
        time.sleep(0.1)


def _object(body: bytes) -> dict[str, object]:
    value = json.loads(body)
    assert isinstance(value, dict)
    return value
