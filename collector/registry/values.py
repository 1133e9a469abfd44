"""The registry's values: what is metered, by what, and since when.

They hold facts only; it must not know how they are stored or imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction


class Role(StrEnum):
    """What a point is in its station's balance."""

    HEAD = "head"  # công tơ tổng: measures what the station receives
    HOUSEHOLD = "household"
    BUSINESS = "business"
    WHOLESALE_MASTER = "wholesale_master"  # one leaf: what lies behind it is another network
    ADMINISTRATIVE = "administrative"
    PRODUCTION = "production"
    SUB_METER = "sub_meter"  # counted by its parent too: outside the balance
    OWN_USE = "own_use"  # the utility's own offices and stations


class StationKind(StrEnum):
    """Whom a station serves."""

    PUBLIC = "public"
    DEDICATED = "dedicated"  # one customer's own


class IndexSide(StrEnum):
    """Which side of the instrument transformers a register counts."""

    PRIMARY = "primary"  # the ratio is counted in already
    SECONDARY = "secondary"


@dataclass(frozen=True, slots=True)
class Station:
    """A transformer station (TBA). `capacity_kva` is its transformers' rated power together.

    `unit` is the code of the power company's unit, `feeder` the medium-voltage line.
    """

    station: str
    name: str
    commune: str | None = None
    capacity_kva: int | None = None
    kind: StationKind | None = None
    unit: str | None = None
    feeder: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A metering point (điểm đo) of a station, where it is until its first transfer.

    `parent` is the point whose meter counts this one's energy too; sub-meters alone have one.
    """

    point: str
    station: str
    role: Role
    name: str
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter, known by its serial.

    `roll_over_wh` is where its active energy registers start again at zero; None: never.
    `digits` are those of its display before the decimal point.
    """

    meter: str
    model: str
    resolution_wh: int
    roll_over_wh: int | None = None
    digits: int | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """A meter at a point from `installed_at` up to, not including, `removed_at` (None: still).

    The indices are what was read on the spot when it went in and when it came out, by register.
    `instead_of` is said by a correction alone, and stored nowhere: the `installed_at` that was
    wrong, under which the installation is stored.
    """

    point: str
    meter: str
    installed_at: datetime
    removed_at: datetime | None = None
    install_indices: Mapping[str, int] = field(default_factory=dict)
    removal_indices: Mapping[str, int] = field(default_factory=dict)
    instead_of: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Multiplier:
    """The multiplier (CT × VT, hệ số nhân) of a point from `from_at` on; before the first it is 1.

    Numerator and denominator each fit 32 bits.
    """

    point: str
    from_at: datetime
    ratio: Fraction
    index_side: IndexSide = IndexSide.SECONDARY


@dataclass(frozen=True, slots=True)
class Transfer:
    """A point moved to another station (chuyển tải), from the start of a civil day on."""

    point: str
    from_at: datetime
    station: str


class AreaKind(StrEnum):
    """What a code of stations stands for."""

    UNIT = "unit"  # of the power company
    COMMUNE = "commune"
    FEEDER = "feeder"  # the medium-voltage line


@dataclass(frozen=True, slots=True)
class Area:
    """A code that stations name, and what people call it."""

    kind: AreaKind
    code: str
    name: str


class HeadSide(StrEnum):
    """On which side of the transformers a station's head meter is."""

    LV = "lv"  # the transformers are upstream of it: their losses are not in the station's
    MV = "mv"


@dataclass(frozen=True, slots=True)
class Transformers:
    """The transformers of a station and the side of its head meter, until its next row.

    `count` of the same, each with `rated_kva`, its losses in W at no load (P0) and at rated current
    (Pk), and its short-circuit voltage (uk) in hundredths of a per cent.
    """

    station: str
    from_at: datetime
    head_side: HeadSide
    rated_kva: int | None = None
    no_load_loss_w: int | None = None
    load_loss_w: int | None = None
    short_circuit_hundredths: int | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Registry:
    """All of it, or one station's part."""

    stations: Mapping[str, Station] = field(default_factory=dict)
    points: Mapping[str, Point] = field(default_factory=dict)
    meters: Mapping[str, Meter] = field(default_factory=dict)
    installations: tuple[Installation, ...] = ()
    multipliers: tuple[Multiplier, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    transformers: tuple[Transformers, ...] = ()
    areas: tuple[Area, ...] = ()
