"""The balance of a station: the golden case, signs, rounding, and what is unknown."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.balance.energy import PointEnergy
from collector.balance.station import Balance, percent, station_balance
from collector.registry.values import Point, Role, Station, StationKind
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = (START, START + timedelta(days=1))
POINTS = {
    "H": Point("H", "T1", Role.HEAD, "head"),
    "A": Point("A", "T1", Role.HOUSEHOLD, "a"),
    "W": Point("W", "T1", Role.WHOLESALE_MASTER, "w"),
}


STATION = Station("T1", "T1")


class Line(NamedTuple):
    point: str
    consumption: int | None
    register: str = IMPORT_ACTIVE


line = Line


def balance(
    *lines: Line, points: Mapping[str, Point] = POINTS, station: Station = STATION
) -> Balance:
    energies: dict[str, PointEnergy] = {}
    for one in lines:
        before = energies.get(one.point, PointEnergy(one.point, 0, 0))
        import_wh, export_wh = before.import_wh, before.export_wh
        if one.register == IMPORT_ACTIVE:
            import_wh = added(import_wh, one.consumption)
        else:
            export_wh = added(export_wh, one.consumption)
        energies[one.point] = PointEnergy(one.point, import_wh, export_wh)
    heads = [point.point for point in points.values() if point.role is Role.HEAD]
    return station_balance(station, PERIOD, points, energies, heads)


def added(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def test_the_golden_case() -> None:
    # Domain B13 j: 1,000 in, 50 out; customers 1,020; PV 110: 40 is 3.6 % of 1,110.
    found = balance(
        line("H", 1_000),
        line("H", 50, EXPORT_ACTIVE),
        line("A", 1_000),
        line("A", 110, EXPORT_ACTIVE),
        line("W", 20),
    )
    assert (found.head_wh, found.customers_wh) == (950, 910)
    assert (found.received_wh, found.loss_wh, found.loss_percent) == (1_110, 40, "3.6036")
    assert (found.complete, found.lacking) == (True, ())


def test_a_negative_loss_is_shown_as_one() -> None:
    found = balance(line("H", 1_000), line("A", 1_100))
    assert (found.loss_wh, found.loss_percent, found.complete) == (-100, "-10.0000", True)


def test_a_sub_meter_is_outside_and_a_wholesale_master_one_leaf() -> None:
    points = POINTS | {"S": Point("S", "T1", Role.SUB_METER, "s", "A")}
    found = balance(line("H", 1_000), line("A", 500), line("S", 100), line("W", 450), points=points)
    assert (found.customers_wh, found.loss_wh, found.points) == (950, 50, 3)


def test_the_head_of_a_dedicated_station_may_be_the_customers() -> None:
    points = {"H": POINTS["H"]}
    dedicated = Station("T1", "T1", kind=StationKind.DEDICATED)
    found = balance(
        line("H", 1_000), line("H", 30, EXPORT_ACTIVE), points=points, station=dedicated
    )
    assert (found.customers_wh, found.loss_wh, found.head_is_customer) == (970, 0, True)
    # Nobody is sold to at a public station that has none: all of it is lost.
    found = balance(line("H", 1_000), points=points)
    assert (found.customers_wh, found.loss_wh, found.head_is_customer) == (0, 1_000, False)


def test_several_heads_and_segments_add_up() -> None:
    points = POINTS | {"H2": Point("H2", "T1", Role.HEAD, "head 2")}
    found = balance(line("H", 600), line("H", 100), line("H2", 300), line("A", 900), points=points)
    assert (found.head_wh, found.loss_wh, found.complete) == (1_000, 100, True)


def test_an_unknown_customer_makes_it_incomplete() -> None:
    found = balance(line("H", 1_000), line("A", None), line("W", 500))
    assert (found.loss_wh, found.complete, found.lacking) == (500, False, ("A",))


@pytest.mark.parametrize(
    "lines", [(line("A", 5),), (line("H", None), line("A", 5)), (line("H", 7), line("H", None))]
)
def test_without_its_head_nothing_is_known(lines: tuple[Line, ...]) -> None:
    found = balance(*lines)
    assert (found.head_wh, found.received_wh, found.loss_wh, found.loss_percent) == (None,) * 4
    assert not found.complete
    assert "H" in found.lacking


def test_a_station_without_a_head_point_has_no_balance() -> None:
    found = balance(line("A", 5), points={"A": POINTS["A"]})
    assert (found.head_wh, found.loss_wh, found.complete) == (None, None, False)


def test_nothing_received_has_no_per_cent() -> None:
    found = balance(line("H", 0), line("A", 0))
    assert (found.loss_wh, found.loss_percent, found.complete) == (0, None, True)


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (1, 3, "33.3333"),
        (2, 3, "66.6667"),
        (1, 2_000_000, "0.0001"),
        (1, 2_000_001, "0.0000"),
        (-1, 2_000_000, "-0.0001"),
        (-1, 2_000_001, "0.0000"),
        (5, 5, "100.0000"),
        (1, 0, None),
    ],
)
def test_per_cent(part: int, whole: int, said: str | None) -> None:
    assert percent(part, whole) == said


@given(part=st.integers(-(10**15), 10**15), whole=st.integers(1, 10**15))
def test_per_cent_is_what_decimal_says(part: int, whole: int) -> None:
    exact = Decimal(part) * 100 / Decimal(whole)
    expected = exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    said = percent(part, whole)
    assert said is not None
    # Decimal itself rounds once before, at its 28 digits.
    assert abs(Decimal(said) - exact) <= Decimal("0.00005000000001")
    assert Decimal(said) == expected or abs(exact - expected) > Decimal("0.0000499999")
