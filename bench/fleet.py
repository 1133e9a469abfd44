"""Many gateways in one process, each with a connection, a window and an outbox of numbers.

They deliver as `gateway/uplink.py` does: what falls due now goes before the backlog, at most a
window under way, again after a growing pause, first again as soon as an ack says that somebody
listens. What an outbox holds is made when it is sent, so that the fleet costs next to nothing.
"""

import random
import selectors
import socket
import struct
import time
from dataclasses import dataclass, field

from bench.raw_mqtt import (
    CONNACK,
    CONNECT,
    KEEPALIVE_S,
    PUBACK,
    PUBLISH,
    QOS1,
    RECEIVE_BYTES,
    SUBACK,
    SUBSCRIBE,
    length_at,
    packet,
    text,
)
from bench.workload import EPOCH, gateway_name, message
from contract.messages import Clock, EpochStatus, OutboxStatus, Status, decode_ack, encode
from contract.topics import BatchTopic, StatusTopic, ack_filter, build
from gateway.station_file import UplinkSection

# As the station file has them by default.
UPLINK = UplinkSection()
ROUSED_S = 1.0
RETAIN = 0x01
PACKET_IDS = 65_535
SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Storm:
    """What is to happen: gateways, slots that wait, slots that fall due and how often, how long."""

    gateways: int = 1_000
    backlog: int = 48
    live_every_s: float = 60.0
    live_slots: int = 5
    give_up_s: float = 1_500.0


@dataclass(frozen=True, slots=True)
class Sample:
    """How far the backlog was at a time: of all gateways, and the least and most of one."""

    at_s: float
    done: int
    least: int
    most: int


@dataclass(slots=True)
class Weathered:
    """What came of it. Seconds count from the first connection.

    `live` has due time and latency of each slot that fell due; `drained_s` when each gateway's
    backlog was acknowledged.
    """

    connected_s: float = 0.0
    live: list[tuple[float, float]] = field(default_factory=list)
    drained_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    sent: int = 0
    ended_s: float = 0.0


class _Payloads:
    """The batches of any gateway, made from one a slot: serials and names are as long."""

    def __init__(self) -> None:
        self._templates: dict[int, tuple[list[bytes], list[bytes]]] = {}

    def of(self, gateway: int, turn: int) -> bytes:
        if turn not in self._templates:
            self._templates[turn] = self._cut(turn)
        separators, parts = self._templates[turn]
        number = b"%03d" % gateway
        made = [parts[0]]
        for separator, part in zip(separators, parts[1:], strict=True):
            made += (separator, number, part)
        return b"".join(made)

    def _cut(self, turn: int) -> tuple[list[bytes], list[bytes]]:
        payload = message(gateway_name(0), 0, turn).payload
        separators: list[bytes] = []
        parts: list[bytes] = []
        rest = payload
        for mark in (b'"PA25SL-T', b'"2026'):
            while (at := rest.find(mark + b"000")) >= 0:
                parts.append(rest[:at])
                separators.append(mark)
                rest = rest[at + len(mark) + 3 :]
        return separators, [*parts, rest]


