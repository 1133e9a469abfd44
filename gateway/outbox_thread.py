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
from gateway.outbox_values import BatchKey, Draft, Held, Late, SlotDone, Stored

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
        release: int | None = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> list[BatchKey]:
        """See `Outbox.append`; `also` runs in the outbox's thread."""
        return await self._call(
            partial(
                self._outbox.append,
                drafts,
                at=at,
                done=done,
                late=late,
                release=release,
                also=also,
            )
        )

    async def transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """See `Outbox.transact`; `work` runs in the outbox's thread."""
        return await self._call(partial(self._outbox.transact, work))

    async def hold(self, boot: str, begun_s: float, content: bytes) -> None:
        """See `Outbox.hold`."""
        await self._call(partial(self._outbox.hold, boot, begun_s, content))

    async def know_time(self, boot: str) -> None:
        """See `Outbox.know_time`."""
        await self._call(partial(self._outbox.know_time, boot))

    async def knew_time(self, boot: str) -> bool:
        """See `Outbox.knew_time`."""
        return await self._call(partial(self._outbox.knew_time, boot))

    async def last_held_s(self, boot: str) -> float | None:
        """See `Outbox.last_held_s`."""
        return await self._call(partial(self._outbox.last_held_s, boot))

    async def next_held(self, boot: str, *, of_others: bool) -> Held | None:
        """See `Outbox.next_held`."""
        return await self._call(partial(self._outbox.next_held, boot, of_others=of_others))

    async def apply_acks(self, acks: Sequence[Ack]) -> set[BatchKey]:
        """See `Outbox.apply_acks`."""
        return await self._call(partial(self._outbox.apply_acks, acks))

    async def purge(self, before_at: datetime, *, ran_s: float, keep_days: int) -> int:
        """See `Outbox.purge`."""
        return await self._call(
            partial(self._outbox.purge, before_at, ran_s=ran_s, keep_days=keep_days)
        )

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

    async def accounted(self) -> list[tuple[datetime, datetime]]:
        """See `Outbox.accounted`."""
        return await self._call(self._outbox.accounted)

    async def slots_after(self, at: datetime) -> list[datetime]:
        """See `Outbox.slots_after`."""
        return await self._call(partial(self._outbox.slots_after, at))

    async def begin_after(self, to_at: datetime) -> None:
        """See `Outbox.begin_after`."""
        await self._call(partial(self._outbox.begin_after, to_at))

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
