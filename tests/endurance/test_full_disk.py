"""The disk full, the uplink gone: the gateway goes on, gives up what is worth least, recovers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.messages import Batch, ScanKind, decode_batch
from gateway.station_file import OUTBOX_BYTES_MIN
from tests.endurance.cable import Cable
from tests.endurance.station import NAME, START, Station, check_scan, standing
from tests.gateway_delivery.collecting import Collecting, until
from tests.services import Mosquitto
from tests.services.disk import fill_up, small_disk

DISK_MIB = 40
OUTBOX_BYTES = OUTBOX_BYTES_MIN  # begun only now: little in it can be given up
BEFORE = timedelta(hours=2)
FULL = timedelta(hours=96)
AFTER = timedelta(hours=6)
DEADLINE_S = 60.0


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_MIB) as mounted:
        yield mounted


@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_a_full_disk_costs_the_oldest_momentary_scans_and_nothing_once_there_is_room(
    tmp_path: Path, disk: Path, broker: Mosquitto
) -> None:
    more: dict[str, object] = {"data": str(disk), "outbox": {"bytes_max": OUTBOX_BYTES}}
    async with Cable(broker.port) as cable:
        station = Station(tmp_path, cable.port, lines=4, meters_per_line=25, more=more)
        async with standing(station):
            with Collecting(broker.port, NAME) as collecting:
                station.start()
                await station.run_to(START + BEFORE, DEADLINE_S)
                await until(lambda: len(collecting.payloads) == 5, "the first slots")
                ballast = disk / "outbox.sqlite3.ballast"
                assert ballast.exists()

                await cable.cut()
                fill_up(disk / "somebody-elses")
                await station.run_to(START + BEFORE + FULL, DEADLINE_S)
                assert not ballast.exists(), "given up"
                (disk / "somebody-elses").unlink()

                await cable.mend()
                end_at = START + BEFORE + FULL + AFTER
                await station.run_to(end_at, DEADLINE_S)
                last = station.slots(end_at)
                await until(lambda: len(collecting.payloads) >= len(last), "all slots", DEADLINE_S)
                await until(lambda: station.waiting() == 0, "everything is delivered")
                await station.stop()
    log = (tmp_path / "log").read_text()
    assert log.count("the outbox falls back on its ballast") == 1
    assert "could not be kept" not in log
    check(station, {seq: decode_batch(one) for (_, seq), one in collecting.payloads.items()})


def check(station: Station, batches: dict[int, Batch]) -> None:
    """Each number stands for a slot, whole or dropped; those that were dropped are the oldest."""
    slots = station.slots(START + BEFORE + FULL + AFTER)
    assert sorted(batches) == list(range(1, len(slots) + 1))
    dropped = []
    for seq, batch in batches.items():
        if batch.tombstone is not None:
            stone = batch.tombstone
            assert (stone.slot, stone.reason) == (slots[seq - 1], "overflow")
            assert stone.kind is ScanKind.INTERVAL, "an index goes last"
            assert stone.meters == station.serials
            dropped.append(stone.slot)
        else:
            assert batch.scan is not None
            assert batch.scan.slot == slots[seq - 1]
            check_scan(station, batch.scan)
    indices = [slot for slot in slots if (slot - START) % timedelta(days=1) == timedelta(0)]
    undelivered = [slot for slot in slots if slot > START + BEFORE and slot not in indices]
    assert dropped
    assert sorted(dropped) == undelivered[: len(dropped)], "oldest first"
    assert max(dropped) < START + BEFORE + FULL
