"""Billing runs over the ledger, on both databases: chain, gates, another person, once."""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from collector import cli_common
from collector.billing.gates import Cause
from collector.billing.run_values import LineKind, RunLine, RunState, VersionHead
from collector.billing.values import LineQuality
from collector.cli import app
from collector.errors import CollectorError, Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    exclude_point,
    export_run,
    list_runs,
    make_version,
    open_run,
    run_exceptions,
    verify_runs,
    version_changes,
    version_lines,
    view_run,
)
from collector.operations.findings import enter_index
from collector.operations.run_validation import validate_run
from collector.operations.vee_files import load_limits
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, INSTALLATIONS, ZONE, import_files, midnight, put

WHOLE = Scope()
BY = BilledBy(load_limits(None), ZONE)
SEP, OCT, NOV = midnight("2026-09-20"), midnight("2026-10-20"), midnight("2026-11-20")
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


def who(name: str, reason: str = "a test") -> Acting:
    return Acting(name, NOW, reason)


@pytest.fixture
def district(ledger: Ledger, tmp_path: Path) -> Ledger:
    """T1 with a head and two customers, read on 20 September."""
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100})
    return ledger


def read(ledger: Ledger, at: datetime, values: Mapping[str, int], seq: int) -> None:
    put(ledger, at, dict(values), seq=seq)


def opened(
    ledger: Ledger, from_at: datetime = SEP, to_at: datetime = OCT, scope: Scope = WHOLE
) -> str:
    return open_run(
        ledger, from_at=from_at, to_at=to_at, zone=ZONE, by_whom=who("an"), scope=scope
    ).run


def billed(lines: list[RunLine]) -> dict[tuple[str, str], int | None]:
    return {(line.point, line.kind.value): line.billed for line in lines}


def finish(ledger: Ledger, run: str) -> None:
    version = make_version(ledger, run, BY, who("an")).version
    for cause in {one.cause for one in run_exceptions(ledger, run, BY) if one.blocks}:
        accept_exceptions(ledger, run, cause, who("an"))
    approve_run(ledger, run, version.sha256, BY, who("bình"))
    export_run(ledger, run, BY, who("an"))


def made(ledger: Ledger, run: str, actor: str = "an") -> VersionHead:
    """A version that is validated, with a word for those who are billed for the first time."""
    version = make_version(ledger, run, BY, who(actor)).version
    validate_run(ledger, run, BY, who(actor))
    accept_exceptions(ledger, run, Cause.FIRST, who(actor, "the displays were looked at"))
    return version


def refused(
    code: str, error: type[CollectorError] = Conflict
) -> "pytest.RaisesExc[CollectorError]":
    return pytest.raises(error, check=lambda found: found.code == code)


