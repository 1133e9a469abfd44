"""What to check beside a loss that is negative, too low, too high or suddenly different.

Facts of the registry and of the points' energies make a cause likely; without one, what is usual is
named. It accuses nobody: it says where to look first. It must not know how a loss was computed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from collector.balance.energy import Doubt, PointEnergy
from collector.balance.losses import Band, Standing, StationLoss, length
from collector.registry.values import Point, Registry, Role
from contract.registers import IMPORT_ACTIVE

# Of the points that one cause names.
POINTS_MAX = 5

# A point that used less than this a day before is not looked at: holiday houses come and go.
USED_MIN_WH_A_DAY = 100

# A point fell when it has less than this share of what the others' change would give it.
FALLEN = Fraction(6, 10)

# One current transformer the wrong way round leaves a third of a balanced load, a lost phase two.
POLARITY = (Fraction(27, 100), Fraction(40, 100))
LOST_PHASE = (Fraction(60, 100), Fraction(73, 100))

# Two stations' changes mirror each other within this share of the larger.
MIRROR = Fraction(2, 10)

_DAY_MS = 86_400_000


class Kind(StrEnum):
    """A cause to check."""

    HEAD_UNKNOWN = "head_unknown"
    POINT_UNKNOWN = "point_unknown"
    NOT_SIMULTANEOUS = "not_simultaneous"
    MULTIPLIER = "multiplier"
    EXCHANGE_WITHOUT_INDEX = "exchange_without_index"
    WENT_BACKWARD = "went_backward"
    TRANSFER_NOT_RECORDED = "transfer_not_recorded"
    TRANSFER = "transfer"
    SOLAR = "solar"
    FELL_TO_ZERO = "fell_to_zero"
    POLARITY = "polarity"
    LOST_PHASE = "lost_phase"
    FELL = "fell"
    WRONG_STATION = "wrong_station"
    HEAD_METERING = "head_metering"
    THEFT = "theft"


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause to check. `likely`: a fact speaks for it, else it is usual for such a loss.

    `points` are those concerned, the most telling first, at most POINTS_MAX; `stations` other
    stations; `energy_wh` what of the loss it would explain.
    """

    kind: Kind
    likely: bool
    points: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    energy_wh: int | None = None


@dataclass(frozen=True, slots=True)
class Energies:
    """The points of one station in a period and in the one before it."""

    now: Mapping[str, PointEnergy]
    before: Mapping[str, PointEnergy]


def is_asked_for(loss: StationLoss) -> bool:
    """Whether causes are named beside a loss."""
    if loss.standing in {Standing.BOUNDARY, Standing.BEHIND_MASTER, Standing.HEAD_IS_CUSTOMER}:
        return False
    return loss.band is not Band.NORMAL or loss.is_sudden


def causes(
    loss: StationLoss, registry: Registry, energies: Energies, mirrored: Sequence[str] = ()
) -> tuple[Cause, ...]:
    """What to check, what facts speak for first. `mirrored`: stations that changed the other way.

    `registry` may be the station's part alone; its rows must be of the station's points.
    """
    if not is_asked_for(loss):
        return ()
    found = [
        *_unknown(loss, registry.points),
        *_registry_facts(loss, registry),
        *_solar(loss),
    ]
    if mirrored:
        found.append(Cause(Kind.TRANSFER_NOT_RECORDED, likely=True, stations=tuple(mirrored)))
    is_high = loss.band in {Band.WARN, Band.ALARM} or (loss.change_points or 0) > 0
    if is_high and loss.previous is not None:
        found += _fallen(loss, registry, energies)
    kinds = {cause.kind for cause in found}
    usual = (
        (Kind.MULTIPLIER, Kind.WRONG_STATION, Kind.HEAD_METERING, Kind.THEFT)
        if is_high
        else (Kind.MULTIPLIER, Kind.WRONG_STATION, Kind.HEAD_METERING, Kind.SOLAR)
    )
    if loss.balance.is_known:
        found += [Cause(kind, likely=False) for kind in usual if kind not in kinds]
    return tuple(found)


def mirrors(losses: Iterable[StationLoss]) -> dict[str, tuple[str, ...]]:
    """Stations of one feeder, or of one commune, whose losses changed by the same, oppositely.

    That is what a point looks like that was moved and whose transfer nobody recorded.
    """
    moved: dict[tuple[str, str], list[tuple[Fraction, str]]] = {}
    for loss in losses:
        if not loss.is_sudden or loss.previous is None or loss.standing is not Standing.RANKED:
            continue
        change = _rate(loss.balance.loss_wh or 0, length(loss.balance)) - _rate(
            loss.previous.loss_wh or 0, length(loss.previous)
        )
        row = loss.station
        where = ("feeder", row.feeder) if row.feeder else ("commune", row.commune or "")
        moved.setdefault(where, []).append((change, row.station))
    found: dict[str, list[str]] = {}
    for rows in moved.values():
        up = [row for row in rows if row[0] > 0]
        down = [row for row in rows if row[0] < 0]
        for rise, risen in up:
            for fall, fallen in down:
                if abs(rise + fall) <= MIRROR * max(rise, -fall):
                    found.setdefault(risen, []).append(fallen)
                    found.setdefault(fallen, []).append(risen)
    return {name: tuple(sorted(others)[:POINTS_MAX]) for name, others in found.items()}


