"""The verdict on a run that has come to rest: the invariants, held against what really happened.

It reads what the outboxes and the ledger hold with SQL of its own, and computes with none of the
product's code but the decoding of a batch and the calendar of slots. Each violation is a sentence
that begins with the number of its invariant:

I1 every batch that an outbox kept is in the ledger once, complete, and its reads are in the stores;
I2 nothing is anywhere without a cause; I3 what is billed is what the meters showed; I4 nothing that
a gateway may forget is absent; I5 another content under a known number is kept aside; I6 what is
bounded stays so; I7 what was not read is listed; I8 the reading store has what the ledger says;
I9 a snapshot never changes; I10 the billed energy of a point telescopes over exported periods (of
one seed in BILLED_EVERY: closing periods takes as long as a third of a run).
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec

from collector.billing.snapshot import snapshot_hash
from collector.errors import CollectorError
from collector.intake.worker import HELD_MAX
from collector.operations.snapshots import get_snapshot, snapshot_lines
from contract.messages import Batch, Clock, MessageError, ScanKind, decode_batch
from contract.registers import BY_OBIS
from gateway.outbox import FILE_NAME
from gateway.outbox_values import BatchKey
from tests.simulation.billing import close_periods, end_at
from tests.simulation.collector_machine import LEDGER_NAME, CollectorMachine
from tests.simulation.gateway_machine import Committed, GatewayMachine, grid
from tests.simulation.judge_billing import telescopes
from tests.simulation.meters import COUNT, ENERGY, Answer, Truth
from tests.simulation.plan import Fault, Plan
from tests.simulation.world import START_AT, World

VIOLATIONS_MAX = 20
BILLED_EVERY = 10
# How exactly a held read is dated: two conversions between clocks, each to the millisecond.
DATED_MS = 2
# The file may be larger by what a transaction that makes room may need.
OUTBOX_SLACK_BYTES = 64 * 4096

_INDEX = (ScanKind.INDEX, ScanKind.ON_DEMAND)
_MS = timedelta(milliseconds=1)
# What was read: by meter and milliseconds since 1970, the values by OBIS code.
_Reads = dict[tuple[str, int], dict[str, int | float]]
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_START_MS = (START_AT - _1970) // _MS


@dataclass(frozen=True, slots=True)
class _Receipt:
    sha256: bytes
    state: str
    content: str
    reads: int


@dataclass(frozen=True, slots=True)
class _Row:
    """One batch in an outbox."""

    acked: bool
    sha256: bytes
    payload: bytes


@dataclass(slots=True)
class _Evidence:
    """What the ledger and the outboxes hold, by gateway where they are many."""

    receipts: dict[tuple[str, BatchKey], _Receipt] = field(default_factory=dict)
    index_reads: _Reads = field(default_factory=dict)
    conflicts: int = 0
    gaps: list[tuple[str, str, str, int, int, int | None, int | None, int, list[str]]] = field(
        default_factory=list
    )
    quarantine: list[tuple[str, bytes, str]] = field(default_factory=list)
    uptos: dict[tuple[str, str], int] = field(default_factory=dict)
    outboxes: dict[str, dict[BatchKey, _Row]] = field(default_factory=dict)


def judge(
    world: World,
    chosen: Plan,
    gateways: list[GatewayMachine],
    collector: CollectorMachine,
    truth: Truth,
) -> list[str]:
    """Everything that is wrong, at most VIOLATIONS_MAX sentences."""
    evidence = _gather(gateways, collector)
    case = _Case(world, chosen, gateways, collector, truth, evidence)
    found: list[str] = []
    for violation in case.violations():
        found.append(violation)
        if len(found) >= VIOLATIONS_MAX:
            break
    return found


def _gather(gateways: list[GatewayMachine], collector: CollectorMachine) -> _Evidence:
    evidence = _Evidence()
    db = sqlite3.connect(collector.disk.folder / LEDGER_NAME)
    try:
        for gateway, epoch, seq, sha, state, content, reads in db.execute(
            "SELECT gateway, epoch, seq, sha256, state, content, reads FROM receipts"
        ):
            key = (gateway, BatchKey(epoch, seq))
            evidence.receipts[key] = _Receipt(sha, state, content, reads)
        for meter, at, register, value in db.execute(
            "SELECT meter, at, register, value FROM index_reads"
        ):
            evidence.index_reads.setdefault((meter, at), {})[register] = value
        evidence.conflicts = db.execute("SELECT count(*) FROM conflicts").fetchone()[0]
        evidence.gaps = [
            (*row[:8], msgspec.json.decode(row[8]) if row[8] else [])
            for row in db.execute(
                "SELECT gateway, source, epoch, seq_from, seq_to, first_at, last_at,"
                " coalesce(every_s, 0), meters FROM gaps"
            )
        ]
        evidence.quarantine = db.execute("SELECT topic, payload, code FROM quarantine").fetchall()
        for gateway, epoch, upto in db.execute("SELECT gateway, epoch, upto FROM epochs"):
            evidence.uptos[gateway, epoch] = upto
    finally:
        db.close()
    for machine in gateways:
        evidence.outboxes[machine.name] = _outbox(machine.disk.folder / FILE_NAME)
    return evidence


def _outbox(path: Path) -> dict[BatchKey, _Row]:
    if not path.exists():
        return {}
    db = sqlite3.connect(path)
    try:
        return {
            BatchKey(epoch, seq): _Row(bool(acked), sha, payload or b"")
            for epoch, seq, acked, sha, payload in db.execute(
                "SELECT e.epoch, b.seq, b.acked, b.sha256, p.payload FROM batches b"
                " JOIN epochs e ON e.id = b.epoch_id LEFT JOIN payloads p ON p.id = b.id"
            )
        }
    finally:
        db.close()


class _Case:
    """One run before the judge."""

    def __init__(
        self,
        world: World,
        chosen: Plan,
        gateways: list[GatewayMachine],
        collector: CollectorMachine,
        truth: Truth,
        evidence: _Evidence,
    ) -> None:
        self._world = world
        self._plan = chosen
        self._gateways = gateways
        self._collector = collector
        self._truth = truth
        self._evidence = evidence
        # What each complete receipt brought, as far as anybody ever sent it.
        self._batches: dict[tuple[str, BatchKey], Batch] = {}
        self._stones: set[tuple[str, BatchKey]] = set()

    def violations(self) -> Iterator[str]:
        """All of them, as they are found."""
        yield from self._outboxes()
        yield from self._receipts()
        yield from self._lost()
        yield from self._stores()
        yield from self._reads()
        for gateway in self._gateways:
            yield from self._slots(gateway)
        yield from self._snapshots()
        yield from self._bounds()
        if self._world.seed % BILLED_EVERY == 0:
            yield from self._periods()

    # -- delivery

    def _outboxes(self) -> Iterator[str]:
        """I1, I4: what is held at the gateways is acknowledged, and truly stored."""
        for name, rows in self._evidence.outboxes.items():
            for key, row in rows.items():
                receipt = self._evidence.receipts.get((name, key))
                where = f"{name} {key.epoch[:6]}/{key.seq}"
                if not row.acked:
                    yield f"I1 {where} is not acknowledged: {receipt and receipt.state}"
                elif receipt is None:
                    yield f"I4 {where} is acknowledged, and the ledger does not have it"
                elif receipt.state != "complete":
                    yield f"I4 {where} is acknowledged, and {receipt.state}"
                elif receipt.sha256 != row.sha256 and not self._is_stone(row.payload):
                    yield f"I5 {where} is another batch in the ledger"

    def _receipts(self) -> Iterator[str]:
        """I2: every receipt is of a batch that its gateway kept."""
        for (name, key), receipt in self._evidence.receipts.items():
            where = f"{name} {key.epoch[:6]}/{key.seq}"
            committed = self._committed(name, key)
            row = self._evidence.outboxes[name].get(key)
            if receipt.state != "complete" and not self._is_open_for_ever(name, key, receipt, row):
                yield f"I1 {where} is {receipt.state} for ever"
            if committed is not None and sha256(committed.payload).digest() == receipt.sha256:
                if receipt.content != "quarantined":
                    self._batches[name, key] = decode_batch(committed.payload)
            elif committed is not None and self._is_written_over(name, receipt):
                self._stones.add((name, key))
            else:
                yield f"I2 {where} ({receipt.content}) was never kept by its gateway: {row}"
        for (name, epoch), upto in self._evidence.uptos.items():
            for seq in range(1, upto + 1):
                key = BatchKey(epoch, seq)
                if (name, key) not in self._evidence.receipts and not self._is_seq_gap(name, key):
                    yield f"I4 {name} {epoch[:6]}: up to {upto} is acknowledged without {seq}"

    def _lost(self) -> Iterator[str]:
        """I1: what was kept is delivered, unless its card was taken away or had no room."""
        for gateway in self._gateways:
            record, name = gateway.record, gateway.name
            for key, committed in record.committed.items():
                if (name, key) in self._evidence.receipts or not committed.is_sure:
                    continue
                where = f"{name} {key.epoch[:6]}/{key.seq}"
                if key in record.acked and not self._was_restored_after(committed):
                    yield f"I4 {where} was acknowledged, no ledger was restored, and it is nowhere"
                if key in record.taken_away:
                    continue
                if record.overflowed and self._is_seq_gap(name, key):
                    continue
                yield f"I1 {where} was kept at {committed.at_s:.0f} s and is nowhere"

    # -- stores

    def _stores(self) -> Iterator[str]:
        """I1, I2, I8: the reads of the batches are in the stores, and nothing else is."""
        expected: _Reads = {}
        index: _Reads = {}
        # A clock that was put back shows the same instant twice: which read stands is open, the
        # other is kept aside.
        clashes: set[tuple[str, int]] = set()
        for batch in self._batches.values():
            if batch.clock is Clock.UNDATED:
                continue
            for key, present, is_index in _reads_of(batch):
                before = expected.get(key, {})
                if any(before.get(obis, value) != value for obis, value in present.items()):
                    clashes.add(key)
                expected[key] = present | before
                if is_index:
                    billed = {o: int(v) for o, v in present.items() if BY_OBIS[o].billing}
                    index[key] = billed | index.get(key, {})
        stored = self._stored()
        if clashes and not any(blow.fault is Fault.GATEWAY_CLOCK for blow in self._plan.blows):
            yield f"I2 {min(clashes)} was read twice, and no clock was ever wrong"
        for key in clashes:
            for each in (expected, index, stored, self._evidence.index_reads):
                each.pop(key, None)
        self._excuse(expected, stored)
        yield from _compare("I8 the reading store", expected, stored)
        yield from _compare("I1 the ledger", index, self._evidence.index_reads)
        if self._evidence.conflicts and not clashes:
            yield f"I2 {self._evidence.conflicts} index reads contradict others"

    def _excuse(self, expected: _Reads, stored: _Reads) -> None:
        """Take out what two losses at once explain, as far as it is what it was."""
        for key, values in self._orphans().items():
            if key not in expected and stored.get(key, {}).items() <= values.items():
                stored.pop(key, None)
        for (name, batch_key), batch in self._batches.items():
            if self._evidence.receipts[name, batch_key].state != "claimed":
                continue
            # The ledger alone has it for ever (see `_receipts`): the store lacks it, or a part.
            for key, _, _ in _reads_of(batch):
                if stored.get(key, {}).items() <= expected.get(key, {}).items():
                    expected.pop(key, None)
                    stored.pop(key, None)

    def _orphans(self) -> _Reads:
        """Reads that the store alone has: a ledger was restored that had them, and their card had
        been taken away or had no room for them. Two losses at once; the store does not forget.
        """
        found: _Reads = {}
        for gateway in self._gateways:
            for key, committed in gateway.record.committed.items():
                is_known = (gateway.name, key) in self._evidence.receipts
                if is_known or not self._was_restored_after(committed):
                    continue
                if self._is_away(gateway.name, key):
                    for read, present, _ in _reads_of(decode_batch(committed.payload)):
                        found[read] = present | found.get(read, {})
        return found

    def _is_open_for_ever(
        self, name: str, key: BatchKey, receipt: _Receipt, row: _Row | None
    ) -> bool:
        """Whether nobody can complete it: its gateway does not have it any more.

        It was asked for again, and its reads are stored; or the collector died between ledger and
        reading store, and before it was sent again the card was replaced, or its outbox had no room
        for it and said so: the ledger alone has it, and the product counts it as lost.
        """
        if row is not None or not self._is_away(name, key):
            return False
        if receipt.state == "reopened":
            return True
        committed = self._committed(name, key)
        if receipt.state != "claimed" or committed is None:
            return False
        died = any(at_s >= committed.at_s for at_s in self._collector.died_at_s)
        return died and self._is_given_up(name, key, committed)

    def _is_given_up(self, name: str, key: BatchKey, committed: Committed) -> bool:
        """Whether its card was taken away, or it was dropped for room and told to be lost.

        Its gateway never had an ack of it, or a ledger of before that ack was restored: what was
        delivered is dropped first.
        """
        record = next(gateway.record for gateway in self._gateways if gateway.name == name)
        if key in record.taken_away:
            return True
        had_no_ack = key not in record.acked or self._was_restored_after(committed)
        return record.overflowed and had_no_ack and self._is_seq_gap(name, key)

    def _is_written_over(self, name: str, receipt: _Receipt) -> bool:
        """Whether it says what became of a batch that its outbox had no room for."""
        had_no_room = any(
            gateway.record.overflowed for gateway in self._gateways if gateway.name == name
        )
        return had_no_room and receipt.content in ("tombstone", "events")

    def _was_restored_after(self, committed: Committed) -> bool:
        """Whether an older ledger took the place of one that may have had this batch."""
        return any(at_s >= committed.at_s for at_s in self._collector.restored_at_s)

    def _stored(self) -> _Reads:
        meters = [meter for gateway in self._gateways for meter in gateway.meters]
        far = datetime(2200, 1, 1, tzinfo=UTC)
        return {
            (read.meter, (read.at - _1970) // _MS): dict(read.values)
            for meter in meters
            for read in self._collector.store.readings(meter, _1970, far)
        }

    def _reads(self) -> Iterator[str]:
        """I2, I3: every value was shown by that meter, and dated as well as could be known."""
        for (meter, at_ms), values in self._evidence.index_reads.items():
            number, energy_wh = values.get(COUNT), values.get(ENERGY)
            answers = self._truth.answers.get(meter, [])
            if number is None or energy_wh is None or not 1 <= number <= len(answers):
                yield f"I2 {meter} at {at_ms}: {values} was never shown"
                continue
            answer = answers[int(number) - 1]
            if energy_wh != answer.energy_wh:
                yield f"I3 {meter} at {at_ms}: {energy_wh} Wh, shown were {answer.energy_wh}"
            yield from self._dated(meter, at_ms - _START_MS, answer)

    def _dated(self, meter: str, at_ms: int, answer: Answer) -> Iterator[str]:
        """The instant of a read is the true one, or the one that a wrong clock showed."""
        late_ms = abs(at_ms - answer.true_ms)
        if late_ms <= DATED_MS or (answer.state is Clock.SYNCED and at_ms == answer.shown_ms):
            return
        # A gateway that does not hold sends what its clock shows, with a mark.
        if not self._plan.settings.hold and at_ms == answer.shown_ms:
            return
        # A clock that was put wrong while reads were under way dates them by what it shows then.
        clock = next(
            gateway.record.boots[answer.boot]
            for gateway in self._gateways
            if answer.boot in gateway.record.boots
        )
        if any(abs(at_ms - answer.true_ms - ms) <= DATED_MS for ms in clock.synced_aheads_ms()):
            return
        yield f"I3 {meter}: read at {answer.true_ms} ms, dated {at_ms} ms ({answer.state.value})"

    # -- what was not read

    def _slots(self, gateway: GatewayMachine) -> Iterator[str]:
        """I7: of every slot it is known who was read, who was not, or that it was missed."""
        name = gateway.name
        known = self._known(gateway)
        first_at = gateway.first_slot_at
        if first_at is None:
            return
        end_at = START_AT + timedelta(seconds=self._plan.lasts_s - 3600)
        for slot_at in grid(self._plan.settings, first_at, end_at):
            lacking = known.lacking((slot_at - _1970) // _MS)
            if lacking:
                yield f"I7 {name}: nothing is known of {sorted(lacking)} at {slot_at:%m-%d %H:%M}"

    def _known(self, gateway: GatewayMachine) -> "_Known":
        name = gateway.name
        known = _Known(gateway.meters)
        for (of, _), batch in self._batches.items():
            if of == name:
                known.take(batch)
        for of, source, _, _, _, first, last, every_s, meters in self._evidence.gaps:
            if of == name and source in ("tombstone", "slots") and first is not None:
                assert last is not None
                known.span(first, last, every_s, meters)
        for key, committed in gateway.record.committed.items():
            # What was in a batch that is known to be lost only its gateway knew.
            if self._is_seq_gap(name, key):
                known.take(decode_batch(committed.payload))
        for topic, payload, _ in self._evidence.quarantine:
            if f"/{name}/" in topic:
                try:
                    known.take(decode_batch(payload))
                except MessageError:
                    continue
        return known

    def _is_away(self, name: str, key: BatchKey) -> bool:
        """Whether the batch is known to be lost, or its card was taken away."""
        taken_away = any(
            key in gateway.record.taken_away for gateway in self._gateways if gateway.name == name
        )
        return taken_away or self._is_seq_gap(name, key)

    def _is_seq_gap(self, name: str, key: BatchKey) -> bool:
        return any(
            of == name and source == "seq" and epoch == key.epoch and low <= key.seq <= high
            for of, source, epoch, low, high, *_ in self._evidence.gaps
        )

    # -- the rest

    def _snapshots(self) -> Iterator[str]:
        """I9, and I3 for what is billed."""
        collector = self._collector
        final = collector.take_snapshot(
            START_AT + timedelta(hours=5), START_AT + timedelta(days=self._plan.days - 1, hours=5)
        )
        for snapshot, digest in collector.snapshots.items():
            try:
                head = get_snapshot(collector.ledger, snapshot)
            except LookupError:
                continue
            lines = list(snapshot_lines(collector.ledger, snapshot))
            if snapshot_hash(head.station, head.from_at, head.to_at, lines) != digest:
                yield f"I9 snapshot {snapshot} has changed"
            for line in lines:
                if line.register != ENERGY or snapshot != final:
                    continue
                yield from self._billed(
                    line.meter, line.index_from, line.index_to, line.consumption
                )

    def _billed(
        self, meter: str, index_from: int | None, index_to: int | None, used: int | None
    ) -> Iterator[str]:
        shown = {answer.energy_wh for answer in self._truth.answers.get(meter, [])}
        for index in (index_from, index_to):
            if index is not None and index not in shown:
                yield f"I3 {meter} is billed by {index} Wh, which it never showed"
        if used is not None and (index_from is None or index_to is None):
            yield f"I3 {meter} is billed {used} Wh without two indices"
        elif used is not None and used != (index_to or 0) - (index_from or 0):
            yield f"I3 {meter} is billed {used} Wh for {index_to} - {index_from}"

    def _periods(self) -> Iterator[str]:
        """I10."""
        reads: dict[str, dict[datetime, int]] = {}
        for (meter, at_ms), values in self._evidence.index_reads.items():
            if ENERGY in values:
                reads.setdefault(meter, {})[_1970 + at_ms * _MS] = int(values[ENERGY])
        try:
            billed = close_periods(
                self._world,
                self._collector.ledger,
                self._truth,
                self._plan.days,
                [at for each in reads.values() for at in each],
            )
        except CollectorError as error:
            yield f"I10 a period cannot be closed: {error}"
            return
        yield from telescopes(billed, self._truth, reads, end_at(self._plan.days))

    def _bounds(self) -> Iterator[str]:
        """I6."""
        if self._collector.held_max > HELD_MAX:
            yield f"I6 {self._collector.held_max} batches were held in memory"
        for gateway in self._gateways:
            size = (gateway.disk.folder / FILE_NAME).stat().st_size
            if size > self._plan.settings.bytes_max + OUTBOX_SLACK_BYTES:
                yield f"I6 the outbox of {gateway.name} has {size} bytes"

    def _committed(self, name: str, key: BatchKey) -> Committed | None:
        for gateway in self._gateways:
            if gateway.name == name:
                return gateway.record.committed.get(key)
        return None

    def _is_stone(self, payload: bytes) -> bool:
        try:
            batch = decode_batch(payload)
        except MessageError:
            return False
        return batch.tombstone is not None or batch.events is not None


class _Known:
    """Of which slots something is known, meter by meter; slots in milliseconds since 1970."""

    def __init__(self, meters: list[str]) -> None:
        self._meters = meters
        self._of_slot: dict[int, set[str]] = {}
        self._spans: list[tuple[int, int, int, frozenset[str]]] = []

    def take(self, batch: Batch) -> None:
        """What one batch says, were it only kept aside."""
        if batch.clock is Clock.UNDATED:
            return
        if (scan := batch.scan) is not None:
            told = self._of_slot.setdefault((scan.slot - _1970) // _MS, set())
            told.update(read[0] for table in scan.tables for read in table.reads)
            told.update(meter for meter, _ in scan.missing)
        for gap in batch.gaps or ():
            first, last = (gap.first - _1970) // _MS, (gap.last - _1970) // _MS
            self.span(first, last, gap.every_s, gap.meters)
        if (stone := batch.tombstone) is not None:
            slot = (stone.slot - _1970) // _MS
            self.span(slot, slot, 0, stone.meters or self._meters)

    def span(self, first: int, last: int, every_s: int, meters: list[str]) -> None:
        """These slots were missed."""
        self._spans.append((first, last, every_s * 1000, frozenset(meters or self._meters)))

    def lacking(self, slot: int) -> set[str]:
        """The meters of which nothing is known at a slot."""
        lacking = set(self._meters) - self._of_slot.get(slot, set())
        for first, last, every_ms, meters in self._spans:
            is_step = slot == first or (every_ms and (slot - first) % every_ms == 0)
            if first <= slot <= last and is_step:
                lacking -= meters
        return lacking


def _reads_of(batch: Batch) -> Iterator[tuple[tuple[str, int], dict[str, int | float], bool]]:
    """Of each read of a batch: its key, its values, and whether it is one of indices."""
    scan = batch.scan
    for table in () if scan is None else scan.tables:
        for meter, offset_ms, values, _ in table.reads:
            assert scan is not None
            at_ms = (scan.slot - _1970) // _MS + offset_ms
            given = zip(table.registers, values, strict=True)
            present = {obis: value for obis, value in given if value is not None}
            yield (meter, at_ms), present, scan.kind in _INDEX


def _compare(what: str, expected: _Reads, found: _Reads) -> Iterator[str]:
    for key, values in expected.items():
        if (have := found.get(key)) is None:
            yield f"{what} lacks {key[0]} at {key[1]}"
        elif have != values:
            yield f"{what} has {have} of {key[0]} at {key[1]}, not {values}"
    for key in found.keys() - expected.keys():
        yield f"I2 {what[3:]} has {key[0]} at {key[1]}, which no batch brought"
