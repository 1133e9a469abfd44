"""Losses of a small district from the ledger, on both databases, and as the command shows them."""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collector.balance.causes import Kind
from collector.balance.energy import Doubt
from collector.balance.losses import AreaLoss, Band, Standing, StationLoss
from collector.balance.settings import LossSettings
from collector.cli import app
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.audit import list_audit
from collector.operations.losses import (
    LossReport,
    Period,
    book_period,
    district_losses,
    load_settings,
    month_instants,
    month_period,
    range_period,
    station_days,
    station_trend,
)
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE
from tests.ledger.building import NOW, ZONE, import_files, midnight, put

DAY = timedelta(days=1)
MONTHS = tuple(midnight(day) for day in ("2026-08-01", "2026-09-01", "2026-10-01"))
BOTH = (IMPORT_ACTIVE, EXPORT_ACTIVE)

# Public stations T1 and T2, T3 a dedicated one with one meter, T9 with the unit's boundary meter.
STATIONS = """station,name,commune,capacity_kva,kind,unit,feeder
T1,Trạm 1,Đồng Thịnh,250,public,PA25SL,471
T2,Trạm 2,Đồng Thịnh,250,public,PA25SL,471
T3,Xưởng,Tân Lập,400,dedicated,PA25SL,471
T9,Ranh giới 471,,,,PA25SL,471
"""
POINTS = """point,station,role,name,parent
T1/head,T1,head,head,
T1/a,T1,household,a,
T1/b,T1,household,b,
T1/b1,T1,sub_meter,b1,T1/b
T2/head,T2,head,head,
T2/c,T2,household,c,
T2/w,T2,wholesale_master,w,
T2/w1,T2,sub_meter,w1,T2/w
T2/w2,T2,sub_meter,w2,T2/w
T3/head,T3,head,head,
T9/head,T9,head,head,
"""
METERS_OF = {
    "T1/head": "H1", "T1/a": "A", "T1/b": "B", "T1/b1": "B1", "T2/head": "H2", "T2/c": "C",
    "T2/w": "W", "T2/w1": "W1", "T2/w2": "W2", "T3/head": "H3", "T9/head": "H9",
}  # fmt: skip
FILES = {
    "stations.csv": STATIONS,
    "points.csv": POINTS,
    "meters.csv": "meter,model,resolution_wh,roll_over_wh\n"
    + "".join(f"{meter},sdm120,10,100000000\n" for meter in (*METERS_OF.values(), "A2")),
    "installations.csv": "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    + "".join(f"{point},{meter},2026-01-01,,,\n" for point, meter in METERS_OF.items()),
}

# Wh a month. T1 loses 1,000 of 21,000, T2 2,000 of 52,000; before the stations 3,000.
MONTH = {
    "H1": 21_000, "A": 8_000, "B": 12_000, "B1": 5_000, "H2": 52_000, "C": 20_000, "W": 30_000,
    "W1": 16_000, "W2": 12_000, "H3": 90_000, "H9": 166_000,
}  # fmt: skip

SETTINGS = """
thresholds: {warn_percent: 8, alarm_percent: 12, low_percent: "0.5", sudden_points: 2}
boundaries:
  - {unit: PA25SL, points: [T9/head]}
transformers:
  - {station: T1, from: 2020-01-01, head_side: lv}
  - station: T2
    from: 2020-01-01
    head_side: mv
    rated_kva: 250
    no_load_loss_w: 1
    load_loss_w: 2600
"""


@pytest.fixture
def settings(tmp_path: Path) -> LossSettings:
    path = tmp_path / "losses.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    return load_settings(path, ZONE)


@pytest.fixture
def district(ledger: Ledger, tmp_path: Path) -> Ledger:
    """The district with its meters, not read yet."""
    report = import_files(ledger, tmp_path / "registry", FILES)
    assert report.written, report.errors
    return ledger


