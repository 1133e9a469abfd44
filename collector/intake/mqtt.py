"""The collector's side of the broker, through paho: the only module here that knows of it.

Owns connections and their making again; it must not know what a message means. `Session` is for
intake, step by step and in one thread: messages are taken off the broker's hands (PUBACK) only when
the caller says so, so that the broker's window of messages in flight bounds what is held, and a
persistent session keeps what was not dealt with. `DeskLink` is for the few commands and their
results.
"""

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from collector.intake.tls import context_of
from collector.intake.wire import (
    Connected,
    Disconnected,
    Publish,
    Refused,
    Start,
    Subscribe,
    Subscribed,
)
from contract import topics
from contract.tls_words import explained

# Messages published and not yet taken by the broker, at most; what comes beyond waits here. Few:
# paho reads as many packets in one go as there are messages under way.
IN_FLIGHT_MAX = 20

# Messages taken in one go, about: between goes others are looked after.
MESSAGES_AT_ONCE = 20

RECONNECT_MIN_S = 1.0
RECONNECT_MAX_S = 30.0
CONNECT_TIMEOUT_S = 5.0

# Results of commands that nobody has looked at yet, at most: 64 kB each.
RESULTS_MAX = 200

# How often keepalives and timeouts are looked after.
CARE_EVERY_S = 1.0

# How long the last packets may take to leave when the connection is closed.
FLUSH_S = 1.0


class Arrival(NamedTuple):
    """A message that came; `mid` is what it is taken off the broker's hands by, where qos is 1."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int


Said = Callable[[Connected | Disconnected | Refused | Subscribed], None]


class Session:
    """One client of the broker, connected again and again until it is closed.

    `said` is told what happens to the connection, `arrived` is given each message. Both are called
    from within `step` and `read`.
    """

    def __init__(self, start: Start, said: Said, arrived: Callable[[Arrival], None]) -> None:
        self._start = start
        self._said = said
        self._arrived = arrived
        self._connection = 0
        self._up = False
        self._due_s = 0.0
        self._pause_s = RECONNECT_MIN_S
        self._care_due_s = 0.0
        self._count = 0
        self._tokens: dict[int, int] = {}
        self._to_publish: dict[str, bytes] = {}
        self._publishing: set[int] = set()
        self._client = _client_of(start, manual_ack=True)
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_socket_open = _at_once
        # Whoever drives this session writes when the socket takes it: paho need not at once.
        self._client.on_socket_register_write = lambda *_: None

    # --- driving it ---------------------------------------------------------------------------

    def step(self) -> float:
        """Do what is due: connect, keep alive, publish; seconds until something will be."""
        now_s = time.monotonic()
        if self._client.socket() is None:
            if now_s < self._due_s:
                return self._due_s - now_s
            self._connect()
            now_s = time.monotonic()
        if now_s >= self._care_due_s:
            self._care_due_s = now_s + CARE_EVERY_S
            self._client.loop_misc()
        self._publish_waiting()
        return max(0.0, self._care_due_s - now_s)

    def fileno(self) -> int | None:
        """The socket to be waited for, where there is one."""
        sock = self._client.socket()
        return None if sock is None else int(sock.fileno())

    @property
    def has_read_ahead(self) -> bool:
        """Whether there is something to read that the socket shows no more: TLS has it."""
        sock = self._client.socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    @property
    def wants_to_write(self) -> bool:
        """Whether packets wait to be written."""
        return bool(self._client.want_write())

    def read(self) -> None:
        """Take some packets while there are any."""
        first = self._count
        while self._count < first + MESSAGES_AT_ONCE:
            before = self._count
            if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or before == self._count:
                return

    def write(self) -> None:
        """Write packets that wait."""
        self._client.loop_write()

    # --- what can be asked --------------------------------------------------------------------

    def subscribe(self, message: Subscribe) -> None:
        """Subscribe; `said` is told when the broker has answered."""
        result, mid = self._client.subscribe(message.filters)
        if result == MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
            self._tokens[mid] = message.token

    def unsubscribe(self, topic_filter: str) -> None:
        """Subscribe no more."""
        self._client.unsubscribe(topic_filter)

    def done(self, connection: int, mids: Sequence[int]) -> None:
        """Take messages off the broker's hands, unless they came over an earlier connection.

        On a new one the broker has sent them again, under what may be other numbers.
        """
        if self._up and connection == self._connection:
            for mid in mids:
                self._client.ack(mid, 1)

    def let_go(self, one: Arrival) -> None:
        """Take a message off the broker's hands at once; for use where it arrives."""
        self._client.ack(one.mid, one.qos)

    def publish(self, message: Publish) -> None:
        """Publish retained, at once or as soon as there is room; not beyond this connection."""
        if self._up:
            self._to_publish[message.topic] = message.payload

    def close(self) -> None:
        """Write what waits, for a moment, and disconnect in order."""
        deadline = time.monotonic() + FLUSH_S
        self._publish_waiting()
        while self._up and self._client.want_write() and time.monotonic() < deadline:
            self._client.loop_write()
        self._client.disconnect()
        self._client.loop_write()

    # --- within -------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._due_s = time.monotonic() + self._pause_s
        self._pause_s = min(RECONNECT_MAX_S, 2 * self._pause_s)
        self._care_due_s = 0.0
        try:
            self._client.connect(
                self._start.host, self._start.port, keepalive=self._start.keepalive_s
            )
        except (OSError, ValueError) as error:
            self._said(Disconnected(explained(str(error))))

    def _publish_waiting(self) -> None:
        """Hand on what waits to be published while fewer than IN_FLIGHT_MAX are under way."""
        while self._up and self._to_publish and len(self._publishing) < IN_FLIGHT_MAX:
            topic = next(iter(self._to_publish))
            info = self._client.publish(topic, self._to_publish.pop(topic), qos=1, retain=True)
            self._publishing.add(info.mid)

    # --- what paho tells ----------------------------------------------------------------------

    def _on_connect(
        self,
        _client: paho.Client,
        _data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self._said(Refused("connection", str(reason)))
            return
        self._up = True
        self._pause_s = RECONNECT_MIN_S
        self._connection += 1
        self._said(Connected(self._connection, flags.session_present))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._up = False
        self._tokens.clear()
        self._to_publish.clear()
        self._said(Disconnected(str(reason)))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        mid: int,
        reasons: Sequence[ReasonCode],
        _properties: object,
    ) -> None:
        failures = [str(reason) for reason in reasons if reason.is_failure]
        if failures:
            self._said(Refused("subscription", ", ".join(failures)))
        self._said(Subscribed(self._tokens.pop(mid, 0)))

    def _on_publish(
        self,
        _client: paho.Client,
        _data: object,
        mid: int,
        _reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._publishing.discard(mid)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._count += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)
            return
        payload = bytes(message.payload)
        self._arrived(Arrival(topic, payload, message.retain, message.mid, message.qos))


