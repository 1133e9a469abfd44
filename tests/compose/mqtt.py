"""A small synchronous MQTT client for tests, over paho; every wait has a deadline."""

import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

WAIT_S = 10.0


class RefusedByBrokerError(Exception):
    """The broker answered the connection with no."""


class Peer:
    """One connection: publishes with the broker's acknowledgement, collects what arrives."""

    def __init__(
        self,
        port: int,
        username: str | None,
        password: str | None,
        client_id: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.disconnected = threading.Event()
        self._answers: queue.Queue[ReasonCode] = queue.Queue()
        self._subscribed: queue.Queue[int] = queue.Queue()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv311
        )
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.connect("localhost" if tls else "127.0.0.1", port)
        self._client.loop_start()
        answer = self._answers.get(timeout=WAIT_S)
        if answer.is_failure:
            self.close()
            raise RefusedByBrokerError(str(answer))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Return when the broker has acknowledged it, whether or not it passed it on."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(WAIT_S)
        assert info.is_published()

    def subscribe(self, topic_filter: str) -> None:
        """Return when the broker has answered; whatever it sent before has then arrived."""
        self._client.subscribe(topic_filter, qos=1)
        self._subscribed.get(timeout=WAIT_S)

    def arrived(self) -> list[tuple[str, bytes]]:
        """What came since the last call, up to now."""
        self.subscribe("nothing/at/all")
        messages = []
        while not self.received.empty():
            messages.append(self.received.get())
        return messages

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, _client: object, _data: object, _flags: object, reason: ReasonCode, _p: object
    ) -> None:
        self._answers.put(reason)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.received.put((message.topic, bytes(message.payload)))

    def _on_subscribe(self, _c: object, _d: object, mid: int, _codes: object, _p: object) -> None:
        self._subscribed.put(mid)

    def _on_disconnect(
        self, _c: object, _d: object, _flags: object, _reason: object, _p: object
    ) -> None:
        self.disconnected.set()


@contextmanager
def peer(
    port: int,
    username: str | None = None,
    password: str | None = None,
    *,
    client_id: str = "",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Peer]:
    """A connected client, closed at the end. Raises RefusedByBrokerError."""
    connection = Peer(port, username, password, client_id, tls)
    try:
        yield connection
    finally:
        connection.close()
