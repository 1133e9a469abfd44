"""What each point took in and fed back at a station between two instants, with what is doubtful.

Stretches and the indices at their ends go in, energies and notes come out. It must not know what is
a head and what a customer, nor where indices are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from collector.balance.boundary import BoundaryIndex, How
from collector.billing.snapshot import Boundary, IndexAt, Stretch, consumption
from collector.registry.values import Point, Registry, Transfer
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

REGISTERS = (IMPORT_ACTIVE, EXPORT_ACTIVE)

BoundaryIndices = Mapping[Boundary, Mapping[str, BoundaryIndex]]


class Doubt(StrEnum):
    """What is doubtful about the index of a point at an instant."""

    ALONE = "alone"  # off by less than an hour, and nothing to interpolate with
    FAR = "far"  # the nearest read is more than an hour off
    MISSING = "missing"  # no index within a day
    BACKWARD = "backward"  # the register went backwards, or faster than any line
    ESTIMATED = "estimated"  # computed, not read
    UNSURE_CLOCK = "unsure_clock"  # read by a clock that was not right
    NO_METER = "no_meter"  # a head had none for more than an hour; `at` is since when


# The point still counts as read near enough.
HARMLESS = frozenset({Doubt.ALONE})

# The point has no energy that could be told.
UNKNOWN = frozenset({Doubt.MISSING, Doubt.BACKWARD})


@dataclass(frozen=True, slots=True)
class Note:
    """One doubt. `off_s` is how far the nearest read was from the instant, before it below zero.

    `error_max_wh` bounds the error, multiplier counted in; None where nothing bounds it.
    """

    point: str
    meter: str
    register: str
    at: datetime
    doubt: Doubt
    off_s: int | None = None
    error_max_wh: int | None = None


@dataclass(frozen=True, slots=True)
class PointEnergy:
    """One point at one station over a period, in Wh; None where it cannot be told.

    `export_wh` is 0 where the meter has no such register.
    """

    point: str
    import_wh: int | None
    export_wh: int | None
    notes: tuple[Note, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether its energies can be told at all."""
        return self.import_wh is not None and self.export_wh is not None

    @property
    def is_complete(self) -> bool:
        """Whether it is known from reads near enough to both instants."""
        return self.is_known and all(note.doubt in HARMLESS for note in self.notes)


@dataclass(slots=True)
class _Sum:
    energy: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(REGISTERS, 0))
    notes: list[Note] = field(default_factory=list)


def placed(
    parts: Iterable[Stretch], points: Mapping[str, Point], transfers: Sequence[Transfer]
) -> Iterator[tuple[str, Stretch]]:
    """Each stretch with the station where its point was, cut where the point came or went."""
    moves: dict[str, list[Transfer]] = {}
    for row in sorted(transfers, key=lambda row: row.from_at):
        moves.setdefault(row.point, []).append(row)
    for part in parts:
        name = part.installation.point
        station = points[name].station
        start = part.from_at
        for move in moves.get(name, ()):
            end = min(move.from_at, part.to_at)
            if start < end:
                yield station, replace(part, from_at=start, to_at=end)
            start = max(start, move.from_at)
            station = move.station
        if start < part.to_at:
            yield station, replace(part, from_at=start)


def energies(
    registry: Registry, parts: Iterable[tuple[str, Stretch]], indices: BoundaryIndices
) -> dict[str, dict[str, PointEnergy]]:
    """By station and point, what was counted in these stretches; all of a point's add up."""
    sums: dict[tuple[str, str], _Sum] = {}
    for station, part in parts:
        name = part.installation.point
        into = sums.setdefault((station, name), _Sum())
        roll_over = registry.meters[part.installation.meter].roll_over_wh
        start = indices.get((name, part.installation.installed_at, part.from_at), {})
        end = indices.get((name, part.installation.installed_at, part.to_at), {})
        for register in REGISTERS:
            opening, closing = start.get(register), end.get(register)
            if register == EXPORT_ACTIVE and _has_no_export(opening, closing):
                continue
            _add(into, part, register, (opening, closing), roll_over)
    found: dict[str, dict[str, PointEnergy]] = {}
    for (station, name), one in sums.items():
        found.setdefault(station, {})[name] = PointEnergy(
            name, one.energy[IMPORT_ACTIVE], one.energy[EXPORT_ACTIVE], tuple(one.notes)
        )
    return found


def everywhere(
    by_station: Mapping[str, Mapping[str, PointEnergy]],
) -> dict[str, PointEnergy]:
    """What each point counted in all, whatever stations it hung on within the period."""
    found: dict[str, PointEnergy] = {}
    for of_station in by_station.values():
        for name, one in of_station.items():
            before = found.get(name)
            found[name] = one if before is None else _joined(before, one)
    return found


def _joined(one: PointEnergy, other: PointEnergy) -> PointEnergy:
    return PointEnergy(
        one.point,
        _added(one.import_wh, other.import_wh),
        _added(one.export_wh, other.export_wh),
        (*one.notes, *other.notes),
    )


def _added(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _has_no_export(opening: BoundaryIndex | None, closing: BoundaryIndex | None) -> bool:
    """A register that never was read, or that still shows nothing: nothing was fed back."""
    if closing is None:
        return opening is None or opening.value == 0
    return opening is None and closing.value == 0


def _add(
    into: _Sum,
    part: Stretch,
    register: str,
    ends: tuple[BoundaryIndex | None, BoundaryIndex | None],
    roll_over: int | None,
) -> None:
    opening, closing = ends
    used: int | None = None
    for at, index in ((part.from_at, opening), (part.to_at, closing)):
        into.notes += _doubts(part, register, at, index)
    if opening is not None and closing is not None:
        used = consumption(_at(opening), _at(closing), part.multiplier, roll_over)
        if used is None:
            into.notes.append(_note(part, register, part.to_at, Doubt.BACKWARD))
    before = into.energy[register]
    into.energy[register] = None if used is None or before is None else before + used


def _at(index: BoundaryIndex) -> IndexAt:
    return IndexAt(index.value, index.at, actual=index.how is How.READ)


def _doubts(
    part: Stretch, register: str, at: datetime, index: BoundaryIndex | None
) -> Iterator[Note]:
    if index is None:
        yield _note(part, register, at, Doubt.MISSING)
        return
    if index.how in {How.ALONE, How.FAR}:
        doubt = Doubt.ALONE if index.how is How.ALONE else Doubt.FAR
        error = index.error_max
        yield replace(
            _note(part, register, at, doubt),
            off_s=_seconds(index.off),
            error_max_wh=None if error is None else _ceiling(error * part.multiplier),
        )
    if index.estimated:
        yield _note(part, register, at, Doubt.ESTIMATED)
    if index.unsure:
        yield _note(part, register, at, Doubt.UNSURE_CLOCK)


def _note(part: Stretch, register: str, at: datetime, doubt: Doubt) -> Note:
    return Note(part.installation.point, part.installation.meter, register, at, doubt)


def _seconds(off: timedelta) -> int:
    """Whole seconds, towards zero."""
    whole = abs(off) // timedelta(seconds=1)
    return -whole if off < timedelta() else whole


def _ceiling(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
