"""The outbox against a plain model of it, over random lives: restarts, acks, purges, overflow."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contract.messages import decode_batch
from gateway.outbox import Outbox
from gateway.outbox_values import BatchKey, Worth
from tests.gateway_delivery.building import ack, at, epoch, open_outbox, scan_draft

BYTES_MAX = 4 * 1024 * 1024
Ranges = list[tuple[int, int]]


@dataclass
class Row:
    payload: bytes
    slot: object
    worth: Worth
    appended: int
    acked: bool = False


class OutboxMachine(RuleBasedStateMachine):
    """`rows` is what must be held; `next` what each epoch gives out next."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="songlo-outbox-"))
        self.number = 1
        self.minute = 0
        self.generation = 0
        self.rows: dict[BatchKey, Row] = {}
        self.next = {1: 1}
        self.order: list[BatchKey] = []
        self.lost: dict[int, int] = {}  # by epoch: the last one that was given up undelivered
        self.outbox: Outbox = open_outbox(self.folder, 1, BYTES_MAX)

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.folder)

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=3), big=st.booleans())
    def append(self, kinds: list[bool], big: bool) -> None:
        self.minute += 1
        filler = 60_000 if big else 0
        drafts = [scan_draft(self.minute, index=index, filler=filler) for index in kinds]
        keys = self.outbox.append(drafts, at=at(self.minute))
        first = self.next[self.number]
        assert keys == [BatchKey(epoch(self.number), first + n) for n in range(len(drafts))]
        self.next[self.number] = first + len(drafts)
        for key, draft in zip(keys, drafts, strict=True):
            self.rows[key] = Row(draft.payload, draft.slot_at, draft.worth, self.minute)
            self.order.append(key)

    @rule(
        data=st.data(),
        step=st.sampled_from([-1, 0, 0, 0, 0, 1]),
    )
    def acknowledge(self, data: st.DataObject, step: int) -> None:
        """An ack of this generation, an earlier or a later one; any part of what there is."""
        generation = max(1, self.generation + step)
        numbers = data.draw(st.lists(st.sampled_from(sorted(self.next)), unique=True))
        upto = {n: data.draw(st.integers(0, self.next[n])) for n in numbers}
        span = st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda r: (r[0], r[0] + r[1]))
        also: dict[int, Ranges] = {n: data.draw(st.lists(span, max_size=2)) for n in numbers}
        is_heard = generation > self.generation or any(not row.acked for row in self.rows.values())
        delivered = self.outbox.apply_acks([ack(generation, upto, also)])
        if generation < self.generation:
            assert delivered == set()
            return
        if generation > self.generation:
            self.generation = generation
            for row in self.rows.values():
                row.acked = False
        expected = set()
        for number in numbers:
            if is_heard and self.lost.get(number, 0) <= upto[number]:
                self.lost.pop(number, None)
            for key, row in self.rows.items():
                ranges = [(1, upto[number]), *also[number]]
                covered = any(low <= key.seq <= high for low, high in ranges)
                if key.epoch == epoch(number) and covered and not row.acked:
                    row.acked = True
                    expected.add(key)
        assert delivered == expected
        assert self.outbox.generation == self.generation

    @rule(age=st.integers(0, 20))
    def purge(self, age: int) -> None:
        before = self.minute - age
        self.outbox.purge(at(before))
        for number in self.next:
            for key in sorted(self._held(number), key=lambda key: key.seq):
                row = self.rows[key]
                if not row.acked or row.appended >= before:
                    break
                del self.rows[key]

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.number = max(self.next) + 1
        self.next[self.number] = 1
        self.outbox = open_outbox(self.folder, self.number, BYTES_MAX)

    @rule(size=st.integers(1, 6))
    def overflow(self, size: int) -> None:
        """Fill it until something had to go; then see that only what may go went."""
        self.minute += 1
        full = [scan_draft(self.minute, filler=60_000) for _ in range(size * 12)]
        self.append_all(full)
        self.forget_what_was_dropped()

    def append_all(self, drafts: list) -> None:  # type: ignore[type-arg]
        for draft in drafts:
            (key,) = self.outbox.append([draft], at=at(self.minute))
            self.next[self.number] += 1
            self.rows[key] = Row(draft.payload, draft.slot_at, draft.worth, self.minute)
            self.order.append(key)

    def forget_what_was_dropped(self) -> None:
        """Bring the model in line with what the file says was dropped, checking the rules."""
        stored = dict(self._stored())
        buried_index = False
        whole_interval = False
        for key in [key for key in self.order if key in self.rows]:
            row = self.rows[key]
            if key not in stored:
                assert row.acked or decode_batch(row.payload).tombstone is not None
                assert not any(k.seq < key.seq for k in stored if k.epoch == key.epoch)
                if not row.acked:
                    self.lost[next(n for n in self.next if epoch(n) == key.epoch)] = key.seq
                del self.rows[key]
            elif stored[key] != row.payload:
                stone = decode_batch(stored[key]).tombstone
                assert stone is not None
                assert (stone.slot, stone.reason) == (row.slot, "overflow")
                buried_index |= row.worth is Worth.INDEX and not row.acked
                row.payload, row.worth = stored[key], Worth.RECORD
            else:
                whole_interval |= row.worth is Worth.INSTANTANEOUS and not row.acked
        assert not (buried_index and whole_interval), "index scans go last"

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "outbox"):
            return
        if self.outbox.usage().used_bytes > BYTES_MAX * 0.8:
            self.forget_what_was_dropped()
        pending = self.outbox.pending(10_000, live_since=at(10**7))
        wanted = [key for key in self.order if key in self.rows and not self.rows[key].acked]
        assert [row.key for row in pending] == wanted
        assert all(row.payload == self.rows[row.key].payload for row in pending)
        assert self.outbox.usage().used_bytes <= BYTES_MAX
        expected = []
        for number, following in sorted(self.next.items()):
            held = self._held(number)
            waits = any(not self.rows[key].acked for key in held)
            if number == self.number or waits or number in self.lost:
                lowest = min((key.seq for key in held), default=following)
                expected.append((epoch(number), lowest, following))
        expected.sort(key=lambda entry: entry[0] != epoch(self.number))
        assert [(e.epoch, e.oldest, e.next) for e in self.outbox.epochs()] == expected

    def _held(self, number: int) -> list[BatchKey]:
        return [key for key in self.rows if key.epoch == epoch(number)]

    def _stored(self) -> list[tuple[BatchKey, bytes]]:
        rows = self.outbox._file.read(
            "SELECT epoch, seq, payload, sha256 FROM batches JOIN payloads USING (id)"
            " JOIN epochs ON epochs.id = epoch_id"
        )
        assert all(hashlib.sha256(payload).digest() == digest for _, _, payload, digest in rows)
        return [(BatchKey(name, seq), payload) for name, seq, payload, _ in rows]


OutboxMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
# Each step is a durable commit: half a minute on an idle disk, minutes on a busy one.
TestOutboxMachine = pytest.mark.timeout(300)(OutboxMachine.TestCase)
