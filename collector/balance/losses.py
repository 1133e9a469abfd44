"""Losses of stations, communes and units: technical part, bands, sums, masters, ranking, trend.

Pure functions over balances; it must not know where energies come from, nor why a loss is what it
is (that is `causes.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from collector.balance.energy import PointEnergy
from collector.balance.settings import LossSettings, Thresholds
from collector.balance.station import Balance, DayBalance, percent
from collector.balance.transformer import Technical, technical_part
from collector.registry.values import Point, Role, Station


class Standing(StrEnum):
    """Whether a station's loss is compared with others', and if not, why."""

    RANKED = "ranked"
    NO_HEAD = "no_head"  # no head point, or nothing is known of one
    UNKNOWN_POINTS = "unknown_points"  # some point has no energy: the loss has its energy in it
    HEAD_IS_CUSTOMER = "head_is_customer"  # a dedicated station's one meter: nothing between
    BOUNDARY = "boundary"  # it holds the unit's boundary meters, and no customer
    BEHIND_MASTER = "behind_master"  # another's network, behind a wholesale master


class Band(StrEnum):
    """What the thresholds say of a loss in per cent."""

    NEGATIVE = "negative"
    LOW = "low"
    NORMAL = "normal"
    WARN = "warn"
    ALARM = "alarm"
    UNKNOWN = "unknown"


class Order(StrEnum):
    """What a ranking goes by."""

    ENERGY = "energy"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True)
class StationLoss:
    """A station's balance with what of the loss is explained, and the one of the period before.

    What is unexplained is the loss less its transformers' part: lines, and what is not technical.
    """

    station: Station
    balance: Balance
    technical: Technical
    standing: Standing
    band: Band
    thresholds: Thresholds
    previous: Balance | None = None

    @property
    def unexplained_wh(self) -> int | None:
        """The loss less the technical part that is known, in Wh."""
        if self.balance.loss_wh is None:
            return None
        return self.balance.loss_wh - (self.technical.energy_wh or 0)

    @property
    def unexplained_percent(self) -> str | None:
        """The same in per cent of what was received, four decimals."""
        if self.unexplained_wh is None or self.balance.received_wh is None:
            return None
        return percent(self.unexplained_wh, self.balance.received_wh)

    @property
    def change_points(self) -> Fraction | None:
        """By how many percentage points the loss is above that of the period before."""
        if self.previous is None or not (self.previous.is_known and self.balance.is_known):
            return None
        now, before = share(self.balance), share(self.previous)
        return None if now is None or before is None else now - before

    @property
    def is_sudden(self) -> bool:
        """Whether the loss went up or down by the threshold or more."""
        change = self.change_points
        return change is not None and abs(change) >= self.thresholds.sudden


@dataclass(frozen=True, slots=True)
class BoundaryLoss:
    """A unit against its boundary meters, in Wh: medium voltage, transformers and all else.

    `mv_wh` is what is lost before the stations' heads. None where a boundary meter is unknown.
    """

    points: tuple[str, ...]
    received_wh: int | None
    sold_wh: int
    loss_wh: int | None
    loss_percent: str | None
    mv_wh: int | None
    complete: bool
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AreaLoss:
    """A commune's or a unit's stations together, in Wh: those whose loss is known.

    `stations` counts all that sell there, `known` those that are summed, `complete` those read near
    enough to both instants. `technical_lacking` counts those without transformer data.
    """

    name: str
    stations: int
    known: int
    complete: int
    received_wh: int
    sold_wh: int
    loss_wh: int
    loss_percent: str | None
    technical_wh: int
    technical_lacking: int
    boundary: BoundaryLoss | None = None

    @property
    def unexplained_wh(self) -> int:
        """The loss less the technical part that is known."""
        return self.loss_wh - self.technical_wh

    @property
    def unexplained_percent(self) -> str | None:
        """The same in per cent of what was received."""
        return percent(self.unexplained_wh, self.received_wh)


@dataclass(frozen=True, slots=True)
class MasterLoss:
    """A wholesale master against its station and against what is metered behind it, in Wh.

    `share_percent` is its part of what the station received. `behind_wh` is what the points behind
    it took, less what they fed back; None where none is known. What is lost there is not ours.
    """

    point: str
    station: str
    import_wh: int | None
    export_wh: int | None
    share_percent: str | None
    points_behind: int
    points_known: int
    behind_wh: int | None
    loss_wh: int | None
    loss_percent: str | None


@dataclass(frozen=True, slots=True)
class DaysLoss:
    """The complete days of a range together: ΣΔA over Σ received, no mean of their per cents."""

    days: int
    complete: int
    received_wh: int
    loss_wh: int
    loss_percent: str | None


def station_loss(
    station: Station,
    balance: Balance,
    settings: LossSettings,
    previous: Balance | None = None,
    *,
    boundary: bool = False,
) -> StationLoss:
    """What is said of one station. `boundary`: its head points are boundary meters of a unit."""
    period = (balance.from_at, balance.to_at)
    thresholds = settings.thresholds_of(station.station)
    return StationLoss(
        station,
        balance,
        technical_part(settings.transformers, station.station, period, balance.received_wh),
        _standing(balance, settings, boundary=boundary),
        band(balance, thresholds),
        thresholds,
        previous,
    )


def band(balance: Balance, thresholds: Thresholds) -> Band:
    """The band of a loss; unknown where a point has no energy or nothing was received."""
    found = share(balance)
    if found is None or not balance.is_known:
        return Band.UNKNOWN
    if found < 0:
        return Band.NEGATIVE
    if found < thresholds.low:
        return Band.LOW
    if found >= thresholds.alarm:
        return Band.ALARM
    return Band.WARN if found >= thresholds.warn else Band.NORMAL


def share(balance: Balance) -> Fraction | None:
    """The loss in per cent of what was received, exactly."""
    if balance.loss_wh is None or not balance.received_wh:
        return None
    return Fraction(100 * balance.loss_wh, balance.received_wh)


def rank(losses: Iterable[StationLoss], order: Order = Order.ENERGY) -> list[StationLoss]:
    """The stations that are compared, the largest unexplained loss first; equal ones by code."""

    def key(loss: StationLoss) -> tuple[Fraction, str]:
        energy = loss.unexplained_wh or 0
        if order is Order.ENERGY:
            return Fraction(-energy), loss.station.station
        received = loss.balance.received_wh or 1
        return Fraction(-energy, received), loss.station.station

    return sorted((loss for loss in losses if loss.standing is Standing.RANKED), key=key)


def by_area(losses: Iterable[StationLoss], level: str) -> dict[str, list[StationLoss]]:
    """Stations that sell, by `commune` or `unit`; those without one are under no name."""
    found: dict[str, list[StationLoss]] = {}
    for loss in losses:
        if loss.standing in {Standing.BOUNDARY, Standing.BEHIND_MASTER}:
            continue
        name = loss.station.commune if level == "commune" else loss.station.unit
        found.setdefault(name or "", []).append(loss)
    return dict(sorted(found.items()))


def area_loss(
    name: str, losses: Sequence[StationLoss], boundary: BoundaryLoss | None = None
) -> AreaLoss:
    """The sums over the stations whose loss is known."""
    known = [loss for loss in losses if loss.balance.is_known]
    received = sum(loss.balance.received_wh or 0 for loss in known)
    lost = sum(loss.balance.loss_wh or 0 for loss in known)
    return AreaLoss(
        name=name,
        stations=len(losses),
        known=len(known),
        complete=sum(loss.balance.complete for loss in known),
        received_wh=received,
        sold_wh=sum(loss.balance.customers_wh for loss in known),
        loss_wh=lost,
        loss_percent=percent(lost, received),
        technical_wh=sum(loss.technical.energy_wh or 0 for loss in known),
        technical_lacking=sum(loss.technical.energy_wh is None for loss in known),
        boundary=boundary,
    )


def boundary_loss(
    points: Sequence[str], energies: Mapping[str, PointEnergy], losses: Sequence[StationLoss]
) -> BoundaryLoss:
    """A unit's boundary meters against all that its stations sold."""
    found = [energies.get(name) for name in points]
    lacking = [
        name for name, one in zip(points, found, strict=True) if one is None or not one.is_complete
    ]
    sold = sum(loss.balance.customers_wh for loss in losses)
    fed_back = sum(
        loss.balance.head_export_wh
        if loss.balance.head_is_customer
        else loss.balance.customers_export_wh
        for loss in losses
    )
    net = taken = 0
    is_known = True
    for one in found:
        if one is None or one.import_wh is None or one.export_wh is None:
            is_known = False
            continue
        taken += one.import_wh
        net += one.import_wh - one.export_wh
    stations_lost = sum(loss.balance.loss_wh or 0 for loss in losses)
    heads_known = all(loss.balance.loss_wh is not None for loss in losses)
    lost = net - sold if is_known else None
    received = taken + fed_back if is_known else None
    return BoundaryLoss(
        points=tuple(points),
        received_wh=received,
        sold_wh=sold,
        loss_wh=lost,
        loss_percent=None if lost is None or received is None else percent(lost, received),
        mv_wh=lost - stations_lost if lost is not None and heads_known else None,
        complete=not lacking and all(loss.balance.complete for loss in losses),
        lacking=tuple(lacking),
    )


