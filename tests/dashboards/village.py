"""A small station whose every figure is known: one head meter, three customers, four days.

A neighbouring station has a meter of each kind too, and must never show up in a figure.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from collector.readings.influx_store import InfluxStore
from collector.readings.port import ReadBlock
from contract.messages import MeterRead, ScanKind
from contract.registers import BY_FIELD
from tests.services import InfluxDatabase

STATION, HEAD = "PA25SL-T012", "20.6/1"
# "20X6/1" is what a regular expression would take for the head if its dot were not escaped.
CUSTOMERS = ("2026000001", "2026000002", "20X6/1")
CADENCE = timedelta(minutes=30)
DAYS = 4
# Local midnight in Ho Chi Minh City.
START_AT = datetime(2026, 1, 4, 17, tzinfo=UTC)
END_AT = START_AT + timedelta(days=DAYS)
SLOTS_A_DAY = 48
ONE_PHASE = tuple(BY_FIELD[name].obis for name in ("import_wh", "power_w", "voltage_l1_v"))
EXPORT = BY_FIELD["export_wh"].obis
THREE_PHASES = (*ONE_PHASE, *(BY_FIELD[f"voltage_l{phase}_v"].obis for phase in (2, 3)), EXPORT)
# Reads arrive this much after their slot, the customers' one second apart.
LATENESS = timedelta(seconds=3)
# Per 30 minutes: each customer's energy on day 0, 1, … and the network's loss.
CUSTOMER_WH = ((100, 110, 125, 90), (50, 40, 30, 20), (7, 7, 7, 7))
LOSS_WH = (9, 8, 7, 6)
# What the last customer and the head fed back.
CUSTOMER_EXPORT_WH = (3, 0, 2, 0)
HEAD_EXPORT_WH = (0, 0, 0, 1)


def sold_wh(day: int) -> int:
    """Net energy of all customers on one day."""
    return SLOTS_A_DAY * (sum(one[day] for one in CUSTOMER_WH) - CUSTOMER_EXPORT_WH[day])


def loss_wh(day: int) -> int:
    """What the network lost on one day."""
    return SLOTS_A_DAY * LOSS_WH[day]


def in_wh(day: int) -> int:
    """What the head meter measured on one day, net."""
    return sold_wh(day) + loss_wh(day)


def received_wh(day: int) -> int:
    """What came into the network on one day, from above and from the customer."""
    return in_wh(day) + SLOTS_A_DAY * (HEAD_EXPORT_WH[day] + CUSTOMER_EXPORT_WH[day])


def _read(meter: str, late: timedelta, values: list[int | float | None]) -> MeterRead:
    return (meter, round(late.total_seconds() * 1000), values, 0)


def blocks() -> Iterator[ReadBlock]:
    """All reads, slot by slot; customer 2 misses every slot of day 2 but its midnights."""
    indices = [1_000_000, *(10_000 * (n + 1) for n in range(len(CUSTOMERS)))]
    head_export = customer_export = 500
    for slot in range(DAYS * SLOTS_A_DAY + 1):
        day = min(slot // SLOTS_A_DAY, DAYS - 1)
        voltages = (231.5, 229.0, 240.0 if slot == 5 else 232.0)
        head = _read(HEAD, LATENESS, [indices[0], 1000.0 + slot, *voltages, head_export])
        yield _block(STATION, slot, THREE_PHASES, [head])
        strange = _read("2026999999", LATENESS, [slot, 9.0, 1.0])
        yield _block("OTHER-T001", slot, ONE_PHASE, [strange])
        reads = []
        for number, meter in enumerate(CUSTOMERS):
            missed = number == 1 and day == 2 and slot % SLOTS_A_DAY
            if not missed:
                late = LATENESS + timedelta(seconds=number + 1)
                voltage = 207.5 if number == 2 and slot == 7 else 225.0
                reads.append(_read(meter, late, [indices[number + 1], 12.5, voltage]))
            indices[number + 1] += CUSTOMER_WH[number][day]
        yield _block(STATION, slot, ONE_PHASE, reads[:-1])
        meter, late_ms, values, quality = reads[-1]
        feeding_in = (meter, late_ms, [*values, customer_export], quality)
        yield _block(STATION, slot, (*ONE_PHASE, EXPORT), [feeding_in])
        indices[0] += in_wh(day) // SLOTS_A_DAY + HEAD_EXPORT_WH[day]
        head_export += HEAD_EXPORT_WH[day]
        customer_export += CUSTOMER_EXPORT_WH[day]


def _block(
    station: str, slot: int, registers: tuple[str, ...], reads: list[MeterRead]
) -> ReadBlock:
    slot_at = START_AT + slot * CADENCE
    return ReadBlock(station, station, ScanKind.INTERVAL, slot_at, registers, reads)


def append(database: InfluxDatabase, given: Sequence[ReadBlock]) -> None:
    """Store reads as the collector does."""
    store = InfluxStore(database.url, database.org, database.bucket, database.token, 20)
    try:
        assert store.append(given) == []
    finally:
        store.close()


def fill(database: InfluxDatabase) -> None:
    """Store all reads."""
    append(database, list(blocks()))


def one_phase_read(voltage_v: float) -> ReadBlock:
    """A single read of a customer's meter at the first slot."""
    return _block(STATION, 0, ONE_PHASE, [_read(CUSTOMERS[0], LATENESS, [1, 1.0, voltage_v])])
