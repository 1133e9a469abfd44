"""One scan: all meters of all lines, their energies first and back to back.

Owns the order of reads within a slot and what becomes of each meter. It must not know schedules,
batches or storage.

Whoever cannot be counted on must not delay the others: a meter that does not answer is asked again
when the energies of the others are there, a degraded one when the others are done, an offline one
last and for indices only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contract.messages import Clock as ClockState
from contract.messages import LineStatus, MeterTrouble, MissingReason
from contract.quality import Quality
from gateway.batches import MeterMissing, MeterRow
from gateway.health_book import TROUBLES_MAX, HealthBook
from gateway.meters.health import MeterState
from gateway.meters.plan import part_of
from gateway.meters.readout_profile import AnyProfile
from gateway.ports import Clock, InstalledMeter, Line, MeterValues, Part, Priority, ReadFailed

# A late read is not begun so close to the next slot: a silent meter must not delay the scan.
LATE_MARGIN = timedelta(seconds=3)

# A meter that did not answer is asked so often again; one that is doubted, so often at once.
AGAIN_ATTEMPTS = 2
DOUBTED_ATTEMPTS = 3

# What may have been chance. A meter that refuses would refuse again, a line that is down stays so.
_WORTH_REPEATING = frozenset({MissingReason.TIMEOUT, MissingReason.BAD_REPLY})


@dataclass(frozen=True, slots=True)
class Columns:
    """The OBIS codes of a meter profile, in its order: energies, then momentary quantities."""

    energy: tuple[str, ...]
    momentary: tuple[str, ...]


@dataclass(slots=True)
class _LineState:
    """What a line's last scan left: who was cut off, how many meters answered."""

    owed: tuple[str, ...] = ()
    answered: int = 0
    scanned: bool = False


@dataclass(slots=True)
class _Pass:
    """One scan of one line while it goes on; until `end_s` of the monotonic clock."""

    line: Line
    index: bool
    end_s: float
    results: dict[str, MeterRow | MeterMissing]
    owed: list[str] = field(default_factory=list)
    answered: int = 0


