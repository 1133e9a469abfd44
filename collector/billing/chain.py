"""What a period bills, so that successive exported periods telescope.

The opening index of a period is the closing index of the last *exported* version, estimate or not;
a point that had no closing index then goes on from the last one that it had. What is learnt later
of a period that was exported becomes a line of the next one: a *return* where the exported closing
index was too high, a *correction* where an index at an exchange, a multiplier or a removal differs
from what was exported. Whatever happens, the sum of all that was ever billed of a point is what
its registers have counted between the first opening and the last closing index.

Pure functions over the registry, the indices found and what was exported. It must not know where
they are kept, nor who may export.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

import msgspec

from collector.billing.run_values import ExportedLine, LineKind, RunLine
from collector.billing.snapshot import (
    BILLED_REGISTERS,
    Boundary,
    IndexAt,
    Stretch,
    at_end,
    at_start,
    consumption,
    scaled,
)
from collector.billing.values import LineQuality
from collector.civil import format_instant
from collector.registry.values import Installation, Registry
from contract.limits import ENERGY_MAX
from contract.registers import BY_OBIS, IMPORT_ACTIVE, Unit

_BILLED = frozenset(BILLED_REGISTERS)


class Standing(NamedTuple):
    """The index that stands for an instant today, when it was read, and what it rests on."""

    value: int
    read_at: datetime
    quality: LineQuality


Standings = Mapping[Boundary, Mapping[str, Standing]]

_RANK = {quality: place for place, quality in enumerate("ASEN")}


@dataclass(frozen=True, slots=True)
class Steps:
    """Of how many units of its register a billed index is made: it is floored to whole ones.

    `plain` where a meter counts directly (whole kWh), `transformed` where a multiplier stands
    between (two decimals of a kWh), in Wh or varh.
    """

    plain: int = 1000
    transformed: int = 10

    def of(self, multiplier: Fraction) -> int:
        """The step of a stretch with this multiplier."""
        return self.plain if multiplier == 1 else self.transformed


DEFAULT_STEPS = Steps()


@dataclass(frozen=True, slots=True)
class Closing:
    """The last exported closing index of a register at a point."""

    run: str
    meter: str
    at: datetime
    index: int
    read_at: datetime
    quality: LineQuality
    multiplier: Fraction


@dataclass(slots=True)
class Chain:
    """What has been exported of the points of a run: the last closings and all lines.

    `begun` has, for registers that were in a run and never had a closing index, from when on.
    """

    closings: dict[tuple[str, str], Closing] = field(default_factory=dict)
    begun: dict[tuple[str, str], datetime] = field(default_factory=dict)
    exported: list[ExportedLine] = field(default_factory=list)

    def starts(self) -> dict[str, datetime]:
        """From where each point goes on: where the first of its registers does."""
        found: dict[str, datetime] = {}
        ends = {key: closing.at for key, closing in self.closings.items()}
        for (point, _), at in (*ends.items(), *self.begun.items()):
            found[point] = min(found.get(point, at), at)
        return found


def chain_of(exported: Iterable[ExportedLine]) -> Chain:
    """The chain that these lines, of all that was exported, make."""
    chain = Chain(exported=list(exported))
    for one in chain.exported:
        line = one.line
        key = (line.point, line.register)
        if line.kind is LineKind.CORRECTION:
            continue
        if line.index_to is None or line.billed is None:
            chain.begun[key] = min(chain.begun.get(key, line.from_at), line.from_at)
            continue
        assert line.read_to_at is not None, "an index was read or set for some instant"
        held = chain.closings.get(key)
        if held is None or held.at < line.to_at:
            chain.closings[key] = Closing(
                run=one.run,
                meter=line.meter,
                at=line.to_at,
                index=line.index_to,
                read_at=line.read_to_at,
                quality=line.quality,
                multiplier=line.multiplier,
            )
    for key in chain.closings:
        chain.begun.pop(key, None)
    return chain


def run_lines(
    registry: Registry,
    parts: Iterable[Stretch],
    standings: Standings,
    chain: Chain,
    steps: Steps = DEFAULT_STEPS,
) -> list[RunLine]:
    """What is billed, by point, register and time, and the corrections of earlier periods.

    `parts` are the stretches of each point from where its chain goes on up to the end of the
    period, and those of the exported periods that may need to be corrected.
    """
    lines: list[RunLine] = []
    for part in parts:
        start = _at_start(part, standings)
        end = _at_end(part, standings)
        held = {
            register
            for register in _BILLED
            if (closing := chain.closings.get((part.installation.point, register)))
            and closing.meter == part.installation.meter
        }
        registers = (start.keys() | end.keys()) & _BILLED | held or {IMPORT_ACTIVE}
        for register in registers:
            line = _line(registry, part, register, (start, end), chain, steps)
            if line is not None:
                lines.append(line)
    return ordered(lines)


def ordered(lines: Iterable[RunLine]) -> list[RunLine]:
    """Lines as a version has them: by point, register and time, corrections last."""
    return sorted(lines, key=_order)


def corrections(
    registry: Registry,
    parts_by_run: Mapping[str, Sequence[Stretch]],
    standings: Standings,
    chain: Chain,
    steps: Steps = DEFAULT_STEPS,
) -> list[RunLine]:
    """What today's knowledge says of exported periods, less what was billed of them, where not 0.

    `parts_by_run` are today's stretches of the periods of exported runs. The ends of each exported
    period are left as they were exported, for the next period began there.
    """
    billed: dict[tuple[str, str, str], int] = defaultdict(int)
    corrected: set[tuple[str, str, str]] = set()
    of_run: dict[tuple[str, str, str], list[RunLine]] = defaultdict(list)
    joints = _joints(chain)
    for run, line in ((one.run, one.line) for one in chain.exported):
        if line.kind is LineKind.CORRECTION:
            assert line.cites is not None, "a correction says of what"
            assert line.billed is not None, "and by how much"
            billed[line.cites, line.point, line.register] += line.billed
            corrected.add((line.cites, line.point, line.register))
        else:
            of_run[run, line.point, line.register].append(line)
            billed[run, line.point, line.register] += line.billed or 0
    today: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for run, parts in parts_by_run.items():
        for part in parts:
            today[run, part.installation.point].append(part)
    found = []
    for (run, point, register), lines in of_run.items():
        lines.sort(key=lambda line: line.from_at)
        # From the last line that was billed on, the next period goes on.
        while lines and lines[-1].billed is None:
            lines.pop()
        if not lines:
            continue
        parts = today.get((run, point), [])
        # What was corrected may turn out to have been right as it was first billed.
        is_corrected = (run, point, register) in corrected
        if not (is_corrected or _may_differ(lines, parts, standings, register, steps)):
            continue
        total = _total(registry, lines, parts, _Ends(standings, joints), steps)
        if total is None or total == billed[run, point, register]:
            continue
        last = lines[-1]
        found.append(
            RunLine(
                point=point,
                meter=last.meter,
                register=register,
                kind=LineKind.CORRECTION,
                from_at=lines[0].from_at,
                to_at=last.to_at,
                index_from=None,
                index_to=None,
                read_from_at=None,
                read_to_at=None,
                multiplier=last.multiplier,
                billed=total - billed[run, point, register],
                quality=LineQuality.SUBSTITUTED,
                cites=run,
            )
        )
    return ordered(found)


def version_hash(lines: Sequence[RunLine], head: Mapping[str, str | int | None]) -> str:
    """The hexadecimal SHA-256 of a version's canonical JSON: sorted keys, no spaces, UTF-8."""
    document = {**head, "lines": [line_document(line) for line in lines]}
    return hashlib.sha256(msgspec.json.encode(document, order="deterministic")).hexdigest()


