"""What befalls a simulation: chosen by its seed before it begins, one fault at a time.

Each seed has some kinds of faults and lacks others, so that none hides behind another for ever.
"""

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.simulation.gateway_machine import Settings
from tests.simulation.network import Weather

DAY_S = 86_400.0
QUIET_S = 2 * DAY_S  # at the end nothing befalls anybody any more: what is to settle does


class Fault(StrEnum):
    """The kinds of faults that are laid down in time; others are the weather's."""

    GATEWAY_KILL = "gateway kill"
    GATEWAY_POWER = "gateway power"
    GATEWAY_IMAGE = "gateway image"
    GATEWAY_DISK_FULL = "gateway disk full"
    GATEWAY_SYNC = "gateway sync fails"
    GATEWAY_SLOW = "gateway card slow"
    GATEWAY_CUT = "gateway partition"
    GATEWAY_CLOCK = "gateway clock"
    METER_SILENT = "meter silent"
    BROKER = "broker crash"
    BROKER_FORGETS = "broker forgets"
    COLLECTOR_KILL = "collector kill"
    COLLECTOR_POWER = "collector power"
    COLLECTOR_SITE = "collector and broker power"  # on one machine
    COLLECTOR_CUT = "collector partition"
    COLLECTOR_DISK_FULL = "collector disk full"
    COLLECTOR_SYNC = "collector sync fails"
    LEDGER_BACKUP = "ledger restored"
    STORE_AWAY = "store away"
    STORE_SLOW = "store slow"
    REPLAY = "replay"
    FORGERY = "forged batch"


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault, from `at_s` on for `lasts_s`; `gateway` by its number, `number` as it needs."""

    at_s: float
    fault: Fault
    lasts_s: float
    gateway: int
    number: int
    effect: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    days: int
    gateways: int
    meters: int
    settings: Settings
    weather: Weather
    queue_max: int
    tick_s: float
    group_max: int
    duckdb: bool
    blows: tuple[Blow, ...]

    @property
    def lasts_s(self) -> float:
        """How long the run is."""
        return self.days * DAY_S

    @property
    def calm_at_s(self) -> float:
        """From when on nothing befalls anybody."""
        return self.lasts_s - QUIET_S


GATEWAY_EFFECTS = (
    "write", "write", "sync", "truncate", "call", "called", "publish", "published", "receive",
)  # fmt: skip
COLLECTOR_EFFECTS = (
    "write", "write", "sync", "append", "appending", "half appended", "appended", "ack", "acked",
    "take", "done",
)  # fmt: skip
# What the product meets by trying again every few seconds costs a simulation most.
LASTS_MAX_S = {
    Fault.GATEWAY_DISK_FULL: 900.0,
    Fault.COLLECTOR_DISK_FULL: 1800.0,
    Fault.STORE_AWAY: 3 * 3600.0,
    Fault.METER_SILENT: 3600.0,
}
# From the beginning, at 19:00 in Hanoi, to the first midnight there.
FIRST_SLOT_S = 5 * 3600.0
COUNTS_MAX = {"write": 60, "sync": 8, "truncate": 1}


def plan(seed: int) -> Plan:
    """What befalls the run of `seed`."""
    chance = random.Random(f"plan/{seed}")
    kinds = [fault for fault in Fault if chance.random() < 0.4]
    days = chance.randint(10, 16)
    interval_min = chance.choice((720, 720, 1440, 1440, 1440))
    settings = Settings(
        interval_min=interval_min,
        index_minutes=chance.choice(((0,), (0,), (0, 720))),
        hold=chance.random() < 0.8,
        bytes_max=4 * 1024 * 1024,
        status_every_s=chance.choice((12, 24, 36)) * 3600.0,
        window=chance.choice((1, 2, 20)),
        card_s=chance.choice((0.0, 0.05, 2.0)),
        house_s=12 * 3600.0,
        keep_days=random.Random(f"kept/{seed}").choice((35, 35, 9)),
    )
    is_rough = chance.random() < 0.6
    weather = Weather(
        latency_s=chance.choice((0.01, 0.2, 5.0)),
        tail_s=chance.choice((0.0, 30.0, 600.0)),
        loss=chance.choice((0.0, 0.02, 0.15)) if is_rough else 0.0,
        doubles=chance.choice((0.0, 0.1, 0.3)) if is_rough else 0.0,
        is_ordered=chance.random() < 0.4,
        gather_s=chance.choice((0.1, 20.0, 20.0, 20.0, 60.0)),
    )
    gateways = chance.randint(2, 4)
    blows = [
        _blow(fault, chance, days * DAY_S - QUIET_S, gateways, interval_min)
        for fault in kinds
        for _ in range(chance.randint(1, 3))
    ]
    blows.sort(key=lambda blow: blow.at_s)
    return Plan(
        seed=seed,
        days=days,
        gateways=gateways,
        meters=chance.randint(1, 3),
        settings=settings,
        weather=weather,
        queue_max=chance.choice((5, 1000, 1000)),
        tick_s=chance.choice((6, 24)) * 3600.0,
        group_max=chance.choice((1, 500, 500, 500)),
        duckdb=chance.random() < 0.02,
        blows=tuple(blows),
    )


def _blow(
    fault: Fault, chance: random.Random, until_s: float, gateways: int, interval_min: int
) -> Blow:
    effects = COLLECTOR_EFFECTS if fault.value.startswith("collector") else GATEWAY_EFFECTS
    effect = chance.choice((*effects, "now"))
    at_s = chance.uniform(0.1, 0.95) * until_s
    if chance.random() < 0.7:
        # Most of what happens happens at slots: so do most faults.
        slot = round((at_s - FIRST_SLOT_S) / (60 * interval_min))
        at_s = max(3600.0, FIRST_SLOT_S + slot * 60 * interval_min + chance.uniform(-300, 300))
    lasts_s = chance.choice((20.0, 600.0, 3 * 3600.0, DAY_S, 3 * DAY_S)) * chance.random()
    return Blow(
        at_s=at_s,
        fault=fault,
        lasts_s=min(lasts_s, LASTS_MAX_S.get(fault, lasts_s)),
        gateway=chance.randrange(gateways),
        number=chance.randint(0, COUNTS_MAX.get(effect, 4)),
        effect=effect,
    )