def read(ledger: Ledger, *months: Mapping[str, int]) -> None:
    """Indices at the start of each month, from what was used in the months between."""
    indices = dict.fromkeys(MONTH, 1_000)
    put(ledger, MONTHS[0], indices, seq=1)
    for number, month in enumerate(months, 1):
        indices = {meter: indices[meter] + used for meter, used in month.items()}
        put(ledger, MONTHS[number], indices, seq=number + 1)


def september(ledger: Ledger, settings: LossSettings | None = None) -> LossReport:
    return district_losses(ledger, Period(MONTHS[1], MONTHS[2], MONTHS[0]), settings)


def of(report: LossReport, station: str) -> StationLoss:
    return next(one for one in report.stations if one.station.station == station)


def kinds(report: LossReport, station: str) -> dict[Kind, tuple[str, ...]]:
    return {one.kind: one.points for one in report.causes.get(station, ()) if one.likely}


def test_every_level_of_a_month(district: Ledger, settings: LossSettings) -> None:
    read(district, MONTH, MONTH)
    report = september(district, settings)
    t1, t2, t3, t9 = report.stations
    assert (t1.balance.received_wh, t1.balance.customers_wh) == (21_000, 20_000)
    assert (t1.balance.loss_wh, t1.balance.loss_percent) == (1_000, "4.7619")
    assert (t1.technical.energy_wh, t1.technical.note.value) == (0, "head_on_lv")
    # The load of 52 kWh is nothing to it: 720 h of 1 W.
    assert (t2.balance.loss_wh, t2.technical.energy_wh, t2.unexplained_wh) == (2_000, 720, 1_280)
    assert (t3.standing, t3.balance.customers_wh) == (Standing.HEAD_IS_CUSTOMER, 90_000)
    assert t9.standing is Standing.BOUNDARY
    assert [one.station.station for one in report.ranking] == ["T2", "T1"]
    assert [(one.name, one.loss_wh) for one in report.communes] == [
        ("Tân Lập", 0),
        ("Đồng Thịnh", 3_000),
    ]
    [unit] = report.units
    assert (unit.stations, unit.received_wh, unit.loss_wh) == (3, 163_000, 3_000)
    assert unit.technical_lacking == 1
    assert unit.boundary is not None
    assert (unit.boundary.received_wh, unit.boundary.sold_wh) == (166_000, 160_000)
    assert (unit.boundary.loss_wh, unit.boundary.mv_wh) == (6_000, 3_000)
    assert (unit.boundary.loss_percent, unit.boundary.complete) == ("3.6145", True)
    [master] = report.masters
    assert (master.point, master.import_wh, master.share_percent) == ("T2/w", 30_000, "57.6923")
    assert (master.behind_wh, master.loss_wh, master.loss_percent) == (28_000, 2_000, "6.6667")
    assert report.causes == {}


def test_energy_that_a_meter_does_not_count_any_more_leads_the_ranking_and_names_it(
    district: Ledger, settings: LossSettings
) -> None:
    read(district, MONTH, MONTH | {"A": 2_000})
    report = september(district, settings)
    assert report.ranking[0].station.station == "T1"
    t1 = of(report, "T1")
    assert (t1.balance.loss_wh, t1.band, t1.is_sudden) == (7_000, Band.ALARM, True)
    [fell] = [one for one in report.causes["T1"] if one.kind is Kind.FELL]
    assert (fell.points, fell.energy_wh) == (("T1/a",), 6_000)
    assert Kind.THEFT in {one.kind for one in report.causes["T1"]}


