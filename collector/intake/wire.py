"""What the collector and its receiver say to each other: frames on two pipes.

Owns their shape and how they are cut out of a stream of bytes; it must not know processes, pipes
or the broker. A frame is its length, 32 bits, and a MessagePack map or array.
"""

from struct import Struct
from typing import Generic, TypeVar

import msgspec

from collector.intake.packing import PackedScan

_LENGTH = Struct("=I")


class Tls(msgspec.Struct, frozen=True, array_like=True):
    """Paths of the files for TLS."""

    ca_file: str
    certificate_file: str | None
    key_file: str | None


class Start(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The first word to a receiver: which broker, as whom, and how many messages it may hold."""

    host: str
    port: int
    client_id: str
    clean_session: bool
    keepalive_s: int
    messages_max: int
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None


class Subscribe(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Subscribe to each filter with its quality of service; answered with the same `token`."""

    filters: list[tuple[str, int]]
    token: int


class Unsubscribe(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Subscribe no more."""

    filter: str


class Done(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Take these messages of that connection off the broker's hands."""

    connection: int
    mids: list[int]


class Publish(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Publish retained; a newer one under the same topic may take its place."""

    topic: str
    payload: bytes


class Stop(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Send what is left to send, disconnect and end."""


class Connected(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The broker was reached; this is the connection number `connection` of this receiver."""

    connection: int
    session_present: bool


class Disconnected(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The connection is gone, or could not be made."""

    reason: str


class Refused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The broker would not do what it was asked to."""

    what: str
    reason: str


class Subscribed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The broker has answered the subscription with this token."""

    token: int


class Arrived(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A message. `scan` is what it holds where that is a sound scan."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int
    scan: PackedScan | None = None


class Dropped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Messages were let go of, because nobody took any for too long."""

    count: int


Down = Start | Subscribe | Unsubscribe | Done | Publish | Stop
Up = Connected | Disconnected | Refused | Subscribed | Arrived | Dropped

_F = TypeVar("_F")
_encoder = msgspec.msgpack.Encoder()


def framed(message: Down | Up) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames(Generic[_F]):
    """Cuts frames out of bytes as they come. A frame that is none of ours raises DecodeError."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[_F]") -> None:
        self._decoder = decoder
        self._rest = b""

    def feed(self, data: bytes) -> list[_F]:
        """The messages that are complete now."""
        messages: list[_F] = []
        data = self._rest + data if self._rest else data
        view = memoryview(data)
        at = 0
        while len(data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            end = at + _LENGTH.size + length
            if end > len(data):
                break
            messages.append(self._decoder.decode(view[at + _LENGTH.size : end]))
            at = end
        self._rest = data[at:]
        return messages


def frames_down() -> Frames[Down]:
    """Of what a receiver is told."""
    return Frames(msgspec.msgpack.Decoder(Down))


def frames_up() -> Frames[Up]:
    """Of what a receiver says."""
    return Frames(msgspec.msgpack.Decoder(Up))
