"""Meters that die, flap and come back: who is asked when, what is told, what others notice."""

import gc
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from contract.messages import MissingReason, ScanKind
from contract.quality import Quality
from gateway.ports import Part, Priority
from tests.gateway_delivery.fakes import VALUE, FakeLine, meters
from tests.gateway_delivery.world import World, after, events, index_of, scans

SILENT = MissingReason.TIMEOUT


def dead(
    serial: str, since: float = -1e6, until: float = 1e6
) -> Callable[[str, Part, datetime], MissingReason | None]:
    """One meter that is silent from `since` to `until`, in minutes after midnight."""
    return lambda asked, _, at: (
        SILENT if asked == serial and after(since) <= at < after(until) else None
    )


def asked_after(world: World, serial: str) -> list[float]:
    """The minutes after midnight at which a meter was asked."""
    return [
        (at - after(0)).total_seconds() / 60
        for at, (one, _, _) in zip(world.line.times, world.line.log, strict=True)
        if one == serial
    ]


@pytest.mark.asyncio
async def test_one_event_for_each_change_and_none_for_repeats(tmp_path: Path) -> None:
    world = World(tmp_path, after(-60), after(24 * 60))
    world.line.fails = dead("m002", until=12 * 60 + 10)
    told = events(await world.run())
    assert [(event.type, event.line, event.meter) for event in told] == [
        ("meter_degraded", "line-1", "m002"),
        ("meter_offline", "line-1", "m002"),
        ("meter_degraded", "line-1", "m002"),
        ("meter_online", "line-1", "m002"),
    ]
    assert told[0].at == after(-60)
    assert told[0].detail == "was online for 0 s; timeout: as told"
    assert after(12 * 60 + 10) <= told[2].at <= after(12 * 60 + 11)
    assert world.scanner.status()[0].troubled == []


@pytest.mark.asyncio
async def test_the_status_counts_and_names_who_is_not_online(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(95))
    world.line.fails = lambda serial, *_: {
        "m002": SILENT,
        "m004": MissingReason.EXCEPTION,
    }.get(serial)
    await world.run()
    (line,) = world.scanner.status()
    assert (line.state, line.answered, line.degraded, line.offline) == ("partial", 2, 1, 1)
    assert [(one.meter, one.state, one.reason) for one in line.troubled] == [
        ("m002", "offline", "timeout"),
        ("m004", "degraded", "exception"),
    ]
    assert 3_500 < line.troubled[0].for_s <= 3_900


@pytest.mark.asyncio
async def test_an_offline_meter_is_skipped_in_interval_scans_and_tried_about_once_a_minute(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(30), after(300))
    world.line.fails = dead("m002")
    found = scans(await world.run())
    assert [scan.missing for scan in found] == [
        [("m002", "timeout")],
        *[[("m002", "offline")]] * 9,
    ]
    times = asked_after(world, "m002")
    # The rest between tries is 0.8 to 0.95 of a minute.
    assert 270 < len(times) <= 270 / 0.8 + 5
    rests = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert max(rests) <= 1.05


@pytest.mark.asyncio
async def test_a_replay_asks_offline_meters_in_every_scan_instead(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(24 * 60 - 5))
    world.probing = False
    world.line.fails = dead("m002", until=12 * 60 + 1)
    found = scans(await world.run())
    assert {reason for scan in found for _, reason in scan.missing} == {"timeout"}
    back = [scan.slot for scan in found if index_of(scan, "m002")]
    assert back[0] == after(12 * 60 + 30)
    assert len(back) == 23


@pytest.mark.asyncio
async def test_a_meter_that_returns_is_read_within_a_minute(tmp_path: Path) -> None:
    for minute in (40.0, 47.3, 59.9):
        world = World(tmp_path / str(minute), after(30), after(95))
        world.line.fails = dead("m002", until=minute)
        batches = await world.run()
        (back,) = [scan for scan in scans(batches) if scan.kind is ScanKind.ON_DEMAND]
        ((serial, offset_ms, values, quality),) = back.tables[0].reads
        assert (serial, values[0], quality) == ("m002", VALUE + 2, int(Quality.LATE))
        at = back.slot + timedelta(milliseconds=offset_ms)
        assert after(minute) <= at <= after(minute + 1)
        (last,) = [scan for scan in scans(batches) if scan.slot == after(90)]
        assert index_of(last, "m002") is not None, "and is in the scans again"


@pytest.mark.asyncio
async def test_an_index_is_tried_at_its_slot_and_last_before_its_window_closes(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(-120), after(200))
    world.line.fails = dead("m002")
    await world.run()
    priorities = [
        (at, priority)
        for at, (serial, _, priority) in zip(world.line.times, world.line.log, strict=True)
        if serial == "m002"
    ]
    assert (after(0), Priority.INDEX) in priorities
    assert (after(180) - timedelta(seconds=30), Priority.INDEX) in priorities


@pytest.mark.asyncio
async def test_an_index_is_had_by_whoever_comes_back_before_the_window_closes(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(-120), after(240))
    world.line.fails = dead("m002", until=179.3)
    found = [scan for scan in scans(await world.run()) if scan.slot == after(0)]
    assert found[0].missing == [("m002", "timeout")]
    assert found[0].kind is found[1].kind is ScanKind.INDEX
    read = index_of(found[1], "m002")
    assert isinstance(read, tuple)
    assert (read[0], read[2]) == (VALUE + 2, int(Quality.LATE))
    assert 179.3 * 60_000 <= read[1] < 180 * 60_000


