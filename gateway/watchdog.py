"""What the service manager is told: ready, stopping, a line of status, and that all tasks answer.

Owns the messages of sd_notify(3) and when the watchdog is fed: only while every pulse is in time.
It must not know the tasks; without a service manager it does nothing.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

import structlog

from gateway.pulse import Pulse

FEEDS_PER_TIMEOUT = 3  # sd_watchdog_enabled(3) recommends 2: one may come late
LOOK_S = 20.0  # how often the status is renewed where no watchdog is set

# From the end of one run of the parts to the beginning of the next: a station file is read, the
# outbox closed, opened and checked, on a card that may be busy with its own affairs.
RESTART_S_MAX = 900.0
RESTARTING = "beginning anew with a station file"

_US = 1_000_000

log = structlog.get_logger("gateway.watchdog")


class ServiceManager:
    """The socket that systemd gives to a service of `Type=notify`.

    `address` is NOTIFY_SOCKET: a path, or a name after `@`; empty when nobody listens.
    `watchdog_s` is the unit's WatchdogSec, None when none is set.
    """

    def __init__(self, address: str, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def of_this_process(cls) -> "ServiceManager":
        """As the service manager has set the environment."""
        environment = os.environ  # noqa: TID251 the protocol of sd_notify(3), not configuration
        address = environment.get("NOTIFY_SOCKET", "")
        timeout_us = environment.get("WATCHDOG_USEC", "")
        for_me = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        has_watchdog = for_me and timeout_us.isascii() and timeout_us.isdigit()
        return cls(address, int(timeout_us) / _US if has_watchdog else None)

    @property
    def listens(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self._address)

    def tell(self, **facts: str) -> None:
        """Send facts as `NAME=value` lines of one message; one that cannot be sent is dropped.

        Never waits: a service manager that is busy is told again with the next message.
        """
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in facts.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("the service manager cannot be told", error=str(error))


class Signs:
    """The signs of life of the parts that run now, which a watch outlives.

    `pulses` are theirs, and between two runs of them the one of the restart. `begun` is set when
    the first run has begun.
    """

    def __init__(self) -> None:
        self.pulses: list[Pulse] = []
        self.begun = asyncio.Event()
        self._restart = Pulse("restart", RESTART_S_MAX)
        self._status: Callable[[], str] = lambda: RESTARTING

    def begin(self, pulses: Sequence[Pulse], status: Callable[[], str]) -> None:
        """These parts run from now on; `status` gives their line for people."""
        self._restart.rest()
        self.pulses[:] = pulses
        self._status = status
        self.begun.set()

    def end(self) -> None:
        """They are stopping; others will begin, or the process ends."""
        self._restart.beat()
        self.pulses[:] = [self._restart]
        self._status = lambda: RESTARTING

    def status(self) -> str:
        """One line for people."""
        return self._status()


async def watch(
    manager: ServiceManager, pulses: Sequence[Pulse], status: Callable[[], str]
) -> None:
    """Say that the gateway is ready, then feed the watchdog while all `pulses` are in time.

    `status` gives one line for people. Runs until cancelled; then says that it is stopping.
    """
    if not manager.listens:
        return
    every_s = LOOK_S if manager.watchdog_s is None else manager.watchdog_s / FEEDS_PER_TIMEOUT
    hanging: list[str] = []
    manager.tell(READY="1", STATUS=status())
    try:
        while True:
            before, hanging = hanging, [p.name for p in pulses if p.silent_s is not None]
            if not hanging:
                manager.tell(WATCHDOG="1", STATUS=status())
                if before:
                    log.info("all tasks answer again")
            else:
                manager.tell(STATUS=f"does not answer: {', '.join(hanging)}")
            if hanging and hanging != before:
                log.error("tasks do not answer: the watchdog is not fed", tasks=hanging)
            await asyncio.sleep(every_s)
    finally:
        manager.tell(STOPPING="1", STATUS="stopping")
