"""The district's gateways: what each of them sends, in the order in which it is delivered.

It makes batches of the contract from what meters show; it must not know what becomes of them.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import groupby, repeat, zip_longest
from uuid import UUID

from contract.limits import BATCH_BYTES_MAX
from contract.messages import (
    Batch,
    Clock,
    EpochStatus,
    GapReason,
    MissingReason,
    Scan,
    ScanKind,
    SlotGap,
    Status,
    Table,
    encode,
)
from contract.topics import BatchTopic, StatusTopic, build
from simulator.district.meters import VOLTAGE, Seen, Shape, StationMeters
from simulator.district.plan import QUARTERS_PER_DAY, District, Down, Held, Silence
from songlo.demo.district.options import DistrictOptions

# One batch in so many is sent twice: its acknowledgement was lost.
SENT_TWICE_ONE_IN = 500

# A line of meters is read one after the other, this long each.
READ_MS = 60


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: the topic and the payload."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class Counts:
    """What was sent: batches, those sent twice, meter reads, and reads that were not had."""

    batches: int = 0
    sent_twice: int = 0
    reads: int = 0
    missing: int = 0
    in_gaps: int = 0

    def add(self, other: "Counts") -> None:
        """Count what another has counted too."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(slots=True)
class _Block:
    """A day's reads of the meters of one shape: by register, by slot, one value per meter."""

    shape: Shape
    seen: Sequence[Seen]
    serials: list[str]
    offsets: list[int]
    rows: list[list[tuple[float, ...]]] = field(default_factory=list)