def basis_hash(chain: Chain) -> str:
    """The hexadecimal SHA-256 of what a version rests on: the closings, and all that was billed."""
    closings = [
        [point, register, one.run, one.meter, format_instant(one.at), one.index]
        for (point, register), one in sorted(chain.closings.items())
    ]
    begun = [[*key, format_instant(at)] for key, at in sorted(chain.begun.items())]
    corrected = sorted(
        [one.run, one.line.point, one.line.register, one.line.cites, one.line.billed]
        for one in chain.exported
        if one.line.kind is LineKind.CORRECTION
    )
    return hashlib.sha256(msgspec.json.encode([closings, begun, corrected])).hexdigest()


def line_document(line: RunLine) -> dict[str, str | int | None]:
    """A line as JSON and CSV show it; `_wh` is Wh or varh, as the register's unit is."""
    return {
        "billed_wh": line.billed,
        "cites": line.cites,
        "from_at": format_instant(line.from_at),
        "index_from_wh": line.index_from,
        "index_to_wh": line.index_to,
        "kind": line.kind.value,
        "meter": line.meter,
        "multiplier": str(line.multiplier),
        "point": line.point,
        "quality": line.quality.value,
        "read_from_at": None if line.read_from_at is None else format_instant(line.read_from_at),
        "read_to_at": None if line.read_to_at is None else format_instant(line.read_to_at),
        "register": line.register,
        "to_at": format_instant(line.to_at),
    }


