"""Energies of points over stretches: telescoping, transfers, exchanges, doubts."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from collector.balance.boundary import BoundaryIndex, How
from collector.balance.energy import Doubt, PointEnergy, energies, placed
from collector.billing.snapshot import Boundary, stretches
from collector.registry.values import (
    Installation,
    Meter,
    Multiplier,
    Point,
    Registry,
    Role,
    Transfer,
)
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

START = datetime(2026, 9, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POINT = Point("P", "T1", Role.HOUSEHOLD, "p")
PLACE = Installation("P", "M", START - DAY)


def index(value: int, at: datetime, how: How = How.READ, **more: bool | int) -> BoundaryIndex:
    return BoundaryIndex(value, at, how, timedelta(), **more)  # type: ignore[arg-type]


def counted(
    registry: Registry, days: int, found: dict[Boundary, dict[str, BoundaryIndex]]
) -> dict[str, dict[str, PointEnergy]]:
    parts = placed(
        stretches(registry, START, START + days * DAY), registry.points, registry.transfers
    )
    return energies(registry, parts, found)


def registry(
    multipliers: tuple[Multiplier, ...] = (), transfers: tuple[Transfer, ...] = ()
) -> Registry:
    return Registry(
        points={"P": POINT},
        meters={"M": Meter("M", "sdm120", 10)},
        installations=(PLACE,),
        multipliers=multipliers,
        transfers=transfers,
    )


@given(
    used=st.lists(st.integers(0, 1_000_000), min_size=6, max_size=6),
    moves=st.sets(st.integers(1, 5)),
    changes=st.dictionaries(st.integers(1, 5), st.integers(1, 100)),
)
def test_transfers_share_out_what_one_station_would_have_had(
    used: list[int], moves: set[int], changes: dict[int, int]
) -> None:
    values = [sum(used[:day]) for day in range(7)]
    found = {
        ("P", PLACE.installed_at, START + day * DAY): {
            IMPORT_ACTIVE: index(value, START + day * DAY)
        }
        for day, value in enumerate(values)
    }
    multipliers = tuple(
        Multiplier("P", START + day * DAY, Fraction(ratio)) for day, ratio in changes.items()
    )
    transfers = tuple(
        Transfer("P", START + day * DAY, f"T{2 + number % 2}")
        for number, day in enumerate(sorted(moves))
    )
    whole = counted(registry(multipliers), 6, found)["T1"]["P"]
    shared = counted(registry(multipliers, transfers), 6, found)
    parts = [one["P"].import_wh for one in shared.values()]
    assert None not in parts
    assert sum(part or 0 for part in parts) == whole.import_wh
    assert all(one["P"].is_complete for one in shared.values())


def test_a_register_that_fed_nothing_back_is_not_missed() -> None:
    ends = [
        ("P", PLACE.installed_at, START),
        ("P", PLACE.installed_at, START + DAY),
    ]
    found = {
        ends[0]: {IMPORT_ACTIVE: index(5, START)},
        ends[1]: {IMPORT_ACTIVE: index(9, START + DAY), EXPORT_ACTIVE: index(0, START + DAY)},
    }
    one = counted(registry(), 1, found)["T1"]["P"]
    assert (one.import_wh, one.export_wh, one.is_complete) == (4, 0, True)
    found[ends[1]][EXPORT_ACTIVE] = index(3, START + DAY)
    one = counted(registry(), 1, found)["T1"]["P"]
    assert (one.export_wh, one.is_known) == (None, False)


def test_doubts_say_where_and_how_much() -> None:
    far = BoundaryIndex(900, START + DAY, How.FAR, 2 * timedelta(hours=1), 400, 1_100)
    found = {
        ("P", PLACE.installed_at, START): {IMPORT_ACTIVE: index(100, START, estimated=True)},
        ("P", PLACE.installed_at, START + DAY): {IMPORT_ACTIVE: far},
    }
    ratio = Multiplier("P", START - DAY, Fraction(40))
    one = counted(registry((ratio,)), 1, found)["T1"]["P"]
    assert (one.import_wh, one.is_known, one.is_complete) == (32_000, True, False)
    assert [(note.doubt, note.off_s, note.error_max_wh) for note in one.notes] == [
        (Doubt.ESTIMATED, None, None),
        (Doubt.FAR, 7_200, 20_000),
    ]


def test_an_index_that_went_backwards_is_no_energy() -> None:
    found = {
        ("P", PLACE.installed_at, START): {IMPORT_ACTIVE: index(900, START)},
        ("P", PLACE.installed_at, START + DAY): {IMPORT_ACTIVE: index(100, START + DAY)},
    }
    one = counted(registry(), 1, found)["T1"]["P"]
    assert (one.import_wh, [note.doubt for note in one.notes]) == (None, [Doubt.BACKWARD])
