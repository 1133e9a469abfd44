"""A TCP proxy that does what networks do: latency, blackhole, slicer, reset, bandwidth, down.

The words are those of Toxiproxy. Each direction has its own toxics, which may be changed while
connections are open, and every proxy counts what it did.
"""

import asyncio
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536
_LINGER = struct.pack("ii", 1, 0)  # an abort then sends RST, not FIN


@dataclass
class Toxics:
    """Of one direction. What is zero, or false, does nothing."""

    latency_s: float = 0.0
    slice_bytes: int = 0  # written in pieces of this size, each in a segment of its own
    bytes_per_s: int = 0
    blackhole: bool = False  # what comes is swallowed, and the connection stays open
    reset_after_bytes: int = 0  # RST in the middle of what is being sent, once


@dataclass
class ToxicProxy:
    """Passes on what comes at `port` to `target_port`, through `up` there and `down` back."""

    target_port: int
    up: Toxics = field(default_factory=Toxics)
    down: Toxics = field(default_factory=Toxics)
    port: int = 0
    done: Counter[str] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.refuse()

    async def listen(self) -> None:
        """Take connections, again at the same port."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def refuse(self) -> None:
        """Toxic `down`: reset every connection and take no new one."""
        if self._server is None:
            return
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await self._server.wait_closed()
        self._server = None

    def blackhole(self, *, on: bool = True) -> None:
        """Swallow everything in both directions, of new connections too."""
        self.up.blackhole = self.down.blackhole = on

    def heal(self) -> None:
        """No toxics any more; what is open stays so."""
        self.up, self.down = Toxics(), Toxics()

    def reset(self) -> None:
        """RST to both ends of every connection."""
        for writer in list(self._writers):
            self._abort(writer)

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.done["connections"] += 1
        ends = [writer]
        try:
            with suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
                ends.append(back)
                self._writers.update(ends)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(reader, back, "up"))
                    group.create_task(self._pass_on(there, writer, "down"))
        except asyncio.CancelledError:
            pass  # the proxy refuses from now on
        finally:
            for end in ends:
                self._abort(end)
                self._writers.discard(end)
            self._tasks.discard(task)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        """Read as it comes; what is read waits its latency without holding up what follows."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        sending = asyncio.ensure_future(self._send(queue, writer, way))
        now_s = asyncio.get_running_loop().time
        try:
            with suppress(OSError):
                while data := await reader.read(CHUNK_BYTES):
                    self.done[f"bytes_{way}"] += len(data)
                    await queue.put((now_s() + self._of(way).latency_s, data))
            await queue.put((now_s(), b""))
            await sending
        finally:
            sending.cancel()
            writer.close()

    async def _send(
        self, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, way: str
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s, data = await queue.get()
            if not data:
                return
            if (wait_s := due_s - loop.time()) > 0:
                self.done["delayed"] += 1
                await asyncio.sleep(wait_s)
            toxics = self._of(way)
            if toxics.blackhole:
                self.done["swallowed"] += 1
                continue
            with suppress(OSError):
                await self._write(data, writer, toxics)

    async def _write(self, data: bytes, writer: asyncio.StreamWriter, toxics: Toxics) -> None:
        if 0 < toxics.reset_after_bytes < len(data):
            writer.write(data[: toxics.reset_after_bytes])
            await writer.drain()
            toxics.reset_after_bytes = 0
            self.done["reset"] += 1
            self.reset()
            return
        if not toxics.slice_bytes and not toxics.bytes_per_s:
            writer.write(data)
            await writer.drain()
            return
        size = toxics.slice_bytes or max(1, toxics.bytes_per_s // 20)
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            writer.write(piece)
            await writer.drain()
            self.done["sliced" if toxics.slice_bytes else "throttled"] += 1
            await asyncio.sleep(len(piece) / toxics.bytes_per_s if toxics.bytes_per_s else 0)

    def _of(self, way: str) -> Toxics:
        return self.up if way == "up" else self.down
