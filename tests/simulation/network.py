"""The network and the broker of a simulation: late, lossy, forgetful, and partitioned at will.

A superset of what MQTT allows: messages with QoS 1 may be lost without the connection ending, come
twice and in another order, because the protocol promises to survive that. It must not know what the
messages mean beyond their topics.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from collector.intake.batch import Message as Taken
from collector.intake.packing import packed
from contract.messages import Ack, MessageError, decode_ack
from contract.topics import AckTopic, build, parse
from gateway.mqtt import Broker as BrokerAddress
from gateway.mqtt import BrokerLost, Message
from tests.simulation.loop import Killed, Process, Signal
from tests.simulation.world import World

# Nobody tries longer than this without looking again; time is skipped, nothing else changes.
PATIENCE_S = 3600.0
KEEPALIVE_S = 45.0
# Half of the collector's connections stand this long: longer than it gathers and a message takes.
# The others may break at once. Were a break a matter of lost messages alone, a thousand that wait
# would break each connection before the collector has looked, for ever; lines are not like that.
STANDS_S = 120.0


class Machine(Protocol):
    """A machine on the network."""

    name: str

    @property
    def dead(self) -> bool:
        """Whether its programs do nothing any more."""
        ...

    def effect(self, kind: str) -> None:
        """Something that others can see is about to be done, or has just been."""
        ...


@dataclass(slots=True)
class Weather:
    """How the network is: latencies in seconds, and shares of messages lost and doubled."""

    latency_s: float = 0.05
    tail_s: float = 0.0  # one message in ten may be late by up to this
    loss: float = 0.0
    doubles: float = 0.0
    is_ordered: bool = True
    gather_s: float = 1.0  # how long the collector is busy before it looks what has come


class Network:
    """Who can reach the broker, and how long messages take."""

    def __init__(self, world: World, weather: Weather) -> None:
        self._world = world
        self.weather = weather
        self._cut: dict[str, float] = {}
        self._last_s: dict[str, float] = {}
        self._chance = world.chance("network")

    def cut(self, name: str, seconds: float) -> None:
        """Partition a machine from the broker."""
        self._cut[name] = self._world.now_s + seconds

    def reaches(self, name: str) -> bool:
        """Whether it reaches the broker."""
        return self._world.now_s >= self._cut.get(name, 0.0)

    def heals_in_s(self, name: str) -> float:
        """Seconds until it does."""
        return max(0.0, self._cut.get(name, 0.0) - self._world.now_s)

    def latency_s(self) -> float:
        """How long one message takes, or an answer."""
        weather, chance = self.weather, self._chance
        late_s = weather.tail_s * chance.random() if chance.random() < 0.1 else 0.0
        return 0.002 + weather.latency_s * chance.random() + late_s

    def send(
        self,
        name: str,
        way: str,
        arrive: Callable[[], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """One message on the `way` (up or down) between a machine and the broker.

        `lost` is called for some of those that will not arrive: their connection goes too.
        """
        world, weather = self._world, self.weather
        copies = 1
        if not world.is_calm:
            if self._chance.random() < weather.loss:
                world.count("message lost")
                copies = 0
                if self._chance.random() < 0.15:
                    world.loop.call_later(5.0, lost)
            elif self._chance.random() < weather.doubles:
                world.count("message doubled")
                copies = 2
        for _ in range(copies):
            at_s = world.now_s + self.latency_s()
            last_s = self._last_s.get(name + way, 0.0)
            if at_s < last_s and not (weather.is_ordered or world.is_calm):
                world.count("message overtaken")
            else:
                at_s = self._last_s[name + way] = max(at_s, last_s)
            world.loop.call_at(at_s, self._arrive, name, arrive)

    def _arrive(self, name: str, arrive: Callable[[], None]) -> None:
        if self.reaches(name):
            arrive()
        else:
            self._world.count("message lost in partition")


@dataclass(slots=True)
class _Session:
    """What the broker keeps for one client id of the collector."""

    is_subscribed: bool = False
    messages: dict[int, tuple[str, bytes, bool]] = field(default_factory=dict)
    link: "CollectorLink | None" = None


class SimulatedBroker:
    """An MQTT broker that keeps at most `queue_max` messages for an absent collector."""

    def __init__(self, world: World, network: Network, queue_max: int) -> None:
        self._world = world
        self.network = network
        self.is_up = True
        self.up_at_s = 0.0
        self.retained: dict[str, bytes] = {}
        self.sessions: dict[str, _Session] = {}
        self.connections: dict[str, GatewayConnection] = {}
        self._queue_max = queue_max
        self._mid = 0

    # -- faults

    def crash(self, seconds: float, *, forgets: bool) -> None:
        """Be away for a while, with or without what was kept."""
        self.is_up = False
        self.up_at_s = self._world.now_s + seconds
        self._world.loop.call_later(seconds, self._come_back)
        for connection in list(self.connections.values()):
            connection.lose("the broker has gone")
        self.connections.clear()
        for session in self.sessions.values():
            if session.link is not None:
                session.link.lose("the broker has gone")
            session.link = None
        if forgets:
            self.retained.clear()
            self.sessions.clear()

    def _come_back(self) -> None:
        self.is_up = self._world.now_s >= self.up_at_s - 1e-6

    # -- messages

    def arrive(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """A message has come from a client."""
        if not self.is_up:
            self._world.count("message lost with the broker")
            return
        if retain:
            self.retained[topic] = payload
        if topic.endswith("/ack"):
            name = parse(topic).gateway
            if (connection := self.connections.get(name)) is not None:
                connection.hand_down(Message(topic, payload))
            return
        for session in self.sessions.values():
            if session.is_subscribed:
                self._queue(session, topic, payload, retained=False)

    def subscribe(self, session: _Session) -> None:
        """The collector's subscription: what is retained comes at once."""
        session.is_subscribed = True
        for topic, payload in list(self.retained.items()):
            if topic.endswith("/status"):
                self._queue(session, topic, payload, retained=True)

    def session(self, client_id: str) -> _Session:
        """What is kept for a client."""
        return self.sessions.setdefault(client_id, _Session())

    def redeliver(self, session: _Session) -> None:
        """On a new connection everything not acknowledged comes again, under new numbers."""
        waiting = list(session.messages.values())
        session.messages.clear()
        for topic, payload, retained in waiting:
            self._queue(session, topic, payload, retained=retained)

    def _queue(self, session: _Session, topic: str, payload: bytes, *, retained: bool) -> None:
        if len(session.messages) >= self._queue_max:
            self._world.count("message lost in the broker's full queue")
            return
        self._mid += 1
        session.messages[self._mid] = (topic, payload, retained)
        if session.link is not None:
            session.link.hand_down(self._mid, topic, payload, retained=retained)


