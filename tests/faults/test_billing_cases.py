"""Cases 21 and 27: meters exchanged, rolling over, going back; billing while data comes."""

import asyncio
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.endurance.station import DEAD, FIRST_ENERGY_ADDRESS, PROFILE, START
from tests.faults.office import Office
from tests.faults.programs import Forks
from tests.faults.world import World, until, world

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]
EVERY_MIN = 120
A_DAY = 24 * 60 // EVERY_MIN  # slots
SCHEDULE: dict[str, object] = {"interval_min": EVERY_MIN, "index_window_min": 0}
MINUTE = timedelta(minutes=1)

PLAIN, OLD, ROLLING, BACK = "m0001", "m0002", "m0003", "m0004"
NEW = "m0902"
EXCHANGED = START + timedelta(hours=12, minutes=30)
NEW_KWH = 5  # what it shows as it comes
ROLL_OVER_KWH = 100_000
BEFORE_ROLL_OVER_KWH = 500
WENT_BACK = START + timedelta(hours=10)
BACK_KWH = 5_000


def counted_kwh(serial: str, at: datetime) -> int:
    """What a meter has counted since the start: a kWh a minute for as long as it is there."""
    if serial == OLD:
        return (min(at, EXCHANGED) - START) // MINUTE
    return (at - (EXCHANGED if serial == NEW else START)) // MINUTE


def steady_kwh(serial: str, at: datetime) -> int:
    """What a meter shows that nothing befalls."""
    return 10_000 * int(serial[-1]) + (at - START) // MINUTE


def shown_kwh(serial: str, at: datetime) -> int:
    """What its display makes of it."""
    counted = counted_kwh(serial, at)
    if serial == NEW:
        return NEW_KWH + counted
    if serial == ROLLING:
        return (ROLL_OVER_KWH - BEFORE_ROLL_OVER_KWH + counted) % ROLL_OVER_KWH
    if serial == OLD:
        return steady_kwh(serial, min(at, EXCHANGED))
    lost = BACK_KWH if serial == BACK and at >= WENT_BACK else 0
    return steady_kwh(serial, at) - lost


def show(
    made: World, shown: Callable[[str, datetime], int], exchanged: datetime | None = None
) -> None:
    """Have the line's meters show that; at address 2 there is another one after an exchange."""

    def word(unit: int, address: int) -> int:
        at = made.station.clock.now
        is_new = unit == 2 and exchanged is not None and at >= exchanged
        serial = NEW if is_new else f"m000{unit}"
        is_energy = FIRST_ENERGY_ADDRESS <= address < FIRST_ENERGY_ADDRESS + 8
        words = struct.unpack(">HH", struct.pack(">f", shown(serial, at) if is_energy else 230))
        return int(words[address % 2])

    made.station.bridges[0].slave.words = word
    made.shown_kwh = shown


def registry(meters: list[str]) -> dict[str, str]:
    """A point for each meter, there since the start, in one station."""
    rows = [(f"T1/{meter}", meter) for meter in meters]
    return {
        "stations.csv": "station,name\nT1,Tram 1\n",
        "points.csv": "point,station,role,name\n"
        + "".join(f"{point},T1,business,{point}\n" for point, _ in rows),
        "meters.csv": "meter,model,resolution_wh,roll_over_wh\n"
        + "".join(f"{meter},sdm120,10,{1000 * ROLL_OVER_KWH}\n" for _, meter in rows),
        "installations.csv": "point,meter,installed_at\n"
        + "".join(f"{point},{meter},{START.isoformat()}\n" for point, meter in rows),
    }


async def exchange(made: World, office: Office) -> None:
    """The sheet of the exchange is brought to the registry, the serial to the station file."""
    at = EXCHANGED.isoformat()
    removal_wh = 1000 * shown_kwh(OLD, EXCHANGED)
    await office.bring(
        {
            "meters.csv": "meter,model,resolution_wh,roll_over_wh\n"
            f"{NEW},sdm120,10,{1000 * ROLL_OVER_KWH}\n",
            "installations.csv": "point,meter,installed_at,removed_at,install_index_wh,"
            "removal_index_wh\n"
            f"T1/{OLD},{OLD},{START.isoformat()},{at},,{removal_wh}\n"
            f"T1/{OLD},{NEW},{at},,{1000 * NEW_KWH},\n",
        }
    )
    await made.station.stop()
    meters = [
        {"serial": NEW if serial == OLD else serial, "address": place, "profile": PROFILE}
        for place, serial in enumerate(made.station.serials, 1)
    ]
    line = {"host": "127.0.0.1", "port": made.station.bridges[0].port}
    made.station.more["lines"] = [{"name": "bridge-0", "modbus_tcp": line, "meters": meters}]
    made.station.start()


