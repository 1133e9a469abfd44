"""Commands to gateways: recorded, sent, and what became of them.

It must not know how a broker is reached: it is given something that sends.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec

from collector.errors import CollectorError, InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.commands import StoredCommand, StoredEvent
from collector.ledger.idempotency import Once
from contract.commands import Arguments, Command, CommandKind, Result
from contract.limits import COMMAND_BYTES_MAX, COMMAND_LIFETIME_MAX_S
from contract.messages import encode
from contract.topics import CommandTopic, build, is_name

ID_BYTES = 8
LIST_MAX = 500

# A gateway's clock may be a little behind, and an answer takes its time: only after that is a
# command that was not answered called expired.
GRACE = timedelta(seconds=60)


class BrokerUnavailable(CollectorError):
    """The broker did not take the message now (HTTP 503)."""

    code = "broker_unavailable"


class Sender(Protocol):
    """What sends to the broker."""

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        """Publish, and wait until the broker has taken it; False if it did not in time."""
        ...


class CommandState(StrEnum):
    """How far a command has come."""

    ISSUED = "issued"  # recorded; the broker has not taken it yet
    SENT = "sent"
    ANSWERED = "answered"
    EXPIRED = "expired"  # no answer, and it is not good any more


@dataclass(frozen=True, slots=True)
class CommandView:
    """One command and what is known of it. `event` is the gateway's own record, once it has come.

    An answer may be lost on its way, an event is not: it says what was done in any case.
    """

    command: StoredCommand
    state: CommandState
    event: StoredEvent | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants a gateway to do: `meters` None are all of them."""

    gateway: str
    kind: str
    meters: Sequence[str] | None
    issuer: str
    lifetime_s: int


SEND_TIMEOUT_S = 5.0


def send_command(
    ledger: Ledger, sender: Sender, wanted: Wanted, now: datetime, once: Once | None = None
) -> CommandView:
    """Record a command and send it.

    Raises InvalidRequest, NotFound for a gateway that was never heard of, BrokerUnavailable where
    the broker does not say in time that it has taken it: it is recorded then, may still reach the
    gateway until it expires, and is sent again by nobody, unless the request is to be done `once`
    and comes again. The command is the same then, and gateways do each once.
    """
    command = _command(wanted, now)
    payload = encode(command)
    if len(payload) > COMMAND_BYTES_MAX:
        raise InvalidRequest("too many meters for one command", hint="send several commands")
    stored = StoredCommand(
        id=command.id,
        gateway=wanted.gateway,
        kind=command.kind,
        arguments=msgspec.to_builtins(command.arguments),
        issuer=command.issuer,
        issued_at=command.issued_at,
        expires_at=command.expires_at,
    )
    with ledger.begin() as uow:
        if not uow.commands.knows_gateway(wanted.gateway):
            raise _unknown_gateway(wanted.gateway)
        earlier = None if once is None else uow.idempotency.claim(once, command.id, now)
        if earlier is None:
            uow.commands.add(stored)
            detail = {"id": command.id, "kind": command.kind, "arguments": stored.arguments}
            uow.audit.add(AuditEntry(now, wanted.issuer, "command.send", wanted.gateway, detail))
    if earlier is not None:
        view = get_command(ledger, gateway=wanted.gateway, command=earlier, now=now)
        if view.state is not CommandState.ISSUED or now >= view.command.expires_at:
            return view
        command = _again(view.command)
        payload = encode(command)
    topic = build(CommandTopic(wanted.gateway, command.id))
    if not sender.send(topic, payload, retain=False, timeout_s=SEND_TIMEOUT_S):
        raise BrokerUnavailable(
            f"the broker did not say that it took command {command.id}",
            hint="see that the broker runs and that the identity may send commands; until"
            f" {command.expires_at:%H:%M:%SZ} it may still be carried out: ask for its result"
            " before you send another",
        )
    with ledger.begin() as uow:
        uow.commands.published(command.id, now)
    return get_command(ledger, gateway=wanted.gateway, command=command.id, now=now)


