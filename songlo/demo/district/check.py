"""What the collector says, held against what the meters and the power flows really did.

Pure but for reading the truth's files. It computes the truth in its own way, from displays and
flows, and shares no code with what it judges.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from simulator.district.meters import IMPORT, Seen, StationMeters
from simulator.district.plan import District, Place

WH_PER_KWH = 1000

# What is billed is floored to whole kWh, behind a multiplier to hundredths of one.
STEP_WH, MULTIPLIED_STEP_WH = 1000, 10


@dataclass(slots=True)
class Check:
    """One comparison: how many were compared, and those that differ, in words."""

    name: str
    compared: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether all agree, and there was something to compare."""
        return not self.wrong and self.compared > 0


@dataclass(frozen=True, slots=True)
class StationLoss:
    """What the collector says a station lost in a period, Wh; None where it cannot tell."""

    station: str
    received_wh: int | None
    loss_wh: int | None
    complete: bool


class Truth:
    """What displays showed and lines lost, at the slots of a cadence."""

    def __init__(
        self, district: District, meters: Mapping[str, StationMeters], slot_quarters: int
    ) -> None:
        self._district = district
        self._meters = meters
        self._slot_quarters = slot_quarters
        self._seen: dict[str, list[tuple[str, Seen]]] = defaultdict(list)
        for station, of_station in meters.items():
            for one in of_station.seen:
                self._seen[one.point.point].append((station, one))

    def billed_wh(self, point: str, first: int, last: int) -> int:
        """The differences of the floored indices of all meters from one quarter hour to another."""
        total = 0
        for station, one in self._seen[point]:
            begin, end = max(first, one.from_slot), min(last, one.to_slot)
            if begin >= end:
                continue
            meters = self._meters[station]
            step = STEP_WH if one.multiplier == 1 else MULTIPLIED_STEP_WH
            steps = [int(meters.unbounded(one, slot)[IMPORT]) // step for slot in (begin, end)]
            total += (steps[1] - steps[0]) * step * one.multiplier
        return total

    def is_read(self, point: str, quarter: int) -> bool:
        """Whether the collector had the index of that very instant in time."""
        slot = self.slot(quarter)
        for station, one in self._seen[point]:
            if one.from_slot <= slot < one.to_slot:
                return not (
                    any(
                        silence.serial == one.serial
                        and silence.from_quarter <= quarter < silence.to_quarter
                        for silence in self._district.silences
                    )
                    or any(
                        down.station == station and down.from_quarter <= quarter < down.to_quarter
                        for down in self._district.downs
                    )
                    or any(
                        held.station == station
                        and held.from_quarter <= quarter < held.delivered_quarter
                        for held in self._district.helds
                    )
                )
        return False

    def lost_wh(self, station: str, first: int, last: int) -> int:
        """What lines and thieves took, from one slot to another."""
        energy = self._meters[station].energy
        technical = int(energy.technical_mwh[last]) - int(energy.technical_mwh[first])
        stolen = int(energy.stolen_mwh[last]) - int(energy.stolen_mwh[first])
        return (technical + stolen) // WH_PER_KWH

    def line_loss_permille(self, station: str, first: int, last: int) -> int:
        """What the lines alone lost, of what came into the station, from one slot to another."""
        energy = self._meters[station].energy
        received = int(energy.import_mwh[last, -1]) - int(energy.import_mwh[first, -1])
        return (
            1000 * (int(energy.technical_mwh[last]) - int(energy.technical_mwh[first])) // received
        )

    def resolution_wh(self, station: str, first: int, last: int) -> int:
        """How far a station's balance may be off because displays have last digits."""
        return sum(
            one.stay.resolution_wh * one.multiplier
            for one in self._meters[station].seen
            if one.from_slot <= last
            and one.to_slot >= first
            and one.point.place is not Place.SUB_METER
        )

    def slot(self, quarter: int) -> int:
        """The number of the slot at a quarter hour."""
        return quarter // self._slot_quarters

    def points(self) -> Iterable[str]:
        """All points with a customer; heads are not billed."""
        return (name for name, one in self._district.points.items() if one.place is not Place.HEAD)


def check_consumption(
    truth: Truth, lines: Sequence[RunLine], first: int, last: int, name: str
) -> Check:
    """Between actual reads what is billed equals the difference of the registers."""
    check = Check(name)
    by_point = _imports(lines)
    for point in truth.points():
        of_point = by_point.get(point, [])
        whole = of_point and all(
            line.kind is LineKind.CONSUMPTION and line.quality is LineQuality.ACTUAL
            for line in of_point
        )
        if not whole:
            continue
        check.compared += 1
        billed = _sum(of_point)
        true = truth.billed_wh(point, truth.slot(first), truth.slot(last))
        if billed != true:
            check.wrong.append(f"{point}: billed {billed} Wh, the registers moved {true} Wh")
    return check


def check_telescoping(
    truth: Truth, periods: Sequence[Sequence[RunLine]], boundaries: Sequence[int]
) -> Check:
    """Over all periods, billed kWh of each point equal its registers from the first index to the
    last, whatever was estimated, left out or corrected in between."""
    check = Check("billed kWh telescope over the periods")
    by_period = [_imports(lines) for lines in periods]
    first, last = truth.slot(boundaries[0]), truth.slot(boundaries[-1])
    for point in truth.points():
        if not (truth.is_read(point, boundaries[0]) and truth.is_read(point, boundaries[-1])):
            continue
        check.compared += 1
        billed = sum(_sum(lines.get(point, [])) for lines in by_period)
        true = truth.billed_wh(point, first, last)
        if billed != true:
            check.wrong.append(f"{point}: billed {billed} Wh in all, {true} Wh were counted")
    return check


def check_losses(
    truth: Truth, losses: Iterable[StationLoss], first: int, last: int, name: str
) -> Check:
    """What is lost at a station is what the power flow lost and the thieves took."""
    check = Check(name)
    begin, end = truth.slot(first), truth.slot(last)
    for one in losses:
        if not one.complete or one.loss_wh is None:
            continue
        check.compared += 1
        true = truth.lost_wh(one.station, begin, end)
        off = truth.resolution_wh(one.station, begin, end)
        if abs(one.loss_wh - true) > off:
            check.wrong.append(
                f"{one.station}: {one.loss_wh} Wh lost, truly {true} Wh (digits allow {off} Wh)"
            )
    return check


def check_ranking(losses: Iterable[StationLoss], thief: str) -> Check:
    """The station with the largest theft is first in the collector's ranking, which `losses` is."""
    check = Check("the thief's station is first")
    ranked = list(losses)
    check.compared = len(ranked)
    if ranked and ranked[0].station != thief:
        check.wrong.append(f"{ranked[0].station} is first, not {thief}")
    return check


def _imports(lines: Iterable[RunLine]) -> dict[str, list[RunLine]]:
    found: dict[str, list[RunLine]] = defaultdict(list)
    for line in lines:
        if line.register == IMPORT:
            found[line.point].append(line)
    return found


def _sum(lines: Iterable[RunLine]) -> int:
    return sum(line.billed or 0 for line in lines)
