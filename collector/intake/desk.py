"""The desk: sends commands to gateways and records what they answer.

Owns its link and waiting; what is recorded is an operation's business. Any number of processes may
have one: each hears every result, and the first to record it does.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from collector.errors import InvalidRequest, LedgerUnavailable
from collector.intake.wire import Disconnected, Refused
from collector.ledger import Ledger
from collector.operations.commands import BrokerUnavailable, take_result
from contract.commands import Result, decode_result
from contract.messages import MessageError
from contract.topics import ResultTopic, TopicError, parse

if TYPE_CHECKING:
    from collector.intake.mqtt import DeskLink

POLL_S = 0.2
LEDGER_TRIES_MAX = 20
LEDGER_RETRY_S = 1.0

_log = structlog.get_logger(__name__)


def log_connection(news: Disconnected | Refused) -> None:
    """Write down what happened to a desk's connection."""
    if isinstance(news, Refused):
        _log.error("broker_refused", what=news.what, reason=news.reason, who="commands")
    else:
        _log.info("broker_disconnected", reason=news.reason, who="commands")


class CommandDesk:
    """One link for commands; `run` is its thread's body."""

    def __init__(self, link: "DeskLink", ledger: Ledger) -> None:
        self._link = link
        self._ledger = ledger
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have `run` return; may be called from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Record results until stopped."""
        self._link.start()
        try:
            while not self._stop.is_set():
                if (heard := self.hear(POLL_S)) is not None:
                    self._record(*heard)
        finally:
            self._link.stop()

    @contextlib.contextmanager
    def opened(self, timeout_s: float) -> Iterator[None]:
        """The link for one command of a person's, instead of `run`. Raises BrokerUnavailable."""
        self._link.start()
        try:
            if not self._link.ready(timeout_s):
                reason = self._link.refused or "it does not answer"
                raise BrokerUnavailable(
                    f"the broker cannot be used: {reason}",
                    hint="see that it runs, and the sections 'broker' and 'commands' of the file",
                )
            yield
        finally:
            self._link.stop()

    def wait_result(self, command: str, timeout_s: float) -> tuple[str, Result] | None:
        """The result of one command, recorded, with its gateway; None if none came in time."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            heard = self.hear(min(left_s, POLL_S))
            if heard is not None:
                self._record(*heard)
                if heard[1].id == command:
                    return heard
        return None

    def retained(self, topic: str, timeout_s: float) -> bytes | None:
        """What the broker retains under `topic`; None if nothing came in time."""
        return self._link.retained(topic, timeout_s)

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        """Publish, and wait until the broker has taken it; False if it did not in time."""
        return self._link.send(topic, payload, retain=retain, timeout_s=timeout_s)

    def hear(self, timeout_s: float) -> tuple[str, Result] | None:
        """The next result, with its gateway; None if none came in time, or what came is none."""
        try:
            topic, payload = self._link.inbox.get(timeout=timeout_s)
            parsed, result = parse(topic), decode_result(payload)
        except queue.Empty:
            return None
        except (TopicError, MessageError) as error:
            _log.warning("result_unreadable", reason=str(error))
            return None
        if not isinstance(parsed, ResultTopic) or parsed.command != result.id:
            _log.warning("result_unreadable", reason="its id is not that of its topic")
            return None
        return parsed.gateway, result

    def _record(self, gateway: str, result: Result) -> None:
        for _ in range(LEDGER_TRIES_MAX):
            try:
                take_result(self._ledger, gateway, result)
            except LedgerUnavailable as error:
                _log.error("ledger_unavailable", reason=str(error))
                if self._stop.wait(LEDGER_RETRY_S):
                    return
            except InvalidRequest as error:
                _log.error("result_refused", gateway=gateway, reason=str(error))
                return
            else:
                return
