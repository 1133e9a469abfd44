"""A publisher that costs next to nothing: ready-made MQTT 3.1.1 packets over one socket.

Load must not take the processor from what is measured. It owns the few packets that takes; it
knows nothing of what the payloads mean, but that acks come back on `…/ack`.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.workload import Sent
from contract.messages import decode_ack
from contract.topics import BatchTopic, ack_filter, parse

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 0x10, 0x20, 0x30, 0x40, 0x82, 0x90
QOS1 = 0x02
KEEPALIVE_S = 600
WINDOW = 200
GATEWAY_WINDOW = 20  # the default of the station file's `uplink.window`
RECEIVE_BYTES = 262_144
SOCKET_TIMEOUT_S = 60.0
PACKET_IDS = 65_535
PROBE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Published:
    """When the first message was sent, when the broker had the last, when the last was acked.

    Seconds of the monotonic clock, which all processes share. `acked_at` is None where nobody
    was waited for.
    """

    started_at: float
    taken_at: float
    acked_at: float | None


class RawPublisher:
    """One connection; a context manager is not worth it: the process ends with it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._pubacks = 0
        self.acked: dict[str, int] = {}
        head = b"\0\4MQTT\4\2" + struct.pack(">H", KEEPALIVE_S)
        self._socket.sendall(packet(CONNECT, head + text("songlo-bench-publisher")))
        self._receive_until(lambda kind: kind == CONNACK)

    def watch_acks(self) -> None:
        """Subscribe to all gateways' acks."""
        self._socket.sendall(packet(SUBSCRIBE, b"\0\1" + text(ack_filter()) + b"\0"))
        self._receive_until(lambda kind: kind == SUBACK)

    def publish(self, messages: list[Sent], *, wait_for_acks: bool) -> Published:
        """Send all, at most WINDOW at a time on their way to the broker.

        With `wait_for_acks` also at most GATEWAY_WINDOW of a gateway on their way to its ack, as
        the gateways do it, and until the last one is acked.
        """
        packets = [_publish(one, number % PACKET_IDS + 1) for number, one in enumerate(messages)]
        topics = [_batch_topic(one) for one in messages]
        self._pubacks = 0
        sent = 0
        started_at = time.monotonic()
        while self._pubacks < len(packets):
            last = min(len(packets), self._pubacks + WINDOW)
            if wait_for_acks:
                last = self._last_in_windows(topics, sent, last)
            if last > sent:
                self._socket.sendall(b"".join(packets[sent:last]))
                sent = last
            self._receive()
        taken_at = time.monotonic()
        if not wait_for_acks:
            return Published(started_at, taken_at, None)
        for topic in topics:
            self.wait_for_acks(topic.gateway, topic.seq, SOCKET_TIMEOUT_S)
        return Published(started_at, taken_at, time.monotonic())

    def _last_in_windows(self, topics: list[BatchTopic], first: int, last: int) -> int:
        """The end of the stretch from `first` that the gateways' windows let through."""
        for number in range(first, last):
            topic = topics[number]
            if topic.seq > self.acked.get(topic.gateway, 0) + GATEWAY_WINDOW:
                return number
        return last

    def probe(self, one: Sent, timeout_s: float) -> None:
        """Send a message again and again until it is acked: then a collector is at work."""
        deadline = time.monotonic() + timeout_s
        gateway = _batch_topic(one).gateway
        self._socket.settimeout(PROBE_EVERY_S)
        while not self.acked.get(gateway):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody acknowledges anything within {timeout_s:.0f} s")
            self._socket.sendall(_publish(one, 1))
            try:
                while not self.acked.get(gateway):
                    self._receive()
            except TimeoutError:
                continue
        self._socket.settimeout(SOCKET_TIMEOUT_S)

    def wait_for_acks(self, gateway: str, seq: int, timeout_s: float) -> None:
        """Wait until everything of a gateway up to `seq` is acked, whatever its epoch."""
        deadline = time.monotonic() + timeout_s
        self._socket.settimeout(PROBE_EVERY_S)
        while self.acked.get(gateway, 0) < seq:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{gateway}: acked up to {self.acked.get(gateway)} after {timeout_s:.0f} s"
                )
            with contextlib.suppress(TimeoutError):
                self._receive()
        self._socket.settimeout(SOCKET_TIMEOUT_S)

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()

    def _receive_until(self, wanted: Callable[[int], bool]) -> None:
        while not any(map(wanted, self._receive())):
            pass

    def _receive(self) -> list[int]:
        """Take what has come, waiting for at least one byte; the kinds of the packets."""
        data = self._socket.recv(RECEIVE_BYTES)
        assert data, "the broker closed the connection"
        self._buffer += data
        kinds = []
        position = 0
        while True:
            header = length_at(self._buffer, position + 1)
            if header is None:
                break
            length, body = header
            if len(self._buffer) < body + length:
                break
            kind = self._buffer[position] & 0xF0
            kinds.append(kind)
            if kind == PUBACK:
                self._pubacks += 1
            elif kind == PUBLISH:
                self._take_ack(self._buffer[body : body + length])
            position = body + length
        self._buffer = self._buffer[position:]
        return kinds

    def _take_ack(self, body: bytes) -> None:
        size = int.from_bytes(body[:2], "big")
        gateway = parse(body[2 : 2 + size].decode()).gateway
        for epoch in decode_ack(body[2 + size :]).epochs:
            self.acked[gateway] = max(self.acked.get(gateway, 0), epoch.upto)


def _batch_topic(one: Sent) -> BatchTopic:
    topic = parse(one.topic)
    assert isinstance(topic, BatchTopic)
    return topic


def packet(kind: int, body: bytes) -> bytes:
    """A control packet: its first byte, the length, the body."""
    length = len(body)
    digits = bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((kind,)) + bytes(digits) + body


def length_at(buffer: bytes, position: int) -> tuple[int, int] | None:
    """The remaining length that starts at `position` and where the body begins."""
    value = shift = 0
    while position < len(buffer):
        digit = buffer[position]
        value |= (digit & 0x7F) << shift
        position += 1
        if not digit & 0x80:
            return value, position
        shift += 7
    return None


def text(value: str) -> bytes:
    """A string as MQTT has it: its length, then UTF-8."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _publish(one: Sent, packet_id: int) -> bytes:
    body = text(one.topic) + packet_id.to_bytes(2, "big") + one.payload
    return packet(PUBLISH | QOS1, body)
