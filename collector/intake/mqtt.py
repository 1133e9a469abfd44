"""The collector's side of the broker, through paho: the only module here that knows of it.

Owns connecting, subscribing, taking and publishing; it must not know what a message means. Messages
are taken off the broker's hands (PUBACK) only when the caller says so, so that the broker's window
of messages in flight bounds what is held, and a persistent session keeps what was not dealt with.
"""

import contextlib
import queue
import ssl
import threading
import time
import uuid
from collections.abc import Iterable, Sequence

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from collector.config import BrokerConfig
from collector.intake.batch import Message
from contract import topics
from contract.limits import BATCH_BYTES_MAX, STATUS_BYTES_MAX
from contract.messages import Ack, MessageError, decode_ack

# Messages held in memory at most: 64 kB each. Brokers do not keep strictly to their window of
# messages in flight; beyond this many nothing is read from the connection until there is room.
INBOX_MAX = 2_000

# How often room is looked for, in seconds. After half a keepalive a message is let go of, so that
# the connection stays alive: its gateway sends it again.
ROOM_POLL_S = 0.005

# Results of commands that nobody has looked at yet, at most: 64 kB each.
RESULTS_MAX = 200

# Acks handed to paho and not yet taken by the broker, at most.
OUTBOX_MAX = 2_000
IN_FLIGHT_MAX = 200

RECONNECT_MIN_S = 1
RECONNECT_MAX_S = 30

# Retained acks come at once after the subscription; a pause this long means that was all.
QUIET_S = 0.5
QUIET_MAX_S = 2.0

# How long the last PUBACKs may take to leave when the link is closed.
FLUSH_S = 1.0

_log = structlog.get_logger(__name__)


