"""The uplink: sends what the outbox holds until the collector says that it has it.

Owns the window, resending and the retained status (delivery, points 3 and 4). It must not know
how batches are made or stored, nor how MQTT travels.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from contract.messages import (
    Ack,
    AckEpoch,
    ConfigStatus,
    LineStatus,
    MessageError,
    Status,
    decode_ack,
    encode,
)
from contract.topics import AckTopic, BatchTopic, StatusTopic, ack_filter, build
from gateway.mailbox import Mailbox
from gateway.mqtt import Broker, BrokerConnection, BrokerLost, Message
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import BatchKey, Stored
from gateway.ports import Clock
from gateway.pulse import Pulse
from gateway.station_file import UplinkSection

RECONNECT_S = 0.2
RECONNECT_MAX_S = 30.0
# A connection that lived this long was a good one: the next attempt is made at once again.
GOOD_CONNECTION_S = 5.0

STATUS_SPACING_S = 1.0  # changes within this time are said together
STATUS_EPOCHS_MAX = 2_000  # about 180 kB; older epochs first, so that one stays listed till done
ACKS_WAITING_MAX = 64  # acks only add up, so that an older one may go
RETRY_S = 1.0  # after the outbox or the client's queue could take no more

# A step is an attempt to connect, which its timeouts end, or the outbox's part in one round of
# delivery, on a card that may be busy with its own affairs. Longer, and it hangs.
STEP_S_MAX = 900.0

log = structlog.get_logger("gateway.uplink")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks: the gateway's name in topics, its station, the program's version."""

    gateway: str
    station: str
    version: str = ""


class Connection(Protocol):
    """One connection to a broker, as `gateway.mqtt` has it; not used again after its end."""

    async def open(self) -> None:
        """Connect and wait for the broker's consent. Raises BrokerLost."""
        ...

    def subscribe(self, topic_filter: str) -> None:
        """Ask for messages, the retained ones at once. Raises BrokerLost."""
        ...

    def publish(self, message: Message) -> bool:
        """Hand over a message; False when too many are under way. Raises BrokerLost."""
        ...

    def check(self) -> None:
        """Raises BrokerLost when the connection has ended."""
        ...

    async def close(self, goodbye: Message) -> None:
        """Publish `goodbye` and disconnect in order, within a bounded time."""
        ...

    def drop(self) -> None:
        """Let go of it, whatever state it is in."""
        ...


