"""What a rule may look at, and what it finds.

A subject is one installation (a meter at a point) over successive civil days. Energies are integers
of the register's unit as the register shows them, before the multiplier, unless a name says
otherwise. A fact that is not known is None: the rules that need it do not apply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec

from collector.vee.reads import DailyIndex, Read
from contract.registers import IMPORT_ACTIVE

Fact = int | str
"""A number or a name that led to a finding. Never a float: findings are compared and stored."""


class Severity(StrEnum):
    """What a finding asks for, weakest first."""

    WARNING = "warning"  # to be known
    RECHECK = "recheck"  # to be looked at before the index is billed (phúc tra)
    BLOCK = "block"  # the index is not billed until someone has decided


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule found.

    `key` makes it the same finding when the rule finds it again, from another period too; `variant`
    chooses the text where a rule finds several kinds of things.
    """

    rule: str
    severity: Severity
    point: str
    meter: str
    register: str  # OBIS; empty where it is about the meter
    key: str
    from_at: datetime
    to_at: datetime
    facts: Mapping[str, Fact]
    variant: str = ""


class Energy(NamedTuple):
    """Energy at the point, with the multiplier in it, over a whole number of days."""

    energy_wh: int
    days: int


class Rating(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a meter is made for: phases, nominal phase voltage, highest current."""

    phases: Annotated[int, msgspec.Meta(ge=1, le=3)]
    voltage_v: Annotated[int, msgspec.Meta(ge=1, le=500_000)]
    current_max_a: Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class Conflict(NamedTuple):
    """A value that was refused because the same read is stored with another value."""

    register: str
    at: datetime
    value_kept: int
    value_refused: int


class Span(NamedTuple):
    """A stretch of time; `to_at` None: still."""

    from_at: datetime
    to_at: datetime | None


class Interval(NamedTuple):
    """The import energy of one interval of the regular cadence."""

    from_at: datetime
    to_at: datetime
    energy_wh: int


class Drift(NamedTuple):
    """How far the meter's clock was ahead (negative: behind) at an instant."""

    at: datetime
    drift_s: int


class Voltage(NamedTuple):
    """A phase's voltage at an instant, in mV: findings have no floats."""

    at: datetime
    phase: int
    voltage_mv: int


class LateRead(NamedTuple):
    """A read that came after the index of its instant was final; qualities A, S, E or N.

    `consumption_wh` is the final consumption that ends in the index, at the register.
    """

    register: str
    at: datetime
    value_final: int
    quality_final: str
    value_late: int
    quality_late: str
    consumption_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One installation over the days that begin at `starts`; the last of these only ends a day.

    `indices` has, by register, the index at each of `starts`. `reads`: the raw ones around them.
    """

    point: str
    meter: str
    starts: Sequence[datetime]
    installed_at: datetime
    removed_at: datetime | None = None
    price_group: str | None = None
    model: str | None = None
    registers: Sequence[str] = (IMPORT_ACTIVE,)  # what is expected of the meter
    indices: Mapping[str, Sequence[DailyIndex | None]] = field(default_factory=dict)
    reads: Mapping[str, Sequence[Read]] = field(default_factory=dict)
    resolution_wh: int | None = None
    roll_over_wh: int | None = None
    multiplier: Fraction | None = None  # what the registry says, at the end of the days
    energy: Energy | None = None
    last_period: Energy | None = None
    last_year: Energy | None = None
    rating: Rating | None = None
    conflicts: Sequence[Conflict] | None = None
    inactive: Sequence[Span] | None = None  # cut off, or removed
    outages: Sequence[Span] = ()
    interval_counts: Sequence[int] | None = None  # intervals read, by day
    interval_lengths_s: Sequence[int] | None = None
    interval_expected_s: int | None = None
    intervals: Sequence[Interval] | None = None
    units: Mapping[str, str] | None = None  # as the meter says them, by register
    multiplier_read: Fraction | None = None  # TU × TI as the meter is programmed
    drifts: Sequence[Drift] | None = None
    serial_read: str | None = None
    cycles_estimated: int | None = None  # billing periods in a row that ended in an estimate
    voltages: Sequence[Voltage] | None = None
    late: Sequence[LateRead] | None = None

    def due(self, start: datetime) -> bool:
        """Whether the meter was there at the start of a day."""
        return self.installed_at <= start and (self.removed_at is None or start < self.removed_at)

    def steps(self, register: str) -> list[tuple[DailyIndex, DailyIndex]]:
        """Each index that there is with the next one that there is."""
        found = [one for one in self.indices.get(register, ()) if one is not None]
        return list(pairwise(found))
