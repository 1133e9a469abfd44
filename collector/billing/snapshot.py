"""How a snapshot's lines come about: indices at the ends of each stretch, and their difference.

Pure functions over the registry and the indices found; it must not know where either is kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, TypeVar

import msgspec

from collector.billing.values import LineQuality, SnapshotLine
from collector.civil import format_instant
from collector.registry.values import Installation, Multiplier, Registry
from collector.vee.impossible_jump import is_impossible
from collector.vee.negative_consumption import Step, step
from contract.limits import ENERGY_MAX
from contract.registers import BILLING, BY_OBIS, IMPORT_ACTIVE, Kind, Unit

BILLED_REGISTERS = tuple(register.obis for register in BILLING if register.kind is Kind.CUMULATIVE)

_BILLED = frozenset(BILLED_REGISTERS)
_ONE = Fraction(1)


class IndexAt(NamedTuple):
    """The index that stands for an instant: its value, and when it was really read.

    `actual` says that it was read for that very instant, or on the spot at an exchange.
    """

    value: int
    at: datetime
    actual: bool


Boundary = tuple[str, datetime, datetime]
"""(point, the installation's `installed_at`, the instant that an index is wanted for)."""

Indices = Mapping[Boundary, Mapping[str, IndexAt]]
"""What was found for each boundary, by register. A boundary without reads may be absent."""


_Index = TypeVar("_Index")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the period in which one meter counted at a point under one multiplier."""

    installation: Installation
    from_at: datetime
    to_at: datetime
    multiplier: Fraction


def stretches(registry: Registry, from_at: datetime, to_at: datetime) -> list[Stretch]:
    """The period cut where meters were exchanged and multipliers changed, point by point."""
    ratios: dict[str, list[Multiplier]] = {}
    for multiplier in sorted(registry.multipliers, key=lambda row: row.from_at):
        ratios.setdefault(multiplier.point, []).append(multiplier)
    found: list[Stretch] = []
    for installation in registry.installations:
        start = max(installation.installed_at, from_at)
        removed_at = installation.removed_at
        end = to_at if removed_at is None else min(removed_at, to_at)
        if start < end:
            found += _cut(installation, start, end, ratios.get(installation.point, ()))
    return found


def inner_boundaries(
    parts: Iterable[Stretch], from_at: datetime, to_at: datetime
) -> list[tuple[Installation, datetime]]:
    """The instants within the period for which an index is wanted: exchanges and changes."""
    found = {
        (part.installation.point, part.installation.installed_at, at): (part.installation, at)
        for part in parts
        for at in (part.from_at, part.to_at)
        if from_at < at < to_at
    }
    return list(found.values())


def make_lines(
    registry: Registry, parts: Iterable[Stretch], indices: Indices
) -> list[SnapshotLine]:
    """The lines by point, register and time: one per stretch and register that has an index.

    A stretch without any index has one line of the active energy register, of quality N: what is
    installed is never silently absent.
    """
    keyed = []
    for part in parts:
        roll_over = registry.meters[part.installation.meter].roll_over_wh
        start = at_start(part, indices, _on_the_spot)
        end = at_end(part, indices, _on_the_spot)
        registers = (start.keys() | end.keys()) & _BILLED or {IMPORT_ACTIVE}
        for register in registers:
            line = _line(part, register, start.get(register), end.get(register), roll_over)
            keyed.append((line.point, register, part.from_at, line))
    keyed.sort(key=lambda entry: entry[:3])
    return [line for *_, line in keyed]


def canonical_json(
    station: str | None, from_at: datetime, to_at: datetime, lines: Sequence[SnapshotLine]
) -> bytes:
    """The snapshot as bytes: sorted keys, no spaces, UTF-8, without id and creation time.

    Two snapshots of the same determinants have the same bytes.
    """
    return msgspec.json.encode(
        {
            "from_at": format_instant(from_at),
            "lines": [line_document(line) for line in lines],
            "station": station,
            "to_at": format_instant(to_at),
        }
    )


def snapshot_hash(
    station: str | None, from_at: datetime, to_at: datetime, lines: Sequence[SnapshotLine]
) -> str:
    """The hexadecimal SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(station, from_at, to_at, lines)).hexdigest()


