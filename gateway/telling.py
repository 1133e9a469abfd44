"""What people ordered and what became of it, as events: dated ones, or ones that wait for a date.

Owns which of both an event is. It must not know commands or station files, nor how anything is
kept.
"""

from collections.abc import Callable

from contract.limits import TEXT_CHARS_MAX
from contract.messages import Event
from gateway.batches import Origin, event_drafts
from gateway.health_book import HealthBook, Occurrence
from gateway.outbox_values import Draft
from gateway.ports import Clock


class Teller:
    """Makes events of one station. `knows_time`: what happens now can be dated and sent."""

    def __init__(
        self, station: str, clock: Clock, health: HealthBook, knows_time: Callable[[], bool]
    ) -> None:
        self.knows_time = knows_time
        self._station = station
        self._clock = clock
        self._health = health

    def origin(self) -> Origin:
        """What a batch that is closed now says of where it comes from."""
        return Origin(self._station, self._clock.state())

    def tell(self, kind: str, detail: str) -> list[Draft]:
        """The batch of one event, for the outbox.

        None while the time is not known: then it is noted, to be held with the next scan.
        """
        detail = detail.replace("\0", " ")[:TEXT_CHARS_MAX]
        if self.knows_time():
            return event_drafts(self.origin(), [Event(self._clock.now(), kind, detail=detail)])
        self.note(kind, detail)
        return []

    def note(self, kind: str, detail: str) -> None:
        """Leave one event to be kept with whatever is kept next."""
        detail = detail.replace("\0", " ")[:TEXT_CHARS_MAX]
        self._health.note(Occurrence(self._clock.monotonic_s(), kind, detail=detail))