async def test_case_21_a_meter_is_exchanged_one_rolls_over_and_one_goes_backwards(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks, meters=4, schedule=SCHEDULE) as made:
        made.station.interval_min = EVERY_MIN
        show(made, shown_kwh, EXCHANGED)
        office = Office(made)
        await office.bring(registry(made.station.serials))
        made.start_collector()
        await made.subscribed()
        made.station.start()
        await made.slots_to((EXCHANGED - START) // made.station.interval)
        await exchange(made, office)
        await made.slots_to(A_DAY)
        made.injected.append("meter exchanged, register rolled over, register 5 MWh back")
        await until(lambda: made.station.waiting() == 0, "all is delivered")
        made.quiet()
        run = (await office.billing("open", "--from", "2026-01-02", "--to", "2026-01-03")).strip()
        await office.make(run)
        found = {line.meter: line for line in office.lines(run, 1)}
        end = START + timedelta(days=1)
        for serial in (PLAIN, OLD, NEW, ROLLING):
            assert found[serial].billed == 1000 * counted_kwh(serial, end), found[serial]
            assert found[serial].quality == "A", found[serial]
        assert len(office.lines(run, 1)) == len(found) == 5
        assert found[OLD].point == found[NEW].point
        assert found[OLD].to_at == found[NEW].from_at == 1000 * int(EXCHANGED.timestamp())
        rolled = found[ROLLING]
        assert rolled.index_from is not None
        assert rolled.index_to is not None
        assert rolled.index_to < rolled.index_from
        assert (found[BACK].billed, found[BACK].quality) == (None, "N")
        said = await office.billing("exceptions", run, "--cause", "no_consumption")
        assert f"T1/{BACK} 1-0:1.8.0 none" in said
        await made.settle()
        made.tell(21)


BUSY: dict[str, object] = {
    "interval_min": EVERY_MIN,
    "index_at": ["00:00", "22:00"],  # the second is the nearest read where midnight's is missing
    "index_window_min": 1320,
    "index_retry_s": 3600,  # in the middle between two slots too
}
LATER, LATE = "m0002", "m0003"  # read for midnight after the export, and before it


class Busy:
    """Lets the gateway's time go on, and its batches come, while the office works."""

    def __init__(self, made: World) -> None:
        self.made = made
        self.slot = 0

    async def to(self, slot: int) -> None:
        """Every batch till then is kept, arrives and is acknowledged."""
        self.slot = slot
        await self.made.slots_to(slot)
        await until(self._all_acked, f"all is acknowledged up to slot {slot}")

    async def during(self, work: Coroutine[None, None, str]) -> str:
        said, _ = await asyncio.gather(work, self.to(self.slot + 1))
        return said

    def _all_acked(self) -> bool:
        return len(self.made.acked()) > self.slot and self.made.kept() == self.made.acked()


def read_at(made: World, meter: str, slot: int) -> datetime:
    """When the meter was read for that slot; fails where it was not."""
    ms = 1000 * int((START + slot * made.station.interval).timestamp())
    query = f"SELECT max(at) FROM index_reads WHERE meter = '{meter}' AND slot = {ms}"
    at = made.one(query)
    assert at > ms, f"{meter} was not read late"
    return datetime.fromtimestamp(at / 1000, START.tzinfo)


def billed_kwh(office: Office, run: str, version: int) -> dict[str, int]:
    """What a version bills as consumption, by meter."""
    lines = [one for one in office.lines(run, version) if one.kind == "consumption"]
    return {one.meter: (one.billed or 0) // 1000 for one in lines}


def version_rows(made: World, run: str, version: int) -> list[tuple[object, ...]]:
    """All that the ledger has of a version: its head with its hash, and its lines."""
    where = f"WHERE run = '{run}' AND version = {version}"
    heads = made.rows(f"SELECT * FROM billing_versions {where}")
    return heads + made.rows(f"SELECT * FROM billing_lines {where} ORDER BY ordinal")


async def billed(office: Office, busy: Busy, run: str, key: str) -> str:
    """The latest version validated, accepted, approved by another person; its file."""
    sha256 = made_last(office, run)
    await busy.during(office.billing("validate", run))
    for cause in ("first", "no_bill"):  # no run was before, and there are no books
        await busy.during(office.billing("accept", run, cause, "--reason", "looked at"))
    assert "another person" in await office.billing("approve", run, sha256, code=1)
    assert await busy.during(office.approve(key, run, sha256)) == "approved"
    return await busy.during(exported(office, run))


def made_last(office: Office, run: str) -> str:
    """The hash of the run's latest version."""
    query = f"SELECT sha256 FROM billing_versions WHERE run = '{run}' ORDER BY version DESC LIMIT 1"
    return str(office.made.rows(query)[0][0])


async def exported(office: Office, run: str) -> str:
    """The run's file."""
    path = office.made.folder / "run.csv"
    await office.billing("export", run, "--output", str(path))
    return path.read_bytes().decode("utf-8")


@dataclass(frozen=True)
class Billed:
    """The first run: its file, its versions in the ledger, what the late read made of it."""

    run: str
    file: str
    versions: list[list[tuple[object, ...]]]
    late_kwh: int


async def first_run(office: Office, busy: Busy, key: str) -> Billed:
    """A version, the read that comes late, another version, which is exported."""
    made = busy.made
    days = ("--from", "2026-01-02", "--to", "2026-01-03")
    run = (await busy.during(office.billing("open", *days))).strip()
    await busy.during(office.make(run))
    assert billed_kwh(office, run, 1) == {PLAIN: 1440, LATER: 1320, LATE: 1320}
    before = version_rows(made, run, 1)
    del made.station.bridges[0].slave.always[3]
    await busy.to(busy.slot + 1)
    late_kwh = (read_at(made, LATE, A_DAY) - START) // MINUTE
    await busy.during(office.make(run))
    assert billed_kwh(office, run, 2) == {PLAIN: 1440, LATER: 1320, LATE: late_kwh}
    assert version_rows(made, run, 1) == before
    file = await billed(office, busy, run, key)
    return Billed(run, file, [before, version_rows(made, run, 2)], late_kwh)


async def second_run(office: Office, busy: Busy, first: Billed) -> None:
    """What came after the first one's export is in the next."""
    days = ("--from", "2026-01-03", "--to", "2026-01-04")
    run = (await busy.during(office.billing("open", *days))).strip()
    await busy.during(office.make(run))
    assert billed_kwh(office, run, 1) == {
        PLAIN: 2 * 1440,
        LATER: 1440 + 120,  # it goes on from the index that was exported
        LATE: 2880 - first.late_kwh,
    }
    (correction,) = [one for one in office.lines(run, 1) if one.kind == "correction"]
    assert (correction.meter, correction.billed) == (PLAIN, 1_440_000)
    assert correction.cites == first.run


async def test_case_27_billing_while_batches_late_reads_and_corrections_come(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks, schedule=BUSY) as made:
        made.station.interval_min = EVERY_MIN
        show(made, steady_kwh)
        office, busy = Office(made), Busy(made)
        dead = made.station.bridges[0].slave.always
        ratio = f"point,from_at,multiplier\nT1/{PLAIN},{START.isoformat()},"
        await office.bring(registry(made.station.serials) | {"multipliers.csv": f"{ratio}1\n"})
        key = (await office.songlo("key", "add", "binh", "--scope", "snapshot:approve")).strip()
        made.collector = made.collector_command("run")  # with the API
        await made.subscribed()
        made.station.start()
        await busy.to(A_DAY - 1)
        dead |= {2: DEAD, 3: DEAD}
        await busy.to(A_DAY)
        first = await first_run(office, busy, key)
        del dead[2]
        corrected = {"multipliers.csv": f"{ratio}2\n"}
        await busy.during(office.bring(corrected, "--correct", "two ratios were taken for one"))
        read_at(made, LATER, A_DAY)
        await busy.to(2 * A_DAY)
        await second_run(office, busy, first)
        assert await busy.during(exported(office, first.run)) == first.file
        assert [version_rows(made, first.run, one) for one in (1, 2)] == first.versions
        assert "as they were made" in await office.billing("verify")
        made.injected.append(f"{office.given} commands while {busy.slot - A_DAY} slots came")
        made.injected.append("two late reads, a correction")
        made.read_late = 2
        made.quiet()
        await made.settle()
        made.tell(27)
