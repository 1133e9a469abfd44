"""Slots to scans to the outbox: what is read when, what is a gap, what is asked for again."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from contract.limits import BATCH_BYTES_MAX
from contract.messages import Clock as ClockState
from contract.messages import (
    GapReason,
    MissingReason,
    ScanKind,
    SlotGap,
)
from contract.quality import Quality
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import SlotDone
from gateway.ports import Part, Priority
from tests.gateway_delivery.building import open_outbox
from tests.gateway_delivery.fakes import VALUE, FakeLine, SteppedClock, meters
from tests.gateway_delivery.world import World, after, gaps, index_of, scans


@pytest.mark.asyncio
async def test_every_slot_is_scanned_once_the_index_at_midnight(tmp_path: Path) -> None:
    world = World(tmp_path, after(-60), after(60))
    found = scans(await world.run())
    assert [(scan.slot, scan.kind.value) for scan in found] == [
        (after(-60), "interval"),
        (after(-30), "interval"),
        (after(0), "index"),
        (after(30), "interval"),
        (after(60), "interval"),
    ]
    assert index_of(found[2], "m003") == (VALUE + 3, 0, 0)
    assert world.kept == 5
    assert all(not scan.missing for scan in found)


@pytest.mark.asyncio
async def test_energies_of_a_line_come_before_momentary_quantities(tmp_path: Path) -> None:
    world = World(tmp_path, after(0), after(0))
    await world.run()
    parts = [part for _, part, _ in world.line.log]
    assert parts == [Part.ENERGY] * 4 + [Part.MOMENTARY] * 4
    energies = [
        (serial, priority) for serial, part, priority in world.line.log if part is Part.ENERGY
    ]
    assert energies == [(f"m{n:03d}", Priority.INDEX) for n in range(1, 5)]


@pytest.mark.asyncio
async def test_the_head_goes_before_others_in_interval_scans(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(30))
    await world.run()
    assert world.line.log[0] == ("m001", Part.ENERGY, Priority.HEAD)
    assert world.line.log[1] == ("m002", Part.ENERGY, Priority.INTERVAL)


@pytest.mark.asyncio
async def test_each_read_has_the_time_of_its_energies(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(30))
    world.line.cost = timedelta(milliseconds=250)
    (scan,) = scans(await world.run())
    assert [read[1] for read in scan.tables[0].reads] == [250, 500, 750, 1000]


@pytest.mark.asyncio
async def test_meters_of_the_same_registers_share_a_table_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(30), after(30))
    first = FakeLine(world.clock, [*meters(2), *meters(1, "abb-b23", 9)], "line-1")
    second = FakeLine(world.clock, meters(2, first=3), "line-2")
    world.lines = [first, second]
    (scan,) = scans(await world.run())
    assert [[read[0] for read in table.reads] for table in scan.tables] == [
        ["m001", "m002", "m003", "m004"],
        ["m009"],
    ]
    assert [line.answered for line in world.scanner.status()] == [3, 2]


@pytest.mark.asyncio
async def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    runs = []
    for name in ("one", "two"):
        world = World(tmp_path / name, after(-90), after(240))
        world.line.fails = lambda serial, _, at: (
            MissingReason.TIMEOUT if serial == "m002" and at < after(125) else None
        )
        runs.append(await world.run())
    assert runs[0] == runs[1]


@pytest.mark.asyncio
async def test_a_meter_without_an_answer_is_listed_with_the_reason(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(30))
    world.line.fails = lambda serial, *_: MissingReason.BAD_REPLY if serial == "m002" else None
    (scan,) = scans(await world.run())
    assert scan.missing == [("m002", "bad_reply")]
    assert [read[0] for read in scan.tables[0].reads] == ["m001", "m003", "m004"]
    assert ("m002", Part.MOMENTARY) not in [entry[:2] for entry in world.line.log]
    assert world.scanner.status()[0].state == "partial"


@pytest.mark.asyncio
async def test_momentary_quantities_that_are_missing_leave_the_energies(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(30))
    world.line.fails = lambda _, part, __: MissingReason.TIMEOUT if part is Part.MOMENTARY else None
    (scan,) = scans(await world.run())
    assert index_of(scan, "m001") == (VALUE + 1, 0, int(Quality.PARTIAL))
    assert None in scan.tables[0].reads[0][2]


@pytest.mark.asyncio
async def test_reads_under_a_clock_that_is_not_synchronised_say_so(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(30))
    world.hold = False
    world.clock = SteppedClock(after(30), after(30), ClockState.UNSYNCED)
    world.line = FakeLine(world.clock, meters(1))
    world.lines = [world.line]
    (batch,) = await world.run()
    assert batch.clock is ClockState.UNSYNCED
    assert batch.scan is not None
    assert batch.scan.tables[0].reads[0][3] & Quality.CLOCK_UNSYNCED


@pytest.mark.asyncio
async def test_a_large_scan_is_split_by_meter_into_batches_within_the_limit(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(0), after(0))
    world.line = FakeLine(world.clock, meters(900))
    world.lines = [world.line]
    world.line.fails = lambda s, *_: MissingReason.TIMEOUT if s.endswith("7") else None
    batches = await world.run()
    assert len(batches) > 1
    read = [r[0] for scan in scans(batches) for table in scan.tables for r in table.reads]
    missing = [serial for scan in scans(batches) for serial, _ in scan.missing]
    assert sorted(read + missing) == [f"m{n:03d}" for n in range(1, 901)]
    assert read == sorted(read)
    outbox = open_outbox(tmp_path, 9)
    rows = outbox.pending(100, live_since=after(10**6))
    assert all(len(row.payload) <= BATCH_BYTES_MAX for row in rows)
    outbox.close()


class TestIndexRetry:
    @pytest.mark.asyncio
    async def test_a_missed_index_is_read_late_and_only_by_the_meters_that_lack_it(
        self, tmp_path: Path
    ) -> None:
        world = World(tmp_path, after(0), after(20))
        world.probing = False
        world.line.fails = lambda s, _, at: (
            MissingReason.TIMEOUT if s == "m002" and at < after(3) else None
        )
        found = scans(await world.run())
        assert [(s.slot, s.kind.value) for s in found] == [(after(0), "index")] * 2
        assert index_of(found[0], "m002") is None
        assert index_of(found[1], "m002") == (VALUE + 2, 180_000, int(Quality.LATE))
        assert found[1].missing == []
        late = [entry for entry in world.line.log[7:] if entry[1] is Part.ENERGY]
        assert late == [("m002", Part.ENERGY, Priority.INDEX)] * 3, "at 1, 2 and 3 minutes"

    @pytest.mark.asyncio
    async def test_it_is_given_up_when_the_window_closes(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(0), after(400))
        world.probing = False
        world.line.fails = lambda serial, *_: MissingReason.TIMEOUT if serial == "m002" else None
        found = scans(await world.run())
        assert len([scan for scan in found if scan.kind is ScanKind.INDEX]) == 1
        asked = [at for at in world.clock.waits if at.minute % 30]
        assert max(asked) < after(180)
        assert [scan.slot for scan in found] == [after(30 * n) for n in range(14)]

    @pytest.mark.asyncio
    async def test_it_outlives_a_restart(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(0), after(5))
        world.line.fails = lambda serial, *_: MissingReason.TIMEOUT if serial == "m002" else None
        await world.run()
        world.line.fails = lambda *_: None
        found = scans(await world.run(after(10)))
        assert index_of(found[-1], "m002") == (VALUE + 2, 300_000, int(Quality.LATE))
        await world.run(after(20))
        assert len(scans(await world.run(after(25)))) == len(found), "had once, not read again"

    @pytest.mark.asyncio
    async def test_it_leaves_the_next_slots_in_time(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(0), after(120))
        world.line.cost = timedelta(seconds=2)
        world.line.fails = lambda *_: MissingReason.TIMEOUT
        found = scans(await world.run())
        assert [scan.slot for scan in found] == [after(30 * n) for n in range(5)]
        assert all(scan.missing for scan in found)

    @pytest.mark.asyncio
    async def test_silent_meters_that_are_asked_again_hold_up_the_next_slot_by_one_read_at_most(
        self, tmp_path: Path
    ) -> None:
        world = World(tmp_path, after(0), after(35))
        world.probing = False
        world.line.cost = timedelta(seconds=50)
        began: list[datetime] = []

        def note(serial: str, part: Part, at: datetime) -> MissingReason | None:
            if world.line.log[-1][2] is Priority.HEAD and part is Part.ENERGY:
                began.append(at - world.line.cost)
            return None if serial == "m001" else MissingReason.TIMEOUT

        world.line.fails = note
        await world.run()
        # Three silent meters take 150 s, and the last round of them begins before the slot.
        assert began[0] < after(30) + world.line.cost

    @pytest.mark.asyncio
    async def test_a_slot_missed_while_down_is_read_late_within_its_window(
        self, tmp_path: Path
    ) -> None:
        world = World(tmp_path, after(-30), after(-30))
        await world.run()
        world.clock.at = after(40)
        batches = await world.run(after(45))
        assert [(g.kind.value, g.first) for g in gaps(batches)] == [
            ("index", after(0)),
            ("interval", after(30)),
        ]
        (late,) = [scan for scan in scans(batches) if scan.slot == after(0)]
        assert index_of(late, "m004") == (VALUE + 4, 40 * 60_000, int(Quality.LATE))


class TestGaps:
    @pytest.mark.asyncio
    async def test_the_first_start_ever_has_none(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(13), after(35))
        batches = await world.run()
        assert gaps(batches) == []
        assert [scan.slot for scan in scans(batches)] == [after(30)]

    @pytest.mark.asyncio
    async def test_slots_that_passed_while_down_are_listed_once(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(30), after(30))
        await world.run()
        world.clock.at = after(24 * 60 - 10)
        batches = await world.run(after(24 * 60 - 5))
        (gap,) = gaps(batches)
        assert gap == SlotGap(
            ScanKind.INTERVAL,
            after(60),
            after(23 * 60 + 30),
            1800,
            ["m001", "m002", "m003", "m004"],
            GapReason.GATEWAY_DOWN.value,
        )
        assert gaps(await world.run(after(24 * 60 - 3))) == [gap]

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("late_min", "scanned"), [(0, True), (4.9, True), (5, False)])
    async def test_a_slot_still_within_the_grace_is_scanned(
        self, tmp_path: Path, late_min: float, scanned: bool
    ) -> None:
        world = World(tmp_path, after(30), after(30))
        await world.run()
        world.clock.at = after(90 + late_min)
        batches = await world.run(after(100))
        assert [gap.last for gap in gaps(batches)] == [after(60 if scanned else 90)]
        assert (after(90) in [scan.slot for scan in scans(batches)]) is scanned

    @pytest.mark.asyncio
    async def test_a_meter_whose_turn_did_not_come_is_missing_and_first_next_time(
        self, tmp_path: Path
    ) -> None:
        world = World(tmp_path, after(30), after(95))
        world.line.cost = timedelta(minutes=11)
        found = scans(await world.run())
        assert found[0].missing == [("m004", "window_closed")]
        second = [serial for serial, part, _ in world.line.log[3:] if part is Part.ENERGY]
        assert second[0] == "m004"
        assert world.scanner.status()[0].line == "line-1"

    @pytest.mark.asyncio
    async def test_one_slow_line_does_not_cost_the_other_its_slots(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(30), after(95))
        world.line.fails = lambda *_: None
        slow = FakeLine(world.clock, meters(3, first=50), "slow", timedelta(minutes=16))
        world.lines = [world.line, slow]
        found = scans(await world.run())
        for scan in found:
            assert index_of(scan, "m001") is not None

    @pytest.mark.asyncio
    async def test_slots_that_passed_during_a_scan_are_an_overrun(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(tmp_path, after(30), after(155))
        taken: list[datetime] = []

        def slow(serial: str, part: Part, at: datetime) -> None:
            if serial == "m001" and part is Part.ENERGY and not taken:
                taken.append(at)
                world.clock.go_on(timedelta(minutes=68))

        world.line.fails = slow
        batches = await world.run()
        assert [(g.first, g.last, g.reason) for g in gaps(batches)] == [
            (after(60), after(90), "overrun")
        ]

    @pytest.mark.asyncio
    async def test_a_clock_set_forward_leaves_a_gap_that_says_so(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(30), after(155))

        def jump(*_: object) -> None:
            if world.clock.at == after(30):
                world.clock.at = after(130)

        world.line.fails = jump
        batches = await world.run()
        assert [(g.first, g.last, g.reason) for g in gaps(batches)] == [
            (after(30), after(120), "clock_jump")
        ]
        # What was read was not of the slot that the slow clock had named.
        assert [(s.kind.value, s.slot) for s in scans(batches)] == [
            ("on_demand", after(130)),
            ("interval", after(150)),
        ]

    @pytest.mark.asyncio
    async def test_a_clock_set_back_far_goes_on_from_there(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(365 * 1440), after(365 * 1440 + 5))
        await world.run()
        world.clock.at = after(10)
        batches = await world.run(after(65))
        events = [event for batch in batches for event in batch.events or []]
        assert [event.type for event in events] == ["clock_jump"]
        assert [scan.slot for scan in scans(batches)][-2:] == [after(30), after(60)]

    @pytest.mark.asyncio
    async def test_a_clock_set_back_a_little_scans_no_slot_twice(self, tmp_path: Path) -> None:
        world = World(tmp_path, after(30), after(30))
        await world.run()
        world.clock.at = after(29.5)
        found = scans(await world.run(after(65)))
        assert [scan.slot for scan in found] == [after(30), after(60)]


@pytest.mark.asyncio
async def test_a_slot_that_could_not_be_kept_is_a_gap_once_something_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.keeping.COMMIT_RETRY_S", 0.001)
    world = World(tmp_path, after(30), after(95))
    real = OutboxThread.append

    async def full_at_first(self: OutboxThread, *args: object, **kwargs: object) -> object:
        if world.clock.at < after(60):
            raise OutboxUnavailable("the disk is full")
        return await real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(OutboxThread, "append", full_at_first)
    batches = await world.run()
    assert [(gap.first, gap.reason) for gap in gaps(batches)] == [(after(30), "overflow")]
    assert [scan.slot for scan in scans(batches)] == [after(60), after(90)]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "question",
    ["last_slot", "retries", "slots_after", "accounted", "knew_time", "last_held_s", "next_held"],
)
async def test_polling_outlives_an_outbox_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Its file was still closed, after a sync that failed twice, when the clock was put back."""
    monkeypatch.setattr("gateway.keeping.COMMIT_RETRY_S", 0.001)
    world = World(tmp_path, after(30), after(65))
    real = getattr(OutboxThread, question)
    failures = [2]

    async def closed_at_first(self: OutboxThread, *args: object, **kwargs: object) -> object:
        if failures[0]:
            failures[0] -= 1
            raise OutboxUnavailable("the file is closed")
        return await real(self, *args, **kwargs)

    monkeypatch.setattr(OutboxThread, question, closed_at_first)
    batches = await world.run()
    assert failures == [0]
    assert [scan.slot for scan in scans(batches)] == [after(30), after(60)]


@pytest.mark.asyncio
async def test_a_replaced_outbox_is_reported(tmp_path: Path) -> None:
    tmp_path.joinpath("outbox.sqlite3").write_bytes(b"noise" * 1000)
    world = World(tmp_path, after(30), after(30))
    batches = await world.run()
    events = [event for batch in batches for event in batch.events or []]
    assert [event.type for event in events] == ["outbox_replaced"]


@pytest.mark.asyncio
async def test_the_slot_mark_is_what_a_restart_goes_by(tmp_path: Path) -> None:
    """A gateway that is killed after its commit does not scan the slot again."""
    world = World(tmp_path, after(30), after(30))
    first = scans(await world.run())
    second = scans(await world.run())
    assert [scan.slot for scan in first] == [scan.slot for scan in second] == [after(30)]
    outbox = open_outbox(tmp_path, 9)
    assert outbox.last_slot() == after(30)
    assert outbox.retries() == list[SlotDone]()
    outbox.close()