def _order(line: RunLine) -> tuple[str, str, str, datetime, str]:
    kind = "z" if line.kind is LineKind.CORRECTION else ""
    return line.point, line.register, kind, line.from_at, line.cites or ""


def _line(
    registry: Registry,
    part: Stretch,
    register: str,
    ends: tuple[Mapping[str, Standing], Mapping[str, Standing]],
    chain: Chain,
    steps: Steps,
) -> RunLine | None:
    """One register of a stretch; None where it was exported before."""
    row = part.installation
    closing = chain.closings.get((row.point, register))
    from_at = part.from_at
    start = ends[0].get(register)
    if closing is not None:
        if part.to_at <= closing.at:
            return None
        # A register that was closed later than the others of its point goes on from there.
        from_at = max(from_at, closing.at)
        if from_at == closing.at and closing.meter == row.meter:
            start = _goes_on(closing, part.multiplier, start, steps)
        elif from_at != part.from_at:
            start = None
    end = ends[1].get(register)
    step = steps.of(part.multiplier)
    billed: int | None = None
    kind = LineKind.CONSUMPTION
    quality = LineQuality.NONE
    if start is not None and end is not None:
        roll_over = registry.meters[row.meter].roll_over_wh
        billed = _used(start, end, part.multiplier, step, _modulus(register, roll_over))
        if billed is None and closing is not None and from_at == closing.at:
            billed = _returned(row, closing, end, (part.multiplier, step), ends[0].get(register))
            kind = LineKind.CONSUMPTION if billed is None else LineKind.RETURN
        if billed is not None:
            quality = _worse(start.quality, end.quality)
    return RunLine(
        point=row.point,
        meter=row.meter,
        register=register,
        kind=kind,
        from_at=from_at,
        to_at=part.to_at,
        index_from=None if start is None else _whole(start.value, step),
        index_to=None if end is None else _whole(end.value, step),
        read_from_at=None if start is None else start.read_at,
        read_to_at=None if end is None else end.read_at,
        multiplier=part.multiplier,
        billed=billed,
        quality=quality,
        cites=closing.run if kind is LineKind.RETURN and closing is not None else None,
    )


def _goes_on(
    closing: Closing, multiplier: Fraction, today: Standing | None, steps: Steps
) -> Standing:
    """The opening index after an exported closing one.

    Where the multiplier changes just then, the part of a step that was floored away is not counted
    under the new one.
    """
    index = closing.index
    if multiplier != closing.multiplier and today is not None:
        finer = _whole(today.value, steps.of(multiplier))
        if index < finer < index + steps.of(closing.multiplier):
            index = finer
    return Standing(index, closing.read_at, closing.quality)