class _Gateway:
    """One gateway. Seqs up to the backlog's size waited; those above fell due one by one."""

    def __init__(self, number: int, storm: Storm, chance: random.Random) -> None:
        self.number = number
        self.name = gateway_name(number)
        self.backlog = storm.backlog
        self._chance = chance
        self.due_s: list[float] = []
        self.latency_s: dict[int, float] = {}
        self.waiting = dict.fromkeys(range(1, storm.backlog + 1))
        self.live: dict[int, None] = {}
        self.under_way: dict[int, tuple[int, float]] = {}
        self.acked_backlog = 0
        self.drained_s: float | None = None
        self._acked_s = 0.0
        self._roused = False
        self.generation = 0
        self._count = 0
        self.status_due_s = 0.0
        self.buffer = b""
        self.out = bytearray()

    @property
    def is_done(self) -> bool:
        return not (self.waiting or self.live or self.under_way)

    def fall_due(self, at_s: float) -> None:
        self.due_s.append(at_s)
        self.live[self.backlog + len(self.due_s)] = None

    def to_send(self, now_s: float) -> list[int]:
        """What is sent now: again what is overdue, then what is live, then the oldest."""
        seqs = [seq for seq, (_, due_s) in self.under_way.items() if due_s <= now_s]
        free = UPLINK.window - len(self.under_way)
        for source in (self.live, self.waiting):
            while source and free > 0:
                seq = next(iter(source))
                del source[seq]
                seqs.append(seq)
                free -= 1
        for seq in seqs:
            times = self.under_way.get(seq, (0, 0.0))[0] + 1
            wait_s = min(
                UPLINK.resend_after_s * 2.0 ** min(times - 1, 16), UPLINK.resend_after_max_s
            )
            self.under_way[seq] = (times, now_s + wait_s * self._chance.uniform(0.9, 1.1))
        return seqs

    def take_ack(self, payload: bytes, now_s: float) -> None:
        ack = decode_ack(payload)
        self.generation = ack.generation
        gone = [
            seq
            for seq in self.under_way
            for epoch in ack.epochs
            if seq <= epoch.upto or any(first <= seq <= last for first, last in epoch.also)
        ]
        for seq in gone:
            del self.under_way[seq]
            if seq > self.backlog:
                self.latency_s[seq] = now_s - self.due_s[seq - self.backlog - 1]
            else:
                self.acked_backlog += 1
        if self.drained_s is None and self.acked_backlog == self.backlog:
            self.drained_s = now_s
        silent_s, self._acked_s = now_s - self._acked_s, now_s
        if gone:
            self._roused = False
        if silent_s < UPLINK.resend_after_s or self._roused:
            return
        self._roused = not gone
        for seq, (times, due_s) in self.under_way.items():
            if times > 1:
                self.under_way[seq] = (1, min(due_s, now_s + ROUSED_S))

    def status(self, now_s: float) -> bytes:
        self.status_due_s = now_s + UPLINK.status_every_s
        self._count += 1
        held = [*self.under_way, *self.waiting, *self.live]
        upcoming = self.backlog + len(self.due_s) + 1
        status = Status(
            v=1,
            online=True,
            station=self.name,
            count=self._count,
            generation=self.generation,
            clock=Clock.SYNCED,
            # What was acknowledged is kept too, as the real outbox keeps it.
            epochs=[EpochStatus(EPOCH, 1, upcoming)],
            outbox=OutboxStatus(len(held), 0, 1_000_000_000),
        )
        return encode(status)


