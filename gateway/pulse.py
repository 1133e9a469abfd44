"""Signs of life of the gateway's long-lived tasks, each with the bound that it sets itself.

Owns what counts as an answer and when a task is late. It must not know who looks, nor what the
tasks do; a pulse comes from a loop that goes round, never from work that succeeded, so that a
full disk or an absent broker is not taken for a task that hangs.
"""

import time
from collections.abc import Callable


class Pulse:
    """The pulse of one task. It begins at rest, and is only touched from the event loop.

    `bound_s` is how long a step of this task may take before it counts as hanging.
    """

    def __init__(
        self, name: str, bound_s: float, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._bound_s = bound_s
        self._monotonic_s = monotonic_s
        self._beat_s = monotonic_s()
        self._due_s: float | None = None

    def beat(self, extra_s: float = 0.0) -> None:
        """Alive; heard of again within the bound, `extra_s` later where a step has to wait."""
        self._beat_s = self._monotonic_s()
        self._due_s = self._beat_s + self._bound_s + extra_s

    def rest(self) -> None:
        """Alive, and waiting for an instant or for work, which may take any time."""
        self._beat_s = self._monotonic_s()
        self._due_s = None

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last sign of a task that is late; None while it is in time."""
        now_s = self._monotonic_s()
        if self._due_s is None or now_s <= self._due_s:
            return None
        return now_s - self._beat_s