class Gateway:
    """One station's gateway."""

    def __init__(
        self, district: District, station: str, meters: StationMeters, options: DistrictOptions
    ) -> None:
        self.station = station
        self.counts = Counts()
        self._meters = meters
        self._options = options
        self._chance = random.Random(f"gateway/{district.seed}/{station}")  # noqa: S311 - repeatable
        self._epoch = UUID(int=self._chance.getrandbits(128)).hex
        self._seq = 0
        serials = {one.serial for one in meters.seen}
        self._silences: dict[str, list[Silence]] = defaultdict(list)
        for one in district.silences:
            if one.serial in serials:
                self._silences[one.serial].append(one)
        self._downs: list[Down] = [one for one in district.downs if one.station == station]
        self._helds: list[Held] = [one for one in district.helds if one.station == station]
        self._waiting: list[Sent] = []

    @property
    def waits(self) -> bool:
        """Whether something is held that nobody has been sent."""
        return bool(self._waiting)

    def day(self, day: int) -> Iterator[Sent]:
        """What is delivered on a day: its scans, and what was held before if the hold is over."""
        begin = day * QUARTERS_PER_DAY
        for one in self._made(day):
            held = any(
                hold.from_quarter < begin + QUARTERS_PER_DAY and begin < hold.delivered_quarter
                for hold in self._helds
            )
            if held:
                self._waiting.append(one)
                continue
            yield from self._delivered(one)

    def _delivered(self, one: Sent) -> Iterator[Sent]:
        yield from self._waiting
        self._waiting.clear()
        yield one
        if self._chance.randrange(SENT_TWICE_ONE_IN) == 0:
            self.counts.sent_twice += 1
            yield one

    def status(self, at: datetime) -> Sent:
        """What it says of itself: nothing is left that was not sent."""
        status = Status(
            v=1,
            online=True,
            station=self.station,
            count=self._seq,
            generation=0,
            sent_at=at,
            clock=Clock.SYNCED,
            epochs=[EpochStatus(self._epoch, self._seq + 1, self._seq + 1)],
        )
        return Sent(build(StatusTopic(self.station)), encode(status))

    def _made(self, day: int) -> Iterator[Sent]:
        per_day = QUARTERS_PER_DAY // self._options.slot_quarters
        slots = range(day * per_day, (day + 1) * per_day)
        blocks = list(self._blocks(slots))
        for place, slot in enumerate(slots):
            quarter = slot * self._options.slot_quarters
            for down in self._downs:
                if down.to_quarter == quarter:
                    yield self._gap(down)
            if any(down.from_quarter <= quarter < down.to_quarter for down in self._downs):
                continue
            yield self._scan(blocks, place, slot)

    def _scan(self, blocks: Sequence[_Block], place: int, slot: int) -> Sent:
        quarter = slot * self._options.slot_quarters
        tables: list[Table] = []
        missing: list[tuple[str, str]] = []
        for block in blocks:
            reads = zip(block.serials, block.offsets, block.rows[place], repeat(0), strict=False)
            absent = self._absent(block.seen, slot, missing)
            kept = [one for one in reads if one[0] not in absent] if absent else list(reads)
            if kept:
                tables.append(Table(list(block.shape.registers), kept))  # type: ignore[arg-type]
                self.counts.reads += len(kept)
        self.counts.missing += len(missing)
        kind = ScanKind.INDEX if quarter % QUARTERS_PER_DAY == 0 else ScanKind.INTERVAL
        scan = Scan(kind=kind, slot=self._options.instant(quarter), tables=tables, missing=missing)
        return self._sent(Batch(v=1, station=self.station, clock=Clock.SYNCED, scan=scan))

    def _absent(self, seen: Sequence[Seen], slot: int, missing: list[tuple[str, str]]) -> set[str]:
        """Serials that are not read in a slot; those that are due and silent go to `missing`."""
        absent = {one.serial for one in seen if not one.from_slot <= slot < one.to_slot}
        quarter = slot * self._options.slot_quarters
        for one in seen:
            if one.serial not in absent and any(
                silence.from_quarter <= quarter < silence.to_quarter
                for silence in self._silences.get(one.serial, ())
            ):
                absent.add(one.serial)
                missing.append((one.serial, MissingReason.TIMEOUT))
        return absent

    def _gap(self, down: Down) -> Sent:
        """The slots that were missed, said after the power came back; index slots apart."""
        options = self._options
        slots = range(down.from_quarter, down.to_quarter, options.slot_quarters)
        meters = sorted(
            one.serial
            for one in self._meters.seen
            if one.from_slot <= slots[0] // options.slot_quarters < one.to_slot
        )
        gaps = []
        for is_index, run in groupby(slots, lambda one: one % QUARTERS_PER_DAY == 0):
            kind = ScanKind.INDEX if is_index else ScanKind.INTERVAL
            of_kind = list(run)
            first, last = options.instant(of_kind[0]), options.instant(of_kind[-1])
            every_s = 60 * options.interval_min if last > first else 0
            gaps.append(SlotGap(kind, first, last, every_s, meters, GapReason.GATEWAY_DOWN))
        self.counts.in_gaps += len(slots) * len(meters)
        return self._sent(Batch(v=1, station=self.station, clock=Clock.SYNCED, gaps=gaps))

    def _sent(self, batch: Batch) -> Sent:
        self._seq += 1
        self.counts.batches += 1
        payload = encode(batch)
        assert len(payload) <= BATCH_BYTES_MAX, f"{self.station}: {len(payload)} bytes in a batch"
        return Sent(build(BatchTopic(self.station, self._epoch, self._seq)), payload)

    def _blocks(self, slots: range) -> Iterator[_Block]:
        by_shape: dict[Shape, list[Seen]] = defaultdict(list)
        for one in self._meters.seen:
            if one.from_slot < slots.stop and one.to_slot > slots.start:
                by_shape[one.shape].append(one)
        number = 0
        for shape, seen in by_shape.items():
            values = [self._values(one, shape, slice(slots.start, slots.stop)) for one in seen]
            serials = [one.serial for one in seen]
            offsets = [READ_MS * (number + place) for place in range(len(seen))]
            number += len(seen)
            rows = [
                [tuple(column[place] for column in columns) for columns in values]
                for place in range(len(slots))
            ]
            yield _Block(shape, seen, serials, offsets, rows)

    def _values(self, one: Seen, shape: Shape, slots: slice) -> list[Sequence[float]]:
        shown: Mapping[str, Sequence[float]] = {
            register: values.tolist() for register, values in self._meters.shown(one, slots).items()
        }
        volts = self._meters.voltages(one, slots)
        return [volts if register == VOLTAGE else shown[register] for register in shape.registers]


def delivered_on(gateways: Sequence[Gateway], day: int) -> Iterator[Sent]:
    """What all gateways deliver on a day: slot after slot, gateway after gateway."""
    for together in zip_longest(*(list(gateway.day(day)) for gateway in gateways)):
        yield from (one for one in together if one is not None)
