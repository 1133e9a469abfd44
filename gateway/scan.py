"""One scan: all meters of all lines, their energies first and back to back.

Owns the order of reads within a slot and what becomes of each meter. It must not know schedules,
batches or storage.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contract.messages import Clock as ClockState
from contract.messages import LineStatus, MissingReason
from contract.quality import Quality
from gateway.batches import MeterMissing, MeterRow
from gateway.meters.plan import part_of
from gateway.meters.readout_profile import AnyProfile
from gateway.ports import Clock, InstalledMeter, Line, MeterValues, Part, Priority, ReadFailed

# A late read is not begun so close to the next slot: a silent meter must not delay the scan.
LATE_MARGIN = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Columns:
    """The OBIS codes of a meter profile, in its order: energies, then momentary quantities."""

    energy: tuple[str, ...]
    momentary: tuple[str, ...]


@dataclass(slots=True)
class _LineState:
    """What a line's last scan left: where it was cut off, how many meters answered."""

    begin: int = 0
    answered: int = 0
    reasons: set[MissingReason] = field(default_factory=set)
    scanned: bool = False


class Scanner:
    """Reads meters for slots; one call at a time.

    `heads` are the serials of head meters, which go before others where requests compete.
    """

    def __init__(self, lines: Sequence[Line], clock: Clock, heads: Collection[str] = ()) -> None:
        self._lines = tuple(lines)
        self._clock = clock
        self._heads = frozenset(heads)
        self._index_done = asyncio.Event()  # cleared while indices are read
        self._index_done.set()
        self._states = {line.name: _LineState() for line in lines}
        self._columns = {
            meter.serial: _columns(meter.profile) for line in lines for meter in line.meters
        }

    @property
    def serials(self) -> list[str]:
        """Every meter of the station, in the order of the station file."""
        return [meter.serial for line in self._lines for meter in line.meters]

    def status(self) -> list[LineStatus]:
        """How each line's last scan went: `up`, `partial`, `down`, or `idle` before the first."""
        return [
            LineStatus(line.name, _word(state, len(line.meters)), len(line.meters), state.answered)
            for line in self._lines
            for state in (self._states[line.name],)
        ]

    async def scan(self, *, index: bool, deadline: datetime) -> list[MeterRow | MeterMissing]:
        """Read every meter once; the results in the order of the station file.

        A meter whose turn had not come at `deadline` is missing; the next scan of its line begins
        with it. Momentary quantities not had by then are None.
        """
        results: dict[str, MeterRow | MeterMissing] = {}
        with self._reading_indices(index):
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(self._scan_line(line, index, deadline, results))
        return [results[serial] for serial in self.serials]

    async def read_late(self, serials: Collection[str], deadline: datetime) -> list[MeterRow]:
        """Read the energies of some meters after their slot; those that answered.

        Stops a little before `deadline`.
        """
        wanted = frozenset(serials)
        rows: dict[str, MeterRow] = {}
        with self._reading_indices(True):
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    meters = [meter for meter in line.meters if meter.serial in wanted]
                    if meters:
                        group.create_task(self._late_line(line, meters, deadline, rows))
        return [rows[serial] for serial in self.serials if serial in rows]

    @contextmanager
    def _reading_indices(self, index: bool) -> Iterator[None]:
        if index:
            self._index_done.clear()
        try:
            yield
        finally:
            self._index_done.set()

    # -- on demand

    async def read_on_demand(
        self,
        serials: Collection[str],
        *,
        turn: Callable[[], Awaitable[None]],
        still_wanted: Callable[[], bool],
    ) -> list[MeterRow | MeterMissing]:
        """Read some meters now, ahead of a regular scan; may be called while one runs.

        `turn` is awaited before each request: it holds back what must not come in the way of
        others. A meter whose turn comes when it is not `still_wanted` is missing (window_closed).
        The results are in the order of the station file.
        """
        wanted = frozenset(serials)
        results: dict[str, MeterRow | MeterMissing] = {}
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                meters = [meter for meter in line.meters if meter.serial in wanted]
                group.create_task(self._demand_line(line, meters, (turn, still_wanted), results))
        return [results[serial] for serial in self.serials if serial in results]

    async def index_done(self) -> None:
        """Return when no indices are being read.

        An index scan asks for one meter at a time: one request on demand between each two would
        make it take twice as long, whatever the priorities.
        """
        await self._index_done.wait()

    async def _demand_line(
        self,
        line: Line,
        meters: Sequence[InstalledMeter],
        manners: tuple[Callable[[], Awaitable[None]], Callable[[], bool]],
        results: dict[str, MeterRow | MeterMissing],
    ) -> None:
        turn, still_wanted = manners
        for meter in meters:
            await turn()
            if not still_wanted():
                results[meter.serial] = MeterMissing(meter.serial, MissingReason.WINDOW_CLOSED)
                continue
            part = Part.ENERGY if self._columns[meter.serial].energy else Part.MOMENTARY
            try:
                values = await line.read(meter, part, Priority.ON_DEMAND)
            except ReadFailed as failure:
                results[meter.serial] = MeterMissing(meter.serial, failure.reason)
                continue
            await turn()
            results[meter.serial] = await self._complete(
                line, meter, values, None, Priority.ON_DEMAND
            )

    # -- one line

    async def _scan_line(
        self,
        line: Line,
        index: bool,
        deadline: datetime,
        results: dict[str, MeterRow | MeterMissing],
    ) -> None:
        state = self._states[line.name]
        begin = state.begin % max(1, len(line.meters))
        order = [*line.meters[begin:], *line.meters[:begin]]
        energies: list[tuple[InstalledMeter, MeterValues]] = []
        reasons: set[MissingReason] = set()
        state.begin = 0
        for position, meter in enumerate(order):
            if self._clock.now() >= deadline:
                state.begin = begin + position
                for left in order[position:]:
                    results[left.serial] = MeterMissing(left.serial, MissingReason.WINDOW_CLOSED)
                reasons.add(MissingReason.WINDOW_CLOSED)
                break
            part = Part.ENERGY if self._columns[meter.serial].energy else Part.MOMENTARY
            try:
                values = await line.read(meter, part, self._priority(meter, index))
                energies.append((meter, values))
            except ReadFailed as failure:
                results[meter.serial] = MeterMissing(meter.serial, failure.reason)
                reasons.add(failure.reason)
        for meter, values in energies:
            results[meter.serial] = await self._complete(line, meter, values, deadline)
        state.answered, state.reasons, state.scanned = len(energies), reasons, True

    async def _complete(
        self,
        line: Line,
        meter: InstalledMeter,
        energy: MeterValues,
        deadline: datetime | None,
        priority: Priority = Priority.INTERVAL,
    ) -> MeterRow:
        """Add the momentary quantities to a meter whose energies are there."""
        columns = self._columns[meter.serial]
        values, partial = energy.values, energy.partial
        if columns.energy and columns.momentary:
            if deadline is not None and self._clock.now() >= deadline:
                partial = True
            else:
                try:
                    momentary = await line.read(meter, Part.MOMENTARY, priority)
                    values = values | momentary.values
                    partial = partial or momentary.partial
                except ReadFailed:
                    partial = True
        quality = self._clock_quality() | (Quality.PARTIAL if partial else Quality(0))
        registers = columns.energy + columns.momentary
        return MeterRow(
            meter.serial, registers, energy.arrived_at, [values.get(o) for o in registers], quality
        )

    async def _late_line(
        self,
        line: Line,
        meters: Sequence[InstalledMeter],
        deadline: datetime,
        rows: dict[str, MeterRow],
    ) -> None:
        for meter in meters:
            if self._clock.now() + LATE_MARGIN >= deadline:
                return
            registers = self._columns[meter.serial].energy
            try:
                got = await line.read(meter, Part.ENERGY, Priority.INDEX)
            except ReadFailed:
                continue
            quality = self._clock_quality() | Quality.LATE
            if got.partial:
                quality |= Quality.PARTIAL
            values = [got.values.get(obis) for obis in registers]
            rows[meter.serial] = MeterRow(
                meter.serial, registers, got.arrived_at, values, int(quality)
            )

    def _priority(self, meter: InstalledMeter, index: bool) -> Priority:
        if index:
            return Priority.INDEX
        return Priority.HEAD if meter.serial in self._heads else Priority.INTERVAL

    def _clock_quality(self) -> Quality:
        if self._clock.state() is ClockState.SYNCED:
            return Quality(0)
        return Quality.CLOCK_UNSYNCED


def _columns(profile: AnyProfile) -> Columns:
    return Columns(
        tuple(r.obis for r in profile.registers if part_of(r) is Part.ENERGY),
        tuple(r.obis for r in profile.registers if part_of(r) is Part.MOMENTARY),
    )


def _word(state: _LineState, meters: int) -> str:
    if not state.scanned:
        return "idle"
    if state.answered == meters:
        return "up"
    return "partial" if state.answered else "down"
