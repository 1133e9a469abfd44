"""Meter profiles of IEC 62056-21 meters: which codes of a readout mean what, as data.

Owns the shape of such a profile. It must not know where files are, nor how meters are spoken to.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contract.limits import ENERGY_MAX
from contract.registers import BY_OBIS, Register
from gateway.meters.profile import MeterProfile, Rating
from gateway.meters.shape import Evidence, Milliseconds, Name, Shape, Text

PROTOCOL = "iec62056_21"

_Code = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
_Baud = Literal[300, 600, 1200, 2400, 4800, 9600, 19200]


class ReadBy(StrEnum):
    """How the values are asked for: all that the meter lists, or one command for each."""

    READOUT = "readout"
    COMMANDS = "commands"


class ReadoutRegister(Shape, frozen=True):
    """A register of the catalogue and what this model calls it.

    `code` is the meter's code for it, the OBIS code without medium and channel if it is not given;
    `minus` is the code of what is subtracted, for a meter that shows both directions of power by
    themselves. `unit` is what is meant where the meter sends none. `resolution` is the step of the
    meter's own register in the catalogue's unit; values are rounded to it. `roll_over` is the
    value, in the catalogue's unit, at which it starts again from 0. A register is `optional` where
    some units of the model do not list it.
    """

    obis: str
    code: _Code | None = None
    minus: _Code | None = None
    unit: Text | None = None
    resolution: Decimal | None = None
    optional: bool = False
    roll_over: Annotated[int, msgspec.Meta(gt=0, le=ENERGY_MAX)] | None = None

    @property
    def register(self) -> Register:
        """Its row in the catalogue."""
        return BY_OBIS[self.obis]

    @property
    def name(self) -> str:
        """The meter's code for it."""
        return self.code or self.obis.rpartition(":")[2]


class ReadoutTiming(Shape, frozen=True):
    """How patient one must be with this model; all in milliseconds.

    `reaction_max_ms` is waited for the first character of an answer, `character_gap_ms` for each
    further one; the standard has 1500 for both. `session_pause_ms` of silence come before a
    session, `after_failure_ms` before the one that follows a failed one: until then no late answer
    can still come.
    """

    reaction_max_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 1500
    character_gap_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 1500
    session_pause_ms: Milliseconds = 500
    after_failure_ms: Milliseconds = 2000


class ClockCodes(Shape, frozen=True):
    """The codes of the meter's own clock, which is set to the station's civil time.

    It is read by R1 commands; `write` says which command sets it, and without it the clock cannot
    be set. `season` puts the digit before both that says winter (0) or summer (1) time.
    """

    write: Literal["W1", "W5"] | None = None
    time: _Code = "0.9.1"
    date: _Code = "0.9.2"
    time_form: Literal["hhmmss", "hh:mm:ss"] = "hhmmss"
    date_form: Literal["YYMMDD", "YY-MM-DD"] = "YYMMDD"
    season: bool = False


class ReadoutProfile(Shape, frozen=True):
    """How one meter model is read over IEC 62056-21.

    `source` says where the facts come from, `status` how good they are. `family` groups models in
    lists; `traps` are what goes wrong with this model, for people.
    Shapes: `registers` has each OBIS code once. `identity` has the codes whose value names the
    meter; where it is neither the serial nor the device address, somebody else has answered.
    `identification` is what such a meter's introduction may begin with, its maker's three letters
    first; it only helps to tell models apart.
    `sign_on_baud` has the rates that a line with such meters may begin at. `password` is sent
    before commands, as the maker ships it; one of the line's own replaces it. `clock` says how the
    meter's clock is read and set.
    """

    protocol: Literal["iec62056_21"]
    profile: Name
    model: Text
    source: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    registers: Annotated[tuple[ReadoutRegister, ...], msgspec.Meta(min_length=1)]
    read_by: ReadBy = ReadBy.READOUT
    identity: tuple[_Code, ...] = ()
    identification: tuple[Text, ...] = ()
    sign_on_baud: Annotated[tuple[_Baud, ...], msgspec.Meta(min_length=1)] = (300,)
    baud_max: _Baud = 9600
    password: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    timing: ReadoutTiming = ReadoutTiming()
    clock: ClockCodes | None = None
    rating: Rating | None = None
    status: Evidence = Evidence.STANDARD
    family: Text | None = None
    traps: tuple[Text, ...] = ()
    notes: str = ""

    @property
    def name(self) -> str:
        """The name by which station files call it."""
        return self.profile


AnyProfile = MeterProfile | ReadoutProfile
"""A meter profile of any protocol."""
