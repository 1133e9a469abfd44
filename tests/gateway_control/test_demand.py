"""Reads on demand and index scans on the same lines: the index scan is not delayed."""

import asyncio
from datetime import timedelta

import pytest

from contract.messages import MissingReason
from gateway.batches import MeterMissing, MeterRow
from gateway.ports import Priority
from gateway.scan import Scanner
from tests.gateway_delivery.building import at
from tests.gateway_delivery.fakes import FakeLine, SteppedClock, meters


async def now() -> None:
    """A turn that is always given at once."""


@pytest.mark.asyncio
async def test_a_read_on_demand_waits_until_the_indices_are_read() -> None:
    clock = SteppedClock(at(0), at(60))
    line = FakeLine(clock, meters(20))
    scanner = Scanner([line], clock)
    async with asyncio.TaskGroup() as group:
        scan = group.create_task(scanner.scan(index=True, deadline=at(30)))
        await asyncio.sleep(0)
        demand = group.create_task(
            scanner.read_on_demand(["m003"], turn=scanner.index_done, still_wanted=lambda: True)
        )
    assert len([row for row in scan.result() if isinstance(row, MeterRow)]) == 20
    (row,) = demand.result()
    assert isinstance(row, MeterRow)
    priorities = [priority for _, _, priority in line.log]
    first = priorities.index(Priority.ON_DEMAND)
    assert Priority.INDEX not in priorities[first:]


@pytest.mark.asyncio
async def test_it_goes_ahead_of_a_regular_scan() -> None:
    clock = SteppedClock(at(0), at(60))
    line = FakeLine(clock, meters(20))
    scanner = Scanner([line], clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(scanner.scan(index=False, deadline=at(30)))
        await asyncio.sleep(0)
        group.create_task(
            scanner.read_on_demand(["m003"], turn=scanner.index_done, still_wanted=lambda: True)
        )
    priorities = [priority for _, _, priority in line.log]
    assert priorities.index(Priority.ON_DEMAND) < 5


@pytest.mark.asyncio
async def test_what_is_not_wanted_any_more_is_not_read() -> None:
    clock = SteppedClock(at(0), at(60))
    line = FakeLine(clock, meters(5), cost=timedelta(seconds=10))
    scanner = Scanner([line], clock)
    results = await scanner.read_on_demand(
        scanner.serials, turn=now, still_wanted=lambda: clock.now() < at(0.5)
    )
    assert [type(item) for item in results] == [MeterRow] * 2 + [MeterMissing] * 3
    assert results[2] == MeterMissing("m003", MissingReason.WINDOW_CLOSED)
    assert len(line.log) == 4