def master_loss(
    point: Point,
    loss: StationLoss,
    own: PointEnergy | None,
    at_station: PointEnergy | None,
    behind: Sequence[PointEnergy],
) -> MasterLoss:
    """A master against its station and against the points behind it.

    `own` and `behind` are of the whole period, wherever they hung; `at_station` is what the master
    took at its station alone.
    """
    import_wh = None if own is None else own.import_wh
    export_wh = None if own is None else own.export_wh
    received = loss.balance.received_wh
    known = [
        one.import_wh - one.export_wh
        for one in behind
        if one.import_wh is not None and one.export_wh is not None
    ]
    behind_wh = sum(known) if known else None
    lost: int | None = None
    if import_wh is not None and export_wh is not None and behind_wh is not None:
        lost = import_wh - export_wh - behind_wh
    return MasterLoss(
        point=point.point,
        station=loss.station.station,
        import_wh=import_wh,
        export_wh=export_wh,
        share_percent=None
        if at_station is None or at_station.import_wh is None or received is None
        else percent(at_station.import_wh, received),
        points_behind=len(behind),
        points_known=len(known),
        behind_wh=behind_wh,
        loss_wh=lost,
        loss_percent=None if lost is None or import_wh is None else percent(lost, import_wh),
    )


def masters(points: Iterable[Point]) -> list[Point]:
    """The wholesale masters, by code."""
    found = [point for point in points if point.role is Role.WHOLESALE_MASTER]
    return sorted(found, key=lambda point: point.point)


def days_loss(days: Iterable[DayBalance]) -> DaysLoss:
    """The complete days together; a day with a point lacking has no part in it."""
    every = list(days)
    complete = [one.balance for one in every if one.balance.complete]
    received = sum(one.received_wh or 0 for one in complete)
    lost = sum(one.loss_wh or 0 for one in complete)
    return DaysLoss(len(every), len(complete), received, lost, percent(lost, received))


def length(balance: Balance) -> int:
    """Milliseconds of a balance's period."""
    return _ms(balance.from_at, balance.to_at)


def _ms(from_at: datetime, to_at: datetime) -> int:
    elapsed = to_at - from_at
    return (elapsed.days * 86_400 + elapsed.seconds) * 1000 + elapsed.microseconds // 1000


def _standing(balance: Balance, settings: LossSettings, *, boundary: bool) -> Standing:
    if boundary:
        return Standing.BOUNDARY
    if any(balance.station in stations for stations in settings.behind.values()):
        return Standing.BEHIND_MASTER
    if balance.head_is_customer:
        return Standing.HEAD_IS_CUSTOMER
    if balance.loss_wh is None:
        return Standing.NO_HEAD
    return Standing.RANKED if balance.is_known else Standing.UNKNOWN_POINTS
