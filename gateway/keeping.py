"""Into the outbox, again and again if it must be, and with everything that has happened meanwhile.

Owns how long keeping is tried and what every batch says of its origin. It must not know why
anything is kept.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from contract.messages import Event
from gateway.anchor import anchor
from gateway.batches import Origin, event_drafts
from gateway.health_book import HealthBook, Occurrence
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import Draft, Late, SlotDone
from gateway.ports import Clock

COMMIT_RETRY_S = 1.0
COMMIT_TRIES_MAX = 30  # about half a minute; then the slot is listed as lost

log = structlog.get_logger("gateway.polling")


class Keeper:
    """Keeps batches of one station. `kept` is called after each commit to the outbox."""

    def __init__(
        self,
        station: str,
        outbox: OutboxThread,
        clock: Clock,
        health: HealthBook,
        *,
        kept: Callable[[], None],
    ) -> None:
        self._station = station
        self._outbox = outbox
        self._clock = clock
        self._health = health
        self._kept = kept

    def origin(self) -> Origin:
        """What a batch that is closed now says of where it comes from."""
        return Origin(self._station, self._clock.state())

    async def keep(
        self,
        drafts: Sequence[Draft] = (),
        marks: Sequence[SlotDone] = (),
        late: Late | None = None,
    ) -> bool:
        """Commit these and all that has happened in one transaction; whether they were kept."""
        occurrences = self._health.occurrences()
        if not (drafts or marks or late or occurrences):
            return True
        now = anchor(self._clock)
        events = event_drafts(self.origin(), [_event(o, now.instant(o.at_s)) for o in occurrences])
        for attempt in range(COMMIT_TRIES_MAX):
            try:
                at = self._clock.now()
                await self._outbox.append([*drafts, *events], at=at, done=marks, late=late)
            except OutboxUnavailable as error:
                if attempt == 0:
                    log.error("the outbox takes nothing", error=str(error))  # noqa: TRY400 no trace
                await asyncio.sleep(COMMIT_RETRY_S)
            else:
                self._health.kept(occurrences)
                self._kept()
                return True
        log.error("batches could not be kept", batches=len(drafts))
        return False


def _event(occurrence: Occurrence, at: datetime) -> Event:
    return Event(at, occurrence.type, occurrence.line, occurrence.meter, occurrence.detail)