class GatewayConnection:
    """One connection of a gateway, with the interface of `gateway.mqtt.BrokerConnection`."""

    def __init__(
        self,
        machine: Machine,
        broker: SimulatedBroker,
        world: World,
        address: BrokerAddress,
        will: Message,
        received: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._broker = broker
        self._network = broker.network
        self._world = world
        self._name = machine.name
        self._will: Message | None = will
        self._received = received
        self._ended = ended
        self._inflight_max = address.inflight_max
        self._inflight = 0
        self._lost: str | None = "not open"
        self._is_subscribed = False

    async def open(self) -> None:
        waited_s = 0.0
        while not (self._broker.is_up and self._network.reaches(self._name)):
            if waited_s >= PATIENCE_S:
                raise BrokerLost("nobody answers")
            away_s = max(
                self._broker.up_at_s - self._world.now_s, self._network.heals_in_s(self._name), 1.0
            )
            pause_s = min(away_s, PATIENCE_S)
            waited_s += pause_s
            await asyncio.sleep(pause_s)
        await asyncio.sleep(self._network.latency_s())
        if self._machine.dead or not self._broker.is_up:
            raise BrokerLost("refused")
        before = self._broker.connections.pop(self._name, None)
        if before is not None:
            before.lose("taken over")
        self._broker.connections[self._name] = self
        self._lost = None

    def subscribe(self, topic_filter: str) -> None:
        self.check()
        self._world.loop.call_later(self._network.latency_s(), self._subscribed, topic_filter)

    def _subscribed(self, topic_filter: str) -> None:
        # Not lost but with its connection, as whoever asked would wait for it in vain for ever.
        if self._lost is not None:
            return
        self._is_subscribed = True
        if (payload := self._broker.retained.get(topic_filter)) is not None:
            self.hand_down(Message(topic_filter, payload, retain=True))

    def publish(self, message: Message) -> bool:
        self.check()
        if self._inflight >= self._inflight_max:
            return False
        self._machine.effect("publish")
        if self._machine.dead:
            return True
        self._inflight += 1
        self._network.send(
            self._name, "up", lambda: self._published(message), lambda: self.lose("broken")
        )
        # The broker's answer, or what is lost: either way it is under way no more.
        self._world.loop.call_later(2 * self._network.latency_s(), self._taken)
        self._machine.effect("published")
        return True

    def check(self) -> None:
        if self._lost is not None:
            raise BrokerLost(self._lost)

    async def close(self, goodbye: Message) -> None:
        if self._lost is None and not self._machine.dead:
            self.publish(goodbye)
            self._will = None
            await asyncio.sleep(self._network.latency_s())
        self.drop()

    def drop(self) -> None:
        self.lose("closed")

    def lose(self, reason: str) -> None:
        """The connection ends; the broker publishes the will of whoever did not say goodbye."""
        if self._lost is not None:
            return
        self._lost = reason
        if self._broker.connections.get(self._name) is self:
            del self._broker.connections[self._name]
        if (will := self._will) is not None:
            self._broker.arrive(will.topic, will.payload, retain=will.retain)
        if not self._machine.dead:
            self._ended()

    def hand_down(self, message: Message) -> None:
        """From the broker to the gateway."""
        if self._is_subscribed:
            self._network.send(self._name, "down", lambda: self._come(message))

    def _come(self, message: Message) -> None:
        if self._lost is None and not self._machine.dead:
            self._machine.effect("receive")
            if not self._machine.dead:
                self._received(message)

    def _published(self, message: Message) -> None:
        self._broker.arrive(message.topic, message.payload, retain=message.retain)

    def _taken(self) -> None:
        self._inflight -= 1


class CollectorLink:
    """The collector's way to the broker, with the interface of `collector.intake.link.Link`.

    `idle_s` says how long nothing of the worker's own will be due.
    """

    def __init__(
        self,
        machine: Machine,
        broker: SimulatedBroker,
        world: World,
        client_id: str,
        idle_s: Callable[[], float],
    ) -> None:
        self._machine = machine
        self._broker = broker
        self._network = broker.network
        self._world = world
        self._client_id = client_id
        self._name = machine.name
        self._idle_s = idle_s
        self._inbox: deque[Taken] = deque()
        self._session: _Session | None = None
        self._is_started = False
        self._up = False
        self._chance = world.chance("link")
        self._breaks = world.chance("breaks")
        self._stands_until_s = 0.0
        self.news = Signal()
        self.connections = 0
        self.dropped = 0

    @property
    def connected(self) -> bool:
        return self._up

    def start(self) -> None:
        self._is_started = True
        self._world.loop.call_later(self._network.latency_s(), self._connect)

    def stop(self) -> None:
        self._is_started = False
        self._disconnect()

    def lose(self, _reason: str) -> None:
        """The connection has ended by itself; it is made again."""
        if self._up:
            self._disconnect()
            self.news.ring()
            self._world.loop.call_later(1.0, self._connect)

    def _disconnect(self) -> None:
        self._up = False
        if self._session is not None and self._session.link is self:
            self._session.link = None
        self._session = None

    def _connect(self) -> None:
        if not self._is_started or self._up or self._machine.dead:
            return
        if not (self._broker.is_up and self._network.reaches(self._name)):
            away_s = max(
                self._broker.up_at_s - self._world.now_s, self._network.heals_in_s(self._name), 1.0
            )
            self._world.loop.call_later(away_s, self._connect)
            return
        self._session = self._broker.session(self._client_id)
        self._session.link = self
        self._up = True
        self.connections += 1
        self._stands_until_s = self._world.now_s + STANDS_S * self._breaks.randint(0, 1)
        self._broker.redeliver(self._session)
        self.news.ring()

    def subscribe(self) -> None:
        if self._up and self._session is not None:
            self._broker.subscribe(self._session)

    def hand_down(self, mid: int, topic: str, payload: bytes, *, retained: bool) -> None:
        """From the broker to the collector."""
        connection = self.connections
        self._network.send(
            self._name,
            "down",
            lambda: self._come(connection, mid, topic, payload, retained=retained),
            lambda: self._miss(connection, mid),
        )

    def _miss(self, connection: int, mid: int) -> None:
        """A message was lost: the broker forgets it, or it comes again on another connection."""
        if connection == self.connections and self._session is not None:
            if self._chance.random() < 0.5:
                self._session.messages.pop(mid, None)
            elif self._world.now_s >= self._stands_until_s:
                self.lose("broken")

    def _come(
        self, connection: int, mid: int, topic: str, payload: bytes, *, retained: bool
    ) -> None:
        if self._machine.dead or not self._up or connection != self.connections:
            return
        # A sound scan is packed by the receiver; both ways must lead to the same.
        scan = None
        if not topic.endswith("/status") and self._chance.random() < 0.5:
            scan = packed(topic, payload)
        self._inbox.append(Taken(topic, payload, retained, connection, mid, 1, scan))
        if len(self._inbox) == 1:
            # A group is what comes within a moment.
            self._world.loop.call_later(self._network.weather.gather_s, self.news.ring)

    def take(self, count_max: int, timeout_s: float) -> list[Taken]:
        if not self._inbox and timeout_s > 0:
            idle_s = max(timeout_s, min(self._idle_s(), PATIENCE_S))
            Process.current().sleep(idle_s, self.news)
        self._alive()
        self._machine.effect("take")
        self._alive()
        return [self._inbox.popleft() for _ in range(min(count_max, len(self._inbox)))]

    def done(self, messages: Iterable[Taken]) -> None:
        self._alive()
        self._machine.effect("done")
        self._alive()
        if self._session is None:
            return
        for message in messages:
            if message.connection == self.connections:
                self._session.messages.pop(message.mid, None)

    def publish_ack(self, gateway: str, payload: bytes) -> bool:
        self._alive()
        if not self._up:
            return False
        self._machine.effect("ack")
        self._alive()
        topic = build(AckTopic(gateway))
        self._network.send(
            self._name, "up", lambda: self._broker.arrive(topic, payload, retain=True)
        )
        self._machine.effect("acked")
        return True

    def collect_acks(self) -> dict[str, Ack]:
        Process.current().sleep(0.5)
        self._alive()
        return retained_acks(self._broker) if self._up else {}

    def _alive(self) -> None:
        if self._machine.dead:
            raise Killed


def retained_acks(broker: SimulatedBroker) -> dict[str, Ack]:
    """The acks that the broker retains, by gateway."""
    acks = {}
    for topic, payload in broker.retained.items():
        if topic.endswith("/ack"):
            try:
                acks[parse(topic).gateway] = decode_ack(payload)
            except MessageError:
                continue
    return acks