def test_a_negative_loss_with_export_that_nobody_fed_in(district: Ledger) -> None:
    read(district, MONTH)
    indices = {meter: (1_000 + 2 * used, 0) for meter, used in MONTH.items()}
    put(district, MONTHS[1], {meter: (1_000 + MONTH[meter], 0) for meter in MONTH}, registers=BOTH)
    indices["H1"] = (1_000 + MONTH["H1"] + 17_000, 1_500)
    put(district, MONTHS[2], indices, registers=BOTH, seq=8)
    report = september(district)
    t1 = of(report, "T1")
    assert (t1.balance.loss_wh, t1.band) == (17_000 - 1_500 - 20_000, Band.NEGATIVE)
    [solar] = [one for one in report.causes["T1"] if one.kind is Kind.SOLAR]
    assert (solar.likely, solar.energy_wh) == (True, 1_500)


def test_a_transfer_is_cut_at_its_day_and_one_not_recorded_shows_as_a_mirror(
    district: Ledger, tmp_path: Path
) -> None:
    # From 16 September on A is fed by T2: its head has 4,000 more, T1's 4,000 less.
    moved = MONTH | {"H1": 17_000, "H2": 56_000}
    read(district, MONTH, moved)
    report = september(district)
    assert (of(report, "T1").balance.loss_wh, of(report, "T2").balance.loss_wh) == (-3_000, 6_000)
    mirrored = {
        name: one.stations
        for name, some in report.causes.items()
        for one in some
        if one.kind is Kind.TRANSFER_NOT_RECORDED
    }
    assert mirrored == {"T1": ("T2",), "T2": ("T1",)}
    put(district, midnight("2026-09-16"), {"A": 1_000 + 8_000 + 4_000}, seq=9)
    transfers = "point,from_at,station\nT1/a,2026-09-16,T2\n"
    assert import_files(district, tmp_path / "in", {"transfers.csv": transfers}).written
    report = september(district)
    assert (of(report, "T1").balance.loss_wh, of(report, "T2").balance.loss_wh) == (1_000, 2_000)
    assert all(loss.balance.complete for loss in report.stations)


def test_a_master_that_was_moved_counts_for_the_whole_period(
    district: Ledger, tmp_path: Path, settings: LossSettings
) -> None:
    """What is behind it was behind it all the time, whatever station it hung on."""
    read(district, MONTH, MONTH | {"H1": 41_000, "H2": 32_000})
    middle = midnight("2026-09-16")
    at_middle = {"W": 1_000 + 30_000 + 10_000, "W1": 1_000 + 16_000 + 6_000}
    put(district, middle, at_middle, seq=9)
    transfers = "point,from_at,station\nT2/w,2026-09-16,T1\nT2/w1,2026-09-16,T1\n"
    imported = import_files(district, tmp_path / "in", {"transfers.csv": transfers})
    assert imported.errors == (), imported.errors
    report = september(district, settings)
    assert [of(report, name).balance.loss_wh for name in ("T1", "T2")] == [1_000, 2_000]
    [master] = report.masters
    assert (master.station, master.import_wh) == ("T1", 30_000)
    assert (master.points_behind, master.behind_wh, master.loss_wh) == (2, 28_000, 2_000)
    # Of what its station received it is 20,000 of 41,000.
    assert master.share_percent == "48.7805"
    [alone] = district_losses(district, report.period, settings, station="T1").masters
    assert (alone.import_wh, alone.share_percent) == (30_000, "48.7805")


def test_a_corrected_multiplier_changes_every_day_and_month_and_is_in_the_trail(
    district: Ledger, tmp_path: Path
) -> None:
    # Acceptance 7: nothing of a loss is stored, so that all of it follows the registry.
    for number in range(3):
        put(
            district,
            MONTHS[1] + number * DAY,
            {"H1": 2_000 * number, "A": 900 * number, "B": 450 * number},
            seq=number + 1,
        )

    def losses() -> list[int | None]:
        found = station_days(
            district,
            station="T1",
            first_day=date(2026, 9, 1),
            last_day=date(2026, 9, 2),
            zone=ZONE,
        )
        return [one.balance.loss_wh for one in found.days]

    assert losses() == [650, 650]
    text = "point,from_at,multiplier\nT1/b,2026-08-15,2\n"
    assert import_files(district, tmp_path / "in", {"multipliers.csv": text}).written
    assert losses() == [200, 200]
    report = district_losses(district, Period(MONTHS[1], MONTHS[1] + 2 * DAY))
    assert of(report, "T1").balance.loss_wh == 400
    newest = list_audit(district, limit=1)[0]
    assert (newest.action, newest.detail["added"]["multipliers"]) == ("registry.import", 1)


