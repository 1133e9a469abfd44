"""What was never validated is not billed in silence: the gate knows which days were looked at."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from collector.billing.gates import Cause, ExceptionFilter
from collector.daily_validation import ACTOR, Daily, DailyValidation
from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.metrics import Metrics
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    approve_run,
    make_version,
    open_run,
    run_exceptions,
)
from collector.operations.findings import enter_index
from collector.operations.run_decisions import Verdict, decide_exceptions
from collector.operations.run_validation import validate_run
from collector.operations.vee import ACTION, Stopped, VeeRun, run_vee
from collector.operations.vee_files import load_limits
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, INSTALLATIONS, STATIONS, ZONE, import_files, midnight, put

LIMITS = load_limits(None)
BY = BilledBy(LIMITS, ZONE)
SEP, OCT = midnight("2026-09-20"), midnight("2026-10-20")
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
ALL_30 = "30 days: 2026-09-20 to 2026-10-19"


def who(name: str) -> Acting:
    return Acting(name, NOW, "a test")


@pytest.fixture
def district(ledger: Ledger, tmp_path: Path) -> Ledger:
    """T1 with a head and two customers, read on both reading days, and once in between."""
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100})
    put(ledger, midnight("2026-10-05"), {"M0": 10_200_000, "M1": 1_050_000, "M2": 5_100_000}, seq=2)
    put(ledger, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, seq=3)
    return ledger


def drafted(ledger: Ledger, scope: Scope | None = None) -> tuple[str, str]:
    """A run of September to October with one version: its name, and the version's hash."""
    run = open_run(
        ledger, from_at=SEP, to_at=OCT, zone=ZONE, by_whom=who("an"), scope=scope or Scope()
    ).run
    return run, make_version(ledger, run, BY, who("an")).version.sha256


def vee(ledger: Ledger, first: str, last: str, station: str | None = None) -> None:
    run = VeeRun(date.fromisoformat(first), date.fromisoformat(last), ZONE, LIMITS, station)
    run_vee(ledger, run, actor="tester", now=NOW)


def untouched(ledger: Ledger, run: str) -> Mapping[str, str]:
    """By point what no validation has looked at."""
    found = run_exceptions(ledger, run, BY)
    asked = [one for one in found if one.cause is Cause.NOT_VALIDATED]
    assert all(one.blocks and one.register == IMPORT_ACTIVE for one in asked)
    return {one.point: one.detail for one in asked}


def test_a_period_that_nobody_validated_is_not_approved(district: Ledger) -> None:
    run, sha256 = drafted(district)
    assert untouched(district, run) == dict.fromkeys(("T1/a", "T1/b", "T1/head"), ALL_30)
    with pytest.raises(Conflict, match="not_validated 3") as refused:
        approve_run(district, run, sha256, BY, who("bình"))
    assert refused.value.code == "exceptions_open"
    (report,) = validate_run(district, run, BY, who("an"))
    assert (report.first_day, report.last_day) == (date(2026, 9, 20), date(2026, 10, 19))
    assert untouched(district, run) == {}


def test_only_days_that_were_looked_at_count_and_a_dry_run_looks_at_none(district: Ledger) -> None:
    run, _ = drafted(district)
    dry = VeeRun(date(2026, 9, 20), date(2026, 10, 19), ZONE, LIMITS)
    run_vee(district, dry, actor="tester", now=NOW, dry_run=True)
    assert untouched(district, run)["T1/a"] == ALL_30
    vee(district, "2026-09-01", "2026-10-01")
    assert untouched(district, run)["T1/a"] == "18 days: 2026-10-02 to 2026-10-19"
    vee(district, "2026-10-03", "2026-10-18")
    assert untouched(district, run)["T1/a"] == "2 days from 2026-10-02 to 2026-10-19"
    vee(district, "2026-10-02", "2026-10-02")
    assert untouched(district, run)["T1/a"] == "1 day: 2026-10-19"
    vee(district, "2026-10-19", "2026-10-19")
    assert untouched(district, run) == {}


def test_a_read_that_comes_later_makes_its_days_unvalidated_for_its_point(
    district: Ledger,
) -> None:
    run, _ = drafted(district)
    validate_run(district, run, BY, who("an"))
    put(district, midnight("2026-10-07"), {"M1": 1_060_000}, seq=4)
    # A read of a day's start ends the day before, too.
    assert untouched(district, run) == {"T1/a": "2 days: 2026-10-06 to 2026-10-07"}
    noon = midnight("2026-10-12") + timedelta(hours=12)
    put(district, noon, {"M2": 5_150_000}, seq=5)
    assert untouched(district, run)["T1/b"] == "1 day: 2026-10-12"
    # A value that contradicts a stored one, at the very end: another rule asks about it.
    put(district, OCT, {"M0": 10_400_001}, seq=6)
    assert untouched(district, run)["T1/head"] == "1 day: 2026-10-19"
    validate_run(district, run, BY, who("an"))
    assert untouched(district, run) == {}
    # What comes on the days after is no matter of this period.
    put(district, OCT + timedelta(hours=9), {"M1": 1_100_900}, seq=7)
    assert untouched(district, run) == {}


