"""What the utility accepts validation by: from reads in the ledger to what is billed of them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from collector.billing.gates import Cause
from collector.billing.run_values import RunLine
from collector.billing.values import LineQuality
from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.findings import Decision, FindingFilter, ManualIndex, ManualKind
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    exclude_point,
    make_version,
    open_run,
    run_exceptions,
    version_lines,
)
from collector.operations.deciding import DecidedAt, DecideReport, Deciding
from collector.operations.findings import decide, enter_index
from collector.operations.run_validation import validate_run
from collector.operations.vee import VeeRun, list_findings, run_vee
from collector.operations.vee_files import load_limits
from collector.vee.values import Severity
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, ZONE, import_files, midnight, put

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
DAY = timedelta(days=1)
SEP, OCT = midnight("2026-09-20"), midnight("2026-10-20")
BOOK = load_limits(None)
BY = BilledBy(BOOK, ZONE)
PERIOD = VeeRun(date(2026, 9, 20), date(2026, 10, 19), ZONE, BOOK)
RATES = ("1-0:1.8.0", "1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")


def who(name: str) -> Acting:
    return Acting(name, NOW, "acceptance")


def validate(ledger: Ledger) -> dict[tuple[str, str], Severity]:
    """The findings of the period but those of days that nobody wanted an index of."""
    run_vee(ledger, PERIOD, actor="tester", now=NOW)
    found = list_findings(ledger, FindingFilter(), limit=1000)
    return {
        (stored.finding.rule, stored.finding.meter): stored.finding.severity
        for stored in found
        if stored.finding.rule != "V01" or stored.finding.to_at in {SEP, OCT}
    }


def bill(ledger: Ledger) -> tuple[str, list[RunLine]]:
    run = open_run(ledger, from_at=SEP, to_at=OCT, zone=ZONE, by_whom=who("an"), scope=Scope()).run
    make_version(ledger, run, BY, who("an"))
    return run, version_lines(ledger, run)


def of_point(lines: list[RunLine], point: str) -> list[int | None]:
    return [line.billed for line in lines if line.point == point]


def blocked(ledger: Ledger, run: str) -> set[tuple[str, Cause]]:
    """What holds which points, but that all are billed for the first time."""
    return {
        (one.point, one.cause)
        for one in run_exceptions(ledger, run, BY)
        if one.blocks and one.cause is not Cause.FIRST
    }


def say(ledger: Ledger, decision: Decision, number: int, value: int | None = None) -> DecideReport:
    deciding = Deciding(decision, "chi", "seen on the spot", value=value)
    return decide(ledger, FindingFilter(ids=[number]), deciding, DecidedAt(BOOK, ZONE, NOW))


def number_of(ledger: Ledger, rule: str, meter: str) -> int:
    (one,) = [
        stored.id
        for stored in list_findings(ledger, FindingFilter(rule=rule, meter=meter), limit=1000)
        if rule != "V01" or stored.finding.to_at == SEP
    ]
    return one


def test_f1_an_exchange_is_billed_by_segments_and_a_missing_start_is_flagged_not_zero(
    ledger: Ledger, tmp_path: Path
) -> None:
    exchange = FILES["installations.csv"].replace(
        "T1/a,M1,2026-01-01,,,",
        "T1/a,M1,2026-01-01,2026-10-05T09:00:00+07:00,,12398200\n"
        "T1/a,M3,2026-10-05T09:00:00+07:00,,300,",
    )
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": exchange})
    # M1 lacks the read of the cycle's start.
    put(ledger, SEP, {"M0": 1_000_000, "M2": 5_000_000})
    put(ledger, OCT, {"M0": 2_000_000, "M2": 5_200_000, "M3": 101_900}, seq=2)
    found = validate(ledger)
    assert found["V01", "M1"] is Severity.WARNING
    assert ("V03", "M3") not in found, "an exchange is no fall"
    run, lines = bill(ledger)
    assert None in of_point(lines, "T1/a")
    assert ("T1/a", Cause.NO_CONSUMPTION) in blocked(ledger, run)
    hand = ManualIndex(
        ManualKind.HAND, "T1/a", "M1", IMPORT_ACTIVE, SEP, 12_345_600, "chi", NOW, "photo"
    )
    enter_index(ledger, hand, NOW)
    assert ("V01", "M1") not in validate(ledger)
    make_version(ledger, run, BY, who("an"))
    # 12,345 to 12,398 on the old meter, 0 to 101 on the new one.
    assert of_point(version_lines(ledger, run), "T1/a") == [53_000, 101_000]
    assert ("T1/a", Cause.NO_CONSUMPTION) not in blocked(ledger, run)


def test_f2_a_roll_over_of_five_digits_is_billed_and_six_digits_are_a_fall(
    ledger: Ledger, tmp_path: Path
) -> None:
    six = FILES["meters.csv"].replace("M2,sdm120,10,100000000", "M2,sdm120,10,1000000000")
    import_files(ledger, tmp_path / "registry", {**FILES, "meters.csv": six})
    put(ledger, SEP, {"M0": 1_000_000, "M1": 99_850_000, "M2": 9_950_000})
    put(ledger, OCT, {"M0": 2_000_000, "M1": 120_000, "M2": 120_000}, seq=2)
    found = validate(ledger)
    assert ("V03", "M1") not in found
    assert found["V03", "M2"] is Severity.BLOCK
    run, lines = bill(ledger)
    assert of_point(lines, "T1/a") == [270_000]
    assert of_point(lines, "T1/b") == [None]
    assert ("T1/b", Cause.FINDING) in blocked(ledger, run)
    assert ("T1/a", Cause.FINDING) not in blocked(ledger, run)


def test_f3_a_transient_zero_raises_v03_and_neither_a_spike_nor_a_jump(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    rated = tmp_path / "limits.yaml"
    rated.write_text(
        "models:\n  sdm120:\n    rating: {phases: 1, voltage_v: 230, current_max_a: 45}\n",
        encoding="utf-8",
    )
    for number in range(31):
        values = {"M0": number * 9_000, "M1": 53_000_000 + number * 4_000, "M2": number * 5_000}
        if number == 10:
            values["M1"] = 0
        put(ledger, SEP + number * DAY, values, seq=number + 1)
    run_vee(
        ledger,
        VeeRun(PERIOD.first_day, PERIOD.last_day, ZONE, load_limits(rated)),
        actor="tester",
        now=NOW,
    )
    found = list_findings(ledger, FindingFilter(meter="M1"), limit=1000)
    assert [one.finding.rule for one in found] == ["V01", "V03"], "the zero stands for no day"
    assert found[1].finding.severity is Severity.BLOCK
    assert found[1].finding.facts["index_to_wh"] == 0
    _, lines = bill(ledger)
    assert of_point(lines, "T1/a") == [120_000]


def test_f9_rates_unlike_the_total_hold_back_that_point_only(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 1_000_000})
    put(ledger, OCT, {"M0": 1_400_000}, seq=2)
    start = {"M1": [1_000_000, 500_000, 300_000, 200_000], "M2": [2_000_000, 0, 0, 0]}
    end = {"M1": [1_100_000, 550_000, 330_000, 220_000], "M2": [2_200_000, 100_000, 50_000, 9_990]}
    put(ledger, SEP, start, registers=RATES, seq=3)
    put(ledger, OCT, end, registers=RATES, seq=4)
    found = validate(ledger)
    # 100 kWh against 100; 200 kWh against 159.99, where 30 Wh may lie between them.
    assert ("V08", "M1") not in found
    assert found["V08", "M2"] is Severity.BLOCK
    run, _ = bill(ledger)
    assert blocked(ledger, run) == {("T1/b", Cause.FINDING)}
    made = make_version(ledger, run, BY, who("an"))
    accept_exceptions(ledger, run, Cause.FIRST, who("an"))
    with pytest.raises(Conflict) as refused:
        approve_run(ledger, run, made.version.sha256, BY, who("bình"))
    assert refused.value.code == "exceptions_open"
    exclude_point(ledger, run, "T1/b", who("an"), include=False)
    made = make_version(ledger, run, BY, who("an"))
    accept_exceptions(ledger, run, Cause.FIRST, who("an"))
    approve_run(ledger, run, made.version.sha256, BY, who("bình"))
    assert of_point(version_lines(ledger, run), "T1/a")[0] == 100_000


def test_a_conflict_holds_the_point_until_somebody_answers_for_it(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 1_000_000, "M1": 100_000, "M2": 500_000})
    put(ledger, OCT, {"M0": 1_400_000, "M1": 200_000, "M2": 600_000}, seq=2)
    put(ledger, OCT, {"M1": 300_000, "M2": 600_500}, seq=3)
    # A refused value counts to the day that it is of: that of the period's end.
    one_more = VeeRun(PERIOD.first_day, date(2026, 10, 20), ZONE, BOOK)
    run_vee(ledger, one_more, actor="tester", now=NOW)
    run, lines = bill(ledger)
    assert of_point(lines, "T1/a") == [100_000]
    assert blocked(ledger, run) == {("T1/a", Cause.FINDING), ("T1/b", Cause.FINDING)}
    # Acknowledged, with who and why: what is stored is billed.
    assert say(ledger, Decision.ACCEPT, number_of(ledger, "V02", "M2")).decided
    assert blocked(ledger, run) == {("T1/a", Cause.FINDING)}
    # The other value is the right one: it is put in its place, and the run names who did.
    number = number_of(ledger, "V02", "M1")
    assert say(ledger, Decision.EDIT, number, 300_000).decided == [number]
    # What somebody puts in after a validation is looked at, too.
    assert blocked(ledger, run) == {("T1/a", Cause.NOT_VALIDATED)}
    validate_run(ledger, run, BY, who("an"))
    assert blocked(ledger, run) == set()
    make_version(ledger, run, BY, who("an"))
    (line,) = [one for one in version_lines(ledger, run) if one.point == "T1/a"]
    assert (line.billed, line.quality) == (200_000, LineQuality.SUBSTITUTED)
    (trace,) = [one for one in run_exceptions(ledger, run, BY) if one.cause is Cause.PUT_IN]
    assert (trace.point, trace.blocks) == ("T1/a", False)
    assert trace.detail.startswith("edit ")
    assert trace.detail.endswith("by chi: seen on the spot")
    with ledger.read() as uow:
        assert [entry.actor for entry in uow.audit.newest(20) if entry.action == "vee.edit"] == [
            "chi"
        ]
