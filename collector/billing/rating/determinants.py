"""Determinants: what a bill preview is computed from, point by point.

They hold facts that others established: energies between billed days with the reads behind them,
and the terms of contract. Each checks itself; how they are priced must not be known here.
"""

from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from collector.billing.rating.cycle import BillingDay
from collector.billing.values import LineQuality
from contract.registers import BY_OBIS, Kind

# More than any bill: the country uses some 3 × 10¹¹ kWh a year. Money from it stays below 2⁶³.
ENERGY_KWH_MAX = 10**12

# A code of a customer, a point or a bill; CMIS codes have 13 to 16 characters.
CODE_CHARS_MAX = 64
# More than a quarter (customers below 15 kWh a month may be read every third month) is a mistake.
PERIOD_DAYS_MAX = 400
PARTS_MAX = 500
POINTS_MAX = 1_000
HOUSEHOLDS_MAX = 1_000_000
WATT_MAX = 10**12

Code = Annotated[str, msgspec.Meta(min_length=1, max_length=CODE_CHARS_MAX)]
Energy = Annotated[int, msgspec.Meta(ge=0, le=ENERGY_KWH_MAX)]

RATE_REGISTERS = ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")
REACTIVE_REGISTER = "1-0:3.8.0"


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class StretchRead(_Value, frozen=True, kw_only=True):
    """The two reads of one meter that a part rests on, or one of several such pairs.

    A read is known by meter, register and instant. Indices are in Wh (varh) as read; `multiplier`
    is `n` or `n/d`, `energy` what they count after each was floored to what is billed.
    """

    meter: Code
    register: str
    from_at: datetime | None
    to_at: datetime | None
    index_from_wh: int
    index_to_wh: int
    multiplier: str = "1"
    energy: Energy
    quality: LineQuality = LineQuality.ACTUAL


