"""A week without uplink, half the meters dead: what the gateway takes of memory and of the disk.

A short form; `make soak` has 248 meters on 8 lines.
"""

from pathlib import Path

import pytest

from tests.endurance.station import Station, standing
from tests.endurance.week import check, live_a_week
from tests.services import free_port


@pytest.mark.asyncio
@pytest.mark.timeout(480)
async def test_a_week_without_uplink_takes_no_more_memory_and_keeps_every_slot(
    tmp_path: Path,
) -> None:
    station = Station(tmp_path, free_port(), lines=2, meters_per_line=24, interval_min=15)
    async with standing(station):
        week = await live_a_week(station)
    check(week)
    assert week.tombstones == 0
    assert week.file_bytes < 4_000_000, "a quarter of a kilobyte for each meter that answered"
