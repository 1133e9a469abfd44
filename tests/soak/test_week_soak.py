"""A week of 248 meters without uplink, half of them dead, in an outbox too small for it."""

from pathlib import Path

import pytest

from gateway.outbox_file import PAGE_BYTES, ROOM_PAGES
from gateway.station_file import OUTBOX_BYTES_MIN
from tests.endurance.station import Station, standing
from tests.endurance.week import check, live_a_week
from tests.services import free_port

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]


@pytest.mark.asyncio
async def test_a_week_of_a_large_station_in_a_small_outbox(tmp_path: Path) -> None:
    station = Station(
        tmp_path,
        free_port(),
        lines=8,
        meters_per_line=31,
        interval_min=15,
        more={"outbox": {"bytes_max": OUTBOX_BYTES_MIN}},
    )
    async with standing(station):
        week = await live_a_week(station)
    print(f"memory at midnight, kB: {week.rss_kb}; tombstones: {week.tombstones}")  # noqa: T201
    check(week)
    assert week.tombstones > 0, "the outbox was full"
    assert week.file_bytes <= OUTBOX_BYTES_MIN + ROOM_PAGES * PAGE_BYTES
