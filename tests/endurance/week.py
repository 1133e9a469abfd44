"""Seven days of a gateway that nobody listens to, and what is asked of it."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.messages import Scan, decode_batch
from tests.endurance.station import START, Station, check_scan

DAYS = 7
# From the first midnight to the last. SQLite's cache still fills then, up to its bound (512 kB and
# what it keeps of each page). One object left behind for each of 48 meters in each scan is 1.3 MB.
GROWTH_KB_MAX = 1_000
DAY_S_MAX = 300.0  # ten on an idle machine


@dataclass(frozen=True)
class Week:
    """What it came to: memory at each midnight, what the outbox holds and how large it is."""

    station: Station
    rss_kb: list[int]
    scans: dict[datetime, Scan]
    tombstones: int
    events: int
    file_bytes: int


async def live_a_week(station: Station) -> Week:
    """Start the gateway, kill every second meter, let seven days go by and stop it."""
    station.kill_every_second_meter()
    station.start()
    rss_kb = []
    for day in range(1, DAYS + 1):
        await station.run_to(START + timedelta(days=day), DAY_S_MAX)
        rss_kb.append(station.rss_kb())
        for bridge in station.bridges:
            bridge.slave.requests.clear()
    await station.stop()
    with closing(sqlite3.connect(station.outbox)) as db:
        payloads = [row[0] for row in db.execute("SELECT payload FROM payloads ORDER BY id")]
    batches = [decode_batch(payload) for payload in payloads]
    scans = {batch.scan.slot: batch.scan for batch in batches if batch.scan is not None}
    stones = [batch.tombstone for batch in batches if batch.tombstone is not None]
    assert len({*scans, *(stone.slot for stone in stones)}) == len(scans) + len(stones)
    events = sum(len(batch.events or ()) for batch in batches)
    return Week(station, rss_kb, scans, len(stones), events, station.outbox.stat().st_size)


def check(week: Week) -> None:
    """Memory stands still; every slot is there, with all that answer and all that do not."""
    station = week.station
    assert week.rss_kb[-1] - week.rss_kb[0] <= GROWTH_KB_MAX, week.rss_kb
    slots = station.slots(START + timedelta(days=DAYS))
    assert len(week.scans) + week.tombstones == len(slots) == DAYS * 96 + 1
    indices = [START + timedelta(days=day) for day in range(DAYS + 1)]
    assert set(indices) <= set(week.scans), "what is billed goes last"
    others = [slot for slot in sorted(week.scans) if slot not in indices]
    assert others == [slot for slot in slots if slot not in indices][-len(others) :]
    for scan in week.scans.values():
        check_scan(station, scan)
    # Two changes of each dead meter, and not one for each slot.
    assert week.tombstones or week.events == 2 * len(station.dead)
