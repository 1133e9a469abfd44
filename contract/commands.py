"""Commands to a gateway and their results, as typed values and as JSON.

Owns their shape; whether a command is carried out is the gateway's business. Readers ignore
unknown fields, and a kind that is unknown decodes, so that it can be answered.
"""

from datetime import MAXYEAR, MINYEAR, datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contract.limits import COMMAND_BYTES_MAX, RESULT_BYTES_MAX, TEXT_CHARS_MAX
from contract.messages import Clock, Instant, MessageError, Name, Reason, Scan, Serial, decode

_Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]


class CommandKind(StrEnum):
    """What a gateway can be told to do."""

    PING = "ping"  # say how it is
    READ = "read"  # read meters now
    SET_CLOCK = "set_clock"  # set one meter's clock by its own
    RELOAD = "reload"  # read the station file again, as a restart would


class ResultCode(StrEnum):
    """What became of a command. Readers accept codes that they do not know."""

    DONE = "done"
    PARTIAL = "partial"  # some meters could not be read
    FAILED = "failed"  # carried out, without success
    REFUSED = "refused"  # not carried out: what it asks for would do harm
    EXPIRED = "expired"
    MALFORMED = "malformed"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_METER = "unknown_meter"
    NOT_SUPPORTED = "not_supported"  # this meter or its profile has no way to do it
    CLOCK_UNSYNCED = "clock_unsynced"  # the gateway does not know the time
    BUSY = "busy"  # too many are waiting
    INTERRUPTED = "interrupted"  # the gateway was restarted while it was carried out
    UNAVAILABLE = "unavailable"  # it cannot be remembered now, so it is not carried out


class Arguments(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a command is about: `meters` by serial; null is all of them."""

    meters: Annotated[list[Serial], msgspec.Meta(min_length=1, max_length=2_000)] | None = None


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message under `command/<id>`: to be carried out once, before `expires_at`.

    `id` is that of the topic. `issuer` says who gave it, for the audit trail.
    """

    v: Literal[1]
    id: Name
    kind: Name
    issued_at: Instant
    expires_at: Instant
    issuer: Name
    arguments: Arguments = Arguments()


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a result tells beyond its text, by the kind of the command.

    `scan` is what a `read` brought, as the batch of it says it; its tables are left out where they
    would not fit. `clock` is what the gateway knows of the time. `drift_s` is how much the meter's
    clock was ahead of the gateway's, and `drift_after_s` how much it is after it was set.
    """

    scan: Scan | None = None
    reads: int | None = None
    uptime_s: int | None = None
    version: str | None = None
    clock: Clock | None = None
    config_version: int | None = None
    drift_s: float | None = None
    drift_after_s: float | None = None
    problems: Annotated[list[str], msgspec.Meta(max_length=100)] = []


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message under `result/<id>`: what became of the command of that id, and when."""

    v: Literal[1]
    id: Name
    ok: bool
    code: Reason
    at: Instant
    text: _Text = ""
    detail: Detail = Detail()


_command = msgspec.json.Decoder(Command)
_result = msgspec.json.Decoder(Result)


def decode_command(payload: bytes) -> Command:
    """The command in `payload`. Raises MessageError."""
    command = decode(_command, payload, COMMAND_BYTES_MAX)
    _check_instants(command.issued_at, command.expires_at)
    return command


def decode_result(payload: bytes) -> Result:
    """The result in `payload`. Raises MessageError."""
    result = decode(_result, payload, RESULT_BYTES_MAX)
    _check_instants(result.at)
    return result


def _check_instants(*instants: datetime) -> None:
    """In the first or last year an offset can make an instant that UTC cannot name."""
    if any(not MINYEAR < at.year < MAXYEAR for at in instants):
        raise MessageError("wrong_shape", f"an instant is between years {MINYEAR} and {MAXYEAR}")