def test_an_index_that_somebody_puts_in_later_is_looked_at_again(district: Ledger) -> None:
    run, _ = drafted(district)
    validate_run(district, run, BY, who("an"))
    at = midnight("2026-10-09") + timedelta(hours=8)
    new = ManualIndex(
        ManualKind.HAND,
        "T1/a",
        "M1",
        IMPORT_ACTIVE,
        at,
        1_070_000,
        "cường",
        NOW,
        "from the display",
    )
    enter_index(district, new, NOW)
    assert untouched(district, run) == {"T1/a": "1 day: 2026-10-09"}
    validate_run(district, run, BY, who("an"))
    assert untouched(district, run) == {}


def test_a_correction_of_the_registry_makes_a_point_unvalidated(
    district: Ledger, tmp_path: Path
) -> None:
    run, _ = drafted(district)
    validate_run(district, run, BY, who("an"))
    ratios = "point,from_at,multiplier\nT1/b,2026-01-01,20\n"
    report = import_files(district, tmp_path / "more", FILES | {"multipliers.csv": ratios})
    assert report.errors == ()
    assert untouched(district, run) == {"T1/b": ALL_30}
    # What begins after the period changes nothing of it.
    later = ratios + "T1/a,2026-11-01,2\n"
    report = import_files(district, tmp_path / "later", FILES | {"multipliers.csv": later})
    assert report.errors == ()
    assert untouched(district, run) == {"T1/b": ALL_30}
    validate_run(district, run, BY, who("an"))
    assert untouched(district, run) == {}


def test_an_exchange_that_is_told_later_leaves_both_meters_to_be_looked_at(
    district: Ledger, tmp_path: Path
) -> None:
    vee(district, "2026-09-20", "2026-10-19")
    exchanged = INSTALLATIONS.replace(
        "T1/a,M1,2026-01-01,,,\n",
        "T1/a,M1,2026-01-01,2026-10-05T10:00:00+07:00,,1051000\n"
        "T1/a,M3,2026-10-05T10:00:00+07:00,,100,\n",
    )
    report = import_files(district, tmp_path / "more", FILES | {"installations.csv": exchanged})
    assert report.errors == ()
    put(district, OCT, {"M3": 60_100}, seq=9)
    run, _ = drafted(district)
    assert untouched(district, run) == {"T1/a": ALL_30}
    validate_run(district, run, BY, who("an"))
    assert untouched(district, run) == {}


def test_a_closing_read_from_far_into_the_next_day_asks_for_that_day(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100})
    put(ledger, OCT, {"M0": 10_400_000, "M2": 5_200_000}, seq=2)
    put(ledger, OCT + timedelta(hours=5), {"M1": 1_100_500}, seq=3)
    run, _ = drafted(ledger)
    vee(ledger, "2026-09-20", "2026-10-19")
    assert untouched(ledger, run) == {"T1/a": "1 day: 2026-10-20"}
    assert [one.last_day for one in validate_run(ledger, run, BY, who("an"))] == [
        date(2026, 10, 19), date(2026, 10, 20),
    ]  # fmt: skip
    assert untouched(ledger, run) == {}


def test_points_are_answered_for_by_name_and_another_version_asks_again(district: Ledger) -> None:
    run, sha256 = drafted(district)
    vee(district, "2026-09-20", "2026-10-18")
    wanted = ExceptionFilter(frozenset({Cause.NOT_VALIDATED}), frozenset({"T1/a", "T1/b"}))
    assert decide_exceptions(district, run, BY, wanted, Verdict.ACCEPT, who("an")) == 2
    with pytest.raises(Conflict, match="not_validated 1"):
        approve_run(district, run, sha256, BY, who("bình"))
    # More that was not looked at is another exception.
    put(district, midnight("2026-10-01"), {"M1": 1_040_000}, seq=4)
    with pytest.raises(Conflict, match="not_validated 2"):
        approve_run(district, run, sha256, BY, who("bình"))


