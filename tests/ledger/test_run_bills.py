"""From a billing run to stored, approved and exported bill previews, on both databases."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from collector import cli_common
from collector.billing.bill_gate import BillCause, BillFilter, BillLimits
from collector.billing.bill_values import BillSetState
from collector.billing.gates import Cause
from collector.billing.rating.pieces import PriceSplit
from collector.civil import zone_info
from collector.cli import app
from collector.console.bill_text import bill_text
from collector.console.locale import speech
from collector.errors import CollectorError, Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.audit import list_audit
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    exclude_point,
    export_run,
    make_version,
    open_run,
    run_exceptions,
    version_lines,
)
from collector.operations.bills import (
    accept_bills,
    approve_bills,
    bill_rows,
    exceptions_of_bills,
    export_bills,
    get_bill,
    make_bills,
    refused_bills,
    verify_bills,
    view_bills,
    what_if_bills,
)
from collector.operations.findings import enter_index
from collector.operations.run_rating import RatedBy
from collector.operations.run_validation import validate_run
from collector.operations.vee_files import load_limits
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import ZONE, import_files, midnight, put
from tests.ledger.test_registry_bills import FILES_OF_BILLS
from tests.unit.collector.rating.making import built_in

BY = BilledBy(load_limits(None), ZONE)
RATED = RatedBy(built_in(), ZONE)
MAY, JUN, JUL, AUG = (midnight(f"2026-{month:02}-20") for month in (5, 6, 7, 8))
CHANGE = midnight("2026-06-05")
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


def who(name: str, reason: str = "a test") -> Acting:
    return Acting(name, NOW, reason)


def refused(
    code: str, error: type[CollectorError] = Conflict
) -> "pytest.RaisesExc[CollectorError]":
    return pytest.raises(error, check=lambda found: found.code == code)


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    """500 kWh of the main meter, 100 of them behind the sub-meter; 130 then 70 of the other."""
    report = import_files(ledger, tmp_path / "registry", FILES_OF_BILLS)
    assert report.errors == ()
    return read_until_june(ledger)


def read_until_june(ledger: Ledger) -> Ledger:
    put(ledger, MAY, {"MA": 1_000_900, "MA1": 10_000, "MB": 20_000})
    put(ledger, CHANGE, {"MB": 150_000}, seq=2)
    put(ledger, JUN, {"MA": 1_500_900, "MA1": 110_000, "MB": 220_000}, seq=3)
    return ledger


def billed(ledger: Ledger, from_at: datetime = MAY, to_at: datetime = JUN, *held: str) -> str:
    """An exported run of book A."""
    run = open_run(
        ledger, from_at=from_at, to_at=to_at, zone=ZONE, by_whom=who("an"), scope=Scope(book="A")
    ).run
    for point in held:
        exclude_point(ledger, run, point, who("an"), include=False)
    version = make_version(ledger, run, BY, who("an")).version
    for cause in {one.cause for one in run_exceptions(ledger, run, BY) if one.blocks}:
        accept_exceptions(ledger, run, cause, who("an"))
    approve_run(ledger, run, version.sha256, BY, who("bình"))
    export_run(ledger, run, BY, who("an"))
    return run


def bills_of(ledger: Ledger, run: str) -> str:
    """An exported set of its bills."""
    made = make_bills(ledger, run, RATED, who("an")).head
    accept_bills(ledger, made.bill_set, RATED, BillFilter(), who("an"))
    approve_bills(ledger, made.bill_set, made.sha256, RATED, who("bình"))
    _, pieces = export_bills(ledger, made.bill_set, "csv", who("an"))
    assert b"".join(pieces)
    return made.bill_set


def amounts(ledger: Ledger, bill_set: str) -> Mapping[str, tuple[int, int]]:
    return {row.bill: (row.energy_kwh, row.amount_vnd) for row in bill_rows(ledger, bill_set)}


def test_a_run_makes_the_bills_that_the_golden_cases_say(station: Ledger) -> None:
    run = billed(station)
    made = make_bills(station, run, RATED, who("an"))
    head = made.head
    assert made.is_new
    assert refused_bills(station, head.bill_set) == []
    found = amounts(station, head.bill_set)
    # In the order of reading; the main meter with two households and its sub-meter 1,194,600.
    assert list(found) == ["HD-3", "HD-4", "HD-1", "HD-2"]
    assert found["HD-1"][1] + found["HD-2"][1] == 1_194_600
    assert found["HD-2"] == (100, 100 * 3_152)
    assert found["HD-3"] == (130, 130 * 3_152)
    assert found["HD-4"] == (70, 24 * 1_984 + 24 * 2_050 + 22 * 2_380)
    assert head.amount_vnd == sum(amount for _, amount in found.values())
    assert head.total_vnd == head.amount_vnd + head.vat_vnd
    bill = get_bill(station, head.bill_set, "HD-1")
    assert [(read.meter, read.index_from_wh) for read in bill.determinants[0].reads] == [
        ("MA", 1_000_000)
    ]
    assert {one.kind for one in bill.tariffs} == {"prices", "vat"}
    with refused("not_found", NotFound):
        get_bill(station, head.bill_set, "HD-9")
    # The same facts make the same bytes: no second set.
    again = make_bills(station, run, RATED, who("cường"))
    assert (again.is_new, again.head) == (False, head)
    by_days = RatedBy(built_in(), ZONE, split=PriceSplit.DAYS)
    other = make_bills(station, run, by_days, who("cường")).head
    assert (other.number, other.amount_vnd) == (2, head.amount_vnd)


def test_another_person_approves_the_hash_and_the_file_is_the_same_each_time(
    station: Ledger,
) -> None:
    run = open_run(
        station, from_at=MAY, to_at=JUN, zone=ZONE, by_whom=who("an"), scope=Scope(book="A")
    ).run
    with refused("no_version"):
        make_bills(station, run, RATED, who("an"))
    version = make_version(station, run, BY, who("an")).version
    early = make_bills(station, run, RATED, who("an")).head
    with refused("run_not_exported"):
        approve_bills(station, early.bill_set, early.sha256, RATED, who("bình"))
    validate_run(station, run, BY, who("an"))
    accept_exceptions(station, run, Cause.FIRST, who("an"))
    approve_run(station, run, version.sha256, BY, who("bình"))
    export_run(station, run, BY, who("an"))
    with refused("invalid_request", InvalidRequest):
        approve_bills(station, early.bill_set, early.sha256, RATED, who("bình", " "))
    with refused("hash_changed"):
        approve_bills(station, early.bill_set, "0" * 64, RATED, who("bình"))
    with refused("own_work"):
        approve_bills(station, early.bill_set, early.sha256, RATED, who("an"))
    with refused("not_approved"):
        export_bills(station, early.bill_set, "csv", who("an"))
    approve_bills(station, early.bill_set, early.sha256, RATED, who("bình"))
    assert view_bills(station, early.bill_set).state is BillSetState.APPROVED
    head, pieces = export_bills(station, early.bill_set, "csv", who("an"))
    content = b"".join(pieces)
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [row["contract"] for row in rows] == ["HD-3", "HD-4", "HD-1", "HD-2"]
    assert sum(int(row["total_vnd"]) for row in rows) == head.total_vnd
    (entry, *_) = list_audit(station, limit=1)
    assert (entry.action, entry.detail["bills"], entry.detail["total_vnd"]) == (
        "bills.export", 4, head.total_vnd,
    )  # fmt: skip
    assert entry.detail["file_sha256"] == hashlib.sha256(content).hexdigest()
    assert b"".join(export_bills(station, early.bill_set, "csv", who("cường"))[1]) == content
    lines = b"".join(export_bills(station, early.bill_set, "jsonl", who("an"))[1]).splitlines()
    for line, row in zip(lines, rows, strict=True):
        held = json.loads(line)
        assert held["sha256"] == row["preview_sha256"]
        packed = json.dumps(
            held["preview"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert hashlib.sha256(packed.encode()).hexdigest() == held["sha256"]
    with refused("nothing_to_bill"):
        make_bills(station, run, RATED, who("an"))
    with refused("bills_exported"):
        accept_bills(station, early.bill_set, RATED, BillFilter(), who("an"))
    assert verify_bills(station) == []


def test_who_could_not_be_billed_is_billed_by_a_later_set(ledger: Ledger, tmp_path: Path) -> None:
    station = read_until_june(ledger)
    files = {**FILES_OF_BILLS}
    files["allocations.csv"] = files["allocations.csv"].replace(
        "HD-3,2026-01-01,1-0:1.8.0,1,100,business\n", ""
    )
    import_files(station, tmp_path / "registry", files)
    run = billed(station)
    made = make_bills(station, run, RATED, who("an")).head
    assert set(amounts(station, made.bill_set)) == {"HD-1", "HD-2"}
    assert {one.contract for one in refused_bills(station, made.bill_set)} == {"HD-3", "HD-4"}
    with refused("exceptions_open"):
        approve_bills(station, made.bill_set, made.sha256, RATED, who("bình"))
    bills_of(station, run)
    import_files(station, tmp_path / "registry", FILES_OF_BILLS)
    later = make_bills(station, run, RATED, who("an")).head
    assert set(amounts(station, later.bill_set)) == {"HD-3", "HD-4"}
    bills_of(station, run)
    assert verify_bills(station) == []


def test_a_return_is_an_adjustment_of_the_bill_that_it_gives_back(station: Ledger) -> None:
    # 250 kWh were estimated; the register stands at 240 a period later.
    put(station, JUL, {"MA": 1_750_900, "MA1": 120_000}, seq=4)
    enter_index(station, estimate("T1/b", "MB", JUL, 470_000), NOW)
    first = billed(station)
    bills_of(station, first)
    second = billed(station, JUN, JUL)
    set_of_july = bills_of(station, second)
    in_tiers = 50 * 1_984 + 50 * 2_050 + 100 * 2_380 + 50 * 2_998
    assert amounts(station, set_of_july)["HD-4"] == (250, in_tiers)
    put(station, AUG, {"MA": 2_000_900, "MA1": 130_000, "MB": 460_000}, seq=5)
    third = billed(station, JUL, AUG)
    assert {(line.point, line.billed) for line in version_lines(station, third) if line.cites} == {
        ("T1/b", -10_000)
    }
    made = make_bills(station, third, RATED, who("an")).head
    bill = get_bill(station, made.bill_set, "HD-4")
    assert (bill.energy_kwh, bill.amount_vnd) == (0, 0)
    (one,) = bill.adjustments
    # At the price of the tier in which those 10 kWh were, with that bill's tax.
    assert (one.run, one.energy_kwh, one.amount_vnd) == (second, -10, -10 * 2_998)
    assert one.total_vnd == one.amount_vnd + one.vat_vnd == bill.total_vnd
    assert one.before_sha256 == bill_rows(station, set_of_july)[0].sha256
    told = "\n".join(bill_text(bill, speech("vi", zone_info(ZONE))))
    assert "Điều chỉnh hóa đơn kỳ 20/06/2026 – 19/07/2026, -10 kWh" in told
    causes = {(e.bill, e.cause) for e in exceptions_of_bills(station, made.bill_set, RATED)}
    assert ("HD-4", BillCause.BELOW_ZERO) in causes
    bills_of(station, third)
    assert verify_bills(station) == []


def test_corrections_are_rated_in_the_period_that_they_correct_each_once(
    station: Ledger, tmp_path: Path
) -> None:
    first = billed(station)
    set_of_june = bills_of(station, first)
    # The sub-meter's multiplier had been 2: its 100 kWh were 200, and its parent's 400 were 300.
    files = {**FILES_OF_BILLS, "multipliers.csv": "point,from_at,multiplier\nT1/a1,2026-01-01,2\n"}
    report = import_files(station, tmp_path / "registry", files)
    assert report.errors == (), report.errors
    put(station, JUL, {"MA": 1_750_900, "MA1": 120_000, "MB": 270_000}, seq=4)
    second = billed(station, JUN, JUL)
    corrected = [line for line in version_lines(station, second) if line.cites]
    assert [(line.point, line.billed, line.cites) for line in corrected] == [
        ("T1/a1", 100_000, first)
    ]
    made = make_bills(station, second, RATED, who("an")).head
    (main,) = get_bill(station, made.bill_set, "HD-1").adjustments
    (sub,) = get_bill(station, made.bill_set, "HD-2").adjustments
    assert (main.energy_kwh, main.amount_vnd) == (-100, -100 * 2_380)
    assert (sub.energy_kwh, sub.amount_vnd) == (100, 100 * 3_152)
    before = {row.bill: row.sha256 for row in bill_rows(station, set_of_june)}
    assert (main.before_sha256, sub.before_sha256) == (before["HD-1"], before["HD-2"])
    assert (sub.run, sub.from_day, sub.to_day) == (first, date(2026, 5, 20), date(2026, 6, 20))
    assert made.adjustments_vnd == main.total_vnd + sub.total_vnd
    bills_of(station, second)
    # From 5 June on it was 3: 50 of that bill's 100 kWh counted 50 more, beside what was adjusted.
    put(station, CHANGE, {"MA1": 60_000}, seq=6)
    files["multipliers.csv"] += "T1/a1,2026-06-05,3\n"
    report = import_files(station, tmp_path / "registry", files)
    assert report.errors == (), report.errors
    put(station, AUG, {"MA": 2_000_900, "MA1": 130_000, "MB": 320_000}, seq=5)
    third = billed(station, JUL, AUG)
    made = make_bills(station, third, RATED, who("an")).head
    of_june, of_july = get_bill(station, made.bill_set, "HD-2").adjustments
    if of_june.run != first:
        of_june, of_july = of_july, of_june
    assert (of_june.before_sha256, of_june.energy_kwh) == (sub.after_sha256, 50)
    assert (of_july.run, of_july.energy_kwh) == (second, 10)
    bills_of(station, third)
    assert verify_bills(station) == []


def test_a_correction_of_days_of_two_customers_is_for_a_person(
    station: Ledger, tmp_path: Path
) -> None:
    bills_of(station, billed(station))
    files = {**FILES_OF_BILLS, "multipliers.csv": "point,from_at,multiplier\nT1/b,2026-01-01,2\n"}
    import_files(station, tmp_path / "registry", files)
    put(station, JUL, {"MA": 1_750_900, "MA1": 120_000, "MB": 270_000}, seq=4)
    made = make_bills(station, billed(station, JUN, JUL), RATED, who("an")).head
    (told,) = refused_bills(station, made.bill_set)
    assert "HD-3, HD-4" in told.reason
    assert made.adjustments_vnd == 0


def test_an_adjustment_without_its_bill_is_told_and_not_forgotten(station: Ledger) -> None:
    put(station, JUL, {"MA": 1_750_900, "MA1": 120_000}, seq=4)
    enter_index(station, estimate("T1/b", "MB", JUL, 470_000), NOW)
    billed(station)
    billed(station, JUN, JUL)
    put(station, AUG, {"MA": 2_000_900, "MA1": 130_000, "MB": 460_000}, seq=5)
    third = billed(station, JUL, AUG)
    made = make_bills(station, third, RATED, who("an")).head
    (told,) = refused_bills(station, made.bill_set)
    assert "-10 of 1-0:1.8.0 at T1/b" in told.reason
    assert "HD-4" in amounts(station, made.bill_set)


def test_who_was_left_out_is_billed_over_both_periods(station: Ledger) -> None:
    """The main meter goes with its sub-meter: one's energy is taken from the other's."""
    first = billed(station, MAY, JUN, "T1/a1")
    assert set(amounts(station, bills_of(station, first))) == {"HD-3", "HD-4"}
    put(station, JUL, {"MA": 1_750_900, "MA1": 120_000, "MB": 270_000}, seq=4)
    second = billed(station, JUN, JUL)
    made = make_bills(station, second, RATED, who("an")).head
    assert refused_bills(station, made.bill_set) == []
    bill = get_bill(station, made.bill_set, "HD-1")
    assert (bill.from_day, bill.to_day, bill.energy_kwh) == (
        date(2026, 5, 20), date(2026, 7, 20), 750 - 110,
    )  # fmt: skip
    # 61 days of a cycle of 31, two households: the first band is 197 kWh wide.
    assert bill.lines[0].band_kwh == 197
    assert amounts(station, made.bill_set)["HD-4"][0] == 50


def test_the_gate_on_the_bill(station: Ledger) -> None:
    bills_of(station, billed(station))
    put(station, JUL, {"MA": 1_750_900, "MA1": 600_000, "MB": 270_000}, seq=4)
    # The sub-meter used more than its parent: both are told, nobody is billed too much.
    run = billed(station, JUN, JUL)
    made = make_bills(station, run, RATED, who("an")).head
    assert {one.contract for one in refused_bills(station, made.bill_set)} == {"HD-1", "HD-2"}
    limits = RatedBy(
        built_in(), ZONE, gate=BillLimits(high_percent=10, extreme_percent=30, floor_vnd=1)
    )
    found = {
        (one.bill, one.cause): one for one in exceptions_of_bills(station, made.bill_set, limits)
    }
    assert found["HD-4", BillCause.EXTREME].before_vnd == 149_176
    wanted = BillFilter(causes=frozenset({BillCause.EXTREME}))
    assert accept_bills(station, made.bill_set, limits, wanted, who("an")) == 1
    assert accept_bills(station, made.bill_set, limits, wanted, who("an")) == 0
    with pytest.raises(Conflict, match="refused 2"):
        approve_bills(station, made.bill_set, made.sha256, limits, who("bình"))
    wanted = BillFilter(bills=frozenset({"HD-1", "HD-2"}))
    accept_bills(station, made.bill_set, limits, wanted, who("cường"))
    with refused("own_work"):
        approve_bills(station, made.bill_set, made.sha256, limits, who("cường"))
    approve_bills(station, made.bill_set, made.sha256, limits, who("bình"))


def test_the_same_run_under_another_table(station: Ledger) -> None:
    run = billed(station)
    found = what_if_bills(station, run, "QD-14-2025", RATED)
    assert (found.bill_count, found.refused_count) == (4, 0)
    assert found.total_vnd == make_bills(station, run, RATED, who("an")).head.total_vnd
    assert found.what_if_total_vnd != found.total_vnd
    with refused("not_ratable", CollectorError):
        what_if_bills(station, run, "QD-1-1900", RATED)


def test_a_changed_bill_is_named(station: Ledger, ledger_url: str) -> None:
    bills_of(station, billed(station))
    change = text("UPDATE bill_previews SET total_vnd = total_vnd + 1 WHERE bill = 'HD-1'")
    engine = create_engine(ledger_url)
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(change)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE bill_previews DISABLE TRIGGER ALL"))
        else:
            connection.execute(text("DROP TRIGGER bill_previews_no_update"))
        connection.execute(change)
    engine.dispose()
    (fault,) = verify_bills(station)
    assert "its bills come to" in fault


def estimate(point: str, meter: str, at: datetime, value: int) -> ManualIndex:
    return ManualIndex(
        kind=ManualKind.ESTIMATE,
        point=point,
        meter=meter,
        register=IMPORT_ACTIVE,
        at=at,
        value=value,
        author="cường",
        entered_at=NOW,
        reason="nobody home",
        method="E1",
    )


def test_the_commands_from_the_run_to_the_file(
    station: Ledger, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: {ledger_url}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
        "billing: {bill_gate: {high_percent: 110}, split: index}\n",
        encoding="utf-8",
    )

    def songlo(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["billing", *arguments, "--config", str(config)])
        assert done.exit_code == code, done.output
        return done.output

    assert "no bills yet" in songlo("bills", "list")
    period = ("open", "--book", "A", "--month", "2026-06")
    run = songlo(*period).strip()
    assert "is not exported yet" in songlo(*period, code=1)
    assert "no version yet" in songlo("bills", "make", run, code=1)
    sha256 = songlo("make", run).split()[-1]
    assert "used 200000 Wh" in songlo("mark", run, "T1/b", "D", "--reason", "cut off", code=1)
    assert "T1/b: K" in songlo("mark", run, "T1/b", "K", "--reason", "stuck")
    for count in (6, 0):
        assert f"{count} exceptions" in songlo("decide", run, "accept", "--reason", "seen")
    assert "is not approved" in songlo("export", run, "-o", str(tmp_path / "run.csv"), code=1)
    assert "another person" in songlo("approve", run, sha256, code=1)
    assert "has the hash" in songlo("approve", run, "0" * 64, code=1)
    monkeypatch.setattr(cli_common, "login_name", lambda: "binh")
    songlo("approve", run, sha256)
    monkeypatch.setattr(cli_common, "login_name", lambda: "an")
    songlo("export", run, "-o", str(tmp_path / "run.csv"))
    made = songlo("bills", "make", run)
    bill_set, sha256 = made.split()[0], made.split()[-1]
    assert "4 bills, 700 kWh" in made
    assert "nothing has changed" in songlo("bills", "make", run)
    assert "no exceptions" in songlo("bills", "exceptions", bill_set)
    assert "4 bills dearer" not in songlo("bills", "what-if", run, "QD-14-2025")
    assert "500 − 100 (T1/a1)" in songlo("bills", "show", bill_set, "--contract", "HD-1")
    out = tmp_path / "bills.csv"
    assert "is not approved" in songlo("bills", "export", bill_set, "-o", str(out), code=1)
    assert "another person" in songlo("bills", "approve", bill_set, sha256, code=1)
    assert "has the hash" in songlo("bills", "approve", bill_set, "0" * 64, code=1)
    assert "0 exceptions accepted" in songlo("bills", "accept", bill_set, "--reason", "seen")
    monkeypatch.setattr(cli_common, "login_name", lambda: "binh")
    songlo("bills", "approve", bill_set, sha256)
    told = songlo("bills", "export", bill_set, "-o", str(out))
    assert hashlib.sha256(out.read_bytes()).hexdigest() == told.split()[-1]
    assert "exported" in songlo("bills", "list", "--run", run)
    assert "approve" in songlo("bills", "show", bill_set)
    assert "as they were made" in songlo("bills", "verify")
