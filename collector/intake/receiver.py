"""The receiver: a process of its own that takes messages from the broker and packs their scans.

Taking and decoding is half the work of intake, and Python does one thing at a time in a process.
It is told what to do on its standard input and hands over what came on its standard output, as
`collector.intake.wire` says; it ends when its input does, so it never outlives the collector. It
must not know the ledger or the stores, and keeps nothing: what it has not handed over, or nobody
was done with, the broker still has.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice

from collector.garbage import collect_garbage_seldom
from collector.intake.mqtt import Arrival, Session
from collector.intake.packing import packed
from collector.intake.wire import (
    Arrived,
    Done,
    Down,
    Dropped,
    Frames,
    Publish,
    Start,
    Stop,
    Subscribe,
    Unsubscribe,
    Up,
    framed,
    frames_down,
)
from contract.limits import BATCH_BYTES_MAX, STATUS_BYTES_MAX

READ_BYTES = 1 << 16
FRAMES_AT_ONCE = 64


class Receiver:
    """The messages of one session on their way to the collector.

    At most `messages_max` wait; beyond that nothing is taken from the broker until there is room.
    After half a keepalive messages are let go of instead, so that the connection stays alive:
    their gateways send them again.
    """

    def __init__(self, start: Start, up: int) -> None:
        self._session = Session(start, self._say, self._take)
        self._up = up
        self._messages_max = start.messages_max
        self._patience_s = start.keepalive_s / 2
        self._waiting: deque[bytes] = deque()
        self._full_since_s: float | None = None
        self._dropped = 0

    def run(self, down: int, commands: Frames[Down]) -> None:
        """Work until told to stop, or until the collector is gone."""
        while True:
            timeout_s = self._session.step()
            self._hand_over()
            takes = self._has_room()
            readable: list[int] = [down]
            writable: list[int] = [self._up] if self._waiting else []
            broker = self._session.fileno()
            if broker is not None:
                if takes:
                    readable.append(broker)
                    if self._session.has_read_ahead:
                        timeout_s = 0.0
                if self._session.wants_to_write:
                    writable.append(broker)
            can_read, can_write, _ = select.select(readable, writable, (), timeout_s)
            if broker in can_write:
                self._session.write()
            if takes and broker is not None and (broker in can_read or timeout_s == 0.0):
                self._session.read()
            if down in can_read:
                data = os.read(down, READ_BYTES)
                if not data or not self.obey(commands.feed(data)):
                    return

    def _has_room(self) -> bool:
        """Whether to take more from the broker, be it to let go of it."""
        if len(self._waiting) < self._messages_max:
            self._full_since_s = None
            if self._dropped:
                self._say(Dropped(self._dropped))
                self._dropped = 0
            return True
        now_s = time.monotonic()
        self._full_since_s = self._full_since_s or now_s
        return now_s - self._full_since_s > self._patience_s

    # --- from the broker ----------------------------------------------------------------------

    def _say(self, message: Up) -> None:
        self._waiting.append(framed(message))

    def _take(self, one: Arrival) -> None:
        if len(self._waiting) >= self._messages_max and self._full_since_s is not None:
            self._dropped += 1
            self._session.let_go(one)
            return
        if one.topic.endswith("/ack"):
            self._session.let_go(one)
        is_status = one.topic.endswith("/status")
        # One byte more than is allowed shows that it is too long.
        payload = one.payload[: (STATUS_BYTES_MAX if is_status else BATCH_BYTES_MAX) + 1]
        scan = None if is_status else packed(one.topic, payload)
        self._say(Arrived(one.topic, payload, one.retained, one.mid, one.qos, scan))

    # --- to and from the collector ------------------------------------------------------------

    def _hand_over(self) -> None:
        """Write what waits, as much as the pipe takes."""
        while self._waiting:
            frames = list(islice(self._waiting, FRAMES_AT_ONCE))
            try:
                written = os.writev(self._up, frames)
            except BlockingIOError:
                return
            while written and written >= len(self._waiting[0]):
                written -= len(self._waiting.popleft())
            if written:
                self._waiting[0] = self._waiting[0][written:]

    def obey(self, messages: Sequence[Down]) -> bool:
        """Do what was asked for; False when it was to end."""
        for message in messages:
            match message:
                case Done():
                    self._session.done(message.connection, message.mids)
                case Publish():
                    self._session.publish(message)
                case Subscribe():
                    self._session.subscribe(message)
                case Unsubscribe():
                    self._session.unsubscribe(message.filter)
                case Stop():
                    self._session.close()
                    return False
                case Start():
                    raise AssertionError("a receiver is started once")
        return True


def main() -> None:
    """Work as the receiver of the collector at the other end of the standard streams."""
    # The collector alone is asked to stop; what a terminal or systemd tells the whole group of
    # processes is not for the receiver, which must go on until the last group is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    collect_garbage_seldom()
    gc.freeze()
    down = sys.stdin.fileno()
    up = os.dup(sys.stdout.fileno())
    # Nothing that is printed by mistake may get into the frames.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.set_blocking(up, False)
    commands = frames_down()
    said: list[Down] = []
    while not said:
        data = os.read(down, READ_BYTES)
        if not data:
            return
        said = commands.feed(data)
    start = said.pop(0)
    assert isinstance(start, Start)
    receiver = Receiver(start, up)
    # The collector is gone without a word: nobody is left to be told.
    with contextlib.suppress(BrokenPipeError):
        if receiver.obey(said):
            receiver.run(down, commands)


if __name__ == "__main__":
    main()