@pytest.mark.asyncio
async def test_who_cannot_be_counted_on_is_asked_after_the_others(tmp_path: Path) -> None:
    """m001 is dead, m002 flaps: after a while the others are asked as if these were not there."""
    world = World(tmp_path, after(30), after(24 * 60 + 31))
    turn = Counter[str]()

    def fails(serial: str, _part: Part, _at: datetime) -> MissingReason | None:
        turn[serial] += 1
        flaps = serial == "m002" and turn["m002"] % 3 == 0
        return SILENT if serial == "m001" or flaps else None

    world.line.fails = fails
    await world.run()
    for slot_min in range(120, 24 * 60, 30):
        asked = [
            entry[0]
            for at, entry in zip(world.line.times, world.line.log, strict=True)
            if at == after(slot_min)
        ]
        assert asked[:4] == ["m003", "m004", "m003", "m004"]
        assert set(asked[4:]) <= {"m001", "m002"}
    index = [
        entry[0]
        for at, entry in zip(world.line.times, world.line.log, strict=True)
        if at == after(24 * 60)
    ]
    assert index[:4] == ["m003", "m004", "m003", "m004"]
    assert index[-1] == "m001", "an index is asked for even of a dead meter, last"


@pytest.mark.asyncio
async def test_a_meter_that_fails_once_is_asked_again_when_the_others_have_been(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(30), after(30))
    failed: list[str] = []

    def once(serial: str, *_: object) -> MissingReason | None:
        if serial == "m002" and not failed:
            failed.append(serial)
            return MissingReason.BAD_REPLY
        return None

    world.line.fails = once
    batches = await world.run()
    energies = [serial for serial, part, _ in world.line.log if part is Part.ENERGY]
    assert energies == ["m001", "m002", "m003", "m004", "m002"]
    assert scans(batches)[0].missing == []
    assert events(batches) == [], "once is chance"


@pytest.mark.asyncio
async def test_a_doubted_meter_whose_turn_never_comes_goes_first_the_next_time(
    tmp_path: Path,
) -> None:
    """Low does not starve: the line is too slow for its interval, m001 is degraded."""
    world = World(tmp_path, after(30), after(24 * 60))
    world.line.cost = timedelta(minutes=6)
    world.line.fails = lambda serial, part, at: (
        SILENT if serial == "m001" and at < after(40) else None
    )
    found = scans(await world.run())
    had = [scan for scan in found[1:] if index_of(scan, "m001") is not None]
    assert len(had) >= len(found) // 3


@pytest.mark.asyncio
async def test_a_dead_line_is_one_event_and_not_that_of_each_meter(tmp_path: Path) -> None:
    world = World(tmp_path, after(30), after(300))
    world.line.fails = lambda *args: (
        MissingReason.LINE_DOWN if after(50) < args[2] < after(200) else None
    )
    batches = await world.run()
    assert [(event.type, event.line, event.meter) for event in events(batches)] == [
        ("line_down", "line-1", None),
        ("line_up", "line-1", None),
    ]
    reasons = {reason for scan in scans(batches) for _, reason in scan.missing}
    assert reasons == {"line_down"}
    (line,) = world.scanner.status()
    assert (line.degraded, line.offline) == (0, 0)


@pytest.mark.asyncio
async def test_a_meter_that_was_silent_when_its_line_went_down_is_not_asked_without_end(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(30), after(120))
    world.line.fails = lambda serial, _, at: (
        MissingReason.LINE_DOWN if at > after(35) else (SILENT if serial == "m002" else None)
    )
    await world.run()
    assert len(asked_after(world, "m002")) < 90 * 6 + 20


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_a_week_with_half_the_meters_dead_and_no_uplink_takes_no_more_memory(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, after(0), after(24 * 60))
    world.line = FakeLine(world.clock, meters(4))
    world.lines = [world.line]
    world.line.remember = False
    world.clock.remember = False
    world.line.fails = lambda serial, *_: SILENT if int(serial[1:]) % 2 else None
    blocks: list[int] = []

    def measure() -> None:
        gc.collect()
        blocks.append(sys.getallocatedblocks())

    world.clock.at_each_day = measure
    batches = await world.run(after(7 * 24 * 60))
    assert len(scans(batches)) == 7 * 48 + 1
    assert len(events(batches)) == 2 * 2
    assert len(blocks) >= 6
    # A leak of one object a try would be 3,000 a day.
    assert blocks[-1] - blocks[1] < 1_000, f"{blocks}"


@pytest.mark.asyncio
async def test_a_meter_whose_clock_is_off_is_told_of_at_indices_once(tmp_path: Path) -> None:
    world = World(tmp_path, after(-30), after(3 * 24 * 60 + 5))
    ahead = {0: 61.0, 1: 500.0, 2: -60.0, 3: -61.0}
    world.line.clock_ahead_s = lambda serial, at: (
        ahead.get((at - after(0)).days) if serial == "m003" else 3.0
    )
    told = [event for event in events(await world.run()) if "clock" in event.type]
    assert [(event.type, event.meter, event.at) for event in told] == [
        ("meter_clock_off", "m003", after(0)),
        ("meter_clock_right", "m003", after(2 * 24 * 60)),
        ("meter_clock_off", "m003", after(3 * 24 * 60)),
    ]
    assert told[0].detail == "+61 s against the gateway's clock, 60 s allowed"