def _returned(
    row: Installation,
    closing: Closing,
    end: Standing,
    scale: tuple[Fraction, int],
    today: Standing | None,
) -> int | None:
    """What an exported closing index was too high by, below zero; None unless that is shown."""
    if closing.meter != row.meter:
        return None
    multiplier, step = scale
    exported = Standing(closing.index, closing.read_at, closing.quality)
    if not _is_too_high(exported, today, end) or end.value >= closing.index:
        return None
    return scaled(_whole(end.value, step), multiplier) - scaled(
        _whole(closing.index, step), multiplier
    )


def _is_too_high(exported: Standing | None, today: Standing | None, end: Standing | None) -> bool:
    """Whether an index that a meter's period was exported to end with may have been too high.

    It may where it was an estimate, or where another index stands for that instant today that is
    lower and not above the next one.
    """
    if exported is None or end is None:
        return False
    is_lower = today is not None and today.value < exported.value and today.value <= end.value
    return exported.quality is LineQuality.ESTIMATED or is_lower


def _is_too_low(exported: Standing | None, today: Standing | None) -> bool:
    """Whether an index that a period was exported to end with may have been too low."""
    if exported is None:
        return False
    is_higher = today is not None and today.value > exported.value
    return exported.quality is LineQuality.ESTIMATED or is_higher


def _used(
    start: Standing, end: Standing, multiplier: Fraction, step: int, roll_over: int | None
) -> int | None:
    first = IndexAt(_whole(start.value, step), start.read_at, actual=True)
    last = IndexAt(_whole(end.value, step), end.read_at, actual=True)
    return consumption(first, last, multiplier, roll_over)


def _may_differ(
    lines: Sequence[RunLine],
    parts: Sequence[Stretch],
    standings: Standings,
    register: str,
    steps: Steps,
) -> bool:
    """Whether a period that was exported may look otherwise today. Cheap: most never do."""
    begins, ends = lines[0].from_at, lines[-1].to_at
    within = [part for part in parts if part.from_at < ends and part.to_at > begins]
    then = [(line.meter, line.from_at, line.to_at, line.multiplier) for line in lines]
    now = [
        (
            part.installation.meter,
            max(part.from_at, begins),
            min(part.to_at, ends),
            part.multiplier,
        )
        for part in within
    ]
    if then != now:
        return True
    for line, part in zip(lines, within, strict=True):
        step = steps.of(part.multiplier)
        start = _at_start(part, standings).get(register)
        end = _at_end(part, standings).get(register)
        if not _is_left_start(part, lines[0], line) and _differs(start, line.index_from, step):
            return True
        if not _is_left_end(part, lines[-1], line) and _differs(end, line.index_to, step):
            return True
    return False


def _differs(today: Standing | None, exported: int | None, step: int) -> bool:
    return today is not None and _whole(today.value, step) != exported


def _is_left_start(part: Stretch, first: RunLine, line: RunLine) -> bool:
    """Whether a stretch's start is that of the period, and stays as it was exported.

    Not where a meter was put in just then: its index was read on the spot, not carried over.
    """
    return line is first and part.from_at != part.installation.installed_at


def _is_left_end(part: Stretch, last: RunLine, line: RunLine) -> bool:
    """Whether a stretch's end is that of the period, and stays as it was exported.

    Not where the meter was taken out just then: no later period goes on from its index.
    """
    return line is last and part.to_at != part.installation.removed_at


class _Joints(NamedTuple):
    """The exported indices at which a meter's periods begin and end, by meter and instant."""

    openings: Mapping[tuple[str, str, str, datetime], Standing]
    closings: Mapping[tuple[str, str, str, datetime], Standing]