def test_only_the_stations_of_the_run_are_validated(ledger: Ledger, tmp_path: Path) -> None:
    files = FILES | {
        "stations.csv": STATIONS + "T2,Trạm 2,Sông Lô,250\n",
        "points.csv": FILES["points.csv"] + "T2/a,T2,household,Trần Thị C\n",
        "installations.csv": INSTALLATIONS + "T2/a,M3,2026-01-01,,,\n",
    }
    import_files(ledger, tmp_path / "registry", files)
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100, "M3": 1_000})
    put(ledger, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000, "M3": 9_000}, seq=2)
    run, _ = drafted(ledger, Scope(station="T2"))
    (report,) = validate_run(ledger, run, BY, who("an"))
    assert report.meters == 1
    assert untouched(ledger, run) == {}
    vee(ledger, "2026-09-20", "2026-10-19", "T2")
    with ledger.read() as uow:
        assert {one.station for one in uow.validations.touching(SEP, OCT)} == {"T2"}


def test_what_was_looked_at_is_never_changed(district: Ledger) -> None:
    vee(district, "2026-09-20", "2026-09-20")
    for statement in ("UPDATE validations SET to_at = 0", "DELETE FROM validations"):
        with pytest.raises(DBAPIError), district._engine.begin() as connection:
            connection.execute(text(statement))


def test_a_day_validates_itself_once_it_is_over(district: Ledger) -> None:
    at = [midnight("2026-10-20") + timedelta(minutes=199)]
    metrics = Metrics()
    daily = Daily(ZONE, timedelta(minutes=200), 3, lambda: LIMITS)
    part = DailyValidation(district, metrics, lambda: at[0], daily)
    assert part.look() is None, "too early: the last reads of the day may still come"
    at[0] += timedelta(minutes=1)
    report = part.look()
    assert report is not None
    assert (report.first_day, report.last_day) == (date(2026, 10, 17), date(2026, 10, 19))
    assert part.look() is None
    again = DailyValidation(district, metrics, lambda: at[0], daily)
    assert again.look() is None, "the audit trail knows that it was done"
    # Five days without a collector are caught up with.
    at[0] += timedelta(days=5)
    report = again.look()
    assert report is not None
    assert (report.first_day, report.last_day) == (date(2026, 10, 20), date(2026, 10, 24))
    assert again.troubles() == {"validation": ""}
    with district.read() as uow:
        assert {entry.actor for entry in uow.audit.of_action(ACTION)} == {ACTOR}
    run, _ = drafted(district)
    assert untouched(district, run)["T1/a"] == "27 days: 2026-09-20 to 2026-10-16"


def test_a_daily_validation_that_fails_is_told_and_tried_again(
    district: Ledger, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text("defaults: {rules: {V99: {}}}\n")
    daily = Daily(ZONE, timedelta(minutes=200), 3, lambda: load_limits(limits))
    metrics = Metrics()
    part = DailyValidation(district, metrics, lambda: NOW, daily)
    assert part.look() is None
    assert "V99" in part.troubles()["validation"]
    limits.write_text("defaults: {rules: {V06: {days_min: 5}}}\n")
    assert part.look() is not None
    assert part.troubles() == {"validation": ""}
    outcomes = {
        outcome: metrics.registry.get_sample_value("songlo_vee_daily_total", {"outcome": outcome})
        for outcome in ("done", "failed")
    }
    assert outcomes == {"done": 1, "failed": 1}


def test_a_run_of_the_rules_that_is_told_to_stop_goes_on_the_next_time(
    district: Ledger, tmp_path: Path
) -> None:
    more = {**FILES, "stations.csv": STATIONS + "T2,Trạm 2,Sông Lô,100\n"}
    import_files(district, tmp_path / "more", more)
    wanted = VeeRun(date(2026, 9, 20), date(2026, 10, 19), ZONE, LIMITS)
    asked = iter([False, True])
    with pytest.raises(Stopped, match="stopped before station T2"):
        run_vee(district, wanted, actor="an", now=NOW, stopping=lambda: next(asked))
    with district.read() as uow:
        assert [one.station for one in uow.validations.touching(SEP, OCT)] == ["T1"]
        assert list(uow.audit.of_action(ACTION)) == []


def test_a_daily_validation_that_is_stopped_is_no_trouble_and_is_made_later(
    district: Ledger,
) -> None:
    daily = Daily(ZONE, timedelta(minutes=200), 3, lambda: LIMITS)
    part = DailyValidation(district, Metrics(), lambda: NOW, daily)
    part.stop()
    assert part.look() is None
    assert part.troubles() == {"validation": ""}
    again = DailyValidation(district, Metrics(), lambda: NOW, daily)
    assert again.look() is not None
