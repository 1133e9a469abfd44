"""The other side of commands and configuration for tests: sends them, notes what is answered."""

import threading
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import nacl.signing
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from contract.commands import Arguments, Command, Result, decode_result
from contract.messages import encode
from contract.signed_config import (
    PRIVATE_KEY,
    PUBLIC_KEY,
    SignedConfig,
    key_text,
    signature_text,
    signed_bytes,
)
from contract.topics import CommandTopic, ConfigTopic, build, parse, result_filter

DEADLINE_S = 20.0
KEY = nacl.signing.SigningKey(b"k" * 32)
PUBLIC = key_text(PUBLIC_KEY, bytes(KEY.verify_key))
PRIVATE = key_text(PRIVATE_KEY, bytes(KEY))
ISSUED_AT = datetime(2026, 11, 24, 9, tzinfo=UTC)


class Desk:
    """Subscribed to one gateway's results."""

    def __init__(self, port: int, gateway: str) -> None:
        self.gateway = gateway
        self.results: list[Result] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
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

    def of(self, command: str) -> list[Result]:
        """What was answered to one command, in the order in which it came."""
        return [result for result in self.results if result.id == command]

    def send(
        self,
        command: str,
        kind: str,
        *meters: str,
        now: datetime | None = None,
        good_s: float = 60,
    ) -> None:
        """Publish a command; `now` is the gateway's time, if it is not the real one."""
        issued_at = now or datetime.now(UTC)
        arguments = Arguments(list(meters) or None)
        expires_at = issued_at + timedelta(seconds=good_s)
        self.publish(
            command,
            encode(Command(1, command, kind, issued_at, expires_at, "test", arguments)),
        )

    def publish(self, command: str, payload: bytes) -> None:
        """Publish anything where commands go."""
        self._client.publish(build(CommandTopic(self.gateway, command)), payload, 1)

    def configure(self, payload: bytes, *, retain: bool = True) -> None:
        """Publish anything where the configuration goes."""
        self._client.publish(build(ConfigTopic(self.gateway)), payload, 1, retain)

    def _on_connect(self, *_: object) -> None:
        self._client.subscribe(result_filter(self.gateway), 1)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        result = decode_result(bytes(message.payload))
        assert parse(message.topic).gateway == self.gateway
        assert message.topic.endswith(f"/{result.id}")
        self.results.append(result)


def signed(version: int, text: str, gateway: str, key: nacl.signing.SigningKey = KEY) -> bytes:
    """A station file in its envelope."""
    message = signed_bytes(gateway, version, ISSUED_AT, text)
    signature = signature_text(key.sign(message).signature)
    return encode(SignedConfig(1, gateway, version, ISSUED_AT, text, signature))
