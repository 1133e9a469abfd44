"""What a district consists of and what happens in it; all of it follows from a seed.

Owns names, meters and events as plain facts. It must not solve a power flow nor read a file.
Instants are quarter hours, numbered from the district's first midnight.
"""

from dataclasses import dataclass, field
from enum import StrEnum

QUARTERS_PER_DAY = 96


class Place(StrEnum):
    """What a point is."""

    HEAD = "head"
    HOUSEHOLD = "household"
    BUSINESS = "business"
    WHOLESALE_MASTER = "wholesale_master"
    SUB_METER = "sub_meter"


@dataclass(frozen=True, slots=True)
class Rated:
    """A load: a profile of the load year times these ratings."""

    profile: str
    p_kw: float
    q_kvar: float


@dataclass(frozen=True, slots=True)
class Theft:
    """From a quarter hour on a meter counts only `counted_percent` of what passes it."""

    from_quarter: int
    counted_percent: int


@dataclass(frozen=True, slots=True)
class Column:
    """One load in a station's network, there from one quarter hour up to, not including, another.

    `point` is None where nobody meters it. `solar_kw` is the peak of a rooftop's panels.
    `steady_kw` is taken at all hours beside the profiles.
    """

    point: str | None
    node: int
    rated: tuple[Rated, ...]
    solar_kw: float = 0.0
    steady_kw: float = 0.0
    from_quarter: int = 0
    to_quarter: int | None = None
    theft: Theft | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """A meter at a point: `initial_wh` is its import index at `from_quarter`.

    Indices are of the secondary side; a register rolls over at `roll_over_wh`.
    """

    serial: str
    point: str
    model: str
    resolution_wh: int
    digits: int
    roll_over_wh: int
    initial_wh: int
    from_quarter: int = 0
    to_quarter: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """A metering point and who pays for it. `multiplier` is CT ratio; `position` is in its book.

    From `recabled_quarter` on, a day's start, `next_multiplier` counts: its transformers changed.
    `moved_in_quarter` is when another customer takes over, if one does. `shares`: price groups in
    hundredths of a per cent, or three rates of one group.
    """

    point: str
    station: str
    place: Place
    phases: int
    multiplier: int = 1
    next_multiplier: int | None = None
    recabled_quarter: int | None = None
    parent: str | None = None
    parent_percent: int = 0
    customer: str = ""
    next_customer: str | None = None
    moved_in_quarter: int | None = None
    households: int | None = None
    price_groups: tuple[tuple[str, int], ...] = ()
    has_rates: bool = False
    position: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A point counts at another station from a day's start on (chuyển tải)."""

    point: str
    from_quarter: int
    station: str


@dataclass(frozen=True, slots=True)
class Silence:
    """A meter does not answer from one quarter hour up to another."""

    serial: str
    from_quarter: int
    to_quarter: int


@dataclass(frozen=True, slots=True)
class Held:
    """A gateway delivers what it reads from `from_quarter` on not before `delivered_quarter`."""

    station: str
    from_quarter: int
    delivered_quarter: int


@dataclass(frozen=True, slots=True)
class Down:
    """A gateway reads nothing from one quarter hour up to another, and says so afterwards."""

    station: str
    from_quarter: int
    to_quarter: int


@dataclass(frozen=True, slots=True)
class PlannedStation:
    """A station: its network's name, what hangs on it and what its lines are to lose, per cent."""

    station: str
    commune: str
    grid: str
    loss_percent: float
    columns: tuple[Column, ...]
    head: PlannedPoint
    is_wholesale: bool = False


@dataclass(frozen=True, slots=True)
class District:
    """All of it. `boundaries` are the billing days' first quarter hours; `quarters` is the end."""

    seed: int
    quarters: int
    boundaries: tuple[int, ...]
    stations: tuple[PlannedStation, ...]
    points: dict[str, PlannedPoint]
    stays: tuple[Stay, ...]
    moves: tuple[Move, ...] = ()
    silences: tuple[Silence, ...] = ()
    helds: tuple[Held, ...] = ()
    downs: tuple[Down, ...] = ()
    solar: frozenset[str] = frozenset()
    thefts: dict[str, str] = field(default_factory=dict)
    """Of each station with a theft: what is done there, for the report."""
