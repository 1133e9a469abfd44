"""The balance of one station over one period: received, sold, lost.

ΔA = Σ head import − Σ head export + Σ points' export − Σ points' import over its direct children;
the loss in per cent is over the energy received. It must not know how indices were found.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from collector.balance.energy import HARMLESS, Doubt, Note, PointEnergy
from collector.registry.values import Point, Role, Station, StationKind

# The per cent is written with this many decimals.
PERCENT_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Balance:
    """What a station received, passed on and lost in [from_at, to_at), in Wh.

    `head_wh` and `customers_wh` are import less export; `received_wh` is what the head points
    took in and the customers fed back. Where a head point is unknown, `head_wh`, `received_wh`,
    `loss_wh` and `loss_percent` are None; an unknown customer counts as nothing. `complete` says
    that every point is known from reads near enough to both instants; `lacking` names the others,
    of which `unknown` have no energy at all. `points` counts those that are part of it.
    `head_is_customer`: the head's meter is the customer's too (a dedicated station): nothing is
    lost between the two. `error_max_wh` bounds what far reads can make wrong, None where nothing
    bounds it. `loss_percent` has four decimals, rounded half up in its magnitude.
    """

    station: str
    from_at: datetime
    to_at: datetime
    head_wh: int | None
    customers_wh: int
    received_wh: int | None
    loss_wh: int | None
    loss_percent: str | None
    complete: bool
    lacking: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    points: int = 0
    head_export_wh: int = 0
    customers_export_wh: int = 0
    head_is_customer: bool = False
    error_max_wh: int | None = 0
    notes: tuple[Note, ...] = ()

    @property
    def points_complete(self) -> int:
        """How many points were read near enough to both instants."""
        return self.points - len(self.lacking)

    @property
    def is_known(self) -> bool:
        """Whether every point has an energy, be it from far reads."""
        return self.loss_wh is not None and not self.unknown


@dataclass(frozen=True, slots=True)
class DayBalance:
    """The balance of one civil day."""

    day: date
    balance: Balance


@dataclass(slots=True)
class _Sums:
    head_import: int = 0
    head_export: int = 0
    points_import: int = 0
    points_export: int = 0

    def add(self, role: Role, import_wh: int, export_wh: int) -> None:
        if role is Role.HEAD:
            self.head_import += import_wh
            self.head_export += export_wh
        else:
            self.points_import += import_wh
            self.points_export += export_wh


def station_balance(
    station: Station,
    period: tuple[datetime, datetime],
    points: Mapping[str, Point],
    energies: Mapping[str, PointEnergy],
    heads_there: Iterable[str],
) -> Balance:
    """The balance of a station from what its points counted in exactly this period.

    `energies` has every point that had a meter there. `heads_there` are head points that belong to
    the station in the period, with or without one: a head without a meter is lacking; a customer
    without one had none to count, and is left out.
    """
    sums = _Sums()
    heads = set(heads_there)
    leaves = 0
    lacking, unknown = set(heads - energies.keys()), set(heads - energies.keys())
    notes: list[Note] = []
    for name, energy in energies.items():
        role = points[name].role
        if role is Role.SUB_METER:
            # Its parent has counted it, and would have it counted twice.
            continue
        if role is Role.HEAD:
            heads.add(name)
        else:
            leaves += 1
        notes += energy.notes
        if not energy.is_complete:
            lacking.add(name)
        if energy.import_wh is None or energy.export_wh is None:
            unknown.add(name)
        else:
            sums.add(role, energy.import_wh, energy.export_wh)
    is_customer = station.kind is StationKind.DEDICATED and not leaves and bool(heads)
    sold = (sums.points_import, sums.points_export)
    if is_customer:
        sold = (sums.head_import, sums.head_export)
    head_wh = received_wh = loss_wh = loss_percent = None
    if heads and not heads & unknown:
        head_wh = sums.head_import - sums.head_export
        received_wh = sums.head_import + sums.points_export
        loss_wh = head_wh - (sold[0] - sold[1])
        loss_percent = percent(loss_wh, received_wh)
    return Balance(
        station=station.station,
        from_at=period[0],
        to_at=period[1],
        head_wh=head_wh,
        customers_wh=sold[0] - sold[1],
        received_wh=received_wh,
        loss_wh=loss_wh,
        loss_percent=loss_percent,
        complete=bool(heads) and not lacking,
        lacking=tuple(sorted(lacking)),
        unknown=tuple(sorted(unknown)),
        points=len(heads) + leaves,
        head_export_wh=sums.head_export,
        customers_export_wh=sums.points_export,
        head_is_customer=is_customer,
        error_max_wh=error_max(notes),
        notes=tuple(notes),
    )


def error_max(notes: Iterable[Note]) -> int | None:
    """What doubtful indices can make wrong together, in Wh; None where one has no bound.

    Reads within the hour are not counted: that much is agreed to be near enough.
    """
    total = 0
    for note in notes:
        if note.doubt is Doubt.FAR:
            if note.error_max_wh is None:
                return None
            total += note.error_max_wh
        elif note.doubt not in HARMLESS:
            return None
    return total


def percent(part: int, whole: int) -> str | None:
    """`part` of `whole` in per cent with four decimals, half rounded up in magnitude; no float.

    None where `whole` is not positive.
    """
    if whole <= 0:
        return None
    scale = 10**PERCENT_DECIMALS
    scaled = (2 * abs(part) * 100 * scale + whole) // (2 * whole)
    sign = "-" if part < 0 and scaled else ""
    return f"{sign}{scaled // scale}.{scaled % scale:0{PERCENT_DECIMALS}}"