class Part(_Value, frozen=True, kw_only=True):
    """Energy (whole kWh or kvarh) from the start of one civil day to the start of another.

    Both days have an index of their own: parts are where a period can be cut by index.
    """

    from_day: date
    to_day: date
    energy: Energy
    reads: tuple[StretchRead, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for days in the wrong order, and for energy that cannot be."""
        if not 0 <= self.energy <= ENERGY_KWH_MAX:
            raise ValueError(f"{self.energy} kWh is not between 0 and {ENERGY_KWH_MAX}")
        if self.to_day <= self.from_day:
            raise ValueError(f"to_day {self.to_day} is not after from_day {self.from_day}")


class RegisterUse(_Value, frozen=True, kw_only=True):
    """What one register counted over the period: parts that follow each other without a hole."""

    register: str
    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1, max_length=PARTS_MAX)]

    def __post_init__(self) -> None:
        """Raises ValueError for a register that is not billed, and for holes and overlaps."""
        register = BY_OBIS.get(self.register)
        if register is None or not register.billing or register.kind is not Kind.CUMULATIVE:
            raise ValueError(f"{self.register!r} is no register of energy that is billed")
        for before, after in pairwise(self.parts):
            if before.to_day != after.from_day:
                what = "a hole" if before.to_day < after.from_day else "an overlap"
                low, high = sorted((before.to_day, after.from_day))
                raise ValueError(f"{what} of {self.register} from {low} to {high}")


class Share(_Value, frozen=True, kw_only=True):
    """A part of a meter's energy with a price group of its own.

    Either a whole number of kWh per billing cycle, taken first and in the contract's order, or a
    per cent of what then remains.
    """

    group: str
    percent: Decimal | None = None
    kwh: Energy | None = None

    def __post_init__(self) -> None:
        """Raises ValueError unless exactly one of both is given, the per cent with 2 decimals."""
        if (self.percent is None) == (self.kwh is None):
            raise ValueError("either percent or kwh")
        if self.percent is not None:
            if not self.percent.is_finite() or not 0 < self.percent <= 100:
                raise ValueError(f"{self.percent} per cent is not above 0 and at most 100")
            if self.percent * 100 != int(self.percent * 100):
                raise ValueError(f"{self.percent} per cent has more than two decimals")

    @property
    def percent_hundredths(self) -> int:
        """The share as hundredths of a per cent; 0 for one in kWh."""
        return 0 if self.percent is None else int(self.percent * 100)


class Terms(_Value, frozen=True, kw_only=True):
    """The terms of a contract from `from_day` on, until the next terms of the point.

    The quota is a number of households, or of persons who rent, or that they are undeclared.
    `rates` says whether the three registers of time of use are billed or the total. Powers are W.
    """

    from_day: date
    shares: Annotated[tuple[Share, ...], msgspec.Meta(min_length=1, max_length=50)]
    voltage_v: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 220
    rates: Literal["one", "three"] = "one"
    households: Annotated[int, msgspec.Meta(ge=1, le=HOUSEHOLDS_MAX)] | None = None
    renters: Annotated[int, msgspec.Meta(ge=1, le=HOUSEHOLDS_MAX)] | None = None
    renters_undeclared: bool = False
    registered_w: Annotated[int, msgspec.Meta(ge=0, le=WATT_MAX)] | None = None
    cycle_demands_w: tuple[Annotated[int, msgspec.Meta(ge=0, le=WATT_MAX)], ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for shares that leave something over, and for two quotas."""
        counts = (self.households, self.renters, self.voltage_v)
        if any(count is not None and count < 1 for count in counts):
            raise ValueError("households, renters and voltage_v are 1 or more")
        given = (self.households is not None, self.renters is not None, self.renters_undeclared)
        if sum(given) > 1:
            raise ValueError("one of households, renters and renters_undeclared")
        groups = [share.group for share in self.shares]
        if len(set(groups)) < len(groups):
            raise ValueError("a price group is there twice: it would have its quota twice")
        percents = [share.percent_hundredths for share in self.shares if share.percent is not None]
        if sum(percents) != 100_00:
            total = Decimal(sum(percents)).scaleb(-2)
            raise ValueError(
                f"the per cents of all shares are {total}, not 100: what is left has no price"
            )


class PointDeterminants(_Value, frozen=True, kw_only=True):
    """One metering point over the period. A sub-meter names the `parent` that it is behind."""

    point: Code
    registers: Annotated[tuple[RegisterUse, ...], msgspec.Meta(min_length=1)]
    terms: Annotated[tuple[Terms, ...], msgspec.Meta(min_length=1, max_length=PARTS_MAX)]
    parent: Code | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a register that occurs twice and for terms out of order."""
        names = [use.register for use in self.registers]
        if len(set(names)) < len(names):
            raise ValueError(f"a register of {self.point} is there twice")
        for before, after in pairwise(self.terms):
            if after.from_day <= before.from_day:
                raise ValueError(f"terms from {after.from_day} come after {before.from_day}")
        if self.parent == self.point:
            raise ValueError(f"{self.point} is its own parent")

    def use(self, register: str) -> RegisterUse | None:
        """What a register counted; None where it was not measured."""
        for use in self.registers:
            if use.register == register:
                return use
        return None


class BillDeterminants(_Value, frozen=True, kw_only=True):
    """All that one bill is computed from, for the days from `from_day` to before `to_day`.

    `billing_day` is the book's (1 to 31, or `last`); the rate of tax is that of `tax_point`.
    """

    bill: Code
    from_day: date
    to_day: date
    billing_day: BillingDay
    tax_point: date
    points: Annotated[
        tuple[PointDeterminants, ...], msgspec.Meta(min_length=1, max_length=POINTS_MAX)
    ]

    def __post_init__(self) -> None:
        """Raises ValueError for a reversed period, and for points that do not fill it."""
        if self.billing_day != "last" and not 1 <= self.billing_day <= 31:
            raise ValueError(f"billing_day {self.billing_day} is not 1 to 31, nor the word last")
        if self.to_day <= self.from_day:
            raise ValueError(f"the period is reversed: {self.from_day} to {self.to_day}")
        if (self.to_day - self.from_day).days > PERIOD_DAYS_MAX:
            raise ValueError(f"the period has more than {PERIOD_DAYS_MAX} days")
        names = [point.point for point in self.points]
        if len(set(names)) < len(names):
            raise ValueError(f"a point of bill {self.bill} is there twice")
        for point in self.points:
            if point.terms[0].from_day > self.from_day:
                raise ValueError(f"{point.point} has no terms before {point.terms[0].from_day}")
            for use in point.registers:
                if not use.parts:
                    raise ValueError(f"{use.register} of {point.point} has no parts")
                first, last = use.parts[0].from_day, use.parts[-1].to_day
                if first < self.from_day or last > self.to_day:
                    raise ValueError(
                        f"{use.register} of {point.point} goes beyond the period: {first} to {last}"
                    )
