"""A small district through its two billing periods, held against what meters and lines did."""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from collector.billing.exports.run_csv import run_csv
from collector.billing.run_values import LineKind
from collector.ledger import Ledger
from collector.operations.audit import verify_audit
from collector.operations.billing_runs import verify_runs
from collector.operations.bills import verify_bills
from songlo.demo.district.check import StationLoss, check_losses, check_ranking
from songlo.demo.district.options import district_options
from songlo.demo.district.run import LEDGER_FILE, DistrictOutcome, run_district

# The whole of two billing periods, before the first test and once more on PostgreSQL.
pytestmark = pytest.mark.timeout(300)

OPTIONS = district_options(
    stations=5, interval_min=720, seed=7, start=None, today=date(2026, 11, 24)
)
HEADS = {f"SL{number:03d}/head" for number in range(1, OPTIONS.stations + 1)}


def _ignore(what: str, done: int, total: int) -> None:
    del what, done, total


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("district")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> DistrictOutcome:
    return run_district(OPTIONS, folder, _ignore)


@pytest.fixture
def ledger(folder: Path, outcome: DistrictOutcome) -> Iterator[Ledger]:
    del outcome
    opened = Ledger(f"sqlite:///{folder / LEDGER_FILE}")
    yield opened
    opened.close()


def test_everything_agrees_with_the_truth(outcome: DistrictOutcome) -> None:
    assert {check.name: check.wrong for check in outcome.checks if check.wrong} == {}
    assert all(check.compared > 0 for check in outcome.checks)


def test_the_district_has_what_happens_in_one(outcome: DistrictOutcome) -> None:
    district = outcome.district
    assert district.moves
    assert district.solar
    assert district.silences
    assert district.downs
    assert len(district.helds) == 2
    assert {stay.to_quarter is None for stay in district.stays} == {True, False}
    assert any(stay.roll_over_wh == 100_000_000 for stay in district.stays)
    assert any(station.is_wholesale for station in district.stations)
    assert any(point.parent for point in district.points.values())
    assert any(point.next_multiplier for point in district.points.values())
    assert any(point.next_customer for point in district.points.values())


def test_lines_lose_what_lines_lose_in_the_country(outcome: DistrictOutcome) -> None:
    honest = [
        one
        for losses in outcome.losses
        for one in losses
        if one.station not in outcome.district.thefts and one.complete
    ]
    assert honest
    for one in honest:
        assert one.loss_wh is not None
        assert one.received_wh is not None
        assert 0.03 <= one.loss_wh / one.received_wh <= 0.08


def test_the_least_and_the_most_that_lines_lose_are_told(outcome: DistrictOutcome) -> None:
    least, most = outcome.line_loss_permille
    assert 30 <= least < most <= 80


def test_what_came_between_two_versions_changed_the_second(outcome: DistrictOutcome) -> None:
    first = outcome.periods[0]
    assert len(first.versions) == 2
    late = outcome.district.helds[0].station
    assert {change.point.split("/")[0] for change in first.changed_by[1]} == {late}
    assert first.estimated > 0


def test_what_came_after_the_export_is_settled_in_the_next_period(
    outcome: DistrictOutcome,
) -> None:
    late = outcome.district.helds[1].station
    estimated = {
        line.point: line.billed or 0
        for line in outcome.periods[0].lines
        if line.point.startswith(late) and line.quality.value == "E"
    }
    assert estimated
    kinds = Counter(line.kind for line in outcome.periods[1].lines)
    assert kinds[LineKind.HELD] == 0
    assert {line.point for line in outcome.periods[1].lines} >= set(estimated)


def test_bills_and_files_are_handed_over(outcome: DistrictOutcome) -> None:
    for period in outcome.periods:
        assert period.bills is not None
        assert period.bills.refused_count == 0
        assert period.bills.bill_count >= len({line.point for line in period.lines} - HEADS)
        assert sorted(path.name for path in period.files) == [
            "bills.jsonl", "cmis.xml", "lines.csv", "lines.xlsx",
        ]  # fmt: skip
        assert all(path.stat().st_size > 0 for path in period.files)


def test_the_ledger_verifies(ledger: Ledger) -> None:
    assert verify_audit(ledger).broken is None
    assert verify_runs(ledger) == []
    assert verify_bills(ledger) == []


def test_postgresql_bills_the_same(
    outcome: DistrictOutcome, postgres_url: str, tmp_path: Path
) -> None:
    again = run_district(OPTIONS, tmp_path, _ignore, ledger_url=postgres_url)
    assert [b"".join(run_csv(period.lines)) for period in again.periods] == [
        b"".join(run_csv(period.lines)) for period in outcome.periods
    ]


def test_a_loss_that_is_not_the_flows_is_seen(outcome: DistrictOutcome) -> None:
    named = next(one for one in outcome.losses[0] if one.complete)
    assert named.loss_wh is not None
    wrong = StationLoss(named.station, named.received_wh, named.loss_wh + 200_000, complete=True)
    first, last = outcome.district.boundaries[:2]
    check = check_losses(outcome.truth, [wrong], first, last, "losses")
    assert len(check.wrong) == 1


def test_a_thief_that_is_not_first_is_seen(outcome: DistrictOutcome) -> None:
    thief = next(iter(outcome.district.thefts))
    assert not check_ranking(outcome.losses[1][::-1], thief).holds
