"""Scans from before the time was known: held through restarts, dated, or sent as evidence."""

import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.intake.check import check_batch, check_instants
from contract.limits import BATCH_BYTES_MAX
from contract.messages import Batch, Clock, MissingReason, Scan, ScanKind
from contract.quality import Quality
from gateway import command_memory
from gateway.command_memory import Begun
from gateway.held import held, hold
from gateway.outbox import FILE_NAME, Outbox
from gateway.outbox_file import SCHEMA
from gateway.outbox_values import BatchKey, SlotDone
from gateway.undated import PATIENCE_S, boot_id
from tests.gateway_delivery.building import MIB, STATION, epoch, open_outbox, scan_draft
from tests.gateway_delivery.fakes import VALUE, FakeLine, SteppedClock, SteppingClock, meters
from tests.gateway_delivery.world import World, after, events, gaps, index_of, scans

NEVER_SET = datetime(1970, 1, 1, 0, 0, 40, tzinfo=UTC)
DATED = int(Quality.CLOCK_UNSYNCED | Quality.RESTAMPED)
MINUTE = 60.0


def world_of(folder: Path, *, true_at: datetime, synced_after_s: float, lasts: timedelta) -> World:
    """A computer that is started at `true_at` and learns the time later, if it lasts so long."""
    world = World(folder, after(0), after(0))
    steps = [(synced_after_s, true_at - NEVER_SET)]
    world.clock = SteppingClock(NEVER_SET, lasts, steps, synced_after_s)
    world.line = FakeLine(world.clock, meters(3))
    world.lines = [world.line]
    return world


async def live(world: World) -> list[Batch]:
    return await world.run(world.clock.end)


def instants(scan: Scan) -> list[datetime]:
    return [
        scan.slot + timedelta(milliseconds=read[1]) for table in scan.tables for read in table.reads
    ]


@pytest.mark.asyncio
async def test_scans_before_the_time_is_known_are_dated_when_it_is(tmp_path: Path) -> None:
    """Started at 23:20:00 true time with a clock of 1970; the time comes 70 minutes later."""
    world = world_of(
        tmp_path,
        true_at=after(-40),
        synced_after_s=70 * MINUTE,
        lasts=timedelta(minutes=110),
    )
    world.line.fails = lambda serial, *_: MissingReason.TIMEOUT if serial == "m002" else None
    batches = await live(world)
    found = [scan for scan in scans(batches) if index_of(scan, "m001")]
    assert [(scan.slot, scan.kind.value) for scan in found] == [
        (after(-60), "interval"),
        (after(-30), "interval"),
        (after(0), "index"),
        (after(30), "interval"),
        (after(60), "interval"),
    ]
    for number, scan in enumerate(found[:3]):
        taken_at = after(-40) + timedelta(seconds=PATIENCE_S, minutes=30 * number)
        assert [read[3] for read in scan.tables[0].reads] == [DATED] * 2
        assert all(abs(at - taken_at) < timedelta(seconds=2) for at in instants(scan))
        assert scan.missing == [("m002", "timeout")]
    assert [read[3] for scan in found[3:] for read in scan.tables[0].reads] == [0] * 4
    assert {batch.clock for batch in batches} == {Clock.SYNCED}
    assert gaps(batches) == []
    assert all(event.at.year == 2026 for event in events(batches)), "what happened is dated, too"
    assert events(batches)[0].type == "meter_degraded"


@pytest.mark.asyncio
async def test_a_restart_of_the_program_loses_none_of_them(tmp_path: Path) -> None:
    first = world_of(tmp_path, true_at=after(-40), synced_after_s=1e6, lasts=timedelta(minutes=50))
    assert await live(first) == []
    clock = first.clock
    world = World(tmp_path, after(0), after(0))
    world.lives = 1
    second = SteppingClock(
        clock.at, timedelta(minutes=60), [(600.0, after(-40) - NEVER_SET)], 600.0
    )
    second.passed_s += clock.passed_s - 1000.0
    second._synced_s += clock.passed_s - 1000.0
    second._end_s += clock.passed_s - 1000.0
    second._steps = [(s + clock.passed_s - 1000.0, by) for s, by in second._steps]
    world.clock, world.line = second, FakeLine(second, meters(3))
    world.lines = [world.line]
    found = scans(await live(world))
    assert [(scan.slot, scan.tables[0].reads[0][3]) for scan in found] == [
        (after(-60), DATED),
        (after(-30), DATED),
        (after(0), int(Quality.LATE)),
        (after(30), 0),
        (after(60), 0),
    ]
    assert abs(instants(found[0])[0] - (after(-40) + timedelta(seconds=PATIENCE_S))) < timedelta(
        seconds=2
    )


