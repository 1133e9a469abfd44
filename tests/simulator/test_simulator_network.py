"""The grids, their power flow and the truth made of them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from simulator.errors import SimulatorError
from simulator.grid import LoadYear, load_grid, load_year
from simulator.powerflow import Network
from simulator.truth import Truth

SAIGON = ZoneInfo("Asia/Ho_Chi_Minh")
JANUARY = np.arange(31 * 96)
DATA = Path(__file__).parents[2] / "simulator" / "data"


@pytest.fixture(scope="module")
def year() -> LoadYear:
    return load_year()


@pytest.mark.parametrize(
    ("name", "head_kwh", "sold_kwh", "peak_kw", "lowest_pu"),
    [("LV2.101", 27_296.2, 27_239.6, 82, 0.976), ("LV3.101", 42_638.1, 42_513.8, 140, 0.970)],
)
def test_the_power_flow_of_january_gives_the_published_figures(
    year: LoadYear, name: str, head_kwh: float, sold_kwh: float, peak_kw: float, lowest_pu: float
) -> None:
    flow = Network(load_grid(name), year).solve(JANUARY)
    assert flow.head_w.sum() / 4000 == pytest.approx(head_kwh, abs=0.05)
    assert flow.load_w.sum() / 4000 == pytest.approx(sold_kwh, abs=0.05)
    assert round(flow.head_w.max() / 1000) == peak_kw
    assert flow.load_v.min() * 3**0.5 / 400 == pytest.approx(lowest_pu, abs=0.0005)


def test_a_rural_network_is_longer_lines(year: LoadYear) -> None:
    def loss(line_scale: float) -> float:
        flow = Network(load_grid("LV2.101"), year, line_scale=line_scale).solve(JANUARY[:96])
        return float(1 - flow.load_w.sum() / flow.head_w.sum())

    assert 0.01 < loss(15) < 0.2
    assert loss(15) > 10 * loss(1)


def test_a_load_beyond_what_the_network_carries_is_refused(year: LoadYear) -> None:
    network = Network(load_grid("LV2.101"), year, load_scale=1000)
    with pytest.raises(SimulatorError, match="no solution") as caught:
        network.solve(JANUARY[:4])
    assert "load_scale" in caught.value.hint


def changed(path: Path, change: object) -> str:
    grid = json.loads((DATA / "LV1.101.json").read_text())
    assert callable(change)
    change(grid)
    path.write_text(json.dumps(grid))
    return str(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda grid: grid.pop("transformer"), "transformer"),
        (lambda grid: grid["transformer"].update(s_kva="much"), "transformer.s_kva"),
        (lambda grid: grid["transformer"].update(uk_percent=0), "transformer.uk_percent"),
        (lambda grid: grid["loads"][2].update(node=99), r"loads\[2\].node: 99 is no node"),
        (lambda grid: grid["loads"][1].update(id="LV1.101 Load 1"), r"loads\[1\].id.*twice"),
        (lambda grid: grid["loads"][0].update(profile="Z9"), r"loads\[0\].profile: 'Z9'"),
        (lambda grid: grid["lines"][3].update(r_ohm=-1), r"lines\[3\]"),
        (lambda grid: grid["lines"].pop(0), "not connected"),
        (lambda grid: grid.update(loads=[]), "loads: there are 0"),
    ],
)
def test_a_bad_grid_is_refused_with_its_key(
    tmp_path: Path, year: LoadYear, change: object, words: str
) -> None:
    name = changed(tmp_path / "grid.json", change)
    with pytest.raises(SimulatorError, match=words):
        Network(load_grid(name), year)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("{")
    (tmp_path / "load.npz").write_text("no archive")
    np.savez(tmp_path / "short.npz", profiles=["H0-A"], p=np.zeros((2, 1), np.int16))
    with pytest.raises(SimulatorError, match=r"grid.json: is not JSON"):
        load_grid(str(tmp_path / "grid.json"))
    with pytest.raises(SimulatorError, match=r"load.npz"):
        load_year(str(tmp_path / "load.npz"))
    with pytest.raises(SimulatorError, match=r"short.npz: has no array 'q'"):
        load_year(str(tmp_path / "short.npz"))
    with pytest.raises(SimulatorError, match=r"LV9: no such file.*LV1.101.json"):
        load_grid("LV9")


def truth(year: LoadYear, start_at: datetime, zone: ZoneInfo = SAIGON) -> Truth:
    return Truth(Network(load_grid("LV1.101"), year), zone=zone, start_at=start_at)


def rows_of(year: LoadYear, month: int, day: int, count: int) -> slice:
    first = (datetime(2016, month, day, tzinfo=UTC) - datetime(2016, 1, 1, tzinfo=UTC)).days * 96
    return slice(first, first + count)


def sold_mwh(year: LoadYear, rows: slice) -> list[int]:
    columns = {name: number for number, name in enumerate(year.profiles)}
    return [
        # p_kw are whole numbers: p_kw * p / 10 is in watts, a quarter of that in watt-hours.
        int(load.p_kw) * int(year.active[rows, columns[load.profile]].astype(int).sum()) * 25
        for load in load_grid("LV1.101").loads
    ]


def test_the_truth_is_the_load_of_the_same_civil_day_to_the_last_digit(year: LoadYear) -> None:
    start_at = datetime(2026, 3, 4, 17, tzinfo=UTC)  # 5 March in Vietnam
    moment = truth(year, start_at).at(start_at + timedelta(days=3))
    assert moment.import_mwh[:-1].tolist() == sold_mwh(year, rows_of(year, 3, 5, 3 * 96))
    assert moment.import_mwh[-1] > moment.import_mwh[:-1].sum()


def test_energy_is_linear_within_a_quarter_hour_and_never_goes_back(year: LoadYear) -> None:
    start_at = datetime(2026, 1, 4, 17, tzinfo=UTC)
    one = truth(year, start_at)
    quarter = one.at(start_at + timedelta(minutes=15)).import_mwh
    third = one.at(start_at + timedelta(minutes=5)).import_mwh
    assert third.tolist() == (quarter // 3).tolist()
    before = one.at(start_at)
    assert not before.import_mwh.any()
    for minutes in range(7, 3 * 24 * 60, 97):
        after = one.at(start_at + timedelta(minutes=minutes))
        for name in ("import_mwh", "import_mvarh", "export_mvarh"):
            assert (getattr(after, name) >= getattr(before, name)).all()
        before = after


def test_a_common_year_skips_the_leap_day(year: LoadYear) -> None:
    start_at = datetime(2026, 2, 27, 17, tzinfo=UTC)  # 28 February in Vietnam
    one = truth(year, start_at)
    days = [one.at(start_at + timedelta(days=day)).import_mwh[:-1] for day in (1, 2)]
    assert days[0].tolist() == sold_mwh(year, rows_of(year, 2, 28, 96))
    assert (days[1] - days[0]).tolist() == sold_mwh(year, rows_of(year, 3, 1, 96))


def test_a_day_of_25_hours_repeats_one(year: LoadYear) -> None:
    start_at = datetime(2026, 10, 24, 22, tzinfo=UTC)  # 25 October 00:00 in Berlin
    one = truth(year, start_at, ZoneInfo("Europe/Berlin"))
    hours = [
        one.at(start_at + timedelta(hours=hour)).import_mwh[:-1].astype(object) for hour in range(5)
    ]
    assert ((hours[3] - hours[2]) == (hours[4] - hours[3])).all()  # 02:00 to 03:00, twice


def test_the_truth_does_not_depend_on_how_it_was_asked_for(year: LoadYear) -> None:
    start_at = datetime(2025, 12, 29, 17, tzinfo=UTC)
    at = start_at + timedelta(days=40, minutes=37)
    whole, by_days = truth(year, start_at), truth(year, start_at)
    for day in range(40):
        by_days.at(start_at + timedelta(days=day))
    for name in ("import_mwh", "import_mvarh", "export_mvarh", "voltage_v"):
        assert (getattr(whole.at(at), name) == getattr(by_days.at(at), name)).all()


def test_instants_that_cannot_be_are_refused(year: LoadYear) -> None:
    start_at = datetime(2026, 1, 4, 17, tzinfo=UTC)
    with pytest.raises(SimulatorError, match="before the start"):
        truth(year, start_at).at(start_at - timedelta(milliseconds=1))
    with pytest.raises(SimulatorError, match="more than 3660 days"):
        truth(year, start_at).at(start_at + timedelta(days=4000))
    with pytest.raises(SimulatorError, match="not on a quarter hour"):
        truth(year, start_at + timedelta(minutes=1))