class Connect(Protocol):
    """Makes connections: `received` gets each message, `ended` is called once when it is lost."""

    def __call__(
        self,
        broker: Broker,
        will: Message,
        *,
        received: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> Connection:
        """A connection that is not open yet."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What delivery takes from outside: connections, the time that passes, chance.

    `monotonic_s` is real time, also where the station's own clock replays a period. `uniform` gives
    a number between two.
    """

    connect: Connect = BrokerConnection
    monotonic_s: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform


@dataclass(slots=True)
class _Sent:
    """A batch under way: how often it was sent, and when (monotonic) it is sent again."""

    times: int
    due_s: float


class Uplink:
    """Delivers the batches of one outbox to one broker.

    `lines` gives the state of the lines for the status, `config` that of the station file. What
    is neither batch, ack nor status goes through `mailbox`.
    """

    def __init__(  # noqa: PLR0913  what is sent comes from many parts
        self,
        broker: Broker,
        identity: Identity,
        settings: UplinkSection,
        outbox: OutboxThread,
        clock: Clock,
        lines: Callable[[], list[LineStatus]],
        surroundings: Surroundings | None = None,
        *,
        mailbox: Mailbox | None = None,
        config: Callable[[], ConfigStatus | None] = lambda: None,
    ) -> None:
        self.acked = asyncio.Event()  # the collector has a batch of the current epoch
        self._mailbox = mailbox
        self._config = config
        around = surroundings or Surroundings()
        self._connect = around.connect
        self._monotonic_s = around.monotonic_s
        self._uniform = around.uniform
        self._broker = broker
        self._identity = identity
        self._settings = settings
        self._outbox = outbox
        self._clock = clock
        self._lines = lines
        self._started_at = clock.now()
        self._ack_topic = build(AckTopic(identity.gateway))
        self._status_topic = build(StatusTopic(identity.gateway))
        self._offline = Message(self._status_topic, encode(Status(v=1, online=False)), retain=True)
        self._wake = asyncio.Event()
        self._acks: deque[Ack] = deque(maxlen=ACKS_WAITING_MAX)
        self._under_way: dict[BatchKey, _Sent] = {}
        self._connection: Connection | None = None
        self._connected = False
        self._acked_s = self._monotonic_s()
        self._roused = False  # by an ack that brought nothing, since the last that did
        self._count = 0
        self._said: object = None
        self._changed = True
        self._status_due_s = 0.0
        self._status_earliest_s = 0.0
        self.pulse = Pulse("uplink", STEP_S_MAX)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection, and it has not ended."""
        return self._connected

    def wake(self) -> None:
        """Something was kept, or something of the status changed: look now."""
        self._changed = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled; says offline before it goes."""
        failures = 0
        while True:
            connection = self._connect(
                self._broker, self._offline, received=self._receive, ended=self._wake.set
            )
            self._connection = connection
            self.pulse.beat()
            began_s = self._monotonic_s()
            try:
                await connection.open()
                log.info("connected to the broker", host=self._broker.host, port=self._broker.port)
                began_s = self._monotonic_s()
                self._connected = True
                await self._deliver(connection)
            except BrokerLost as error:
                lived_s = self._monotonic_s() - began_s
                failures = 0 if lived_s >= GOOD_CONNECTION_S else failures + 1
                # Once for an outage: a broker away for a night must not fill the journal.
                if failures <= 1:
                    log.warning("no connection to the broker", reason=str(error))
            except asyncio.CancelledError:
                await connection.close(self._offline)
                raise
            self._connected = False
            connection.drop()
            await asyncio.sleep(self._reconnect_delay_s(failures))

    # -- one connection

    async def _deliver(self, connection: Connection) -> None:
        self._under_way.clear()
        self._said = None
        self._status_due_s = self._status_earliest_s = 0.0
        connection.subscribe(ack_filter(self._identity.gateway))
        for topic_filter in self._mailbox.filters if self._mailbox else ():
            connection.subscribe(topic_filter)
        while True:
            self._wake.clear()
            self.pulse.beat()
            connection.check()
            try:
                await self._say_status(connection)
                await self._take_acks()
                answered = self._say_mail(connection)
                wait_s = min(await self._send(connection), self._status_wait_s())
                if not answered:
                    wait_s = min(wait_s, RETRY_S)
            except OutboxUnavailable as error:
                log.error("the outbox cannot be used", error=str(error))  # noqa: TRY400 no trace
                wait_s = RETRY_S
            await self._sleep(wait_s)

    async def _sleep(self, wait_s: float) -> None:
        self.pulse.beat(wait_s)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _send(self, connection: Connection) -> float:
        """Send what is due; returns in how many seconds something will be."""
        now_s = self._monotonic_s()
        for key in [key for key, sent in self._under_way.items() if sent.due_s <= now_s]:
            stored = await self._outbox.get(key)
            if stored is None:
                del self._under_way[key]
            elif not self._publish(connection, stored):
                return RETRY_S
        free = self._settings.window - len(self._under_way)
        if free > 0:
            live_since = self._clock.now() - timedelta(seconds=self._settings.live_age_s)
            under_way = frozenset(self._under_way)
            for stored in await self._outbox.pending(
                free, live_since=live_since, except_for=under_way
            ):
                if not self._publish(connection, stored):
                    return RETRY_S
        due_s = min((sent.due_s for sent in self._under_way.values()), default=float("inf"))
        return max(0.0, due_s - self._monotonic_s())

    def _publish(self, connection: Connection, stored: Stored) -> bool:
        key = stored.key
        topic = build(BatchTopic(self._identity.gateway, key.epoch, key.seq))
        if not connection.publish(Message(topic, stored.payload)):
            return False
        before = self._under_way.get(key)
        times = before.times + 1 if before else 1
        wait_s = min(
            self._settings.resend_after_s * 2.0 ** min(times - 1, 16),
            self._settings.resend_after_max_s,
        )
        self._under_way[key] = _Sent(times, self._monotonic_s() + wait_s * self._uniform(0.9, 1.1))
        return True

    def _say_mail(self, connection: Connection) -> bool:
        """Publish what waits in the mailbox; False when the client takes no more for now."""
        while self._mailbox is not None and (mail := self._mailbox.next()) is not None:
            if not connection.publish(Message(*mail)):
                return False
            self._mailbox.done()
        return True

    # -- acks

    def _receive(self, message: Message) -> None:
        if message.topic != self._ack_topic:
            if self._mailbox is not None:
                self._mailbox.deliver(message.topic, message.payload)
            return
        try:
            self._acks.append(decode_ack(message.payload))
        except MessageError as error:
            log.warning("an ack cannot be read and is left aside", reason=str(error))
            return
        self.wake()

    async def _take_acks(self) -> None:
        if not self._acks:
            return
        acks = list(self._acks)
        self._acks.clear()
        delivered = await self._outbox.apply_acks(acks)
        for key in delivered:
            self._under_way.pop(key, None)
        if any(
            entry.epoch == self._outbox.epoch and _has_any(entry)
            for ack in acks
            for entry in ack.epochs
        ):
            self.acked.set()
        silent_s = self._monotonic_s() - self._acked_s
        self._acked_s = self._monotonic_s()
        if delivered:
            self._roused = False
        if silent_s < self._settings.resend_after_s or self._roused:
            # A collector that is merely busy would only be made busier; and one whose reading store
            # is away answers each repetition with an ack that brings nothing.
            return
        # It is there again: what it has missed meanwhile need not wait for its back-off.
        self._roused = not delivered
        for sent in self._under_way.values():
            if sent.times > 1:
                sent.times = 1
                sent.due_s = min(sent.due_s, self._monotonic_s() + RETRY_S)

    # -- status

    def _status_wait_s(self) -> float:
        due_s = self._status_earliest_s if self._changed else self._status_due_s
        return max(0.0, due_s - self._monotonic_s())

    async def _say_status(self, connection: Connection) -> None:
        if self._status_wait_s() > 0:
            return
        now_s = self._monotonic_s()
        self._changed = False
        self._status_earliest_s = now_s + STATUS_SPACING_S
        generation = self._outbox.generation
        epochs, usage = await self._outbox.state()
        epochs = epochs[:STATUS_EPOCHS_MAX]
        clock = self._clock.state()
        lines = self._lines()
        config = self._config()
        # What is worth saying before its time; counts are not.
        news = (
            generation,
            [entry.epoch for entry in epochs],
            usage.waiting == 0,
            clock,
            [(line.line, line.state, line.degraded, line.offline) for line in lines],
            config,
        )
        if news == self._said and now_s < self._status_due_s:
            return
        status = Status(
            v=1,
            online=True,
            station=self._identity.station,
            count=self._count + 1,
            generation=generation,
            sent_at=self._clock.now(),
            started_at=self._started_at,
            clock=clock,
            version=self._identity.version,
            epochs=epochs,
            outbox=usage,
            lines=lines,
            config=config,
        )
        if connection.publish(Message(self._status_topic, encode(status), retain=True)):
            self._count += 1
            self._said = news
            self._status_due_s = now_s + self._settings.status_every_s

    def _reconnect_delay_s(self, failures: int) -> float:
        """A little at first, twice as long each time, never the same for two gateways."""
        delay_s = min(RECONNECT_S * 2.0 ** min(failures, 16), RECONNECT_MAX_S)
        return delay_s * self._uniform(0.5, 1.0)


def _has_any(entry: AckEpoch) -> bool:
    return entry.upto > 0 or bool(entry.also)
