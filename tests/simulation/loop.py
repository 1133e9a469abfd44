"""Virtual time: an event loop that jumps to the next timer, and processes that block on it.

What blocks its thread in the product (the collector's worker) runs in a greenlet: where it would
wait, the loop goes on. Everything is in one thread, so that a run depends on its seed alone.
"""

# As asyncio and concurrent.futures have it:
# ruff: noqa: ANN401

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop, heappush
from signal import ITIMER_VIRTUAL, SIGVTALRM, setitimer
from signal import signal as handle
from types import FrameType
from typing import Any, Protocol, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from tests.bad_lines import virtual_time

_T = TypeVar("_T")


class Killed(BaseException):
    """The process that runs this was killed."""


class Host(Protocol):
    """Runs what is handed to a thread."""

    def in_thread(self, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        """The result of `work`, when it has been done."""
        ...


# On which machine the present task runs.
HOST: ContextVar[Host] = ContextVar("host")


# A run takes some ten thousand turns; one that takes this many has somebody who waits awake.
TURNS_MAX = 1_000_000
# It sets about as many timers, each message one; with this many a storm does not end.
TIMERS_MAX = 1_000_000
# Whatever else it does for ever, it is ended after this much of a processor: a hundred times what a
# run takes. Again and again, as not everything lets an exception through.
CPU_MAX_S = 60.0
CPU_AGAIN_S = 1.0
# Cancelled timers that may wait to be their turn's.
CANCELLED_MAX = 50


class Endless(KeyboardInterrupt):
    """A run does not come to its end: raised through what holds other exceptions up."""


@contextmanager
def bounded(cpu_max_s: float = CPU_MAX_S) -> Iterator[None]:
    """Within, Endless is raised in whatever runs once it has taken so much of a processor.

    At the end too, where that was not let through: what is called back from C may lose it.
    """
    too_long = Endless(f"it has taken more than {cpu_max_s:g} s of a processor")
    ended = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True
        raise too_long

    before = handle(SIGVTALRM, end)
    setitimer(ITIMER_VIRTUAL, cpu_max_s, CPU_AGAIN_S)
    try:
        yield
    finally:
        setitimer(ITIMER_VIRTUAL, 0.0)
        handle(SIGVTALRM, before)
    if ended:
        raise too_long


class Loop(virtual_time.VirtualLoop):
    """A virtual loop whose threads are those of the machine that a task runs on.

    Its turns and timers are asyncio's without what only the real world needs, for speed: some five
    thousand of each make a run.
    """

    # As asyncio has them:
    _scheduled: list[asyncio.TimerHandle]
    _ready: deque[asyncio.Handle]
    _timer_cancelled_count: int
    _stopping: bool
    _clock_resolution: float

    def __init__(self, timers_max: int = TIMERS_MAX) -> None:
        super().__init__()
        self._clock.turns = virtual_time.TURNS_MAX - TURNS_MAX
        self._timers_max = timers_max
        self._timers = 0

    def call_at(  # type: ignore[override]  # as asyncio calls it
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self._timers += 1
        if self._timers > self._timers_max:
            raise Endless(f"it has set more than {self._timers_max:,} timers")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _run_once(self) -> None:
        scheduled, ready, clock = self._scheduled, self._ready, self._clock
        if not (ready or scheduled) or self._timer_cancelled_count > CANCELLED_MAX:
            super()._run_once()  # type: ignore[misc]  # which tells a deadlock, or clears up
            return
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        clock.turns += 1
        if clock.turns > virtual_time.TURNS_MAX:
            raise virtual_time.Deadlock("no end in sight")
        wait_s = virtual_time.TICK_S
        if scheduled and not (ready or self._stopping):
            wait_s = max(wait_s, scheduled[0].when() - clock.now)
        clock.now += wait_s
        until_s = clock.now + self._clock_resolution
        while scheduled and scheduled[0].when() < until_s:
            timer = heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def run_in_executor(  # type: ignore[override]  # as asyncio calls it
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> "asyncio.Future[_T]":
        return HOST.get().in_thread(lambda: func(*args))


class Signal:
    """Something that processes wait for."""

    def __init__(self) -> None:
        self._waiting: list[Process] = []

    def ring(self) -> None:
        """Wake everybody who waits."""
        waiting, self._waiting = self._waiting, []
        for process in waiting:
            process.wake()

    def add(self, process: "Process") -> None:
        """This one waits."""
        self._waiting.append(process)

    def remove(self, process: "Process") -> None:
        """This one waits no more."""
        if process in self._waiting:
            self._waiting.remove(process)


class Process:
    """Blocking code on the virtual loop. `ended` is called with what it raised, if anything."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        body: Callable[[], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._loop = loop
        self._body = body
        self._ended = ended
        # The loop's own greenlet, were this begun within another process.
        self._hub = getcurrent()
        while self._hub.parent is not None:
            self._hub = self._hub.parent
        self._greenlet = greenlet(self._run, parent=self._hub)
        _processes[self._greenlet] = self
        self._timer: asyncio.Handle | None = loop.call_soon(self._resume)
        self._signals: tuple[Signal, ...] = ()

    @classmethod
    def current(cls) -> "Process":
        """The process that runs now."""
        return _processes[getcurrent()]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self._greenlet.dead

    def sleep(self, seconds: float, *signals: Signal) -> None:
        """Within the process: let others run until then, or until a signal rings."""
        assert getcurrent() is self._greenlet, "only a process itself can wait"
        self._signals = signals
        for signal in signals:
            signal.add(self)
        self._timer = self._loop.call_later(seconds, self._resume)
        self._hub.switch()

    def wake(self) -> None:
        """End its sleep."""
        self._settle()
        self._timer = self._loop.call_soon(self._resume)

    def kill(self) -> None:
        """From outside: have it end where it stands."""
        assert getcurrent() is self._hub, "a process is killed from outside"
        self._settle()
        if not self._greenlet.dead:
            if not self._greenlet:  # it has not begun: what is thrown comes out here, but for this
                self._greenlet.throw(GreenletExit)
                _processes.pop(self._greenlet, None)
                self._ended(None)
            else:
                self._greenlet.throw(Killed)

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for signal in self._signals:
            signal.remove(self)
        self._signals = ()

    def _resume(self) -> None:
        self._settle()
        self._greenlet.switch()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._body()
        except Killed:
            pass
        except Endless:
            del _processes[self._greenlet]
            raise  # to the loop
        except BaseException as raised:  # noqa: BLE001  whatever it is, it is told
            error = raised
        del _processes[self._greenlet]
        self._loop.call_soon(self._ended, error)


_processes: dict[greenlet, Process] = {}


class SimulatedEvent:
    """A `threading.Event` for processes: waiting lets the others run."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self._wait = wait
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float) -> bool:
        if not self._is_set:
            self._wait(timeout)
        return self._is_set


class SimulatedThread(Executor):
    """A second thread of a process: begins what it is given at once or later, as chance has it.

    `wait` has the first thread wait for a signal.
    """

    def __init__(
        self,
        start: Callable[[Callable[[], None]], None],
        wait: Callable[[Signal], None],
    ) -> None:
        self._start = start
        self._wait = wait

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> "Future[_T]":
        future = _Future[_T](self._wait)

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  it is the caller's to see
                future.set_exception(error)
            else:
                future.set_result(result)
            future.signal.ring()

        self._start(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


class _Future(Future[_T]):
    def __init__(self, wait: Callable[[Signal], None]) -> None:
        super().__init__()
        self.signal = Signal()
        self._wait = wait

    def result(self, timeout: float | None = None) -> _T:
        while not self.done():
            self._wait(self.signal)
        return super().result(0)