def take_result(ledger: Ledger, gateway: str, result: Result) -> bool:
    """Record what a gateway answered; False for a command that is not known or was answered."""
    answer = StoredCommand(
        id=result.id,
        gateway=gateway,
        kind="",
        arguments={},
        issuer="",
        issued_at=result.at,
        expires_at=result.at,
        ok=result.ok,
        code=result.code.replace("\0", ""),
        text=result.text.replace("\0", ""),
        detail=msgspec.to_builtins(result.detail),
        answered_at=result.at,
    )
    with ledger.begin() as uow:
        return uow.commands.answer(answer)


def get_command(ledger: Ledger, *, gateway: str, command: str, now: datetime) -> CommandView:
    """One command of a gateway. Raises NotFound."""
    with ledger.read() as uow:
        stored = _stored(uow, gateway, command)
        event = uow.commands.event_of(gateway, command, stored.issued_at - GRACE)
    return CommandView(stored, state_of(stored, now), event)


def list_commands(
    ledger: Ledger, *, gateway: str, limit: int, now: datetime, after: str | None = None
) -> list[CommandView]:
    """The newest commands of a gateway, newest first; those after the command `after`.

    Raises NotFound for a gateway or a command that is not known.
    """
    with ledger.read() as uow:
        if not uow.commands.knows_gateway(gateway):
            raise _unknown_gateway(gateway)
        last = None if after is None else _stored(uow, gateway, after)
        found = uow.commands.newest(gateway, limit, last)
    return [CommandView(stored, state_of(stored, now)) for stored in found]


def list_events(ledger: Ledger, *, gateway: str, limit: int) -> list[StoredEvent]:
    """The newest events of a gateway, newest first. Raises NotFound."""
    with ledger.read() as uow:
        if not uow.commands.knows_gateway(gateway):
            raise _unknown_gateway(gateway)
        return uow.commands.events(gateway, limit)


def state_of(command: StoredCommand, now: datetime) -> CommandState:
    """How far a command has come."""
    if command.answered_at is not None:
        return CommandState.ANSWERED
    if now > command.expires_at + GRACE:
        return CommandState.EXPIRED
    return CommandState.ISSUED if command.published_at is None else CommandState.SENT


def _command(wanted: Wanted, now: datetime) -> Command:
    if wanted.kind not in frozenset(CommandKind):
        raise InvalidRequest(
            f"no such command: {wanted.kind!r}", hint=f"commands are {', '.join(CommandKind)}"
        )
    if not is_name(wanted.gateway):
        raise _unknown_gateway(wanted.gateway)
    if not 1 <= wanted.lifetime_s <= COMMAND_LIFETIME_MAX_S:
        raise InvalidRequest(
            f"a command cannot be good for {wanted.lifetime_s} s",
            hint=f"1 to {COMMAND_LIFETIME_MAX_S} s are allowed",
        )
    meters = None if wanted.meters is None else list(dict.fromkeys(wanted.meters))
    if wanted.kind == CommandKind.SET_CLOCK and (meters is None or len(meters) != 1):
        raise InvalidRequest("set_clock is for one meter", hint="name exactly one meter")
    if wanted.kind in (CommandKind.PING, CommandKind.RELOAD) and meters:
        raise InvalidRequest(f"{wanted.kind} is for the gateway, not for meters")
    return Command(
        v=1,
        id=secrets.token_hex(ID_BYTES),
        kind=wanted.kind,
        issued_at=now,
        expires_at=now + timedelta(seconds=wanted.lifetime_s),
        issuer=wanted.issuer,
        arguments=Arguments(meters or None),
    )


def _stored(uow: UnitOfWork, gateway: str, command: str) -> StoredCommand:
    stored = uow.commands.get(gateway, command)
    if stored is None:
        raise NotFound(f"gateway {gateway!r} was sent no command {command!r}")
    return stored


def _again(stored: StoredCommand) -> Command:
    return Command(
        v=1,
        id=stored.id,
        kind=stored.kind,
        issued_at=stored.issued_at,
        expires_at=stored.expires_at,
        issuer=stored.issuer,
        arguments=msgspec.convert(stored.arguments, Arguments),
    )


def _unknown_gateway(gateway: str) -> NotFound:
    return NotFound(f"no gateway {gateway!r} was ever heard of", hint="see GET /v1/gateways")