def _unknown(loss: StationLoss, points: Mapping[str, Point]) -> Iterator[Cause]:
    heads = [name for name in loss.balance.unknown if points[name].role is Role.HEAD]
    heads += [note.point for note in loss.balance.notes if note.doubt is Doubt.NO_METER]
    others = [name for name in loss.balance.unknown if points[name].role is not Role.HEAD]
    if heads or loss.balance.loss_wh is None:
        yield Cause(Kind.HEAD_UNKNOWN, likely=True, points=_some(heads))
    if others:
        yield Cause(Kind.POINT_UNKNOWN, likely=True, points=_some(others))
    of_doubt: dict[Doubt, list[str]] = {}
    for note in loss.balance.notes:
        of_doubt.setdefault(note.doubt, []).append(note.point)
    if backward := of_doubt.get(Doubt.BACKWARD):
        yield Cause(Kind.WENT_BACKWARD, likely=True, points=_some(backward))
    off = [
        name
        for doubt in (Doubt.UNSURE_CLOCK, Doubt.FAR, Doubt.ESTIMATED)
        for name in of_doubt.get(doubt, ())
    ]
    if off:
        yield Cause(
            Kind.NOT_SIMULTANEOUS,
            likely=True,
            points=_some(off),
            energy_wh=loss.balance.error_max_wh,
        )


def _registry_facts(loss: StationLoss, registry: Registry) -> Iterator[Cause]:
    """What was changed since the period before began."""
    from_at = loss.balance.from_at if loss.previous is None else loss.previous.from_at
    to_at = loss.balance.to_at
    first: dict[str, datetime] = {}
    for row in registry.installations:
        first[row.point] = min(row.installed_at, first.get(row.point, row.installed_at))
    changed = [
        row.point
        for row in registry.multipliers
        if from_at < row.from_at < to_at and row.from_at != first.get(row.point)
    ]
    if changed:
        yield Cause(Kind.MULTIPLIER, likely=True, points=_some(changed))
    bare = [
        row.point
        for row in registry.installations
        if (
            from_at < row.installed_at < to_at
            and row.installed_at != first[row.point]
            and IMPORT_ACTIVE not in row.install_indices
        )
        or (
            row.removed_at is not None
            and from_at < row.removed_at < to_at
            and IMPORT_ACTIVE not in row.removal_indices
        )
    ]
    if bare:
        yield Cause(Kind.EXCHANGE_WITHOUT_INDEX, likely=True, points=_some(bare))
    came = [row.point for row in registry.transfers if from_at < row.from_at < to_at]
    if came:
        yield Cause(Kind.TRANSFER, likely=True, points=_some(came))


def _solar(loss: StationLoss) -> Iterator[Cause]:
    """More went back through the head than anyone is known to have fed in."""
    missing = loss.balance.head_export_wh - loss.balance.customers_export_wh
    if missing > 0:
        yield Cause(Kind.SOLAR, likely=True, energy_wh=missing)


def _fallen(loss: StationLoss, registry: Registry, energies: Energies) -> Iterator[Cause]:
    """Points that count much less than the others' change would have them count."""
    assert loss.previous is not None, "there is a period before"
    now_ms, before_ms = length(loss.balance), length(loss.previous)
    rates: list[tuple[str, Fraction, Fraction]] = []
    for name, one in energies.now.items():
        other = energies.before.get(name)
        role = registry.points[name].role
        if role in {Role.HEAD, Role.SUB_METER} or other is None or other.import_wh is None:
            continue
        if one.import_wh is None:
            continue
        before = _rate(other.import_wh, before_ms)
        if before >= Fraction(USED_MIN_WH_A_DAY, _DAY_MS):
            rates.append((name, before, _rate(one.import_wh, now_ms)))
    if not rates:
        return
    # What the weather did to everybody is no sign: the middle one's change is taken off.
    ratios = sorted(now * Fraction(1, before) for _, before, now in rates)
    usual = ratios[len(ratios) // 2]
    fallen = [
        (before * usual - now, name, now)
        for name, before, now in rates
        if now < FALLEN * before * usual
        or (now < LOST_PHASE[1] * before * usual and _has_transformers(registry, name))
    ]
    expected = {name: before * usual for name, before, _ in rates}
    groups: dict[Kind, list[tuple[Fraction, str]]] = {}
    for short, name, now in fallen:
        kind = _kind(now * Fraction(1, expected[name]), _has_transformers(registry, name))
        groups.setdefault(kind, []).append((short, name))
    for kind in (Kind.FELL_TO_ZERO, Kind.POLARITY, Kind.LOST_PHASE, Kind.FELL):
        rows = sorted(groups.get(kind, ()), key=lambda row: (-row[0], row[1]))
        if rows:
            energy = sum(short for short, _ in rows) * now_ms
            yield Cause(
                kind,
                likely=True,
                points=tuple(name for _, name in rows[:POINTS_MAX]),
                energy_wh=int(energy),
            )


def _kind(ratio: Fraction, has_transformers: bool) -> Kind:
    if ratio == 0:
        return Kind.FELL_TO_ZERO
    if has_transformers and POLARITY[0] <= ratio <= POLARITY[1]:
        return Kind.POLARITY
    if has_transformers and LOST_PHASE[0] <= ratio <= LOST_PHASE[1]:
        return Kind.LOST_PHASE
    return Kind.FELL


def _has_transformers(registry: Registry, point: str) -> bool:
    return any(row.point == point and row.ratio != 1 for row in registry.multipliers)


def _rate(energy_wh: int, elapsed_ms: int) -> Fraction:
    return Fraction(energy_wh, elapsed_ms)


def _some(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[:POINTS_MAX]
