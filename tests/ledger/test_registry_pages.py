"""The registry page by page, from the database: all of it, once, as the whole has it."""

from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from collector.errors import NotFound
from collector.ledger import Ledger
from collector.ledger.registry import RegistryRepository
from collector.operations import registry
from collector.operations.registry_pages import (
    Page,
    Turn,
    knows_meter,
    meter_page,
    point_page,
    station_page,
)
from collector.registry.values import Role
from tests.ledger.building import import_files, midnight

AT = midnight("2026-10-01")

NAMES = [f"T{number:02}" for number in range(7)]
STATIONS = "station,name,commune,capacity_kva\n" + "".join(
    f"{name},Trạm {name},,{'' if name == 'T03' else 250}\n" for name in NAMES
)
POINTS = "point,station,role,name\n" + "".join(
    f"{name}/{kind},{name},{'head' if kind == 'h' else 'household'},x\n"
    for name in NAMES[:-1]
    for kind in "hab"
)
METERS = "meter,model,resolution_wh,roll_over_wh\n" + "".join(
    f"M{number:02},sdm120,10,\n" for number in range(20)
)
INSTALLATIONS = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T00/h,M00,2026-01-01,,,
T00/a,M01,2026-01-01,2026-10-01,0,5
T00/a,M02,2026-10-01,,0,
T01/a,M01,2026-10-02,,5,
T05/b,M19,2026-10-05,,,
"""
MULTIPLIERS = """point,from_at,multiplier
T00/h,2026-01-01,40
T00/h,2026-09-01,1/3
T00/h,2026-12-01,7
"""


@pytest.fixture
def filled(ledger: Ledger, tmp_path: Path) -> Ledger:
    files = {
        "stations.csv": STATIONS, "points.csv": POINTS, "meters.csv": METERS,
        "installations.csv": INSTALLATIONS, "multipliers.csv": MULTIPLIERS,
    }  # fmt: skip
    report = import_files(ledger, tmp_path / "registry", files)
    assert report.errors == ()
    return ledger


def test_every_row_comes_once_and_in_order(filled: Ledger) -> None:
    for limit in (1, 2, 3, 7, 100):
        codes: list[str] = []
        after = None
        while True:
            page = station_page(filled, Turn(after, limit))
            assert len(page.rows) <= limit
            codes += [row.station.station for row in page.rows]
            after = page.next
            if after is None:
                break
        assert codes == NAMES
    empty: Page[object] = Page([], None)
    assert station_page(filled, Turn("T06", 5)) == empty
    assert station_page(filled, Turn("T05x", 5)).rows[0].station.station == "T06"


def test_pages_say_what_the_whole_says(filled: Ledger) -> None:
    whole = registry.stations(filled)
    pages = station_page(filled, Turn(None, 100))
    assert [tuple(row) for row in pages.rows] == [
        (view.station, view.heads, view.points) for view in whole
    ]
    for at in (AT - timedelta(milliseconds=1), AT, AT + timedelta(days=30)):
        for station in (None, "T00", "T06"):
            points = point_page(filled, Turn(None, 100), at, station, None)
            assert [
                (row.point, row.place and (row.place.meter, row.place.installed_at), row.ratio)
                for row in points.rows
            ] == [
                (
                    view.point,
                    view.installation and (view.installation.meter, view.installation.installed_at),
                    view.multiplier.ratio if view.multiplier else Fraction(1),
                )
                for view in registry.points(filled, at, station)
            ]
    for station in (None, "T00", "T01", "T06"):
        meters = meter_page(filled, Turn(None, 100), station)
        assert [
            (
                row.meter,
                [(place.point, place.installed_at, place.removed_at) for place in row.places],
            )
            for row in meters.rows
        ] == [
            (
                view.meter,
                [(row.point, row.installed_at, row.removed_at) for row in view.installations],
            )
            for view in registry.meters(filled, station)
        ]


def test_points_of_one_role_and_station(filled: Ledger) -> None:
    page = point_page(filled, Turn(None, 2), AT, None, Role.HEAD)
    assert [row.point.point for row in page.rows] == ["T00/h", "T01/h"]
    page = point_page(filled, Turn(page.next, 2), AT, None, Role.HEAD)
    assert [row.point.point for row in page.rows] == ["T02/h", "T03/h"]
    with pytest.raises(NotFound):
        point_page(filled, Turn(None, 2), AT, "T99", None)
    with pytest.raises(NotFound):
        meter_page(filled, Turn(None, 2), "T99")


def test_a_meter_is_known_or_not(filled: Ledger) -> None:
    assert knows_meter(filled, "M00")
    assert not knows_meter(filled, "M99")


def test_a_page_does_not_load_the_whole(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the whole registry was loaded")

    for name in ("load", "stations", "points", "meters", "installations", "multipliers"):
        monkeypatch.setattr(RegistryRepository, name, never)
    assert len(station_page(filled, Turn(None, 2)).rows) == 2
    assert len(point_page(filled, Turn("T00/a", 2), AT, "T00", None).rows) == 2
    assert len(meter_page(filled, Turn(None, 3), None).rows) == 3