def test_a_day_with_a_customer_lacking_has_no_part_in_the_month(district: Ledger) -> None:
    # Acceptance 8.
    for number in range(4):
        values = {"H1": 1_000 * number, "A": 400 * number, "B": 500 * number}
        if number == 1:
            del values["B"]
        put(district, MONTHS[1] + number * DAY, values, seq=number + 1)
    found = station_days(
        district, station="T1", first_day=date(2026, 9, 1), last_day=date(2026, 9, 4), zone=ZONE
    )
    assert [one.balance.complete for one in found.days] == [False, False, True, False]
    assert [one.balance.points_complete for one in found.days] == [2, 2, 3, 0]
    total = found.total
    assert (total.days, total.complete, total.received_wh, total.loss_wh) == (4, 1, 1_000, 100)
    # The month itself needs its two ends only.
    report = district_losses(district, Period(MONTHS[1], MONTHS[1] + 3 * DAY))
    assert (of(report, "T1").balance.loss_wh, of(report, "T1").balance.complete) == (300, True)


def test_a_far_read_is_interpolated_and_says_what_it_can_make_wrong(district: Ledger) -> None:
    read(district, MONTH)
    start = MONTHS[1]
    values = {meter: 1_000 + 2 * used for meter, used in MONTH.items()}
    a = values.pop("A")
    put(district, MONTHS[2], values, seq=3)
    put(district, MONTHS[2] - 6 * timedelta(hours=1), {"A": a - 100}, offset=timedelta(), seq=4)
    put(district, MONTHS[2] + 18 * timedelta(hours=1), {"A": a + 300}, offset=timedelta(), seq=5)
    report = district_losses(district, Period(start, MONTHS[2]))
    t1 = of(report, "T1").balance
    assert (t1.customers_wh, t1.complete, t1.is_known, t1.lacking) == (
        20_000,
        False,
        True,
        ("T1/a",),
    )
    [note] = t1.notes
    assert (note.doubt, note.off_s, note.error_max_wh) == (Doubt.FAR, -6 * 3600, 300)
    assert of(report, "T1").standing is Standing.RANKED


def test_a_point_without_an_index_keeps_its_station_out_of_the_ranking(district: Ledger) -> None:
    read(district, MONTH)
    put(district, MONTHS[2], {meter: 90_000 for meter in MONTH if meter not in {"A", "H2"}}, seq=3)
    report = september(district)
    t1, t2 = of(report, "T1"), of(report, "T2")
    assert (t1.standing, t1.band) == (Standing.UNKNOWN_POINTS, Band.UNKNOWN)
    assert (t2.standing, t2.balance.loss_wh) == (Standing.NO_HEAD, None)
    assert kinds(report, "T1") == {Kind.POINT_UNKNOWN: ("T1/a",)}
    assert kinds(report, "T2") == {Kind.HEAD_UNKNOWN: ("T2/head",)}
    assert report.ranking == ()
    areas: dict[str, AreaLoss] = {area.name: area for area in report.communes}
    assert (areas["Đồng Thịnh"].stations, areas["Đồng Thịnh"].known) == (2, 0)


