"""A station's day as a plot shows it: energy received and sold per interval, from raw reads.

Pure: reads and installations in, columns out. It is a picture, not a balance: what is billed and
what counts as loss comes from the ledger (`collector.balance`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from collector.readings.port import StoredRead
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

POWER = "1-0:16.7.0"
REGISTERS = (IMPORT_ACTIVE, EXPORT_ACTIVE, POWER)

# The intervals that a plot may have, in minutes: those that schedules use.
STEPS_MIN = (1, 2, 5, 10, 15, 30, 60)
STEP_DEFAULT = timedelta(minutes=30)

# How far beyond a day's ends reads may bridge one that is missing there: a missed midnight.
LOOK_AROUND = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class PlotMeter:
    """A meter at a point of the station, from `from_at` up to, not including, `to_at`."""

    point: str
    meter: str
    is_head: bool
    numerator: int
    denominator: int
    from_at: datetime
    to_at: datetime | None


@dataclass(frozen=True, slots=True)
class DayPlot:
    """Columns of equal length, one row an interval of `step_s` seconds; None: not known.

    `received_wh` is the head's import less export, `sold_wh` the points' import less export,
    both after multipliers. `complete` says that every point with a meter is in `sold_wh`;
    `measured` that no part of the row was spread over a longer time between two reads.
    `power_w` is what the head's meters showed at the interval's start.
    """

    starts_at: list[datetime] = field(default_factory=list)
    step_s: int = 0
    power_w: list[float | None] = field(default_factory=list)
    received_wh: list[int | None] = field(default_factory=list)
    sold_wh: list[int | None] = field(default_factory=list)
    complete: list[bool] = field(default_factory=list)
    measured: list[bool] = field(default_factory=list)
    points: int = 0
    silent_points: list[str] = field(default_factory=list)


def step_of(read_at: Sequence[datetime]) -> timedelta:
    """The interval to plot in, from when the head was read (ascending): its usual cadence."""
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(read_at)]
    if not gaps:
        return STEP_DEFAULT
    usual_min = median(gaps) / 60
    # A scan takes seconds, so a cadence of 30 minutes shows as a little more or less.
    nearest = min(STEPS_MIN, key=lambda step_min: abs(step_min - usual_min))
    return timedelta(minutes=nearest)


def plot_day(
    reads: Iterable[StoredRead],
    meters: Sequence[PlotMeter],
    from_at: datetime,
    to_at: datetime,
    step: timedelta,
) -> DayPlot:
    """The plot of [from_at, to_at) from `reads`, which should reach LOOK_AROUND beyond both ends.

    A meter's index at an interval's start is its first read within the interval. Where reads are
    missing, what was used between two of them is spread evenly over the intervals between, so
    that totals stay right. A register that went backwards gives nothing.
    """
    rows = -(-(to_at - from_at) // step)
    by_serial: dict[str, list[_Segment]] = {}
    for meter in meters:
        by_serial.setdefault(meter.meter, []).append(_Segment(meter))
    for read in reads:
        for segment in by_serial.get(read.meter, ()):
            segment.take((read.at - from_at) // step, read)
    segments = [segment for group in by_serial.values() for segment in group]
    head = _sum(rows, [segment for segment in segments if segment.meter.is_head])
    sold = _sum(rows, [segment for segment in segments if not segment.meter.is_head])
    return DayPlot(
        starts_at=[from_at + row * step for row in range(rows)],
        step_s=int(step.total_seconds()),
        power_w=_power(rows, [segment for segment in segments if segment.meter.is_head]),
        received_wh=[
            wh if len(seen) == len(head.points) else None
            for wh, seen in zip(head.wh, head.seen, strict=True)
        ],
        sold_wh=sold.wh,
        complete=[bool(seen) and len(seen) == len(sold.points) for seen in sold.seen],
        measured=[
            not first and not second for first, second in zip(head.spread, sold.spread, strict=True)
        ],
        points=len(sold.points),
        silent_points=sorted(sold.points - set().union(*sold.seen)),
    )


class _Segment:
    """One installation's indices by row, filled read by read."""

    def __init__(self, meter: PlotMeter) -> None:
        self.meter = meter
        self.net_wh: dict[int, tuple[int, int]] = {}
        self.power_w: dict[int, float] = {}

    def take(self, row: int, read: StoredRead) -> None:
        if read.at < self.meter.from_at or (self.meter.to_at and read.at >= self.meter.to_at):
            return
        imported = read.values.get(IMPORT_ACTIVE)
        if isinstance(imported, int) and row not in self.net_wh:
            exported = read.values.get(EXPORT_ACTIVE)
            self.net_wh[row] = (imported, exported if isinstance(exported, int) else 0)
        power = read.values.get(POWER)
        if power is not None and row not in self.power_w:
            self.power_w[row] = power * self.meter.numerator / self.meter.denominator

    def uses(self) -> Iterator[tuple[int, int, bool]]:
        """(row, net use in Wh after the multiplier, whether it was spread) for each known row."""
        for (row, first), (next_row, second) in pairwise(sorted(self.net_wh.items())):
            if second[0] < first[0] or second[1] < first[1]:
                continue
            net = (second[0] - first[0]) - (second[1] - first[1])
            wh = net * self.meter.numerator // self.meter.denominator
            width = next_row - row
            for part in range(width):
                yield (
                    row + part,
                    wh * (part + 1) // width - wh * part // width,
                    width > 1,
                )


@dataclass(slots=True)
class _Sum:
    points: set[str]
    wh: list[int | None]
    seen: list[set[str]]
    spread: list[bool]


def _sum(rows: int, segments: Sequence[_Segment]) -> _Sum:
    total = _Sum(
        points={segment.meter.point for segment in segments},
        wh=[None] * rows,
        seen=[set() for _ in range(rows)],
        spread=[False] * rows,
    )
    for segment in segments:
        for row, wh, spread in segment.uses():
            if not 0 <= row < rows:
                continue
            total.wh[row] = (total.wh[row] or 0) + wh
            total.seen[row].add(segment.meter.point)
            total.spread[row] |= spread
    return total


def _power(rows: int, heads: Sequence[_Segment]) -> list[float | None]:
    shown: list[float | None] = [None] * rows
    for head in heads:
        for row, power_w in head.power_w.items():
            if 0 <= row < rows:
                shown[row] = (shown[row] or 0.0) + power_w
    return shown
