"""The other side of the broker, for tests: notes what arrives, acknowledges what it is told to."""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from contract.messages import Ack, AckEpoch, Status, decode_status, encode
from contract.topics import AckTopic, BatchTopic, batches_filter, build, parse, status_filter

DEADLINE_S = 20.0


class Collecting:
    """Subscribed to one gateway's batches and statuses; acknowledges while `acks` is true."""

    def __init__(self, port: int, gateway: str, *, acks: bool = True) -> None:
        self.gateway = gateway
        self.acks = acks
        self.takes_nothing = False  # answers each batch with what it had before
        self.generation = 1
        self.arrived: list[tuple[str, int]] = []
        self.payloads: dict[tuple[str, int], bytes] = {}
        self.statuses: list[Status] = []
        self._lock = threading.Lock()
        self._have: dict[str, set[int]] = {}
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def ack(
        self, upto: dict[str, int], also: dict[str, list[tuple[int, int]]] | None = None
    ) -> None:
        """Publish one ack, retained."""
        ranges = also or {}
        entries = [AckEpoch(epoch, upto[epoch], ranges.get(epoch, [])) for epoch in upto]
        self.publish(encode(Ack(self.generation, entries)))

    def publish(self, payload: bytes) -> None:
        """Publish anything where acks go."""
        self._client.publish(build(AckTopic(self.gateway)), payload, 1, retain=True)

    def take(self, key: tuple[str, int]) -> None:
        """Acknowledge one batch, and with it all that were before."""
        with self._lock:
            self._have.setdefault(key[0], set()).add(key[1])
        self._acknowledge()

    def forget(self) -> None:
        """A ledger that came back empty: a new generation that has nothing."""
        with self._lock:
            self._have.clear()
            self.arrived.clear()
            self.generation += 1
        self.ack({})

    def _on_connect(self, *_: object) -> None:
        self._client.subscribe(
            [(batches_filter(self.gateway), 1), (status_filter(self.gateway), 1)]
        )

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        topic = parse(message.topic)
        if not isinstance(topic, BatchTopic):
            self.statuses.append(decode_status(bytes(message.payload)))
            return
        key = (topic.epoch, topic.seq)
        with self._lock:
            self.arrived.append(key)
            payload = bytes(message.payload)
            assert self.payloads.setdefault(key, payload) == payload
            if self.acks:
                self._have.setdefault(topic.epoch, set()).add(topic.seq)
        if self.acks or self.takes_nothing:
            self._acknowledge()

    def _acknowledge(self) -> None:
        upto, also = {}, {}
        for epoch, seqs in self._have.items():
            low = 0
            while low + 1 in seqs:
                low += 1
            upto[epoch] = low
            also[epoch] = [(seq, seq) for seq in sorted(seqs) if seq > low]
        self.ack(upto, also)


async def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait till `condition` holds; fails with `what` after the deadline."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)