def line_document(line: SnapshotLine) -> dict[str, str | int | None]:
    """A line as JSON shows it, keys sorted; the names are those of the CSV columns."""
    return {
        "consumption_wh": line.consumption,
        "index_from_wh": line.index_from,
        "index_to_wh": line.index_to,
        "meter": line.meter,
        "multiplier": str(line.multiplier),
        "point": line.point,
        "quality": line.quality.value,
        "read_from_at": None if line.read_from_at is None else format_instant(line.read_from_at),
        "read_to_at": None if line.read_to_at is None else format_instant(line.read_to_at),
        "register": line.register,
    }


def at_start(
    part: Stretch,
    found: Mapping[Boundary, Mapping[str, _Index]],
    spot: Callable[[int, datetime], _Index],
) -> Mapping[str, _Index]:
    """The indices at a stretch's start: what was found, before it what was written at an exchange.

    `spot` makes an index of one that was written down on the spot.
    """
    where = part.installation
    indices = found.get((where.point, where.installed_at, part.from_at), {})
    if part.from_at != where.installed_at:
        return indices
    return {**indices, **_written(where.install_indices, part.from_at, spot)}


def at_end(
    part: Stretch,
    found: Mapping[Boundary, Mapping[str, _Index]],
    spot: Callable[[int, datetime], _Index],
) -> Mapping[str, _Index]:
    """The indices at a stretch's end; see at_start."""
    where = part.installation
    indices = found.get((where.point, where.installed_at, part.to_at), {})
    if part.to_at != where.removed_at:
        return indices
    return {**indices, **_written(where.removal_indices, part.to_at, spot)}


def consumption(
    start: IndexAt, end: IndexAt, multiplier: Fraction, roll_over: int | None
) -> int | None:
    """The difference of two indices times the multiplier; None where it cannot be told.

    Each index is multiplied and floored by itself, so that adjacent stretches add up exactly
    whatever the multiplier.
    """
    # One read, or reads in the wrong order, say nothing of the time between the two instants.
    if end.at <= start.at:
        return None
    match step(start.value, end.value, roll_over, end.at - start.at):
        case Step.FORWARD:
            reached = end.value
        case Step.ROLL_OVER:
            assert roll_over is not None, "without a modulus nothing rolls over"
            reached = end.value + roll_over
        case Step.BACKWARD:
            return None
    if is_impossible(reached - start.value, end.at - start.at):
        return None
    used = scaled(reached, multiplier) - scaled(start.value, multiplier)
    # What no store can hold exactly is not billed in part.
    return used if used <= ENERGY_MAX else None


def _written(
    indices: Mapping[str, int], at: datetime, spot: Callable[[int, datetime], _Index]
) -> Mapping[str, _Index]:
    return {register: spot(value, at) for register, value in indices.items()}


def _on_the_spot(value: int, at: datetime) -> IndexAt:
    return IndexAt(value, at, actual=True)


def scaled(value: int, multiplier: Fraction) -> int:
    """An index behind a multiplier, floored to the register's unit."""
    return value * multiplier.numerator // multiplier.denominator


def _cut(
    installation: Installation, start: datetime, end: datetime, ratios: Sequence[Multiplier]
) -> Iterator[Stretch]:
    cuts = [start, *(row.from_at for row in ratios if start < row.from_at < end), end]
    for from_at, to_at in pairwise(cuts):
        ratio = _ONE
        for row in ratios:
            if row.from_at <= from_at:
                ratio = row.ratio
        yield Stretch(installation, from_at, to_at, ratio)


def _line(
    part: Stretch,
    register: str,
    start: IndexAt | None,
    end: IndexAt | None,
    roll_over_wh: int | None,
) -> SnapshotLine:
    used: int | None = None
    quality = LineQuality.NONE
    if start is not None and end is not None:
        # The modulus is that of the active energy display; for others none is known.
        roll_over = roll_over_wh if BY_OBIS[register].unit is Unit.WH else None
        used = consumption(start, end, part.multiplier, roll_over)
        if used is not None:
            actual = start.actual and end.actual
            quality = LineQuality.ACTUAL if actual else LineQuality.SUBSTITUTED
    return SnapshotLine(
        point=part.installation.point,
        meter=part.installation.meter,
        register=register,
        index_from=None if start is None else start.value,
        index_to=None if end is None else end.value,
        read_from_at=None if start is None else start.at,
        read_to_at=None if end is None else end.at,
        multiplier=part.multiplier,
        consumption=used,
        quality=quality,
    )
