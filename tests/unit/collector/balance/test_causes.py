"""Causes: which facts make which one likely, and that every one has its words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from collector.balance.causes import Energies, Kind, causes, mirrors
from collector.balance.energy import PointEnergy
from collector.balance.losses import Band, Order, StationLoss, rank, station_loss
from collector.balance.settings import LossSettings
from collector.balance.station import station_balance
from collector.balance.texts import BANDS, CAUSES, DOUBTS, STANDINGS, TECHNICAL
from collector.registry.values import Installation, Multiplier, Point, Registry, Role, Station

START = datetime(2026, 9, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
NAMES = ("A", "B", "C", "D", "E")
POINTS = {"H": Point("H", "T1", Role.HEAD, "h")} | {
    name: Point(name, "T1", Role.HOUSEHOLD, name) for name in NAMES
}
USED = dict.fromkeys(NAMES, 100_000)


def of(used: dict[str, int]) -> dict[str, PointEnergy]:
    return {name: PointEnergy(name, value, 0) for name, value in used.items()}


def loss(head_wh: int, used: dict[str, int], station: str = "T1") -> StationLoss:
    """September after an August in which 20,000 of 520,000 Wh were lost."""
    row = Station(station, station, feeder="471")
    before = of({"H": 520_000} | USED)
    now = of({"H": head_wh} | used)
    earlier = station_balance(row, (START - MONTH, START), POINTS, before, ["H"])
    balance = station_balance(row, (START, START + MONTH), POINTS, now, ["H"])
    return station_loss(row, balance, LossSettings(), earlier)


def found(
    used: dict[str, int], head_wh: int = 520_000, registry: Registry | None = None
) -> dict[Kind, tuple[str, ...]]:
    energies = Energies(of({"H": head_wh} | used), of({"H": 520_000} | USED))
    some = causes(loss(head_wh, used), registry or Registry(points=POINTS), energies)
    return {cause.kind: cause.points for cause in some if cause.likely}


@pytest.mark.parametrize(
    ("share", "kind"),
    [(0, Kind.FELL_TO_ZERO), (33, Kind.POLARITY), (67, Kind.LOST_PHASE), (50, Kind.FELL)],
)
def test_how_far_a_point_with_transformers_fell_says_what_to_look_at(
    share: int, kind: Kind
) -> None:
    registry = Registry(
        points=POINTS, multipliers=(Multiplier("C", START - 9 * MONTH, Fraction(20)),)
    )
    assert found(USED | {"C": share * 1_000}, registry=registry) == {kind: ("C",)}


def test_a_point_without_transformers_has_neither_polarity_nor_phases() -> None:
    assert found(USED | {"C": 33_000}) == {Kind.FELL: ("C",)}


def test_what_the_weather_did_to_everybody_is_no_sign() -> None:
    halved = {name: value // 2 for name, value in USED.items()}
    assert found(halved, head_wh=290_000) == {}
    # One that did not follow is.
    assert found(halved | {"B": 20_000}, head_wh=290_000) == {Kind.FELL: ("B",)}


def test_what_the_registry_says_was_changed() -> None:
    registry = Registry(
        points=POINTS,
        installations=(
            Installation("A", "M1", START - 9 * MONTH, START + MONTH / 3),
            Installation("A", "M2", START + MONTH / 3),
            Installation("B", "M3", START + MONTH / 2),
        ),
        multipliers=(
            Multiplier("D", START + MONTH / 2, Fraction(40)),
            Multiplier("B", START + MONTH / 2, Fraction(40)),
        ),
    )
    # B is new: it has no index to start from and no other multiplier.
    assert found(USED, head_wh=450_000, registry=registry) == {
        Kind.MULTIPLIER: ("D",),
        Kind.EXCHANGE_WITHOUT_INDEX: ("A",),
    }


def test_a_normal_loss_has_no_causes_and_a_negative_one_has_the_usual() -> None:
    energies = Energies(of({"H": 520_000} | USED), of({"H": 520_000} | USED))
    assert causes(loss(520_000, USED), Registry(points=POINTS), energies) == ()
    negative = loss(490_000, USED)
    assert (negative.band, negative.is_sudden) == (Band.NEGATIVE, True)
    usual = causes(negative, Registry(points=POINTS), energies)
    assert not any(cause.likely for cause in usual)
    assert {Kind.MULTIPLIER, Kind.WRONG_STATION, Kind.SOLAR} <= {cause.kind for cause in usual}


def test_mirrors_are_of_one_feeder_and_of_like_size() -> None:
    up, down = loss(560_000, USED, "T1"), loss(480_000, USED, "T2")
    assert mirrors([up, down]) == {"T1": ("T2",), "T2": ("T1",)}
    assert mirrors([up, loss(430_000, USED, "T2")]) == {}
    elsewhere = replace(down, station=replace(down.station, feeder="473"))
    assert mirrors([up, elsewhere]) == {}


def test_the_ranking_goes_by_energy_or_by_per_cent() -> None:
    large = loss(560_000, USED, "T1")
    small = replace(
        large,
        station=Station("T2", "T2"),
        balance=replace(large.balance, loss_wh=30_000, received_wh=100_000),
    )
    assert [one.station.station for one in rank([small, large])] == ["T1", "T2"]
    assert [one.station.station for one in rank([small, large], Order.PERCENT)] == ["T2", "T1"]


@pytest.mark.parametrize("texts", [CAUSES, BANDS, STANDINGS, TECHNICAL, DOUBTS])
def test_everything_has_its_words_in_both_languages(texts: dict[object, tuple[str, str]]) -> None:
    kind = type(next(iter(texts)))
    assert list(texts) == list(kind)  # type: ignore[call-overload]
    for text in texts.values():
        assert all(text)
        assert text[0] != text[1]