def test_an_exchange_without_an_index_and_one_with_it(district: Ledger, tmp_path: Path) -> None:
    read(district, MONTH)
    at = datetime.fromisoformat("2026-09-10T09:00:00+07:00")
    put(district, MONTHS[2], {meter: 1_000 + 2 * used for meter, used in MONTH.items()}, seq=3)
    put(district, MONTHS[2], {"A2": 5_600}, seq=4)
    head = "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    bare = f"T1/a,A,2026-01-01,{at.isoformat()},,\nT1/a,A2,{at.isoformat()},,0,\n"
    assert import_files(district, tmp_path / "in", {"installations.csv": head + bare}).written
    report = september(district)
    assert of(report, "T1").balance.unknown == ("T1/a",)
    assert kinds(report, "T1")[Kind.EXCHANGE_WITHOUT_INDEX] == ("T1/a",)
    # A person reads the old meter's display: 2,400 and 5,600 are 8,000.
    with district.begin() as uow:
        uow.manual_indices.add(
            ManualIndex(
                ManualKind.HAND, "T1/a", "A", IMPORT_ACTIVE, at, 11_400, "tester", NOW, "thay"
            )
        )
    report = september(district)
    assert (of(report, "T1").balance.loss_wh, of(report, "T1").balance.unknown) == (1_000, ())


@pytest.mark.parametrize(
    ("until", "since", "standing", "loss_wh"),
    [
        # Changed within the hour, as exchanges are; without one for hours; for days; never again.
        ("2026-09-10T09:00", "2026-09-10T10:00", Standing.RANKED, 500),
        ("2026-09-10T09:00", "2026-09-10T17:00", Standing.RANKED, 500),
        ("2026-09-10T09:00", "2026-09-13T10:00", Standing.NO_HEAD, None),
        ("2026-09-10T09:00", None, Standing.NO_HEAD, None),
        (None, "2026-09-10T09:00", Standing.NO_HEAD, None),
    ],
)
def test_a_head_that_had_no_meter_for_a_time(
    district: Ledger, tmp_path: Path, until: str | None, since: str | None,
    standing: Standing, loss_wh: int | None,
) -> None:  # fmt: skip
    """What it took in meanwhile nobody counted: no loss of the month can be told from the rest."""
    read(district, MONTH)
    values = {meter: 1_000 + 2 * used for meter, used in MONTH.items()}
    put(district, MONTHS[2], values | {"A2": 15_000}, seq=9)
    rows = "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    if until is None:
        # The first meter of the head came when the customers had long been counting.
        report = import_files(
            district, tmp_path / "in", {"installations.csv": rows + "T1/head,H1,2026-01-01,,,\n"}
        )
        assert report.errors == ()
        until = "2026-01-02T00:00"
    rows += f"T1/head,H1,2026-01-01,{until}:00+07:00,,27500\n"
    if since is not None:
        rows += f"T1/head,A2,{since}:00+07:00,,0,\n"
    assert import_files(district, tmp_path / "in", {"installations.csv": rows}).written
    t1 = of(september(district), "T1")
    doubts = [note.doubt for note in t1.balance.notes if note.point == "T1/head"]
    brief = since is not None and standing is Standing.RANKED and since.endswith("10:00")
    assert (t1.standing, t1.balance.loss_wh) == (standing, loss_wh)
    assert doubts == ([] if brief else [Doubt.NO_METER])
    assert t1.balance.complete is brief
    assert (Kind.HEAD_UNKNOWN in kinds(september(district), "T1")) is not brief