class _Ends(NamedTuple):
    """What stands today, and what was exported at the ends of periods, where that goes before."""

    standings: Standings
    joints: _Joints


def _joints(chain: Chain) -> _Joints:
    """All indices that an exported period begins or ends with."""
    openings: dict[tuple[str, str, str, datetime], Standing] = {}
    closings: dict[tuple[str, str, str, datetime], Standing] = {}
    for line in (one.line for one in chain.exported):
        if line.kind is LineKind.CORRECTION or line.billed is None:
            continue
        key = (line.point, line.register, line.meter)
        if opening := _opening(line):
            openings[*key, line.from_at] = opening
        if closing := _closing(line):
            closings[*key, line.to_at] = closing
    return _Joints(openings, closings)


def _opening(line: RunLine) -> Standing | None:
    """The index that a line was exported to begin with."""
    if line.index_from is None or line.read_from_at is None:
        return None
    return Standing(line.index_from, line.read_from_at, line.quality)


def _closing(line: RunLine) -> Standing | None:
    """The index that a line was exported to end with."""
    if line.index_to is None or line.read_to_at is None:
        return None
    return Standing(line.index_to, line.read_to_at, line.quality)


def _total(
    registry: Registry,
    lines: Sequence[RunLine],
    parts: Sequence[Stretch],
    ends: _Ends,
    steps: Steps,
) -> int | None:
    """What today's stretches come to, between the ends as they were exported; None: not known.

    A part is below zero where it is shown that an exported index at its end was too high or too
    low: the neighbouring period has that much more.

    Where today's meter at an end is not the one that the period was billed by, the index is that of
    the neighbouring period, if that was billed by it: it began or ended there, and stays so.
    """
    first, last = lines[0], lines[-1]
    register = first.register
    total = 0
    for part in parts:
        if part.to_at <= first.from_at or part.from_at >= last.to_at:
            continue
        meter = part.installation.meter
        start = _at_start(part, ends.standings).get(register)
        end = _at_end(part, ends.standings).get(register)
        key = (first.point, register, meter)
        is_shown = False
        if part.from_at <= first.from_at != part.installation.installed_at:
            there = ends.joints.closings.get((*key, first.from_at))
            is_shown = first.kind is LineKind.RETURN or _is_too_high(there, start, end)
            start = (_opening(first) if meter == first.meter else there) or start
        if part.to_at >= last.to_at != part.installation.removed_at:
            there = ends.joints.openings.get((*key, last.to_at))
            exported = (_closing(last) if meter == last.meter else there) or end
            is_shown = is_shown or _is_too_low(exported, end)
            end = exported
        if start is None or end is None:
            return None
        roll_over = _modulus(register, registry.meters[meter].roll_over_wh)
        step = steps.of(part.multiplier)
        used = _used(start, end, part.multiplier, step, roll_over)
        if used is None and end.value < start.value and is_shown:
            used = scaled(_whole(end.value, step), part.multiplier) - scaled(
                _whole(start.value, step), part.multiplier
            )
        if used is None:
            return None
        total += used
    return total if abs(total) <= ENERGY_MAX else None


def _modulus(register: str, roll_over_wh: int | None) -> int | None:
    # The modulus is that of the active energy display; for others none is known.
    return roll_over_wh if BY_OBIS[register].unit is Unit.WH else None


def _whole(value: int, step: int) -> int:
    return value // step * step


def _worse(one: LineQuality, other: LineQuality) -> LineQuality:
    return max(one, other, key=lambda quality: _RANK[quality.value])


def _at_start(part: Stretch, standings: Standings) -> Mapping[str, Standing]:
    return at_start(part, standings, _on_the_spot)


def _at_end(part: Stretch, standings: Standings) -> Mapping[str, Standing]:
    return at_end(part, standings, _on_the_spot)


def _on_the_spot(value: int, at: datetime) -> Standing:
    return Standing(value, at, LineQuality.ACTUAL)
