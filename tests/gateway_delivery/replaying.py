"""A replay clock's server for tests: time stands still but for being waited on."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime


class _Stopped(Exception):
    """The server was stopped while a wait was held."""


class ReplayServer:
    """Speaks the replay clock's protocol; `now` moves to what is waited for, up to `end`."""

    def __init__(self, now: datetime, end: datetime) -> None:
        self.now = now
        self.end = end
        self.live = False
        self._stopped = False
        self.requests: list[str] = []
        self._moved = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        assert self._server is not None
        self._server.close()
        async with self._moved:
            self._stopped = True
            self._moved.notify_all()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()
        async with asyncio.timeout(5):
            while self._writers:  # noqa: ASYNC110 a test's server, polled within a deadline
                await asyncio.sleep(0.01)

    async def extend(self, end: datetime) -> None:
        async with self._moved:
            self.end = end
            self._moved.notify_all()

    async def go_live(self, now: datetime) -> None:
        async with self._moved:
            self.now, self.end, self.live = now, now, True
            self._moved.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, _Stopped):
            while line := await reader.readline():
                self.requests.append(line.decode())
                request = json.loads(line)
                if request["op"] == "wait":
                    await self._reach(datetime.fromisoformat(request["until"]))
                now = self.now.astimezone(UTC).isoformat().replace("+00:00", "Z")
                answer = json.dumps({"now": now, "live": self.live})
                writer.write(answer.encode() + b"\n")
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _reach(self, until: datetime) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: until <= self.end or self.live or self._stopped)
            if self._stopped:
                raise _Stopped
            self.now = max(self.now, until) if not self.live else self.now