def test_periods(district: Ledger, tmp_path: Path) -> None:
    assert month_period(date(2026, 9, 17), ZONE) == Period(MONTHS[1], MONTHS[2], MONTHS[0])
    assert month_instants(date(2026, 9, 1), ZONE, 2) == list(MONTHS)
    files = {
        "books.csv": "book,name\nQ1,Quyển 1\n",
        "reading_days.csv": "book,from_at,reading_days\nQ1,2026-01-01,10;20\n",
    }
    assert import_files(district, tmp_path / "in", files).written
    found = book_period(district, "Q1", date(2026, 9, 1), ZONE)
    assert (found.from_at, found.to_at) == (midnight("2026-09-10"), midnight("2026-09-20"))
    assert found.previous_from_at == midnight("2026-08-20")
    # A month from any day is compared with the month before it, another range with as much.
    assert range_period(MONTHS[1], MONTHS[2], ZONE).previous_from_at == MONTHS[0]
    twentieth = (midnight("2026-08-20"), midnight("2026-09-20"))
    assert range_period(*twentieth, ZONE).previous_from_at == midnight("2026-07-20")
    week = (midnight("2026-09-08"), midnight("2026-09-15"))
    assert range_period(*week, ZONE).previous_from_at == MONTHS[1]
    with pytest.raises(NotFound):
        book_period(district, "Q9", date(2026, 9, 1), ZONE)
    with pytest.raises(NotFound):
        district_losses(district, Period(MONTHS[0], MONTHS[1]), station="T8")
    with pytest.raises(InvalidRequest):
        district_losses(district, Period(MONTHS[1], MONTHS[1]))


def test_a_trend_is_what_each_month_says_by_itself(district: Ledger) -> None:
    read(district, MONTH, MONTH | {"A": 2_000})
    found = station_trend(district, station="T1", instants=MONTHS)
    assert [one.balance.loss_wh for one in found] == [1_000, 7_000]
    assert [one.is_sudden for one in found] == [False, True]


@pytest.fixture
def config(district: Ledger, ledger_url: str, tmp_path: Path) -> Path:
    read(district, MONTH, MONTH | {"A": 2_000})
    (tmp_path / "losses.yaml").write_text(SETTINGS, encoding="utf-8")
    path = tmp_path / "collector.yaml"
    path.write_text(
        f"ledger: {ledger_url}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
        f"balance: {{losses_file: {tmp_path / 'losses.yaml'}}}\n",
        encoding="utf-8",
    )
    return path


def songlo(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["balance", *arguments, "--config", str(config)])


def test_the_command(config: Path) -> None:
    month = ("--month", "2026-09")
    table = songlo(config, "station", *month, "--language", "vi")
    assert table.exit_code == 0, table.output
    assert table.stdout.startswith("T1 ")
    assert "quá cao" in table.stdout
    assert "! điểm đo giảm khi các điểm khác không giảm" in table.stdout
    rows = songlo(config, "station", *month, "--format", "csv").stdout.splitlines()
    assert rows[0].startswith("station,commune,unit,received_wh,sold_wh,loss_wh")
    assert rows[1].startswith("T1,Đồng Thịnh,PA25SL,21000,14000,7000,33.3333,0,head_on_lv")
    found = json.loads(songlo(config, "station", "T1", *month, "--format", "json").stdout)
    [only] = found["stations"]
    assert (only["loss_wh"], only["previous_loss_wh"], only["sudden"]) == (7_000, 1_000, True)
    assert only["causes"][0]["points"] == ["T1/a"]
    unit = songlo(config, "unit", *month)
    assert "against boundary meters" in unit.stdout
    assert "before the stations 3.0 kWh" in unit.stdout
    assert "point=T2/w" in songlo(config, "commune", *month).stdout
    trend = songlo(config, "trend", "T1", *month, "--months", "2", "--format", "csv").stdout
    assert len(trend.splitlines()) == 3
    days = songlo(config, "days", "T1", *month)
    assert "0 of 30 days complete" in days.stdout


REFUSED = [
    (("station",), "the period is not clear"),
    (("station", "--month", "2026-13"), "is no month"),
    (("station", "--month", "2026-09", "--book", "Q9"), "Q9"),
    (("station", "T8", "--month", "2026-09"), "T8"),
    (("station", "--from", "2026-09-02", "--to", "2026-09-01"), "the period is empty"),
]


def test_what_the_command_refuses(config: Path) -> None:
    for arguments, said in REFUSED:
        done = songlo(config, *arguments)
        assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
