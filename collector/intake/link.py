"""The collector's link to the broker: messages in, acks out, through a receiver of its own.

Owns the receiver's process: starts it, starts it again, and ends it; it must not know what a
message means, nor how it travels. It is used from one thread.
"""

import fcntl
import os
import select
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterable

import structlog

from collector.clock import system_now
from collector.config import BrokerConfig
from collector.intake import wire
from collector.intake.batch import Message
from collector.intake.tls import concern, context_of
from contract import topics
from contract.messages import Ack, MessageError, decode_ack

# Messages held in memory, about: 64 kB each at most. The receiver holds as many, and beyond that
# nothing is read from the broker's connection until there is room.
INBOX_MAX = 2_000

# What is on its way between the two processes, at most; Linux lets every user have this much.
PIPE_BYTES = 1 << 20

# A group is complete when nothing has come for so long, or after so long in all.
GATHER_S = 0.01
GATHER_MAX_S = 0.25

# A receiver that ends by itself is started again after this long.
RESTART_S = 1.0

# Retained acks come at once after the subscription; a pause this long means that was all.
QUIET_S = 0.5
QUIET_MAX_S = 2.0

# How long a receiver may take to end when it is asked to.
STOP_S = 3.0

_log = structlog.get_logger(__name__)


def start_of(
    config: BrokerConfig,
    password: str | None,
    *,
    is_passing: bool,
    messages_max: int = INBOX_MAX,
) -> wire.Start:
    """Which broker to connect to and as whom.

    A passing connection has a session that ends with it, and an id that no other has: the broker
    lets only one of each live. Raises InvalidRequest where the files for TLS cannot be used.
    """
    client_id = f"{config.client_id}-{uuid.uuid4().hex[:8]}" if is_passing else config.client_id
    tls = _tls_of(config)
    if tls is not None:
        context_of(tls)
        if said := concern(tls, system_now()):
            _log.warning("certificate", concern=said, hint="songlo fleet rotate")
    return wire.Start(
        host=config.host,
        port=config.port,
        client_id=client_id,
        clean_session=is_passing,
        keepalive_s=config.keepalive_s,
        messages_max=messages_max,
        username=config.username,
        password=password,
        tls=tls,
    )


def _tls_of(config: BrokerConfig) -> wire.Tls | None:
    tls = config.tls
    if tls is None:
        return None
    return wire.Tls(
        str(tls.ca_file),
        None if tls.certificate_file is None else str(tls.certificate_file),
        None if tls.key_file is None else str(tls.key_file),
    )