def _client_of(
    config: BrokerConfig, password: str | None, client_id: str, *, clean: bool, manual_ack: bool
) -> paho.Client:
    """A client for this broker, not connected."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean,
        protocol=paho.MQTTv311,
        manual_ack=manual_ack,
    )
    if config.username is not None:
        client.username_pw_set(config.username, password)
    if config.tls is not None:
        certificate, key = config.tls.certificate_file, config.tls.key_file
        client.tls_set(
            ca_certs=str(config.tls.ca_file),
            certfile=None if certificate is None else str(certificate),
            keyfile=None if key is None else str(key),
            tls_version=ssl.PROTOCOL_TLS_CLIENT,
        )
    client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
    return client


class Link:
    """One connection to the broker, kept up until it is stopped.

    `connections` counts how often it was established: whoever sees it grow must subscribe again.
    A `reader` only looks: it has a session of its own beside a running collector's.
    """

    def __init__(self, config: BrokerConfig, password: str | None, *, reader: bool = False) -> None:
        self._config = config
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._retained_acks: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.connections = 0
        self.dropped = 0
        self.connected = False
        self._stopping = False
        passing = reader or config.shared_group is not None
        # Members of a group must not share a session: the broker would let only one of them live.
        client_id = f"{config.client_id}-{uuid.uuid4().hex[:8]}" if passing else config.client_id
        self._client = _client_of(config, password, client_id, clean=passing, manual_ack=True)
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX)
        self._client.max_queued_messages_set(OUTBOX_MAX)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(
            self._config.host, self._config.port, keepalive=self._config.keepalive_s
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect in order. PUBACKs given before are sent first."""
        self._stopping = True
        deadline = time.monotonic() + FLUSH_S
        while self.connected and self._client.want_write() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self) -> None:
        """Subscribe to batches and statuses. Harmless when it was done before."""
        batches = topics.batches_filter()
        if self._config.shared_group is not None:
            batches = topics.shared(self._config.shared_group, batches)
        # Every worker takes the statuses: retained ones never come through a shared subscription.
        self._client.subscribe([(batches, 1), (topics.status_filter(), 1)])

    def take(self, count_max: int, timeout_s: float) -> list[Message]:
        """Waiting messages, in the order of their arrival; waits for the first one only."""
        taken: list[Message] = []
        try:
            taken.append(self._inbox.get(timeout=timeout_s))
            while len(taken) < count_max:
                taken.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return taken

    def done(self, messages: Iterable[Message]) -> None:
        """Take these messages off the broker's hands."""
        for message in messages:
            # On a new connection the broker has sent it again, under what may be another number.
            if message.qos and message.connection == self.connections:
                self._client.ack(message.mid, message.qos)

    def publish_ack(self, gateway: str, payload: bytes) -> bool:
        """Publish a gateway's ack, retained; False if it cannot be taken now."""
        if not self.connected:
            return False
        info = self._client.publish(
            topics.build(topics.AckTopic(gateway)), payload, qos=1, retain=True
        )
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def collect_acks(self) -> dict[str, Ack]:
        """The retained acks that the broker has now, by gateway. Needs a connection.

        What is no ack of this contract is left out: it binds nobody.
        """
        # QoS 0: what a persistent session has waiting fills the in-flight window at once, and an
        # ack with QoS 1 would wait behind it until batches are taken, which they are not yet.
        _, mid = self._client.subscribe(topics.ack_filter(), 0)
        deadline = time.monotonic() + QUIET_MAX_S
        collected: dict[str, Ack] = {}
        try:
            while self._subscribed.get(timeout=QUIET_MAX_S) != mid:
                pass
            while time.monotonic() < deadline:
                topic, payload = self._retained_acks.get(timeout=QUIET_S)
                deadline = max(deadline, time.monotonic() + QUIET_S)
                try:
                    collected[topics.parse(topic).gateway] = decode_ack(payload)
                except (MessageError, topics.TopicError) as error:
                    _log.warning("retained_ack_unreadable", topic=topic, reason=str(error))
        except queue.Empty:
            pass
        self._client.unsubscribe(topics.ack_filter())
        return collected

    # --- on paho's thread ---------------------------------------------------------------------

    def _on_connect(
        self,
        _client: paho.Client,
        _data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            _log.error("broker_refused", reason=str(reason))
            return
        self.connections += 1
        self.connected = True
        _log.info("broker_connected", session_present=flags.session_present)

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self.connected = False
        _log.warning("broker_disconnected", reason=str(reason))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        mid: int,
        reasons: Sequence[ReasonCode],
        _properties: object,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error("subscription_refused", reasons=[str(reason) for reason in reasons])
        self._subscribed.put(mid)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)
            return
        if topic.endswith("/ack"):
            client.ack(message.mid, message.qos)
            self._retained_acks.put((topic, bytes(message.payload)))
            return
        if not self._wait_for_room():
            self.dropped += 1
            if not self._stopping:
                client.ack(message.mid, message.qos)
            return
        limit = STATUS_BYTES_MAX if topic.endswith("/status") else BATCH_BYTES_MAX
        self._inbox.put(
            Message(
                topic=topic,
                payload=bytes(message.payload[: limit + 1]),
                retained=message.retain,
                connection=self.connections,
                mid=message.mid,
                qos=message.qos,
            )
        )

    def _wait_for_room(self) -> bool:
        """Hold up the connection while the inbox is full; False when it stays full."""
        deadline = time.monotonic() + self._config.keepalive_s / 2
        while self._inbox.qsize() >= INBOX_MAX:
            if self._stopping or time.monotonic() > deadline:
                return False
            time.sleep(ROOM_POLL_S)
        return True


class DeskLink:
    """A connection that sends commands and configurations and hears the results of all gateways.

    Its session ends with it. `inbox` has (topic, payload) of results; those that find it full are
    dropped, because the event of a command comes in with the batches anyway.
    """

    def __init__(self, config: BrokerConfig, password: str | None) -> None:
        self._config = config
        self.inbox: queue.Queue[tuple[str, bytes]] = queue.Queue(RESULTS_MAX)
        self.refused = ""
        self._ready = threading.Event()
        # Several processes may have the same identity, and the broker lets one client id live once.
        client_id = f"{config.client_id}-{uuid.uuid4().hex[:8]}"
        self._client = _client_of(config, password, client_id, clean=True, manual_ack=False)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(
            self._config.host, self._config.port, keepalive=self._config.keepalive_s
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
            _log.error("broker_refused", reason=self.refused, who="commands")
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
        _log.info("broker_disconnected", reason=str(reason), who="commands")

    def _on_subscribe(self, *_: object) -> None:
        self._ready.set()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with contextlib.suppress(UnicodeDecodeError, queue.Full):
            self.inbox.put_nowait((message.topic, bytes(message.payload)))
