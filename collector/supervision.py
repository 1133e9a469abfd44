"""What the service manager is told: ready, stopping, and that intake still goes round.

Owns the messages of sd_notify(3) and when the watchdog is fed. It must not know what intake does;
without a service manager it does nothing.
"""

import os
import socket
import time
from collections.abc import Callable

import structlog

FEEDS_PER_TIMEOUT = 3  # sd_watchdog_enabled(3) recommends 2: one may come late

_US = 1_000_000

_log = structlog.get_logger(__name__)


class Supervision:
    """The collector's side of a service of `Type=notify`; used by the main thread alone.

    `address` is NOTIFY_SOCKET: a path, or a name after `@`; empty when nobody listens.
    `watchdog_s` is the unit's WatchdogSec, None when none is set.
    """

    def __init__(
        self,
        address: str,
        watchdog_s: float | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._monotonic_s = monotonic_s
        self._is_ready = False
        self._hangs = False
        self._next_s = 0.0

    @classmethod
    def of_this_process(cls) -> "Supervision":
        """As the service manager has set the environment."""
        environment = os.environ  # noqa: TID251 the protocol of sd_notify(3), not configuration
        address = environment.get("NOTIFY_SOCKET", "")
        timeout_us = environment.get("WATCHDOG_USEC", "")
        for_me = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        has_watchdog = for_me and timeout_us.isascii() and timeout_us.isdigit()
        return cls(address, int(timeout_us) / _US if has_watchdog else None)

    def look(self, *, is_ready: bool, hangs: bool) -> None:
        """Say once that it is ready; feed the watchdog when it is due, unless something hangs."""
        if is_ready and not self._is_ready:
            self._is_ready = True
            self._tell("READY=1")
        if hangs != self._hangs:
            self._hangs = hangs
            _log.error("intake_hangs" if hangs else "intake_goes_on")
        now_s = self._monotonic_s()
        if self._watchdog_s is not None and not hangs and now_s >= self._next_s:
            self._next_s = now_s + self._watchdog_s / FEEDS_PER_TIMEOUT
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that it is stopping."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        """Send without waiting; what a busy service manager cannot take is said at the next."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            _log.warning("supervision_unreachable", reason=str(error))