class Link:
    """One connection to the broker, kept up until it is stopped.

    `connections` counts how often it was established: whoever sees it grow must subscribe again.
    A `reader` only looks: it has a session of its own beside a running collector's. What happened
    meanwhile is seen when `connected` is asked for or messages are taken.
    """

    def __init__(
        self,
        config: BrokerConfig,
        password: str | None,
        *,
        reader: bool = False,
        inbox_max: int = INBOX_MAX,
        pipe_bytes: int = PIPE_BYTES,
    ) -> None:
        self._config = config
        self._inbox_max = inbox_max
        self._pipe_bytes = pipe_bytes
        # Members of a group must not share a session: the broker would let only one of them live.
        passing = reader or config.shared_group is not None
        self._start = start_of(config, password, is_passing=passing, messages_max=inbox_max)
        self._receiver: _Process | None = None
        self._restart_due_s = 0.0
        self._inbox: deque[Message] = deque()
        self._retained_acks: deque[tuple[str, bytes]] = deque()
        self._answered: set[int] = set()
        self._token = 0
        self._up = False
        self._told = False  # that it cannot be reached
        self._its_connection = 0
        self.connections = 0
        self.dropped = 0

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached now."""
        self._pump(0.0)
        return self._up

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._receiver = _Process(self._start, self._pipe_bytes)

    def stop(self) -> None:
        """Disconnect in order. What was said to be done with before is said to the broker first."""
        receiver, self._receiver = self._receiver, None
        self._up = False
        if receiver is not None:
            receiver.stop()

    def subscribe(self) -> None:
        """Subscribe to batches and statuses. Harmless when it was done before."""
        batches = topics.batches_filter()
        if self._config.shared_group is not None:
            batches = topics.shared(self._config.shared_group, batches)
        # Every worker takes the statuses: retained ones never come through a shared subscription.
        self._tell(wire.Subscribe([(batches, 1), (topics.status_filter(), 1)], 0))

    def take(self, count_max: int, timeout_s: float) -> list[Message]:
        """Waiting messages, in the order of their arrival.

        Waits `timeout_s` for the first one, and then for more as long as they keep coming:
        a transaction costs about as much for one batch as for a hundred.
        """
        deadline = time.monotonic() + timeout_s
        while not self._inbox and (left_s := deadline - time.monotonic()) > 0:
            self._pump(left_s)
        self._pump(0.0)
        deadline = time.monotonic() + GATHER_MAX_S
        while 0 < len(self._inbox) < count_max and time.monotonic() < deadline:
            if not self._pump(GATHER_S):
                break
        return [self._inbox.popleft() for _ in range(min(count_max, len(self._inbox)))]

    def done(self, messages: Iterable[Message]) -> None:
        """Take these messages off the broker's hands."""
        # On a new connection the broker has sent it again, under what may be another number.
        mids = [
            message.mid
            for message in messages
            if message.qos and message.connection == self.connections
        ]
        if mids:
            self._tell(wire.Done(self._its_connection, mids))

    def publish_ack(self, gateway: str, payload: bytes) -> bool:
        """Publish a gateway's ack, retained; False if it cannot be taken now."""
        if not self._up:
            return False
        return self._tell(wire.Publish(topics.build(topics.AckTopic(gateway)), payload))

    def collect_acks(self) -> dict[str, Ack]:
        """The retained acks that the broker has now, by gateway. Needs a connection.

        What is no ack of this contract is left out: it binds nobody.
        """
        # QoS 0: what a persistent session has waiting fills the in-flight window at once, and an
        # ack with QoS 1 would wait behind it until batches are taken, which they are not yet.
        self._token += 1
        self._tell(wire.Subscribe([(topics.ack_filter(), 0)], self._token))
        answer_by = time.monotonic() + QUIET_MAX_S
        while self._token not in self._answered and (left_s := answer_by - time.monotonic()) > 0:
            self._pump(left_s)
        quiet_at = time.monotonic() + QUIET_S
        while (left_s := quiet_at - time.monotonic()) > 0:
            before = len(self._retained_acks)
            self._pump(left_s)
            if len(self._retained_acks) > before:
                quiet_at = time.monotonic() + QUIET_S
        self._tell(wire.Unsubscribe(topics.ack_filter()))
        collected: dict[str, Ack] = {}
        while self._retained_acks:
            topic, payload = self._retained_acks.popleft()
            try:
                collected[topics.parse(topic).gateway] = decode_ack(payload)
            except (MessageError, topics.TopicError) as error:
                _log.warning("retained_ack_unreadable", topic=topic, reason=str(error))
        return collected

    # --- the receiver -------------------------------------------------------------------------

    def _tell(self, message: wire.Down) -> bool:
        if self._receiver is None:
            return False
        if self._receiver.tell(message):
            return True
        self._lost()
        return False

    def _pump(self, timeout_s: float) -> bool:
        """Take in what the receiver says, waiting for it; whether there may be more at once."""
        if self._receiver is None:
            self._start_again(timeout_s)
            return False
        if len(self._inbox) >= self._inbox_max:
            # It is full: whoever waits for news must take messages first.
            return False
        messages = self._receiver.listen(timeout_s)
        if messages is None:
            self._lost()
            return False
        for message in messages:
            self._hear(message)
        return bool(messages)

    def _hear(self, message: wire.Up) -> None:
        match message:
            case wire.Arrived(topic, payload):
                if topic.endswith("/ack"):
                    self._retained_acks.append((topic, payload))
                    return
                self._inbox.append(
                    Message(
                        topic=topic,
                        payload=payload,
                        retained=message.retained,
                        connection=self.connections,
                        mid=message.mid,
                        qos=message.qos,
                        scan=message.scan,
                    )
                )
            case wire.Connected(connection, session_present):
                self._its_connection = connection
                self.connections += 1
                self._up = True
                self._told = False
                _log.info("broker_connected", session_present=session_present)
            case wire.Disconnected(reason):
                # Once for an outage, and once where it was never there.
                if self._up:
                    _log.warning("broker_disconnected", reason=reason)
                elif not self._told:
                    _log.warning("broker_unreachable", host=self._config.host, reason=reason)
                self._up = False
                self._told = True
            case wire.Refused(what, reason):
                _log.error("broker_refused", what=what, reason=reason)
            case wire.Subscribed(token):
                self._answered.add(token)
            case wire.Dropped(count):
                self.dropped += count

    def _lost(self) -> None:
        """The receiver has ended by itself: nothing is lost, the broker has what it had."""
        assert self._receiver is not None
        code = self._receiver.stop()
        _log.error("receiver_ended", code=code)
        self._receiver = None
        self._up = False
        self._restart_due_s = time.monotonic() + RESTART_S

    def _start_again(self, timeout_s: float) -> None:
        wait_s = self._restart_due_s - time.monotonic()
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            return
        time.sleep(max(0.0, wait_s))
        self.start()


class _Process:
    """A receiver's process and the pipes to and from it."""

    def __init__(self, start: wire.Start, pipe_bytes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "collector.intake.receiver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._down = self._process.stdin
        self._up = self._process.stdout.fileno()
        fcntl.fcntl(self._up, fcntl.F_SETPIPE_SZ, pipe_bytes)
        self._poll = select.poll()
        self._poll.register(self._up, select.POLLIN)
        self._frames = wire.frames_up()
        self.tell(start)

    def tell(self, message: wire.Down) -> bool:
        """Say something; False when it has ended."""
        data = memoryview(wire.framed(message))
        try:
            while data:
                data = data[self._down.write(data) :]
        except BrokenPipeError:
            return False
        return True

    def listen(self, timeout_s: float) -> list[wire.Up] | None:
        """What it says; waits for the first word. None when it has ended."""
        if not self._poll.poll(timeout_s * 1000):
            return []
        data = os.read(self._up, PIPE_BYTES)
        return self._frames.feed(data) if data else None

    def stop(self) -> int:
        """Have it end, by force if need be; its exit code."""
        self.tell(wire.Stop())
        with self._process:
            try:
                return self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                return self._process.wait()
