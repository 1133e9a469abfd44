"""MQTT topics: one builder and one parser, inverse of each other.

Works with MQTT 3.1.1 and 5. It knows names only; what travels under them is in `messages`.
"""

import re
from dataclasses import dataclass

from contract.limits import NAME_CHARS_MAX, SEQ_MAX

ROOT = "songlo/v1"

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{NAME_CHARS_MAX - 1}}}")
_EPOCH = re.compile(r"[0-9a-f]{32}")
_SEQ = re.compile(r"[1-9][0-9]{0,15}")


class TopicError(ValueError):
    """A text that is no topic of this contract, or a name that cannot be part of one."""


@dataclass(frozen=True, slots=True)
class BatchTopic:
    """`batches/<epoch>/<seq>`: one batch, known by (gateway, epoch, seq)."""

    gateway: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class AckTopic:
    """`ack`: what the collector has stored; retained."""

    gateway: str


@dataclass(frozen=True, slots=True)
class StatusTopic:
    """`status`: what the gateway says of itself; retained, and its last will."""

    gateway: str


@dataclass(frozen=True, slots=True)
class CommandTopic:
    """`command/<id>`: something to do, once."""

    gateway: str
    command: str


@dataclass(frozen=True, slots=True)
class ResultTopic:
    """`result/<id>`: what became of a command."""

    gateway: str
    command: str


@dataclass(frozen=True, slots=True)
class ConfigTopic:
    """`config`: the signed station configuration; retained."""

    gateway: str


Topic = BatchTopic | AckTopic | StatusTopic | CommandTopic | ResultTopic | ConfigTopic


def is_name(text: str) -> bool:
    """Whether `text` may name a gateway, station, line or command in this contract."""
    return _NAME.fullmatch(text) is not None


def build(topic: Topic) -> str:
    """The topic's text. Raises TopicError where a part is not allowed in one."""
    match topic:
        case BatchTopic(_, epoch, seq):
            tail = f"batches/{epoch}/{seq}"
        case AckTopic():
            tail = "ack"
        case StatusTopic():
            tail = "status"
        case CommandTopic(_, command):
            tail = f"command/{command}"
        case ResultTopic(_, command):
            tail = f"result/{command}"
        case ConfigTopic():
            tail = "config"
    text = f"{ROOT}/{topic.gateway}/{tail}"
    if parse(text) != topic:
        raise TopicError(f"{topic!r} cannot be written as a topic")
    return text


def parse(text: str) -> Topic:
    """The topic that `text` writes. Raises TopicError for any other text."""
    if not text.startswith(ROOT + "/"):
        raise TopicError(f"topic {text[:200]!r} is not under {ROOT}/")
    gateway, *tail = text[len(ROOT) + 1 :].split("/")
    if not is_name(gateway):
        raise TopicError(f"topic {text[:200]!r}: {gateway[:80]!r} is no gateway name")
    match tail:
        case ["batches", epoch, seq] if _EPOCH.fullmatch(epoch) and _SEQ.fullmatch(seq):
            if int(seq) <= SEQ_MAX:
                return BatchTopic(gateway, epoch, int(seq))
        case ["ack"]:
            return AckTopic(gateway)
        case ["status"]:
            return StatusTopic(gateway)
        case ["command", command] if is_name(command):
            return CommandTopic(gateway, command)
        case ["result", command] if is_name(command):
            return ResultTopic(gateway, command)
        case ["config"]:
            return ConfigTopic(gateway)
    raise TopicError(f"topic {text[:200]!r} is not one of this contract")


def batches_filter(gateway: str = "+") -> str:
    """The subscription filter for the batches of one gateway, or of all."""
    return f"{ROOT}/{gateway}/batches/#"


def shared(group: str, topic_filter: str) -> str:
    """`topic_filter` as a shared subscription: each message goes to one member of `group`."""
    return f"$share/{group}/{topic_filter}"


def ack_filter(gateway: str = "+") -> str:
    """The subscription filter for acks."""
    return f"{ROOT}/{gateway}/ack"


def status_filter(gateway: str = "+") -> str:
    """The subscription filter for statuses."""
    return f"{ROOT}/{gateway}/status"


def command_filter(gateway: str = "+") -> str:
    """The subscription filter for commands."""
    return f"{ROOT}/{gateway}/command/+"


def result_filter(gateway: str = "+") -> str:
    """The subscription filter for the results of commands."""
    return f"{ROOT}/{gateway}/result/+"
