"""Cases 21 and 27: meters that are exchanged, roll over or go back, and billing while data comes."""

import struct
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.endurance.station import FIRST_ENERGY_ADDRESS, PROFILE, START, energy_kwh
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


def shown_kwh(serial: str, at: datetime) -> int:
    """What its display makes of it."""
    counted = counted_kwh(serial, at)
    if serial == NEW:
        return NEW_KWH + counted
    if serial == ROLLING:
        return (ROLL_OVER_KWH - BEFORE_ROLL_OVER_KWH + counted) % ROLL_OVER_KWH
    lost = BACK_KWH if serial == BACK and at >= WENT_BACK else 0
    return energy_kwh(int(serial[-1]), START) + counted - lost


def show(made: World) -> None:
    """Have the line's meters show that; at address 2 there is another meter after the exchange."""

    def word(unit: int, address: int) -> int:
        at = made.station.clock.now
        serial = NEW if unit == 2 and at >= EXCHANGED else f"m000{unit}"
        is_energy = FIRST_ENERGY_ADDRESS <= address < FIRST_ENERGY_ADDRESS + 8
        words = struct.unpack(">HH", struct.pack(">f", shown_kwh(serial, at) if is_energy else 230))
        return int(words[address % 2])

    made.station.bridges[0].slave.words = word
    made.shown_kwh = shown_kwh


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
        show(made)
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
