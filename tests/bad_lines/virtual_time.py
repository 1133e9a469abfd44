"""Time that passes only when everybody waits: an event loop for tests of what takes long.

Days go by in a moment and every run is the same. Nothing on it may wait for the real world: no
threads, processes or sockets, whose answers take real time.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

TICK_S = 100e-6  # what a turn of the loop takes: code that waits awake gets on too
TURNS_MAX = 100_000_000


class Deadlock(AssertionError):
    """Everybody waits for something that no timer brings."""


class _Selector(selectors.SelectSelector):
    """Where the loop would sleep, its time moves on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise Deadlock("no end in sight")
        if timeout is None:
            if ready := super().select(0):
                return ready
            raise Deadlock("nothing will ever happen")
        self.now += max(TICK_S, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` begins at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """`asyncio.run` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
