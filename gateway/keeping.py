"""Into the outbox, again and again if it must be, and with everything that has happened meanwhile.

Owns how long keeping is tried and what every batch says of its origin. It must not know why
anything is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import structlog

from contract.messages import Event
from gateway.anchor import anchor
from gateway.batches import MeterMissing, MeterRow, Origin, event_drafts
from gateway.health_book import HealthBook, Occurrence
from gateway.held import hold
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import Draft, Late, SlotDone
from gateway.ports import Clock
from gateway.pulse import Pulse

COMMIT_RETRY_S = 1.0
COMMIT_TRIES_MAX = 30  # about half a minute; then the slot is listed as lost
# A step of polling is one call of the outbox, behind those of the uplink, on a card that may be
# busy with its own affairs; a scan may besides take until the next slot. Longer, and it hangs.
STEP_S_MAX = 900.0

_T = TypeVar("_T")

log = structlog.get_logger("gateway.polling")


class Keeper:
    """Keeps batches of one station. `kept` is called after each commit to the outbox.

    `pulse` is that of polling, for which it keeps.
    """

    def __init__(
        self,
        station: str,
        outbox: OutboxThread,
        clock: Clock,
        health: HealthBook,
        *,
        kept: Callable[[], None],
    ) -> None:
        self.station = station
        self.outbox = outbox
        self._clock = clock
        self._health = health
        self._kept = kept
        self.pulse = Pulse("polling", STEP_S_MAX)

    def origin(self) -> Origin:
        """What a batch that is closed now says of where it comes from."""
        return Origin(self.station, self._clock.state())

    async def keep(
        self,
        drafts: Sequence[Draft] = (),
        marks: Sequence[SlotDone] = (),
        late: Late | None = None,
        release: int | None = None,
        *,
        telling: bool = True,
    ) -> bool:
        """Commit these and all that has happened in one transaction; whether they were kept.

        What was held as `release` is held no more. Without `telling` what has happened is left for
        later.
        """
        occurrences = self._health.occurrences() if telling else []
        if not (drafts or marks or late or occurrences or release is not None):
            return True
        now = anchor(self._clock)
        events = event_drafts(self.origin(), [_event(o, now.instant(o.at_s)) for o in occurrences])

        async def append() -> None:
            at = self._clock.now()
            await self.outbox.append(
                [*drafts, *events], at=at, done=marks, late=late, release=release
            )

        if not await self._try(append):
            log.error("batches could not be kept", batches=len(drafts))
            return False
        self._health.kept(occurrences)
        self._kept()
        return True

    async def hold(
        self, boot: str, begun_s: float, results: Sequence[MeterRow | MeterMissing]
    ) -> bool:
        """Hold a scan until it can be dated, with what has happened; whether it was kept."""
        occurrences = self._health.occurrences()
        content = hold(begun_s, results, occurrences)
        kept = await self._try(lambda: self.outbox.hold(boot, begun_s, content))
        if kept:
            self._health.kept(occurrences)
            self._kept()
        return kept

    async def know_time(self, boot: str) -> None:
        """Remember that the time has become known in this start of the computer."""
        await self._try(lambda: self.outbox.know_time(boot))

    async def ask(self, question: Callable[[], Awaitable[_T]]) -> _T:
        """What the outbox remembers, asked again and again while its file cannot be read.

        Without it nobody knows which slot comes next.
        """
        is_first = True
        while True:
            self.pulse.beat()
            try:
                return await question()
            except OutboxUnavailable as error:
                if is_first:
                    log.error("the outbox tells nothing", error=str(error))  # noqa: TRY400 no trace
                is_first = False
                await asyncio.sleep(COMMIT_RETRY_S)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> bool:
        for attempt in range(COMMIT_TRIES_MAX):
            self.pulse.beat()
            try:
                await work()
            except OutboxUnavailable as error:
                if attempt == 0:
                    log.error("the outbox takes nothing", error=str(error))  # noqa: TRY400 no trace
                await asyncio.sleep(COMMIT_RETRY_S)
            else:
                return True
        return False


def _event(occurrence: Occurrence, at: datetime) -> Event:
    return Event(at, occurrence.type, occurrence.line, occurrence.meter, occurrence.detail)
