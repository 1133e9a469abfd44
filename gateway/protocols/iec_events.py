"""What a session of IEC 62056-21 is asked for, how it is set, and what it says: values only.

The session itself is `gateway.protocols.iec62056_21`; these must not know how it works.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.protocols.iec_characters import Characters
from gateway.protocols.iec_messages import BAUD_INITIAL, CommandType, Identification

# 6.3.13, 3): the longest time before an answer, and between two characters of a message.
REACTION_MAX_S = 1.5
CHARACTER_GAP_MAX_S = 1.5


@dataclass(frozen=True, slots=True)
class Settings:
    """How to speak to one meter.

    `baud` is the rate of the sign-on, `baud_max` the greatest that the line carries; without
    `changeover` all is said at `baud`, whatever the meter offers. `wake_up` sends the preamble for
    meters on a battery (annex B).
    """

    characters: Characters = Characters.SEVEN_EVEN
    baud: int = BAUD_INITIAL
    baud_max: int = 9600
    changeover: bool = True
    wake_up: bool = False
    reaction_max_s: float = REACTION_MAX_S
    character_gap_max_s: float = CHARACTER_GAP_MAX_S


DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Command:
    """One command and its data set: `Command(CommandType.READ, "1.8.0()")`.

    `late` gives the data set at the moment of sending, for what would be old by then: a time.
    """

    kind: CommandType
    data: str
    late: Callable[[], str] | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes something; the meter then acknowledges instead of answering."""
        return self.kind in (CommandType.WRITE, CommandType.WRITE_FORMATTED)


@dataclass(frozen=True, slots=True)
class Readout:
    """Ask for everything that the meter lists, in one data block."""


@dataclass(frozen=True, slots=True)
class Programming:
    """Ask single things in the programming mode of a mode C meter.

    `password` is sent as P1, or as P2 if it is `encrypted` already; None sends none.
    """

    commands: tuple[Command, ...]
    password: str | None = None
    encrypted: bool = False


Task = Readout | Programming


@dataclass(frozen=True, slots=True)
class Send:
    """Send `data` at `baud` once the line has been silent for `after_s`, then go on at `then_baud`.

    The rate changes when the last bit is out, and before the meter's shortest reaction time ends.
    """

    data: bytes
    baud: int
    after_s: float
    then_baud: int


@dataclass(frozen=True, slots=True)
class SetBaud:
    """Go on listening at another rate at once (mode B)."""

    baud: int


@dataclass(frozen=True, slots=True)
class Identified:
    """The meter has introduced itself."""

    identification: Identification


@dataclass(frozen=True, slots=True)
class Block:
    """The text of a data block whose checks are right.

    `command` is what it answers, None in a readout. Blocks of one answer come in order; the last
    one is `final`.
    """

    text: str
    command: Command | None = None
    final: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """The meter did not answer one command, but an error; the session goes on with the next."""

    command: Command
    detail: str


@dataclass(frozen=True, slots=True)
class Written:
    """The meter acknowledged a command that writes."""

    command: Command


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything that was asked for has been answered or refused."""


class Failure(StrEnum):
    """Why a session ended early."""

    SILENT = "silent"  # nothing came in time
    GARBLED = "garbled"  # something came, but nothing whole, also when repeated
    REFUSED = "refused"  # the password or the mode
    BROKEN_OFF = "broken_off"  # the meter ended the session
    TOO_LONG = "too_long"  # more than any meter sends


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is over without the rest of what was asked for."""

    failure: Failure
    detail: str


Event = Send | SetBaud | Identified | Block | Refused | Written | Finished | Failed
