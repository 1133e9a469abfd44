"""The values of tariffs: price tables, hours, tax, reactive charge, quotas, each with its source.

They hold what was decreed, ready to compute with; it must not know how files spell it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Certainty(StrEnum):
    """How sure we are that a figure is what was decreed."""

    SOURCED = "sourced"  # seen in the document itself or a faithful copy of it
    SECONDARY = "secondary"  # told by others who cite it
    UNVERIFIED = "unverified"  # common knowledge, or a reading of ours: ask before relying on it


class Rate(StrEnum):
    """The rates of time of use, as meters count them."""

    NORMAL = "normal"
    PEAK = "peak"
    OFF_PEAK = "off_peak"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure stands: document with number and date, article, and how sure we are."""

    document: str
    article: str
    certainty: Certainty
    note: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What every tariff file says of itself.

    It holds from `valid_from` up to, not including, `valid_to` (None: until further notice); one
    that is not in force has neither. `sha256` is the hexadecimal hash of the file's bytes.
    """

    id: str
    kind: str
    name_vi: str
    name_en: str
    source: Source
    in_force: bool
    valid_from: date | None
    valid_to: date | None
    sha256: str
    where: str

    def holds_on(self, day: date) -> bool:
        """Whether it is in force on that day."""
        if self.valid_from is None or day < self.valid_from:
            return False
        return self.valid_to is None or day < self.valid_to


@dataclass(frozen=True, slots=True)
class Tier:
    """A band of a quota's monthly kWh: more than `above_kwh`, up to `up_to_kwh` (None: no end)."""

    above_kwh: int
    up_to_kwh: int | None
    price_vnd: int


@dataclass(frozen=True, slots=True)
class Tiers:
    """Prices in đồng per kWh that rise with a household's consumption."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class Flat:
    """One price in đồng per kWh."""

    price_vnd: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in đồng per kWh by rate. Who has no rates pays the normal one."""

    prices_vnd: Mapping[Rate, int]


Price = Tiers | Flat | Rates


@dataclass(frozen=True, slots=True)
class Level:
    """A class of metering voltage: from `from_v` to below `below_v` (None: no end)."""

    from_v: int
    below_v: int | None
    price: Price


@dataclass(frozen=True, slots=True)
class Group:
    """A price group: what energy is used for, and its price by voltage."""

    group: str
    name_vi: str
    name_en: str
    article: str
    levels: tuple[Level, ...]

    def price_at(self, voltage_v: int) -> Price:
        """The price for this metering voltage; files leave no voltage out."""
        for level in self.levels:
            if level.below_v is None or voltage_v < level.below_v:
                return level.price
        raise AssertionError("the last level has no end")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of one decision."""

    header: Header
    groups: Mapping[str, Group]


@dataclass(frozen=True, slots=True)
class HoursPart:
    """One rate on some weekdays (0 is Monday), in minutes from midnight, the end not included."""

    weekdays: tuple[int, ...]
    rate: Rate
    from_minute: int
    to_minute: int


@dataclass(frozen=True, slots=True)
class Hours:
    """When which rate counts. Meters are set to it; nothing that was measured is recomputed."""

    header: Header
    parts: tuple[HoursPart, ...]

    def rate_at(self, weekday: int, minute: int) -> Rate:
        """The rate at a minute of a weekday; files leave no minute out."""
        for part in self.parts:
            if weekday in part.weekdays and part.from_minute <= minute < part.to_minute:
                return part.rate
        raise AssertionError("the week is covered")


@dataclass(frozen=True, slots=True)
class VatRate:
    """Value-added tax on what falls due from `valid_from` up to, not including, `valid_to`.

    The rate is hundredths of a per cent: 800 is 8 %.
    """

    valid_from: date
    valid_to: date | None
    percent_hundredths: int
    source: Source


@dataclass(frozen=True, slots=True)
class Vat:
    """All rates of value-added tax on electricity, in their order."""

    header: Header
    rates: tuple[VatRate, ...]


@dataclass(frozen=True, slots=True)
class ReactiveRule:
    """The charge for reactive energy (mua công suất phản kháng): who pays it, and how much.

    Power factors and per cents are in hundredths. Whoever has `least_w` registered, or measured in
    `cycles` running cycles, pays k % of the active energy's amount, k = (required ÷ cos φ − 1) ×
    100; below the floor k is `below_floor_percent_hundredths`.
    """

    header: Header
    groups: frozenset[str]
    least_w: int
    cycles: int
    required_hundredths: int
    floor_hundredths: int
    below_floor_percent_hundredths: int


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """How many persons who rent make one household's quota, and what undeclared ones pay.

    Those pay for all their energy the price of the tier in which the kWh after
    `undeclared_above_kwh` lies.
    """

    header: Header
    persons_per_quota: int
    undeclared_above_kwh: int


TariffValue = PriceTable | Hours | Vat | ReactiveRule | QuotaRule
