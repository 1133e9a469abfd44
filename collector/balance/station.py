"""The balance of one station over one period: received, sold, lost.

ΔA = Σ head import − Σ head export + Σ points' export − Σ points' import over its direct children;
the loss in per cent is over the energy received. It must not know how indices were found.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from collector.billing.values import SnapshotLine
from collector.registry.values import Point, Role
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

# The per cent is written with this many decimals.
PERCENT_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Balance:
    """What a station received, passed on and lost in [from_at, to_at), in Wh.

    `head_wh` and `customers_wh` are import less export; `received_wh` is what the head points
    took in and the customers fed back. Where a head point is unknown, `head_wh`, `received_wh`,
    `loss_wh` and `loss_percent` are None; an unknown customer counts as nothing. `complete` says
    that every point is known from reads near enough to both instants; `lacking` names the others.
    `loss_percent` has four decimals, rounded half up in its magnitude.
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

    def add(self, role: Role, register: str, energy_wh: int) -> None:
        if role is Role.HEAD:
            if register == IMPORT_ACTIVE:
                self.head_import += energy_wh
            else:
                self.head_export += energy_wh
        elif register == IMPORT_ACTIVE:
            self.points_import += energy_wh
        else:
            self.points_export += energy_wh


def station_balance(
    station: str,
    period: tuple[datetime, datetime],
    points: Mapping[str, Point],
    lines: Iterable[SnapshotLine],
) -> Balance:
    """The balance of a station's points from the lines of exactly this period.

    A point with a line whose consumption is unknown is lacking, and so is a head point without
    any line; a customer without one had no meter then, and is left out.
    """
    sums = _Sums()
    lacking: set[str] = set()
    seen: set[str] = set()
    for line in lines:
        if line.register not in {IMPORT_ACTIVE, EXPORT_ACTIVE}:
            continue
        if points[line.point].role is Role.SUB_METER:
            # Its parent has counted it, and would have it counted twice.
            continue
        seen.add(line.point)
        if line.consumption is None:
            lacking.add(line.point)
        else:
            sums.add(points[line.point].role, line.register, line.consumption)
    heads = {point.point for point in points.values() if point.role is Role.HEAD}
    lacking |= heads - seen
    customers_wh = sums.points_import - sums.points_export
    if not heads or heads & lacking:
        head_wh = received_wh = loss_wh = loss_percent = None
    else:
        head_wh = sums.head_import - sums.head_export
        received_wh = sums.head_import + sums.points_export
        loss_wh = head_wh - customers_wh
        loss_percent = percent(loss_wh, received_wh)
    return Balance(
        station=station,
        from_at=period[0],
        to_at=period[1],
        head_wh=head_wh,
        customers_wh=customers_wh,
        received_wh=received_wh,
        loss_wh=loss_wh,
        loss_percent=loss_percent,
        complete=bool(heads) and not lacking,
        lacking=tuple(sorted(lacking)),
    )


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