@pytest.mark.asyncio
async def test_a_start_that_never_learnt_the_time_is_evidence(tmp_path: Path) -> None:
    first = world_of(tmp_path, true_at=after(0), synced_after_s=1e6, lasts=timedelta(minutes=40))
    await live(first)
    second = World(tmp_path, after(30), after(30))
    second.lives, second.boot = 1, "boot-2"
    batches = await second.run()
    for batch in batches:
        check_batch(batch)  # the collector takes them
        check_instants(batch, after(600))
    undated = [batch for batch in batches if batch.clock is Clock.UNDATED]
    assert len(undated) == 2
    for number, batch in enumerate(undated):
        assert batch.scan is not None
        assert batch.scan.slot.year == 1970
        seconds = (batch.scan.slot - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        # The monotonic clock of these tests begins at 1000 s.
        assert abs(seconds - (1000 + PATIENCE_S + 1800 * number)) < 2
        assert index_of(batch.scan, "m003") == (VALUE + 3, 0, int(Quality.CLOCK_UNSYNCED))
    assert [scan.slot for scan in scans(batches) if scan.slot.year == 2026] == [after(30)]
    third = World(tmp_path, after(30), after(30))
    third.lives, third.boot = 2, "boot-3"
    again = await third.run()
    assert len([batch for batch in again if batch.clock is Clock.UNDATED]) == 2, "sent once"


@pytest.mark.asyncio
async def test_nothing_is_held_when_the_time_comes_soon(tmp_path: Path) -> None:
    world = world_of(
        tmp_path, true_at=after(20), synced_after_s=PATIENCE_S - 10, lasts=timedelta(minutes=15)
    )
    found = scans(await live(world))
    assert [scan.slot for scan in found] == [after(30)]
    assert index_of(found[0], "m001") is not None
    assert found[0].tables[0].reads[0][3] == 0


@pytest.mark.asyncio
async def test_a_plausible_time_is_not_a_known_one(tmp_path: Path) -> None:
    """The time of the last shutdown, hours behind: read, but not believed."""
    world = World(tmp_path, after(0), after(0))
    world.clock = SteppingClock(
        after(-300), timedelta(minutes=95), [(50 * MINUTE, timedelta(minutes=300))], 50 * MINUTE
    )
    world.line = FakeLine(world.clock, meters(2))
    world.lines = [world.line]
    found = scans(await live(world))
    assert [(scan.slot, scan.tables[0].reads[0][3]) for scan in found] == [
        (after(0), DATED),
        (after(30), DATED),
        (after(60), 0),
        (after(90), 0),
    ]


@pytest.mark.asyncio
async def test_a_time_that_was_known_in_this_start_is_known_for_good(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(30))
    await world.run()
    world.clock = SteppedClock(after(55), after(65), Clock.UNSYNCED)
    world.line = FakeLine(world.clock, meters(2))
    world.lines = [world.line]
    found = scans(await world.run())
    assert [scan.slot for scan in found] == [after(30), after(60)]
    assert found[1].tables[0].reads[0][3] == int(Quality.CLOCK_UNSYNCED)
    world.boot = "boot-2"
    world.clock = SteppedClock(after(85), after(95), Clock.UNSYNCED)
    world.line = FakeLine(world.clock, meters(2))
    world.lines = [world.line]
    assert len(scans(await world.run())) == 2, "the next start has to learn it anew"


@pytest.mark.asyncio
async def test_a_computer_with_a_clock_of_its_own_need_not_wait(tmp_path: Path) -> None:
    world = World(tmp_path, after(25), after(65))
    world.hold = False
    world.clock = SteppedClock(after(25), after(65), Clock.UNSYNCED)
    world.line = FakeLine(world.clock, meters(2))
    world.lines = [world.line]
    found = scans(await world.run())
    assert [scan.slot for scan in found] == [after(30), after(60)]
    assert {scan.tables[0].reads[0][3] for scan in found} == {int(Quality.CLOCK_UNSYNCED)}


@pytest.mark.asyncio
async def test_a_slot_that_was_done_before_is_not_given_to_a_held_scan(tmp_path: Path) -> None:
    before = World(tmp_path, after(0), after(0))
    await before.run()
    world = world_of(
        tmp_path, true_at=after(3), synced_after_s=10 * MINUTE, lasts=timedelta(minutes=60)
    )
    world.lives, world.boot = 1, "boot-2"
    batches = await live(world)
    found = scans(batches)
    assert [(scan.kind, scan.slot) for scan in found if scan.kind is not ScanKind.ON_DEMAND] == [
        (ScanKind.INDEX, after(0)),
        (ScanKind.INTERVAL, after(30)),
        (ScanKind.INTERVAL, after(60)),
    ]
    (extra,) = [scan for scan in found if scan.kind is ScanKind.ON_DEMAND]
    assert abs(extra.slot - after(5)) < timedelta(seconds=2)


def test_held_scans_are_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbox_held.HELD_MAX", 10)
    outbox = open_outbox(tmp_path)
    for number in range(25):
        outbox.hold("boot", float(number), hold(float(number), []))
    assert outbox.usage().held == 10
    assert outbox.last_held_s("boot") == 24.0
    oldest = outbox.next_held("boot", of_others=False)
    assert oldest is not None
    assert held(oldest.content).begun_s == 15.0
    assert outbox.next_held("boot", of_others=True) is None
    outbox.close()


def test_held_scans_are_bounded_in_bytes_and_go_before_index_scans(tmp_path: Path) -> None:
    outbox = Outbox.open(
        tmp_path / "outbox.sqlite3", station=STATION, epoch=epoch(1), bytes_max=4 * MIB
    )
    index = scan_draft(0, index=True, filler=40_000)
    outbox.append([index], at=after(0))
    content = b"x" * BATCH_BYTES_MAX
    for number in range(200):
        outbox.hold("boot", float(number), content)
    assert 20 < outbox.usage().held < 64
    assert outbox.usage().used_bytes <= 4 * MIB
    assert outbox.last_held_s("boot") == 199.0, "the newest is kept"
    (kept,) = outbox.pending(10, live_since=after(10_000))
    assert kept.payload == index.payload
    outbox.close()


def test_a_released_scan_is_gone_in_the_same_transaction(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.hold("boot", 1.0, b"{}")
    row = outbox.next_held("boot", of_others=False)
    assert row is not None
    outbox.append([scan_draft(0)], at=after(0), release=row.row_id)
    assert outbox.usage().held == 0
    assert outbox.usage().waiting == 1
    outbox.close()


@pytest.mark.asyncio
async def test_a_damaged_held_scan_holds_up_nothing(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, 9)
    outbox.hold("boot-1", 1.0, b"noise")
    outbox.close()
    world = World(tmp_path, after(30), after(30))
    assert [scan.slot for scan in scans(await world.run())] == [after(30)]


@pytest.mark.parametrize("version", range(1, len(SCHEMA)))
def test_an_outbox_of_an_earlier_version_is_brought_up_to_date(
    tmp_path: Path, version: int
) -> None:
    """Nothing of it is lost, and what came with later versions works."""
    db = sqlite3.connect(tmp_path / FILE_NAME)
    db.executescript(f"{''.join(SCHEMA[:version])} PRAGMA user_version = {version};")
    slot_ms = round(after(0).timestamp() * 1000)
    db.execute("INSERT INTO facts VALUES ('last_slot', ?)", (slot_ms,))
    db.execute("INSERT INTO epochs (epoch, next) VALUES (?, 2)", ("e" * 32,))
    payload = scan_draft(0).payload
    db.execute(
        "INSERT INTO batches (epoch_id, seq, slot_at, appended_at, worth, bytes, sha256)"
        " VALUES (1, 1, ?, ?, 0, ?, ?)",
        (slot_ms, slot_ms, len(payload), hashlib.sha256(payload).digest()),
    )
    db.execute("INSERT INTO payloads VALUES (1, ?)", (payload,))
    if version >= 2:
        db.execute(
            "INSERT INTO held (boot, begun_ms, bytes, content) VALUES ('boot-1', 7000, 2, x'7b7d')"
        )
    db.commit()
    db.close()
    outbox = open_outbox(tmp_path)
    (waiting,) = outbox.pending(9, live_since=after(0))
    assert (waiting.key, waiting.payload) == (BatchKey("e" * 32, 1), payload)
    assert outbox.last_slot() == after(0)
    assert outbox.usage().held == (1 if version >= 2 else 0)
    assert (outbox.accounted(), outbox.slots_after(after(-60))) == ([], [after(0)])
    outbox.append([], at=after(30), done=[SlotDone(after(30))])
    outbox.begin_after(after(-30))
    assert outbox.accounted() == [(after(0), after(30))]
    begun = Begun("c1", "read", "test", after(60))
    outbox.transact(command_memory.begin(begun, after(30)))
    assert outbox.transact(command_memory.unfinished) == [begun]
    outbox.close()


def test_the_kernel_names_this_start() -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()
