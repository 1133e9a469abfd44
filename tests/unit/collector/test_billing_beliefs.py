"""Whatever the office believed month by month: once it knows the truth, all is billed just once.

Exchanges are told late or taken back, multipliers are mistaken and put right, indices at reading
days are guessed and learnt, months are left out. The truth is kept by day: it knows no indices.
"""

import random
from dataclasses import dataclass
from fractions import Fraction

import pytest

from collector.billing.values import LineQuality
from collector.registry.values import Installation, Multiplier
from contract.registers import IMPORT_ACTIVE
from tests.unit.collector.test_billing_chain import Place, day, installed

MONTH = 30
KWH = 1000
RATIOS = (1, 20, 40, 60)


@dataclass(frozen=True)
class Stay:
    """A meter at the point from a day to a day, with what it showed when it came."""

    meter: str
    since: int
    until: int | None
    first: int


class World:
    """What the point took each day, by which meters and multipliers, and when what is learnt."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.months = chance.randint(3, 6)
        days = MONTH * self.months
        self.used = [chance.randint(0, 20) * KWH for _ in range(days)]
        within = [number for number in range(3, days - 3) if number % MONTH]
        cuts = chance.sample(within, 5)
        exchanges = sorted(cuts[: chance.randint(0, 3)])
        changes = sorted(cuts[3 : chance.randint(3, 5)])
        self.ratios = [(0, chance.choice(RATIOS))]
        for number in changes:
            others = [one for one in RATIOS if one != self.ratios[-1][1]]
            self.ratios.append((number, chance.choice(others)))
        bounds = [0, *exchanges, None]
        self.stays = [
            Stay(f"M{number}", bounds[number] or 0, bounds[number + 1], self._some_kwh(10**6))
            for number in range(len(bounds) - 1)
        ]
        self.guessed: dict[tuple[str, int], tuple[int, int]] = {}
        self.imagined: dict[tuple[str, int], int] = {}

    def _some_kwh(self, most: int) -> int:
        return self.chance.randint(0, most) * KWH

    def shown(self, stay: Stay, number: int) -> int:
        return stay.first + sum(self.used[stay.since : number])

    def truth(self) -> int:
        ratios = dict(self.ratios)
        total, ratio = 0, 0
        for number, used in enumerate(self.used):
            ratio = ratios.get(number, ratio)
            total += used * ratio
        return total

    def believe(self, place: Place, month: int) -> None:
        """Put into the registry what the office takes for true when it bills a month."""
        end = MONTH * month
        knows = month == self.months
        told = []
        for stay in self.stays:
            told.append(stay)
            there = stay.until is None or stay.until >= end
            if there or not (knows or self.chance.random() < 0.6):
                break
        place.installations = []
        for stay in told:
            gone = stay is not told[-1]
            off = 0 if knows else self.chance.choice([0, 0, 5 * KWH, -3 * KWH])
            place.installations.append(
                Installation(
                    "P",
                    stay.meter,
                    day(stay.since),
                    day(stay.until) if gone and stay.until is not None else None,
                    {IMPORT_ACTIVE: stay.first} if stay.since else {},
                    {IMPORT_ACTIVE: self.shown(stay, stay.until or 0) + off} if gone else {},
                )
            )
        right = knows or self.chance.random() < 0.5
        ratios = self.ratios if right else [(0, self.chance.choice(RATIOS))]
        place.multipliers = [
            Multiplier("P", day(number), Fraction(ratio))
            for number, ratio in ratios
            if number < end
        ]
        self._read(place, month, told[-1])

    def _read(self, place: Place, month: int, believed: Stay) -> None:
        """What stands for reading days and changes: true, guessed until learnt, or imagined."""
        end = MONTH * month
        wanted = {MONTH * number for number in range(month + 1)}
        wanted |= {number for number, _ in self.ratios if number < end}
        place.standing = {}
        for stay in self.stays:
            for number in sorted(wanted):
                key = (stay.meter, number)
                if stay.since <= number and (stay.until is None or number <= stay.until):
                    off, known = self.guessed.setdefault(
                        key,
                        (
                            self.chance.choice([0, 0, -7 * KWH, 9 * KWH, 4 * KWH]),
                            self.chance.randint(1, self.months),
                        ),
                    )
                    value, quality = self.shown(stay, number), LineQuality.ACTUAL
                    if number % MONTH == 0 < number and off and month < min(known, self.months):
                        value, quality = max(stay.first, value + off), LineQuality.ESTIMATED
                    place.put(stay.meter, day(number), value, quality)
                elif stay == believed and number > stay.since and number % MONTH == 0:
                    # It is out, and nobody knows: it is silent, and its index is estimated.
                    assert stay.until is not None
                    beyond = self.imagined.setdefault(key, self._some_kwh(100))
                    value = self.shown(stay, stay.until) + beyond
                    place.put(stay.meter, day(number), value, LineQuality.ESTIMATED)


@pytest.mark.parametrize("seed", range(150))
def test_what_is_known_in_the_end_was_billed_in_all(seed: int) -> None:
    world = World(seed)
    place = Place([installed("M0")], roll_over=None)
    for month in range(1, world.months + 1):
        world.believe(place, month)
        if 1 < month < world.months and world.chance.random() < 0.2:
            continue  # left out: the next month goes on from where it was
        lines = place.lines(day(MONTH * (month - 1)), day(MONTH * month))
        place.export(f"r{month}", lines)
    assert place.billed() == world.truth()
