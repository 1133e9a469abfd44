"""One connection to the MQTT broker, driven by the event loop.

The only module of the gateway that knows `paho`. Every connection has a client object of its own,
so nothing that an earlier one had queued is ever sent again behind the uplink's back; paho's
sockets are watched by the event loop, without a thread but while connecting. It must not know
what topics and payloads mean.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contract.tls_words import explained
from gateway.config import Tls
from gateway.credentials import BadCredentials, context_of

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

# A GPRS link in the rain answers after two seconds, and with TLS five answers are waited for. What
# blocks longer would also hold up the end of the process, beyond what the unit allows for it.
CONNECT_TIMEOUT_S = 12.0
TICK_S = 1.0  # how often keep-alive is looked after
GOODBYE_TIMEOUT_S = 2.0

_QOS = 1


class BrokerLost(Exception):
    """There is no connection to the broker, for the reason in the text."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to be let in. `inflight_max` bounds what paho may hold."""

    host: str
    port: int
    client_id: str
    keepalive_s: int = 30
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None
    inflight_max: int = 40


@dataclass(frozen=True, slots=True)
class Message:
    """A topic and what is, or is to be, published there."""

    topic: str
    payload: bytes
    retain: bool = False


class BrokerConnection:
    """A connection from CONNECT to its end; not used again afterwards.

    Within the event loop, `received` is called with each message that arrives, and `ended` once
    when the connection is lost.
    """

    def __init__(
        self,
        broker: Broker,
        will: Message,
        *,
        received: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._watched: SocketLike | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._trouble = ""
        self._client = self._make_client(will)

    async def open(self) -> None:
        """Connect and wait for the broker's consent. Raises BrokerLost."""
        host, port, keepalive_s = self._broker.host, self._broker.port, self._broker.keepalive_s
        try:
            if self._broker.tls is not None:
                # Read anew for each connection: a certificate that was renewed counts at once, and
                # one that cannot be used is an outage that is said, not the end of the gateway.
                self._client.tls_set_context(context_of(self._broker.tls))
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                # Name resolution, TCP and TLS block; everything after them does not.
                await asyncio.to_thread(self._client.connect, host, port, keepalive_s)
                self._watch()
                await self._connected
        except TimeoutError as error:
            self.drop()
            raise BrokerLost(f"{host}:{port} does not answer") from error
        except BadCredentials as error:
            self.drop()
            raise BrokerLost(str(error)) from error
        except (OSError, ValueError) as error:
            self.drop()
            raise BrokerLost(f"{host}:{port}: {explained(str(error))}") from error
        except BaseException:
            self.drop()
            raise

    def subscribe(self, topic_filter: str) -> None:
        """Ask for messages; the broker sends the retained ones at once. Raises BrokerLost."""
        code, _ = self._client.subscribe(topic_filter, _QOS)
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerLost(str(code))

    def publish(self, message: Message) -> bool:
        """Hand over a message for QoS 1; False when too many are under way. Raises BrokerLost."""
        info = self._client.publish(message.topic, message.payload, _QOS, message.retain)
        if info.rc is MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return False
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerLost(str(info.rc))
        return True

    def check(self) -> None:
        """Raises BrokerLost when the connection has ended."""
        if self._lost.done():
            raise BrokerLost(self._lost.result())

    async def close(self, goodbye: Message) -> None:
        """Publish `goodbye` and disconnect in order; gives up after GOODBYE_TIMEOUT_S."""
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                if not self._lost.done():
                    self.publish(goodbye)
                    self._client.disconnect()
                    await asyncio.shield(self._lost)
        except (TimeoutError, BrokerLost):
            pass
        finally:
            self.drop()

    def drop(self) -> None:
        """Let go of the socket, whatever state it is in."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._unwatch()
        if (sock := self._client.socket()) is not None:
            sock.close()
        self._end("closed")

    # -- paho's callbacks and the event loop

    def _make_client(self, will: Message) -> Client:
        broker = self._broker
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(broker.inflight_max)
        client.max_queued_messages_set(broker.inflight_max)
        client.will_set(will.topic, will.payload, _QOS, will.retain)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_log = self._on_log
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        return client

    def _watch(self) -> None:
        sock = self._client.socket()
        if sock is None:
            raise BrokerLost("the connection was lost at once")
        self._watched = sock
        self._loop.add_reader(sock, self._readable)
        self._loop.add_writer(sock, self._client.loop_write)
        self._keep_alive()

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._loop.remove_writer(self._watched)
            self._watched = None

    def _readable(self) -> None:
        self._client.loop_read()
        # What TLS has already decrypted does not make the socket readable again.
        while (sock := self._client.socket()) is not None and getattr(sock, "pending", int)():
            self._client.loop_read()

    def _keep_alive(self) -> None:
        self._client.loop_misc()
        self._tick = self._loop.call_later(TICK_S, self._keep_alive)

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        code: ReasonCode,
        _: Properties | None,
    ) -> None:
        if code.is_failure:
            self._end(f"the broker refuses: {code}")
        elif not self._connected.done():
            self._connected.set_result(None)

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        code: ReasonCode,
        _: Properties | None,
    ) -> None:
        self._end(self._why(code))

    def _why(self, code: ReasonCode) -> str:
        """What paho calls an unspecified error, in the words of what it met."""
        reason = explained(self._trouble or str(code))
        if self._broker.tls is None or self._connected.done():
            return reason
        # In TLS 1.3 a server sees the client's certificate when the client takes itself for
        # connected, and its refusal may be lost with the connection.
        return f"{reason}: the broker may not accept this gateway's certificate"

    def _on_log(self, _client: Client, _data: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._trouble = text

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._received(Message(message.topic, bytes(message.payload), message.retain))

    def _on_socket_close(self, _client: Client, _data: object, _sock: "SocketLike") -> None:
        self._unwatch()

    def _on_want_write(self, _client: Client, _data: object, sock: "SocketLike") -> None:
        # Also called by the connecting thread, before the loop watches: `_watch` makes up for it.
        if self._watched is not None:
            self._loop.add_writer(sock, self._client.loop_write)

    def _on_written(self, _client: Client, _data: object, sock: "SocketLike") -> None:
        if self._watched is not None:
            self._loop.remove_writer(sock)

    def _end(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
            self._ended()
        if not self._connected.done():
            self._connected.set_exception(BrokerLost(reason))
            # Marked as seen: nobody waits for it when connecting itself has failed.
            self._connected.exception()