class DeskLink:
    """A connection that sends commands and configurations and hears the results of all gateways.

    Its session ends with it. `inbox` has (topic, payload) of results; those that find it full are
    dropped, because the event of a command comes in with the batches anyway. `said` is told what
    happens to the connection, on paho's thread.
    """

    def __init__(self, start: Start, said: Callable[[Disconnected | Refused], None]) -> None:
        self._start = start
        self._said = said
        self.inbox: queue.Queue[tuple[str, bytes]] = queue.Queue(RESULTS_MAX)
        self.refused = ""
        self._ready = threading.Event()
        self._client = _client_of(start, manual_ack=False)
        self._client.reconnect_delay_set(int(RECONNECT_MIN_S), int(RECONNECT_MAX_S))
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Begin to connect, in a thread of paho's; returns at once."""
        self._client.connect_async(
            self._start.host, self._start.port, keepalive=self._start.keepalive_s
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect in order."""
        self._client.disconnect()
        self._client.loop_stop()

    def ready(self, timeout_s: float) -> bool:
        """Whether it is connected and results are heard; waits for it."""
        return self._ready.wait(timeout_s)

    def retained(self, topic: str, timeout_s: float) -> bytes | None:
        """What the broker retains under `topic`; None if nothing came in time."""
        self._client.subscribe(topic, 1)
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                found, payload = self.inbox.get(timeout=left_s)
            except queue.Empty:
                return None
            if found == topic:
                return payload
        return None

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        """Publish, and wait until the broker has taken it; False if it did not in time."""
        deadline = time.monotonic() + timeout_s
        if not self.ready(timeout_s):
            return False
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        info.wait_for_publish(max(0.0, deadline - time.monotonic()))
        return info.is_published()

    # --- on paho's thread ---------------------------------------------------------------------

    def _on_connect(
        self,
        client: paho.Client,
        _data: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self.refused = str(reason)
            self._said(Refused("connection", self.refused))
            return
        client.subscribe(topics.result_filter(), 1)

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._ready.clear()
        self._said(Disconnected(str(reason)))

    def _on_subscribe(self, *_: object) -> None:
        self._ready.set()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with contextlib.suppress(UnicodeDecodeError, queue.Full):
            self.inbox.put_nowait((message.topic, bytes(message.payload)))


def _client_of(start: Start, *, manual_ack: bool) -> paho.Client:
    """A client for this broker, not connected."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=start.client_id,
        clean_session=start.clean_session,
        protocol=paho.MQTTv311,
        manual_ack=manual_ack,
    )
    if start.username is not None:
        client.username_pw_set(start.username, start.password)
    if start.tls is not None:
        client.tls_set_context(context_of(start.tls))
    client.connect_timeout = CONNECT_TIMEOUT_S
    return client


def _at_once(_client: paho.Client, _data: object, sock: "paho.SocketLike") -> None:
    """Have small packets leave at once: a PUBACK that waits for company holds up the window."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
