"""The outbox for the event loop: every call runs in one thread of its own, in order.

An fsync on an SD card takes up to hundreds of milliseconds, which lines and MQTT must not wait
for. Owns the thread only; it must not know what the calls do.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TypeVar

from contract.messages import Ack, EpochStatus, OutboxStatus
from gateway.outbox import Outbox
from gateway.outbox_values import BatchKey, Draft, Late, SlotDone, Stored

_T = TypeVar("_T")


class OutboxThread:
    """The methods of `Outbox`, awaitable; each raises what that one raises."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")

    @property
    def epoch(self) -> str:
        """The current epoch."""
        return self._outbox.epoch

    @property
    def generation(self) -> int:
        """That of the newest ack taken; 0 when none ever was."""
        return self._outbox.generation

    async def append(
        self,
        drafts: Sequence[Draft],
        *,
        at: datetime,
        done: Sequence[SlotDone] = (),
        late: Late | None = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> list[BatchKey]:
        """See `Outbox.append`; `also` runs in the outbox's thread."""
        return await self._call(
            partial(self._outbox.append, drafts, at=at, done=done, late=late, also=also)
        )

    async def transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """See `Outbox.transact`; `work` runs in the outbox's thread."""
        return await self._call(partial(self._outbox.transact, work))

    async def apply_acks(self, acks: Sequence[Ack]) -> set[BatchKey]:
        """See `Outbox.apply_acks`."""
        return await self._call(partial(self._outbox.apply_acks, acks))

    async def purge(self, before_at: datetime) -> int:
        """See `Outbox.purge`."""
        return await self._call(partial(self._outbox.purge, before_at))

    async def pending(
        self, limit: int, *, live_since: datetime, except_for: frozenset[BatchKey]
    ) -> list[Stored]:
        """See `Outbox.pending`."""
        return await self._call(
            partial(self._outbox.pending, limit, live_since=live_since, except_for=except_for)
        )

    async def get(self, key: BatchKey) -> Stored | None:
        """See `Outbox.get`."""
        return await self._call(partial(self._outbox.get, key))

    async def state(self) -> tuple[list[EpochStatus], OutboxStatus]:
        """`Outbox.epochs` and `Outbox.usage`, of one moment."""
        return await self._call(lambda: (self._outbox.epochs(), self._outbox.usage()))

    async def last_slot(self) -> datetime | None:
        """See `Outbox.last_slot`."""
        return await self._call(self._outbox.last_slot)

    async def retries(self) -> list[SlotDone]:
        """See `Outbox.retries`."""
        return await self._call(self._outbox.retries)

    async def take_incident(self) -> str | None:
        """See `Outbox.take_incident`."""
        return await self._call(self._outbox.take_incident)

    def close(self) -> None:
        """Finish what was called, then let go of the file."""
        self._thread.shutdown(wait=True)
        self._outbox.close()

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