class Fleet:
    """All gateways on one broker, moved by one loop."""

    def __init__(self, port: int, storm: Storm) -> None:
        chance = random.Random(1_000)  # noqa: S311  the same storm each time
        self._port = port
        self._storm = storm
        self._payloads = _Payloads()
        self._gateways = [_Gateway(number, storm, chance) for number in range(storm.gateways)]
        self._sockets: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._began_s = time.monotonic()
        self._found = Weathered()
        self._id = 0

    def run(self) -> Weathered:
        """Connect all at once, and go on until everything that will ever be due is acked."""
        for gateway in self._gateways:
            self._connect(gateway)
        next_live_s, next_sample_s, live = 0.0, 0.0, 0
        while True:
            now_s = self._now_s()
            if live < self._storm.live_slots and now_s >= next_live_s:
                self._fall_due(next_live_s)
                live += 1
                next_live_s += self._storm.live_every_s
            if now_s >= next_sample_s:
                self._sample(now_s)
                next_sample_s = now_s + SAMPLE_S
                if self._is_over(now_s, live):
                    return self._conclude()
            for key, mask in self._selector.select(0.2):
                self._serve(key.data, mask)

    def _fall_due(self, at_s: float) -> None:
        for gateway in self._gateways:
            gateway.fall_due(at_s)
            self._send(gateway)

    def _is_over(self, now_s: float, live: int) -> bool:
        """Send again what is overdue; whether nothing is left, or it has taken too long."""
        for gateway in self._gateways:
            self._send(gateway)
        if now_s > self._storm.give_up_s:
            return True
        return live == self._storm.live_slots and all(one.is_done for one in self._gateways)

    def _conclude(self) -> Weathered:
        found = self._found
        found.ended_s = self._now_s()
        self._selector.close()
        for made in self._sockets.values():
            made.close()
        for gateway in self._gateways:
            found.drained_s.append(gateway.drained_s or found.ended_s)
            for number, due_s in enumerate(gateway.due_s, gateway.backlog + 1):
                found.live.append((due_s, gateway.latency_s.get(number, found.ended_s - due_s)))
        return found

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _sample(self, now_s: float) -> None:
        done = [gateway.acked_backlog for gateway in self._gateways]
        self._found.samples.append(Sample(round(now_s, 1), sum(done), min(done), max(done)))

    # --- packets ------------------------------------------------------------------------------

    def _connect(self, gateway: _Gateway) -> None:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        self._sockets[gateway.number] = made
        head = b"\0\4MQTT\4\2" + struct.pack(">H", KEEPALIVE_S)
        gateway.out += packet(CONNECT, head + text(gateway.name))
        gateway.out += packet(SUBSCRIBE, b"\0\1" + text(ack_filter(gateway.name)) + b"\1")
        self._selector.register(made, selectors.EVENT_READ, gateway)
        gateway.status_due_s = float("inf")
        self._flush(gateway)

    def _serve(self, gateway: _Gateway, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            data = self._sockets[gateway.number].recv(RECEIVE_BYTES)
            assert data, f"the broker closed the connection of {gateway.name}"
            gateway.buffer += data
            if self._take(gateway):
                self._send(gateway)
        self._flush(gateway)

    def _take(self, gateway: _Gateway) -> bool:
        """What has come; whether something may be sent now."""
        buffer, position, news = gateway.buffer, 0, False
        while (header := length_at(buffer, position + 1)) is not None:
            length, body = header
            if len(buffer) < body + length:
                break
            kind = buffer[position] & 0xF0
            if kind == CONNACK:
                assert buffer[body + 1] == 0, "the broker refuses"
            elif kind == SUBACK:
                gateway.status_due_s = 0.0
                self._found.connected_s = self._now_s()
                news = True
            elif kind == PUBLISH:
                self._take_publish(gateway, buffer[position], buffer[body : body + length])
                news = True
            else:
                assert kind == PUBACK, f"an unexpected packet: {kind:#x}"
            position = body + length
        gateway.buffer = buffer[position:]
        return news

    def _take_publish(self, gateway: _Gateway, first: int, body: bytes) -> None:
        start = 2 + int.from_bytes(body[:2], "big")
        if first & 0x06:
            gateway.out += packet(PUBACK, body[start : start + 2])
            start += 2
        gateway.take_ack(body[start:], self._now_s())

    def _send(self, gateway: _Gateway) -> None:
        if gateway.status_due_s == float("inf"):
            return  # not connected yet
        now_s = self._now_s()
        if now_s >= gateway.status_due_s:
            topic = build(StatusTopic(gateway.name))
            self._publish(gateway, topic, gateway.status(now_s), RETAIN)
        for seq in gateway.to_send(now_s):
            topic = build(BatchTopic(gateway.name, EPOCH, seq))
            self._publish(gateway, topic, self._payloads.of(gateway.number, seq - 1), 0)
            self._found.sent += 1
        self._flush(gateway)

    def _publish(self, gateway: _Gateway, topic: str, payload: bytes, flags: int) -> None:
        self._id = self._id % PACKET_IDS + 1
        body = text(topic) + self._id.to_bytes(2, "big") + payload
        gateway.out += packet(PUBLISH | QOS1 | flags, body)

    def _flush(self, gateway: _Gateway) -> None:
        made = self._sockets[gateway.number]
        while gateway.out:
            try:
                del gateway.out[: made.send(gateway.out)]
            except BlockingIOError:
                break
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if gateway.out else 0)
        if self._selector.get_key(made).events != wanted:
            self._selector.modify(made, wanted, gateway)


def weather(port: int, storm: Storm) -> Weathered:
    """Have a fleet come back, in this process."""
    return Fleet(port, storm).run()
