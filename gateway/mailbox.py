"""Messages to and from the gateway besides batches, acks and statuses: commands, results, config.

Sorts what arrives to whoever serves its kind of topic, and holds what is to be said until the
uplink can. It must not know what any of them means, nor how MQTT travels.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from contract.topics import CommandTopic, ConfigTopic, ResultTopic, TopicError, build, parse

# Answers that wait for the broker. What is lost here is not lost for good: the event of a command
# is in the outbox, and a command that is repeated is answered again.
WAITING_MAX = 64

Received = Callable[[CommandTopic | ConfigTopic, bytes], None]


@dataclass(slots=True)
class Mailbox:
    """What the uplink subscribes to beyond acks, and what it publishes beyond batches.

    `filters` are subscription filters. `wake` is called when there is something to publish.
    """

    gateway: str
    filters: tuple[str, ...] = ()
    wake: Callable[[], None] = lambda: None
    received: Received = lambda _topic, _payload: None
    _waiting: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))

    def deliver(self, topic: str, payload: bytes) -> None:
        """Take in what came under `topic`; what is not for this gateway is left aside."""
        try:
            parsed = parse(topic)
        except TopicError:
            return
        if isinstance(parsed, CommandTopic | ConfigTopic) and parsed.gateway == self.gateway:
            self.received(parsed, payload)

    def say(self, command: str, result: bytes) -> None:
        """Publish the result of a command as soon as there is a connection."""
        self._waiting.append((build(ResultTopic(self.gateway, command)), result))
        self.wake()

    def next(self) -> tuple[str, bytes] | None:
        """The topic and payload to be published next; it stays until `done`."""
        return self._waiting[0] if self._waiting else None

    def done(self) -> None:
        """What `next` gave was handed over."""
        self._waiting.popleft()