class Scanner:
    """Reads meters for slots; one call at a time.

    `heads` are the serials of head meters, which go before others where requests compete. `health`
    has what is known of the meters, and is told what became of each.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        clock: Clock,
        heads: Collection[str] = (),
        *,
        health: HealthBook,
    ) -> None:
        self._lines = tuple(lines)
        self._clock = clock
        self._heads = frozenset(heads)
        self.health = health
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
        """How each line's last scan went: `up`, `partial`, `down`, or `idle` before the first.

        Names up to TROUBLES_MAX meters that are not online.
        """
        room = TROUBLES_MAX
        words = []
        for line in self._lines:
            state = self._states[line.name]
            troubled: list[MeterTrouble] = self.health.troubles(line, room)
            room -= len(troubled)
            words.append(
                LineStatus(
                    line.name,
                    _word(state, len(line.meters)),
                    len(line.meters),
                    state.answered,
                    self.health.count(line, MeterState.DEGRADED),
                    self.health.count(line, MeterState.OFFLINE),
                    troubled,
                )
            )
        return words

    async def scan(self, *, index: bool, deadline: datetime) -> list[MeterRow | MeterMissing]:
        """Read every meter once; the results in the order of the station file.

        A meter whose turn had not come at `deadline` is missing; the next scan of its line begins
        with it. Momentary quantities not had by then are None. An offline meter is missing unless
        this is an index scan, or it is not tried in between.
        """
        results: dict[str, MeterRow | MeterMissing] = {}
        end_s = self._end_s(deadline)
        with self._reading_indices(index):
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(self._scan_line(_Pass(line, index, end_s, results)))
        return [results[serial] for serial in self.serials]

    async def read_late(self, serials: Collection[str], deadline: datetime) -> list[MeterRow]:
        """Read the energies of some meters after their slot, once; those that answered.

        Stops a little before `deadline`.
        """
        wanted = frozenset(serials)
        rows: dict[str, MeterRow] = {}
        end_s = self._end_s(deadline - LATE_MARGIN)
        with self._reading_indices(True):
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    meters = [meter for meter in line.meters if meter.serial in wanted]
                    if meters:
                        group.create_task(self._late_line(line, meters, end_s, rows))
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
            columns, momentary = self._columns[meter.serial], None
            part = Part.ENERGY if columns.energy else Part.MOMENTARY
            try:
                energy = await line.read(meter, part, Priority.ON_DEMAND)
            except ReadFailed as failure:
                results[meter.serial] = MeterMissing(meter.serial, failure.reason)
                self.health.failed(line, meter, failure)
                continue
            if columns.energy and columns.momentary:
                await turn()
                try:
                    momentary = await line.read(meter, Part.MOMENTARY, Priority.ON_DEMAND)
                except ReadFailed:
                    momentary = None
            results[meter.serial] = self._whole_row(meter, energy, momentary)
            self.health.answered(line, meter)

    def _end_s(self, deadline: datetime) -> float:
        """`deadline` on the monotonic clock: a step of the time in a scan is no reason to stop."""
        return self._clock.monotonic_s() + (deadline - self._clock.now()).total_seconds()

    # -- one line

    async def _scan_line(self, one: _Pass) -> None:
        state = self._states[one.line.name]
        first, doubted, offline = self._order(one.line, state.owed)
        energies, again = await self._first_pass(one, first)
        repeated = [(meter, await self._energy(one, meter, AGAIN_ATTEMPTS)) for meter in again]
        for meter, values in energies:
            await self._complete(one, meter, values)
        for meter, late_values in repeated:
            await self._complete(one, meter, late_values, repeated=True)
        for meter in doubted:
            await self._complete(one, meter, await self._energy(one, meter, DOUBTED_ATTEMPTS))
        for meter in offline:
            # In between it is tried now and then; an index is not left to that.
            if one.index or not self.health.probing:
                await self._complete(one, meter, await self._energy(one, meter, 1))
            else:
                one.results[meter.serial] = MeterMissing(meter.serial, MissingReason.OFFLINE)
        state.owed, state.answered, state.scanned = tuple(one.owed), one.answered, True

    def _order(
        self, line: Line, owed: Sequence[str]
    ) -> tuple[list[InstalledMeter], list[InstalledMeter], list[InstalledMeter]]:
        """The meters that are asked first, the doubted ones, those that are silent.

        Whose turn did not come last time goes first, doubted or not: else it might never come.
        """
        first = {serial: number for number, serial in enumerate(owed)}
        ordered = sorted(line.meters, key=lambda meter: first.get(meter.serial, len(first)))
        states = {meter.serial: self.health.state(meter.serial) for meter in ordered}
        offline = [meter for meter in ordered if states[meter.serial] is MeterState.OFFLINE]
        doubted = [
            meter
            for meter in ordered
            if states[meter.serial] is MeterState.DEGRADED and meter.serial not in first
        ]
        late = {meter.serial for meter in (*offline, *doubted)}
        return [meter for meter in ordered if meter.serial not in late], doubted, offline

    async def _first_pass(
        self, one: _Pass, meters: Sequence[InstalledMeter]
    ) -> tuple[list[tuple[InstalledMeter, MeterValues]], list[InstalledMeter]]:
        """The energies of `meters`, each asked once; and those that are worth another attempt."""
        energies: list[tuple[InstalledMeter, MeterValues]] = []
        again: list[InstalledMeter] = []
        for meter in meters:
            if self._is_over(one, meter):
                continue
            try:
                values = await self._ask(one, meter, 1)
            except ReadFailed as failure:
                if failure.reason in _WORTH_REPEATING:
                    again.append(meter)
                else:
                    self._missed(one, meter, failure)
            else:
                energies.append((meter, values))
        return energies, again

    async def _energy(self, one: _Pass, meter: InstalledMeter, attempts: int) -> MeterValues | None:
        """The energies of one meter; None, and the meter missing, if they are not to be had."""
        if self._is_over(one, meter):
            return None
        try:
            return await self._ask(one, meter, attempts)
        except ReadFailed as failure:
            self._missed(one, meter, failure)
            return None

    async def _ask(self, one: _Pass, meter: InstalledMeter, attempts: int) -> MeterValues:
        part = Part.ENERGY if self._columns[meter.serial].energy else Part.MOMENTARY
        return await one.line.read(meter, part, self._priority(meter, one.index), attempts)

    def _is_over(self, one: _Pass, meter: InstalledMeter) -> bool:
        """Whether the time of the scan is over; the meter's turn has not come then."""
        if self._clock.monotonic_s() < one.end_s:
            return False
        one.owed.append(meter.serial)
        one.results[meter.serial] = MeterMissing(meter.serial, MissingReason.WINDOW_CLOSED)
        return True

    def _missed(self, one: _Pass, meter: InstalledMeter, failure: ReadFailed) -> None:
        one.results[meter.serial] = MeterMissing(meter.serial, failure.reason)
        self.health.failed(one.line, meter, failure)

    async def _complete(
        self,
        one: _Pass,
        meter: InstalledMeter,
        energy: MeterValues | None,
        *,
        repeated: bool = False,
    ) -> None:
        """Add the momentary quantities to a meter whose energies are there (else None)."""
        if energy is None:
            return
        columns, momentary = self._columns[meter.serial], None
        if columns.energy and columns.momentary:
            momentary, answered = await self._momentary(one, meter)
            repeated = repeated or not answered
        one.answered += 1
        self.health.answered(one.line, meter, repeated=repeated)
        if one.index and energy.clock_ahead_s is not None:
            self.health.meter_clock(one.line, meter, energy.clock_ahead_s)
        one.results[meter.serial] = self._whole_row(meter, energy, momentary)

    def _whole_row(
        self, meter: InstalledMeter, energy: MeterValues, momentary: MeterValues | None
    ) -> MeterRow:
        """Both parts of a meter; a partial row where its momentary quantities were not had."""
        columns = self._columns[meter.serial]
        values, partial = energy.values, energy.partial
        if columns.energy and columns.momentary:
            partial = partial or momentary is None or momentary.partial
            values = values if momentary is None else values | momentary.values
        quality = self._clock_quality() | (Quality.PARTIAL if partial else Quality(0))
        registers = columns.energy + columns.momentary
        return _row(meter, registers, energy, values, quality)

    async def _momentary(
        self, one: _Pass, meter: InstalledMeter
    ) -> tuple[MeterValues | None, bool]:
        """The momentary quantities, if they are to be had; and whether the meter answered."""
        if self._clock.monotonic_s() >= one.end_s:
            return None, True
        try:
            values = await one.line.read(meter, Part.MOMENTARY, Priority.INTERVAL, AGAIN_ATTEMPTS)
        except ReadFailed as failure:
            return None, failure.reason not in _WORTH_REPEATING
        return values, True

    async def _late_line(
        self,
        line: Line,
        meters: Sequence[InstalledMeter],
        end_s: float,
        rows: dict[str, MeterRow],
    ) -> None:
        for meter in meters:
            if self._clock.monotonic_s() >= end_s:
                return
            try:
                got = await line.read(meter, Part.ENERGY, Priority.INDEX, 1)
            except ReadFailed as failure:
                self.health.failed(line, meter, failure)
                continue
            self.health.answered(line, meter)
            quality = self._clock_quality() | Quality.LATE
            if got.partial:
                quality |= Quality.PARTIAL
            registers = self._columns[meter.serial].energy
            rows[meter.serial] = _row(meter, registers, got, got.values, quality)

    def _priority(self, meter: InstalledMeter, index: bool) -> Priority:
        if index:
            return Priority.INDEX
        return Priority.HEAD if meter.serial in self._heads else Priority.INTERVAL

    def _clock_quality(self) -> Quality:
        if self._clock.state() is ClockState.SYNCED:
            return Quality(0)
        return Quality.CLOCK_UNSYNCED


def _row(
    meter: InstalledMeter,
    registers: tuple[str, ...],
    energy: MeterValues,
    values: Mapping[str, int | float | None],
    quality: Quality,
) -> MeterRow:
    return MeterRow(
        meter.serial,
        registers,
        energy.arrived_at,
        [values.get(obis) for obis in registers],
        int(quality),
        energy.arrived_s,
    )


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
