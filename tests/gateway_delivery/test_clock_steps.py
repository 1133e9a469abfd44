"""The wall clock is put forward and back at any moment: no slot is lost by it, none comes twice."""

import asyncio
import random
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.messages import Batch, ScanKind, SlotGap
from contract.quality import Quality
from tests.gateway_delivery.fakes import FakeLine, SteppingClock, meters
from tests.gateway_delivery.world import SCHEDULE, World, after, events, gaps, scans

INTERVAL = timedelta(minutes=30)
SETTLING = timedelta(minutes=70)
Step = tuple[float, timedelta]

_minutes = st.one_of(st.integers(-3, 3), st.integers(-90, 90), st.integers(-3_000, 3_000))
_steps = st.lists(
    st.builds(
        lambda at_min, by_min, by_s: (60.0 * at_min, timedelta(minutes=by_min, seconds=by_s)),
        st.integers(1, 2_400).map(lambda quarters: quarters / 4 + 0.1),
        _minutes,
        st.integers(-59, 59),
    ),
    max_size=5,
    unique_by=lambda step: step[0],  # what happens between two looks at the clock, nobody sees
)


def world_of(folder: Path, steps: list[Step], lasts: timedelta, cost_s: float) -> World:
    world = World(folder, after(17), after(17))
    world.clock = SteppingClock(after(17), lasts + SETTLING, steps)
    world.line = FakeLine(world.clock, meters(2), cost=timedelta(seconds=cost_s))
    world.line.remember = False
    world.lines = [world.line]
    return world


def run(steps: list[Step], lasts: timedelta, cost_s: float = 0.0) -> tuple[World, list[Batch]]:
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), steps, lasts, cost_s)
        return world, asyncio.run(world.run(world.clock.end))


def slots_of(gap: SlotGap) -> list[datetime]:
    if not gap.every_s:
        return [gap.first]
    every = timedelta(seconds=gap.every_s)
    return [gap.first + n * every for n in range((gap.last - gap.first) // every + 1)]


def check(world: World, batches: list[Batch]) -> None:
    on_grid = [scan for scan in scans(batches) if scan.kind is not ScanKind.ON_DEMAND]
    firsts = [scan for scan in on_grid if not scan.tables[0].reads[0][3] & Quality.LATE]
    scanned = Counter(scan.slot for scan in firsts)
    assert not [slot for slot, times in scanned.items() if times > 1], "a slot was read twice"
    missed = Counter(slot for gap in gaps(batches) for slot in slots_of(gap))
    assert not [slot for slot, times in missed.items() if times > 1], "a slot was listed twice"
    assert {scan.slot for scan in on_grid if scan not in firsts} <= set(missed)
    clock = world.clock
    assert isinstance(clock, SteppingClock)
    for begin, end in clock.crossed:
        passed = {slot.at for slot in SCHEDULE.between(begin, end)} if begin < end else set()
        # What is later than what it shows now is still to come.
        passed = {slot for slot in passed if slot < clock.at - timedelta(minutes=5)}
        assert passed <= set(scanned) | set(missed), "a slot was lost"
    for scan in firsts:
        for read in scan.tables[0].reads:
            assert timedelta(0) <= timedelta(seconds=1, milliseconds=read[1]) < 2 * INTERVAL
    names = [
        (slot.at, slot.kind)
        for scan in firsts
        for slot in SCHEDULE.between(scan.slot - timedelta(milliseconds=1), scan.slot)
    ]
    assert names == [(scan.slot, scan.kind) for scan in firsts]
    for scan in scans(batches):
        if scan.kind is ScanKind.ON_DEMAND:
            near = SCHEDULE.between(scan.slot - timedelta(milliseconds=1), scan.slot)
            assert near == [], "a scan of no slot has the name of one"
    # What is both was listed first: the clock was ahead, and its time has come after all.
    order: dict[datetime, list[str]] = {}
    for batch in batches:
        for gap in batch.gaps or []:
            for slot in slots_of(gap):
                order.setdefault(slot, []).append("gap")
        if batch.scan in firsts and batch.scan is not None:
            order.setdefault(batch.scan.slot, []).append("scan")
    assert all(found in (["gap"], ["scan"], ["gap", "scan"]) for found in order.values())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)
@given(_steps, st.sampled_from([0.0, 1.5, 40.0]))
def test_every_slot_is_accounted_for_once_whatever_the_clock_does(
    steps: list[Step], cost_s: float
) -> None:
    check(*run(steps, timedelta(hours=10), cost_s))


def test_a_fast_clock_reads_the_midnight_slot_once() -> None:
    """Two hours fast and sure of itself; put right when it has read the index of midnight."""
    fast = timedelta(minutes=17 - 10)  # starts at 00:17; shows 22:17 + 2 h
    steps = [(fast.total_seconds(), timedelta(hours=22)), (20 * 3600.0, timedelta(hours=-22))]
    world, batches = run(steps, timedelta(hours=30))
    check(world, batches)
    assert [event.type for event in events(batches)].count("clock_jump") == 1


def test_a_clock_put_back_keeps_reading() -> None:
    """Slots that it has named before come again: they are read as scans that no slot asked for."""
    world, batches = run([(5 * 3600.0, -timedelta(hours=3))], timedelta(hours=9))
    check(world, batches)
    again = [scan for scan in scans(batches) if scan.kind is ScanKind.ON_DEMAND]
    assert len(again) == 6


def test_a_clock_that_is_put_right_during_a_scan_dates_all_of_it() -> None:
    """20 s slow; two meters, 10 s a read: the clock is put right after the first energy."""
    world, batches = run([(13 * 60 + 15, timedelta(seconds=20))], timedelta(minutes=14), 10)
    check(world, batches)
    (first, *_) = scans(batches)
    assert first.slot == after(30)
    # Read 10 s and 20 s after the scan began, which was at 00:30:20.
    offsets = [read[1] for read in first.tables[0].reads]
    assert offsets == pytest.approx([30_000, 40_000], abs=5)


def test_a_scan_that_was_not_of_its_slot_is_not_given_to_it() -> None:
    """Ten minutes fast: what was read as of 00:30 was of 00:20."""
    world, batches = run([(13 * 60 + 15, -timedelta(minutes=10))], timedelta(minutes=60), 10)
    check(world, batches)
    first, second, *_ = scans(batches)
    assert (first.kind, second.kind) == (ScanKind.ON_DEMAND, ScanKind.INTERVAL)
    assert abs(first.slot - after(20)) < timedelta(seconds=1)
    assert second.slot == after(30)


def test_a_restart_does_not_forget_what_the_clock_has_named_before() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(Path(folder), [(5 * 3600.0, -timedelta(hours=3))], timedelta(hours=6), 0)
        before = asyncio.run(world.run(world.clock.end))
        first = world.clock
        assert isinstance(first, SteppingClock)
        second = SteppingClock(first.at, timedelta(hours=6), [])
        second.crossed = first.crossed
        world.clock, world.line = second, FakeLine(second, meters(2))
        world.lines = [world.line]
        batches = asyncio.run(world.run(second.end))
    assert len(batches) > len(before)
    check(world, batches)


@pytest.mark.parametrize("seed", range(3))
def test_a_month_of_small_corrections_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    steps = [
        (3600.0 * hour, timedelta(seconds=chance.uniform(-0.9, 0.9))) for hour in range(0, 240, 3)
    ]
    world, batches = run(steps, timedelta(hours=240))
    check(world, batches)
    assert gaps(batches) == []
    assert all(scan.kind is not ScanKind.ON_DEMAND for scan in scans(batches))
