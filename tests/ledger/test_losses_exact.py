"""Losses of made-up districts against what their points really took, in exact fractions.

The truth is kept by day and point, apart from registers: it knows nothing of indices, stretches or
boundaries. Meters are exchanged, multipliers change, points move, reads come early and late.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from collector.balance.station import Balance
from collector.ledger import Ledger
from collector.operations.balances import daily_balances
from collector.operations.losses import Period, district_losses
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE
from tests.ledger.building import ZONE, import_files, midnight, put

FIRST = date(2026, 9, 1)
DAYS = 10
STATIONS = ("T1", "T2", "T3")
BOTH = (IMPORT_ACTIVE, EXPORT_ACTIVE)
HALF_HOUR = timedelta(minutes=30)


@dataclass
class Place:
    """A point: what it took and fed back each day, in Wh of its meter, and what happened to it."""

    name: str
    role: str
    stations: list[str]  # by day
    used: list[tuple[int, int]]  # by day: import, export
    ratios: list[Fraction]  # by day
    parent: str = ""
    exchanged: int | None = None  # at noon of this day
    moved: int | None = None
    changed: int | None = None
    meters: list[str] = field(default_factory=list)

    def energy(self, day: int) -> tuple[Fraction, Fraction]:
        taken, fed = self.used[day]
        return taken * self.ratios[day], fed * self.ratios[day]


def at(day: int) -> datetime:
    return midnight((FIRST + timedelta(days=day)).isoformat())


def district(chance: random.Random, ratios: list[Fraction]) -> list[Place]:
    """One or two heads a station, five customers, a master, a sub-meter; two of them with solar."""
    places: list[Place] = []
    for station in STATIONS:
        roles = ["head"] * chance.choice([1, 1, 2])
        roles += ["household"] * 5 + ["wholesale_master", "sub_meter"]
        for number, role in enumerate(roles):
            solar = role == "head" or number % 3 == 0
            place = Place(
                f"{station}/{number}",
                role,
                [station] * DAYS,
                [
                    (2 * chance.randint(0, 50_000), 2 * chance.randint(0, 80_000) if solar else 0)
                    for _ in range(DAYS)
                ],
                [chance.choice(ratios)] * DAYS,
                parent=f"{station}/{len(roles) - 2}" if role == "sub_meter" else "",
                meters=[f"M{len(places)}"],
            )
            places.append(place)
            if chance.random() < 0.4:
                place.changed = chance.randint(1, DAYS - 1)
                other = chance.choice(ratios)
                place.ratios[place.changed :] = [other] * (DAYS - place.changed)
            if chance.random() < 0.4:
                place.exchanged = chance.randint(0, DAYS - 1)
                place.meters.append(f"N{len(places)}")
            if role not in {"head", "sub_meter"} and chance.random() < 0.4:
                place.moved = chance.randint(1, DAYS - 1)
                to = chance.choice([one for one in STATIONS if one != station])
                place.stations[place.moved :] = [to] * (DAYS - place.moved)
    return places


def files(places: list[Place], removals: dict[str, tuple[int, int]]) -> dict[str, str]:
    """The registry as the office writes it."""
    found = {
        "stations.csv": "station,name\n" + "".join(f"{name},{name}\n" for name in STATIONS),
        "points.csv": "point,station,role,name,parent\n",
        "meters.csv": "meter,model,resolution_wh\n",
        "installations.csv": "point,meter,installed_at,removed_at,install_index_wh,"
        "removal_index_wh,install_export_wh,removal_export_wh\n",
        "multipliers.csv": "point,from_at,multiplier\n",
        "transfers.csv": "point,from_at,station\n",
    }
    for one in places:
        found["points.csv"] += f"{one.name},{one.stations[0]},{one.role},x,{one.parent}\n"
        found["meters.csv"] += "".join(f"{meter},sdm120,1\n" for meter in one.meters)
        found["multipliers.csv"] += f"{one.name},2026-01-01,{one.ratios[0]}\n"
        if one.changed is not None:
            found["multipliers.csv"] += (
                f"{one.name},{at(one.changed).isoformat()},{one.ratios[one.changed]}\n"
            )
        if one.moved is not None:
            day = FIRST + timedelta(days=one.moved)
            found["transfers.csv"] += f"{one.name},{day},{one.stations[one.moved]}\n"
        if one.exchanged is None:
            found["installations.csv"] += f"{one.name},{one.meters[0]},2026-01-01,,,,,\n"
            continue
        noon = (at(one.exchanged) + timedelta(hours=12)).isoformat()
        last = removals[one.name]
        found["installations.csv"] += (
            f"{one.name},{one.meters[0]},2026-01-01,{noon},,{last[0]},,{last[1]}\n"
            f"{one.name},{one.meters[1]},{noon},,700,,300,\n"
        )
    return found


def reads_of(
    one: Place, chance: random.Random, needed: set[int]
) -> Iterator[tuple[datetime, str, tuple[int, int]]]:
    """What its meters showed at midnights, or half an hour before and after them; some days not.

    Yields instants with meter and both indices; lastly what stood at the removal.
    """
    shown = (chance.randint(1, 10**9), chance.randint(1, 10**9))
    meter = one.meters[0]
    wanted = needed | {day for day in (one.moved, one.changed) if day is not None}
    for day in range(DAYS + 1):
        how = chance.choice(["read", "around"])
        if day not in wanted and chance.random() < 0.05:
            how = "never"
        if day in {one.exchanged, -1 if one.exchanged is None else one.exchanged + 1}:
            how = "read"
        if how == "read":
            yield at(day), meter, shown
        elif how == "around":
            # As far below before as above after: what lies between is the truth.
            drift = (chance.randint(0, 900), chance.randint(0, 900))
            yield at(day) - HALF_HOUR, meter, (shown[0] - drift[0], shown[1] - drift[1])
            yield at(day) + HALF_HOUR, meter, (shown[0] + drift[0], shown[1] + drift[1])
        if day == DAYS:
            return
        used = one.used[day]
        if day == one.exchanged:
            half = (used[0] // 2, used[1] // 2)
            yield at(day) + timedelta(hours=12), "", (shown[0] + half[0], shown[1] + half[1])
            meter, shown = one.meters[1], (700, 300)
            used = half
        shown = (shown[0] + used[0], shown[1] + used[1])


def fill(ledger: Ledger, folder: Path, chance: random.Random, places: list[Place]) -> None:
    needed = {0, DAYS, 3, 7}
    removals: dict[str, tuple[int, int]] = {}
    scans: dict[datetime, dict[str, tuple[int, int]]] = {}
    for one in places:
        for instant, meter, shown in reads_of(one, chance, needed):
            if meter:
                scans.setdefault(instant, {})[meter] = shown
            else:
                removals[one.name] = shown
    report = import_files(ledger, folder, files(places, removals))
    assert report.errors == (), report.errors
    for seq, (instant, values) in enumerate(sorted(scans.items()), 1):
        put(ledger, instant, values, registers=BOTH, offset=timedelta(), seq=seq)


def truth(places: list[Place], station: str, days: range) -> tuple[Fraction, Fraction]:
    """What the station received, and what it lost, in Wh."""
    received = lost = Fraction()
    for one in places:
        for day in days:
            if one.stations[day] != station or one.role == "sub_meter":
                continue
            taken, fed = one.energy(day)
            received += taken if one.role == "head" else fed
            lost += taken - fed if one.role == "head" else fed - taken
    return received, lost


def check(found: Balance, places: list[Place], days: range, *, rounded: int) -> None:
    received, lost = truth(places, found.station, days)
    assert found.received_wh is not None
    assert found.loss_wh is not None
    assert abs(found.received_wh - received) <= rounded
    assert abs(found.loss_wh - lost) <= rounded
    if not rounded and received:
        # 28.3333 is nearer to the truth than any other with four decimals.
        assert found.loss_percent is not None
        assert abs(Fraction(found.loss_percent) - 100 * lost / received) <= Fraction(1, 20_000)


WHOLE = [Fraction(1), Fraction(20), Fraction(120)]
BROKEN = [*WHOLE, Fraction(1, 3), Fraction(200, 3)]


@pytest.mark.parametrize("seed", range(6))
def test_every_station_loses_what_its_points_say(ledger: Ledger, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ratios = BROKEN if seed % 3 == 2 else WHOLE
    places = district(chance, ratios)
    fill(ledger, tmp_path / "registry", chance, places)
    # Each index behind a broken multiplier is floored once to Wh, at most four ends a register.
    rounded = 8 * len(places) if ratios is BROKEN else 0
    for first, last in ((0, DAYS), (0, 3), (3, 7), (7, DAYS)):
        report = district_losses(ledger, Period(at(first), at(last)))
        for loss in report.stations:
            assert loss.balance.complete, (first, last, loss.balance.notes)
            check(loss.balance, places, range(first, last), rounded=rounded)
    complete = 0
    for station in STATIONS:
        last_day = FIRST + timedelta(days=DAYS - 1)
        for one in daily_balances(
            ledger, station=station, first_day=FIRST, last_day=last_day, zone=ZONE
        ):
            if one.balance.complete:
                complete += 1
                number = (one.day - FIRST).days
                check(one.balance, places, range(number, number + 1), rounded=rounded)
    assert complete