def test_two_periods_from_draft_to_export(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    run = opened(district)
    first = make_version(district, run, BY, who("an"))
    assert first.is_new
    lines = version_lines(district, run)
    assert {(line.point, line.billed, line.quality) for line in lines} == {
        ("T1/head", 400_000, LineQuality.ACTUAL),
        ("T1/a", 100_000, LineQuality.ACTUAL),
        ("T1/b", 200_000, LineQuality.ACTUAL),
    }
    assert not make_version(district, run, BY, who("cường")).is_new
    validate_run(district, run, BY, who("an"))
    accept_exceptions(district, run, Cause.FIRST, who("an"))
    approve_run(district, run, first.version.sha256, BY, who("bình"))
    assert view_run(district, run).state is RunState.APPROVED
    export_run(district, run, BY, who("an"))
    assert [view.state for view in list_runs(district)] == [RunState.EXPORTED]
    read(district, NOV, {"M0": 10_800_000, "M1": 1_200_100, "M2": 5_400_999}, 3)
    second = opened(district, OCT, NOV)
    finish(district, second)
    assert billed(version_lines(district, second)) == {
        ("T1/head", "consumption"): 400_000,
        ("T1/a", "consumption"): 100_000,
        ("T1/b", "consumption"): 200_000,
    }
    assert view_run(district, second).versions[0].previous_sha256 == first.version.sha256
    assert verify_runs(district) == []


def test_a_late_read_makes_a_version_and_after_the_export_a_later_line(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M2": 5_200_000}, 2)
    run = opened(district)
    make_version(district, run, BY, who("an"))
    enter_index(district, estimate("T1/a", "M1", OCT, 1_250_900), NOW)
    second = make_version(district, run, BY, who("an", "M1 was estimated"))
    assert [(one.point, one.billed_before, one.billed_after) for one in second.changes] == [
        ("T1/a", None, 250_000)
    ]
    assert version_changes(district, run, 2) == second.changes
    assert Cause.ESTIMATED in {one.cause for one in run_exceptions(district, run, BY)}
    finish(district, run)
    # The true index was lower; it comes after the export, and the next one too.
    read(district, OCT, {"M1": 1_240_000}, 3)
    read(district, NOV, {"M0": 10_800_000, "M1": 1_400_900, "M2": 5_400_999}, 4)
    following = opened(district, OCT, NOV)
    make_version(district, following, BY, who("an"))
    assert billed(version_lines(district, following))["T1/a", "consumption"] == 150_000
    with refused("run_exported"):
        make_version(district, run, BY, who("an"))


def test_an_estimate_that_was_too_high_is_returned(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M2": 5_200_000}, 2)
    enter_index(district, estimate("T1/a", "M1", OCT, 1_250_900), NOW)
    finish(district, opened(district))
    read(district, NOV, {"M0": 10_800_000, "M1": 1_240_000, "M2": 5_400_999}, 3)
    run = opened(district, OCT, NOV)
    make_version(district, run, BY, who("an"))
    (line,) = [line for line in version_lines(district, run) if line.point == "T1/a"]
    assert (line.kind, line.billed) == (LineKind.RETURN, -10_000)


def test_a_removal_index_written_down_later_is_corrected(district: Ledger, tmp_path: Path) -> None:
    exchange = INSTALLATIONS.replace("T1/a,M1,2026-01-01,,,", "T1/a,M1,2026-01-01,2026-10-01,,")
    exchange += "T1/a,M3,2026-10-01,,0,\n"
    import_files(district, tmp_path / "registry", {**FILES, "installations.csv": exchange})
    read(district, OCT, {"M0": 10_400_000, "M3": 40_000, "M2": 5_200_000}, 2)
    run = opened(district)
    make_version(district, run, BY, who("an"))
    blocking = {one.cause for one in run_exceptions(district, run, BY) if one.blocks}
    assert blocking == {Cause.NO_CONSUMPTION, Cause.NOT_VALIDATED, Cause.FIRST}
    with refused("invalid_request", InvalidRequest):
        accept_exceptions(district, run, Cause.NO_CONSUMPTION, who("an"))
    exclude_point(district, run, "T1/a", who("an"), include=False)
    finish(district, run)
    assert ("T1/a", "consumption") not in billed(version_lines(district, run))
    assert ("T1/a", "held") in billed(version_lines(district, run))
    put(district, midnight("2026-10-01"), {"M1": 1_060_000}, seq=3)
    read(district, NOV, {"M0": 10_800_000, "M3": 100_000, "M2": 5_400_999}, 4)
    following = opened(district, OCT, NOV)
    make_version(district, following, BY, who("an"))
    of_point = [line for line in version_lines(district, following) if line.point == "T1/a"]
    # It was held, and is caught up with from where it was.
    assert [(line.meter, line.from_at, line.billed) for line in of_point] == [
        ("M1", SEP, 60_000),
        ("M3", midnight("2026-10-01"), 100_000),
    ]


def test_a_correction_is_not_taken_back_when_its_period_grows_old(
    ledger: Ledger, tmp_path: Path
) -> None:
    begin, first, second = (midnight(f"2025-{day}") for day in ("09-20", "10-01", "10-18"))
    end, middle = midnight("2025-10-20"), midnight("2025-11-20")
    rows = INSTALLATIONS.replace("2026-01-01", "2025-01-01")
    rows = rows.replace("T1/a,M1,2025-01-01,,,", "T1/a,M1,2025-01-01,2025-10-01,,")
    rows += "T1/a,M3,2025-10-01,2025-10-18,0,\nT1/a,M4,2025-10-18,,0,\n"
    meters = FILES["meters.csv"] + "M4,sdm120,10,100000000\n"
    files = {**FILES, "installations.csv": rows, "meters.csv": meters}
    import_files(ledger, tmp_path / "registry", files)
    put(ledger, begin, {"M0": 0, "M1": 1_000_000, "M2": 0}, seq=1)
    put(ledger, end, {"M0": 100_000, "M4": 5_000, "M2": 50_000}, seq=2)
    for meter, at, value in (("M1", first, 1_050_000), ("M3", second, 35_000)):
        enter_index(ledger, estimate("T1/a", meter, at, value), NOW)
    finish(ledger, opened(ledger, begin, end))
    for meter, at, value in (("M1", first, 1_060_000), ("M3", second, 38_000)):
        enter_index(ledger, estimate("T1/a", meter, at, None), NOW)
        put(ledger, at, {meter: value}, seq=3)
    put(ledger, middle, {"M0": 200_000, "M4": 45_000, "M2": 100_000}, seq=4)
    following = opened(ledger, end, middle)
    finish(ledger, following)
    assert billed(version_lines(ledger, following))["T1/a", "correction"] == 13_000
    # 400 days before its end lie between the exchanges of the corrected period.
    put(ledger, NOV, {"M0": 900_000, "M4": 365_000, "M2": 500_000}, seq=5)
    last = opened(ledger, middle, NOV)
    make_version(ledger, last, BY, who("an"))
    assert billed(version_lines(ledger, last)) == {
        ("T1/head", "consumption"): 700_000,
        ("T1/a", "consumption"): 320_000,
        ("T1/b", "consumption"): 400_000,
    }


def test_a_point_that_was_left_out_goes_on_from_its_last_closing(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    finish(district, opened(district))
    read(district, midnight("2026-11-10"), {"M0": 10_500_000, "M1": 1_150_000, "M2": 5_250_000}, 3)
    middle = opened(district, OCT, midnight("2026-11-10"))
    with refused("not_found", NotFound):
        exclude_point(district, middle, "T1/x", who("an"), include=False)
    exclude_point(district, middle, "T1/a", who("an"), include=False)
    finish(district, middle)
    read(district, NOV, {"M0": 10_800_000, "M1": 1_200_100, "M2": 5_400_999}, 4)
    last = opened(district, midnight("2026-11-10"), NOV)
    make_version(district, last, BY, who("an"))
    (line,) = [line for line in version_lines(district, last) if line.point == "T1/a"]
    assert (line.from_at, line.billed) == (OCT, 100_000)


def test_who_approves_had_no_hand_in_it_and_knows_the_hash(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M2": 5_200_000}, 2)
    run = opened(district)
    with refused("no_version"):
        approve_run(district, run, "0" * 64, BY, who("bình"))
    make_version(district, run, BY, who("an"))
    seen = view_run(district, run).versions[-1].sha256
    with refused("exceptions_open"):
        approve_run(district, run, seen, BY, who("bình"))
    enter_index(district, estimate("T1/a", "M1", OCT, 1_250_900, author="cường"), NOW)
    with refused("not_approved"):
        export_run(district, run, BY, who("an"))
    version = made(district, run)
    with refused("hash_changed"):
        approve_run(district, run, seen, BY, who("bình"))
    validate_run(district, run, BY, who("dũng"))
    for editor in ("an", "cường"):
        with refused("own_work"):
            approve_run(district, run, version.sha256, BY, who(editor))
    approve_run(district, run, version.sha256, BY, who("bình"))
    # What comes after the approval makes another version, which nobody has approved.
    read(district, OCT, {"M1": 1_240_000}, 3)
    enter_index(district, estimate("T1/a", "M1", OCT, None, author="cường"), NOW)
    assert make_version(district, run, BY, who("an")).is_new
    with refused("not_approved"):
        export_run(district, run, BY, who("an"))


def test_what_rests_on_another_export_is_made_again(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    run = opened(district)
    with refused("run_unfinished"):
        opened(district)
    approve_run(district, run, made(district, run).sha256, BY, who("bình"))
    export_run(district, run, BY, who("an"))
    with refused("run_exported"):
        export_run(district, run, BY, who("an"))
    again = opened(district)
    with refused("already_billed"):
        make_version(district, again, BY, who("an"))


@pytest.mark.parametrize(
    ("station", "from_at", "to_at", "error"),
    [
        ("T1", OCT, SEP, InvalidRequest),
        ("T1", SEP, midnight("2027-01-20"), InvalidRequest),
        ("T1", SEP.replace(minute=30), OCT, InvalidRequest),
        ("T9", SEP, OCT, NotFound),
    ],
)
def test_a_run_that_cannot_be(
    district: Ledger,
    station: str,
    from_at: datetime,
    to_at: datetime,
    error: type[CollectorError],
) -> None:
    with pytest.raises(error, check=lambda found: bool(found.hint)):
        open_run(
            district,
            scope=Scope(station),
            from_at=from_at,
            to_at=to_at,
            zone=ZONE,
            by_whom=who("an"),
        )
    assert list_runs(district) == []


def test_four_times_as_much_wants_a_persons_word(district: Ledger) -> None:
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    finish(district, opened(district))
    read(district, NOV, {"M0": 10_800_000, "M1": 1_550_500, "M2": 5_480_000}, 3)
    run = opened(district, OCT, NOV)
    version = make_version(district, run, BY, who("an")).version
    accept_exceptions(district, run, Cause.NOT_VALIDATED, who("an"))
    found = run_exceptions(district, run, BY)
    causes = {(one.point, one.cause) for one in found if one.cause is not Cause.NOT_VALIDATED}
    assert causes == {("T1/a", Cause.EXTREME), ("T1/b", Cause.HIGH)}
    with refused("exceptions_open"):
        approve_run(district, run, version.sha256, BY, who("bình"))
    with refused("invalid_request", InvalidRequest):
        accept_exceptions(district, run, Cause.EXTREME, who("an", " "))
    accept_exceptions(district, run, Cause.EXTREME, who("an", "a new oven"))
    approve_run(district, run, version.sha256, BY, who("bình"))


def test_a_changed_byte_is_named(district: Ledger, ledger_url: str) -> None:
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    run = opened(district)
    finish(district, run)
    engine = create_engine(ledger_url)
    change = text("UPDATE billing_lines SET billed = billed + 1 WHERE point = 'T1/a'")
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(change)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE billing_lines DISABLE TRIGGER ALL"))
        else:
            connection.execute(text("DROP TRIGGER billing_lines_no_update"))
        connection.execute(change)
    engine.dispose()
    (fault,) = verify_runs(district)
    assert f"run {run} version 1" in fault


def test_the_command_from_open_to_export(
    district: Ledger, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    config = collector_file(ledger_url, tmp_path)

    def songlo(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["billing", *arguments, "--config", str(config)])
        assert done.exit_code == code, done.output
        return done.output

    assert "no run yet" in songlo("list")
    run = songlo("open", "--from", "2026-09-20", "--to", "2026-10-20").strip()
    assert "write it as" in songlo("open", "--from", "20/9", "--to", "2026-10-20", code=1)
    said = songlo("make", run)
    assert "version 1 made: 3 lines" in said
    assert "nothing has changed" in songlo("make", run)
    listed = songlo("exceptions", run, "--cause", "not_validated")
    assert "not_validated        3  blocks" in listed
    assert "T1/b 1-0:1.8.0 none 30 days: 2026-09-20 to 2026-10-19" in listed
    assert "2026-09-20 to 2026-10-19: 3 meters" in songlo("validate", run)
    assert "first                3  blocks" in songlo("exceptions", run)
    sha256 = said.split()[-1]
    assert "first 3" in songlo("approve", run, sha256, code=1)
    assert "first accepted" in songlo("accept", run, "first", "--reason", "looked at")
    assert "another person" in songlo("approve", run, sha256, code=1)
    monkeypatch.setattr(cli_common, "login_name", lambda: "binh")
    assert "version 1 approved" in songlo("approve", run, sha256)
    out = tmp_path / "run.csv"
    songlo("export", run, "--output", str(out))
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert [(row["point"], row["billed_wh"]) for row in rows] == [
        ("T1/a", "100000"),
        ("T1/b", "200000"),
        ("T1/head", "400000"),
    ]
    first = out.read_bytes()
    songlo("export", run, "--output", str(out))
    assert out.read_bytes() == first
    assert "exported" in songlo("show", run, "--version", "1")
    assert "2026-09-20 to 2026-10-20  all stations  exported, 1 versions" in songlo("list")
    assert "as they were made" in songlo("verify")


BOOKS = {
    "books.csv": "book,name\nB1,Sổ 1\nB2,Sổ 2\n",
    "reading_days.csv": "book,from_at,reading_days\nB1,2026-01-01,20\nB2,2026-01-01,10;20\n",
    "memberships.csv": "point,from_at,book,position\nT1/a,2026-01-01,B1,1\nT1/b,2026-01-01,B2,1\n",
}


def test_each_book_is_billed_by_itself(district: Ledger, tmp_path: Path) -> None:
    import_files(district, tmp_path / "registry", {**FILES, **BOOKS})
    read(district, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, 2)
    first = opened(district, scope=Scope(book="B1"))
    with refused("run_unfinished"):
        opened(district, scope=Scope(station="T1"))
    second = opened(district, scope=Scope(book="B2"))
    for run, expected in ((first, {"T1/a"}), (second, {"T1/b"})):
        finish(district, run)
        assert {line.point for line in version_lines(district, run)} == expected
    with refused("not_found", NotFound):
        opened(district, scope=Scope(book="B9"))
    with refused("invalid_request", InvalidRequest):
        opened(district, scope=Scope("T1", "B1"))
    # What the books have billed is not billed again by a run of the station.
    third = opened(district, scope=Scope("T1"))
    with refused("already_billed"):
        make_version(district, third, BY, who("an"))
    for point in ("T1/a", "T1/b"):
        exclude_point(district, third, point, who("an"), include=False)
    make_version(district, third, BY, who("an"))
    assert [line.point for line in version_lines(district, third)] == ["T1/head"]
    assert verify_runs(district) == []


def test_the_command_takes_a_book_and_a_month(
    district: Ledger, ledger_url: str, tmp_path: Path
) -> None:
    import_files(district, tmp_path / "registry", {**FILES, **BOOKS})
    config = collector_file(ledger_url, tmp_path)

    def songlo(*arguments: str) -> str:
        return CliRunner().invoke(app, ["billing", *arguments, "--config", str(config)]).output

    assert "say which with --number" in songlo("open", "--book", "B2", "--month", "2026-10")
    assert "the period is not clear" in songlo("open", "--book", "B2")
    songlo("open", "--book", "B2", "--month", "2026-10", "--number", "2")
    songlo("open", "--book", "B1", "--month", "2026-10")
    shown = songlo("list")
    assert "2026-10-10 to 2026-10-20  book B2  draft" in shown
    assert "2026-09-20 to 2026-10-20  book B1  draft" in shown


def collector_file(ledger_url: str, folder: Path) -> Path:
    path = folder / "collector.yaml"
    path.write_text(
        f"ledger: {ledger_url}\n"
        f"readings: {{store: duckdb, path: {folder / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n",
        encoding="utf-8",
    )
    return path


def estimate(
    point: str, meter: str, at: datetime, value: int | None, author: str = "cường"
) -> ManualIndex:
    return ManualIndex(
        kind=ManualKind.ESTIMATE,
        point=point,
        meter=meter,
        register=IMPORT_ACTIVE,
        at=at,
        value=value,
        author=author,
        entered_at=NOW,
        reason="nobody home",
        method="E1",
    )
