"""What is to be done with a command that came: carry it out, answer at once, or nothing.

Pure: a table of rules over values. It must not know how commands arrive, are remembered or are
carried out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.commands import Command, CommandKind, ResultCode, decode_command
from contract.limits import COMMAND_LIFETIME_MAX_S
from contract.messages import Clock, MessageError
from contract.topics import is_name

# Commands that wait for their turn or are being carried out, at most. One line reads one meter at
# a time: more would only expire in the queue.
WAITING_MAX = 8

_LIFETIME_MAX = timedelta(seconds=COMMAND_LIFETIME_MAX_S)

# These change nothing at the station. Without a synchronised clock nobody can say whether a
# command has expired: what changes something is refused then, and what only looks is allowed, for
# it is what one needs to find out why the clock is wrong.
HARMLESS = frozenset({CommandKind.PING, CommandKind.READ})
UNSYNCED_TEXT = "the gateway's clock is not synchronised: it cannot tell whether this has expired"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the gateway knows when a command comes.

    `known` says that the id was begun before; `answer` is the payload of its result, if it has one.
    """

    now: datetime
    clock: Clock
    waiting: int
    meters: frozenset[str]
    known: bool = False
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Accept:
    """Carry it out."""

    command: Command
    kind: CommandKind


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this and do nothing. `audited`: somebody may ask later why it was not done."""

    code: ResultCode
    text: str
    audited: bool
    issuer: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Repeat:
    """It was carried out before: give the same answer again."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Ignore:
    """It is being carried out: its answer will come."""


Decision = Accept | Refuse | Repeat | Ignore


def decide(topic_id: str, payload: bytes, situation: Situation) -> Decision:
    """What to do with the command that came under `topic_id`."""
    try:
        command = decode_command(payload)
    except MessageError as error:
        return Refuse(ResultCode.MALFORMED, str(error), audited=False)
    if command.id != topic_id:
        text = f"its id {command.id!r} is not that of its topic"
        return Refuse(ResultCode.MALFORMED, text, audited=False)
    if situation.known:
        return Ignore() if situation.answer is None else Repeat(situation.answer)
    for rule in _RULES:
        if (found := rule(command, situation)) is not None:
            code, text = found
            audited = code not in (ResultCode.MALFORMED, ResultCode.BUSY)
            return Refuse(code, text, audited, command.issuer, command.kind)
    return Accept(command, CommandKind(command.kind))


_Finding = tuple[ResultCode, str] | None


def _malformed(command: Command, _: Situation) -> _Finding:
    lifetime = command.expires_at - command.issued_at
    if not timedelta(0) < lifetime <= _LIFETIME_MAX:
        text = f"expires_at must be after issued_at, by {COMMAND_LIFETIME_MAX_S} s at most"
        return ResultCode.MALFORMED, text
    if not command.issuer.isprintable() or not is_name(command.kind):
        return ResultCode.MALFORMED, "issuer and kind must be printable"
    if command.kind == CommandKind.SET_CLOCK and len(command.arguments.meters or ()) != 1:
        return ResultCode.MALFORMED, "set_clock is for one meter: name it in arguments.meters"
    return None


def _unknown_kind(command: Command, _: Situation) -> _Finding:
    if command.kind in frozenset(CommandKind):
        return None
    kinds = ", ".join(CommandKind)
    return ResultCode.UNKNOWN_KIND, f"this gateway does not know {command.kind!r}, only {kinds}"


def _expired(command: Command, situation: Situation) -> _Finding:
    if situation.clock is not Clock.SYNCED or situation.now < command.expires_at:
        return None
    return ResultCode.EXPIRED, expired_text(command.expires_at, situation.now)


def _unsynced(command: Command, situation: Situation) -> _Finding:
    if situation.clock is Clock.SYNCED or command.kind in HARMLESS:
        return None
    return ResultCode.CLOCK_UNSYNCED, UNSYNCED_TEXT


def _unknown_meter(command: Command, situation: Situation) -> _Finding:
    strangers = [m for m in command.arguments.meters or () if m not in situation.meters]
    if not strangers:
        return None
    shown = ", ".join(strangers[:3]) + (" and others" if len(strangers) > 3 else "")
    return ResultCode.UNKNOWN_METER, f"not in the station file: {shown}"


def _busy(_: Command, situation: Situation) -> _Finding:
    if situation.waiting < WAITING_MAX:
        return None
    return ResultCode.BUSY, f"{situation.waiting} commands wait already; send it again later"


_RULES: tuple[Callable[[Command, Situation], _Finding], ...] = (
    _malformed,
    _unknown_kind,
    _expired,
    _unsynced,
    _unknown_meter,
    _busy,
)


def expired_text(expires_at: datetime, now: datetime) -> str:
    """Why a command is not carried out any more."""
    return f"it was good until {expires_at:%Y-%m-%dT%H:%M:%SZ}, now is {now:%Y-%m-%dT%H:%M:%SZ}"
