"""How much one key may ask: at once, in a burst, and in the long run.

A program that runs wild, or a key that was stolen, must leave room for the others. It decides from
what it is told and keeps nothing but bounded memory; it must not know requests. A process counts
for itself.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

# More keys than any utility has; those that were quiet longest and ask nothing now are forgotten.
NAMES_MAX = 10_000


@dataclass(slots=True)
class _Use:
    left: float
    at_s: float
    at_once: int = 0


class Rates:
    """What every request with a good key asks before it is answered, and tells afterwards.

    `burst` requests come from rest, `per_s` a second in the long run, `at_once` at the same time.
    Safe to use from several threads.
    """

    def __init__(
        self,
        *,
        burst: int = 1_500,
        per_s: int = 50,
        at_once: int = 16,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._per_s, self._at_once = burst, per_s, at_once
        self._monotonic = monotonic
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._lock = threading.Lock()

    def enter(self, name: str) -> float:
        """How long this key has to wait, in seconds; zero: its request goes on, until `leave`."""
        now_s = self._monotonic()
        with self._lock:
            use = self._uses.pop(name, None) or _Use(self._burst, now_s)
            self._uses[name] = use
            use.left = min(self._burst, use.left + (now_s - use.at_s) * self._per_s)
            use.at_s = now_s
            self._forget()
            if use.at_once >= self._at_once:
                return 1.0
            if use.left < 1:
                return (1 - use.left) / self._per_s
            use.left -= 1
            use.at_once += 1
            return 0.0

    def leave(self, name: str) -> None:
        """A request that went on is answered, or was given up."""
        with self._lock:
            use = self._uses.get(name)
            if use is not None:
                use.at_once -= 1

    def _forget(self) -> None:
        if len(self._uses) <= NAMES_MAX:
            return
        quiet = next((name for name, use in self._uses.items() if not use.at_once), None)
        if quiet is not None:
            del self._uses[quiet]

    def __len__(self) -> int:
        """How many keys are remembered."""
        with self._lock:
            return len(self._uses)
