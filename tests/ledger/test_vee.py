"""Validation over the ledger: findings, found again, gone; what people decide of them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.findings import Decision, FindingFilter, ManualIndex, ManualKind
from collector.operations.commands import BrokerUnavailable
from collector.operations.deciding import DecidedAt, DecideReport, Deciding
from collector.operations.findings import BULK_MAX, decide, enter_index
from collector.operations.vee import VeeReport, VeeRun, list_findings, run_vee
from collector.operations.vee_files import load_limits
from collector.vee.values import Finding, Severity
from contract.commands import decode_command
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put

BOOK = load_limits(None)
DAY = timedelta(days=1)
START = midnight("2026-10-01")
RATES = ("1-0:1.8.0", "1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")
OCTOBER = VeeRun(date(2026, 10, 1), date(2026, 10, 4), ZONE, BOOK)
PLACE = DecidedAt(BOOK, ZONE, NOW)


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    import_files(ledger, tmp_path / "registry", FILES)
    return ledger


def read(ledger: Ledger, values: Mapping[str, list[int | None]]) -> None:
    """A day's index after the other from 1 October on, by meter."""
    for number in range(max(len(of) for of in values.values())):
        there = {
            meter: value
            for meter, of in values.items()
            if number < len(of) and (value := of[number]) is not None
        }
        if there:
            put(ledger, START + number * DAY, there, seq=number + 1)


GOOD: dict[str, list[int | None]] = {
    "M0": [0, 9_000, 18_000, 27_000, 36_000],
    "M1": [0, 1_000, 2_000, 3_000, 4_000],
    "M2": [0, 2_000, 4_000, 6_000, 8_000],
}


def run(ledger: Ledger, of: VeeRun = OCTOBER, *, dry_run: bool = False) -> VeeReport:
    return run_vee(ledger, of, actor="tester", now=NOW, dry_run=dry_run)


def queue(ledger: Ledger, wanted: FindingFilter | None = None) -> list[tuple[str, str]]:
    return [
        (one.finding.rule, one.finding.meter)
        for one in list_findings(ledger, wanted or FindingFilter())
    ]


def ask(ledger: Ledger, decision: Decision, wanted: FindingFilter, **more: object) -> DecideReport:
    deciding = replace(Deciding(decision, "An", "looked at it"), **more)  # type: ignore[arg-type]
    return decide(ledger, wanted, deciding, PLACE)


def test_good_indices_have_no_findings(station: Ledger) -> None:
    read(station, GOOD)
    report = run(station)
    assert (report.meters, report.days_due, report.days_missing) == (3, 15, 0)
    assert report.found.total() == 0
    assert report.applied["V01"] == report.applied["V03"] == 3
    assert queue(station) == []


def test_a_run_again_finds_the_same_and_adds_nothing(station: Ledger) -> None:
    read(station, {**GOOD, "M1": [5, 1_000, None, 3_000, 2_000], "M2": [7] * 5})
    first = run(station)
    assert first.found == {"V01": 1, "V03": 1, "V06": 1}
    assert first.new == 3
    assert (first.days_due, first.days_missing) == (15, 1)
    before = list_findings(station, FindingFilter())
    again = run(station)
    assert (again.new, again.gone, again.reopened) == (0, 0, 0)
    assert list_findings(station, FindingFilter()) == before
    assert queue(station) == [("V01", "M1"), ("V03", "M1"), ("V06", "M2")]
    facts = before[1].finding.facts
    assert (facts["index_from_wh"], facts["index_to_wh"]) == (3_000, 2_000)
    # Its own day sees the same index standing still as the whole period does.
    assert run(station, replace(OCTOBER, first_day=OCTOBER.last_day)).new == 0


def test_a_dry_run_counts_and_writes_nothing(station: Ledger) -> None:
    read(station, {**GOOD, "M1": [0, None, 2_000]})
    report = run(station, dry_run=True)
    assert report.found["V01"] == 3
    assert not report.written
    assert queue(station) == []
    with station.read() as uow:
        assert [entry.action for entry in uow.audit.newest(1)] != ["vee.run"]


def test_what_a_late_read_heals_is_gone_and_what_comes_back_is_open_again(
    station: Ledger,
) -> None:
    read(station, {**GOOD, "M1": [0, 1_000, None, 3_000, 4_000]})
    run(station)
    (stored,) = list_findings(station, FindingFilter())
    with station.begin() as uow:
        hand = ManualIndex(
            ManualKind.EDIT, "T1/a", "M1", IMPORT_ACTIVE, START + 2 * DAY, 2_000, "An", NOW, "seen"
        )
        uow.manual_indices.add(hand)
    assert run(station).gone == 1
    assert queue(station) == []
    (closed,) = list_findings(station, FindingFilter(open=False))
    assert (closed.id, closed.decision, closed.author) == (stored.id, Decision.GONE, "vee")
    with station.begin() as uow:
        uow.manual_indices.add(replace(hand, value=None))
    assert run(station).reopened == 1
    assert queue(station) == [("V01", "M1")]
    with station.read() as uow:
        assert [one.decision for one in uow.findings.history(stored.id)] == [
            Decision.GONE,
            Decision.REOPENED,
        ]


def test_what_a_person_has_accepted_stays_accepted(station: Ledger) -> None:
    read(station, {**GOOD, "M2": [7] * 5})
    run(station)
    report = ask(station, Decision.ACCEPT, FindingFilter(rule="V06"))
    assert len(report.decided) == 1
    assert run(station).reopened == 0
    assert queue(station) == []


def test_what_a_rule_that_did_not_apply_had_found_stays(station: Ledger, tmp_path: Path) -> None:
    read(station, {**GOOD, "M2": [7] * 5})
    run(station)
    limits = tmp_path / "limits.yaml"
    limits.write_text("defaults:\n  rules:\n    V06: {enabled: false}\n", encoding="utf-8")
    assert run(station, replace(OCTOBER, book=load_limits(limits))).gone == 0
    assert queue(station) == [("V06", "M2")]


def test_refused_values_sums_and_rates(station: Ledger) -> None:
    read(station, {"M0": GOOD["M0"], "M2": GOOD["M2"]})
    for number in range(5):
        at = START + number * DAY
        put(
            station,
            at,
            {"M1": [number * 1000, number * 500, number * 400, number * 60]},
            registers=RATES,
            seq=9,
        )
    put(station, START, {"M2": 1}, seq=10)
    report = run(station)
    # 4,000 against 3,840 Wh, with 30 to spare; the value that came second.
    assert report.found == {"V08": 1, "V02": 1}
    assert report.applied["V11"] == 1


def test_a_meter_that_goes_on_after_its_removal(ledger: Ledger, tmp_path: Path) -> None:
    exchange = FILES["installations.csv"].replace(
        "T1/a,M1,2026-01-01,,,",
        "T1/a,M1,2026-01-01,2026-10-02T00:00:00+07:00,,1000\nT1/a,M3,2026-10-02T00:00:00+07:00,,0,",
    )
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": exchange})
    read(ledger, {**GOOD, "M3": [None, None, 1_000, 2_000, 3_000]})
    run(ledger)
    assert queue(ledger) == [("V07", "M1")]
    (found,) = list_findings(ledger, FindingFilter())
    assert found.finding.facts["energy_wh"] == 3_000


def test_consumption_against_the_period_before_over_a_change_of_multiplier(
    ledger: Ledger, tmp_path: Path
) -> None:
    files = {**FILES, "multipliers.csv": "point,from_at,multiplier\nT1/a,2026-10-15,2\n"}
    import_files(ledger, tmp_path / "registry", files)
    for number in range(-28, 29):
        at = START + number * DAY
        step = 5_000 * (number + 28)
        put(ledger, at, {"M0": step, "M1": step, "M2": step}, seq=number + 40)
    month = replace(OCTOBER, last_day=date(2026, 10, 28))
    run(ledger, month)
    # Twice the multiplier for half of the days: half as much again, which is not beyond 50 %.
    (found,) = list_findings(ledger, FindingFilter())
    assert (found.finding.rule, found.finding.severity) == ("V04", Severity.WARNING)
    assert found.finding.facts["percent"] == 50
    assert found.finding.facts["energy_wh"] == 5_000 * 14 + 5_000 * 14 * 2


def test_a_head_meter_is_judged_by_its_half_hours(station: Ledger) -> None:
    from collector.ledger.index_reads import IndexBlock
    from contract.messages import ScanKind

    half = timedelta(minutes=30)
    with station.begin() as uow:
        for number in range(2 * 48 + 1):
            if number in {5, 6}:
                continue
            at = START + number * half
            kind = ScanKind.INDEX if number % 48 == 0 else ScanKind.INTERVAL
            value = 100 * number + (number % 2)
            block = IndexBlock("G", "0" * 32, 1, kind, at, [IMPORT_ACTIVE], [("M0", 0, [value], 0)])
            uow.index_reads.insert_many([block], NOW)
    report = run(station, replace(OCTOBER, last_day=date(2026, 10, 2)))
    assert report.applied["V12"] == 1
    (found,) = list_findings(station, FindingFilter(meter="M0"))
    assert (found.finding.variant, found.finding.facts["intervals"]) == ("intervals", 46)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 10, 2), date(2026, 10, 1)),
        (date(2026, 1, 1), date(2026, 3, 4)),
        (date(2026, 11, 24), date(2026, 11, 25)),
    ],
)
def test_periods_that_cannot_be(station: Ledger, first: date, last: date) -> None:
    with pytest.raises(InvalidRequest):
        run(station, VeeRun(first, last, ZONE, BOOK))


def test_a_station_that_is_not_known(station: Ledger) -> None:
    with pytest.raises(NotFound):
        run(station, replace(OCTOBER, station="T9"))
    assert run(station, replace(OCTOBER, station="T1")).meters == 3


# --- decisions --------------------------------------------------------------------------------


@pytest.fixture
def missing(station: Ledger) -> Ledger:
    """M1 lacks 3 October, M2 lacks 2 and 3 October."""
    read(
        station,
        {**GOOD, "M1": [0, 1_000, None, 3_001, 4_000], "M2": [0, None, None, 6_000, 8_000]},
    )
    run(station)
    assert queue(station) == [("V01", "M1"), ("V01", "M2"), ("V01", "M2")]
    return station


def standing(ledger: Ledger) -> dict[tuple[str, int], ManualIndex]:
    with ledger.read() as uow:
        found = uow.manual_indices.standing({"M1", "M2"}, START, START + 9 * DAY)
    return {(one.meter, (one.at - START) // DAY): one for one in found}


def test_an_estimate_in_bulk_by_filter(missing: Ledger) -> None:
    report = ask(missing, Decision.ESTIMATE, FindingFilter(rule="V01"))
    assert len(report.decided) == 3
    assert report.refused == []
    found = standing(missing)
    assert {key: one.value for key, one in found.items()} == {
        ("M1", 2): 2_000,
        # To the instants really read, 400 ms after the days' starts, and rounded down.
        ("M2", 1): 1_999,
        ("M2", 2): 3_999,
    }
    one = found["M1", 2]
    assert (one.method, one.author, one.original_value) == ("E1", "An", None)
    assert one.inputs is not None
    assert one.inputs["after_wh"] == 3_001
    assert queue(missing) == []
    # It stands for the day from now on: the run does not miss it any more, and reopens nothing.
    again = run(missing)
    assert (again.days_missing, again.new, again.reopened) == (0, 0, 0)
    with missing.read() as uow:
        (entry,) = uow.audit.newest(1)[:1]
    assert entry.action == "vee.run"


def test_a_dry_run_says_what_would_be_estimated(missing: Ledger) -> None:
    deciding = Deciding(Decision.ESTIMATE, "An", "looked at it")
    report = decide(missing, FindingFilter(), deciding, PLACE, dry_run=True)
    assert sorted(one.value or 0 for one in report.indices) == [1_999, 2_000, 3_999]
    assert not report.written
    assert len(queue(missing)) == 3
    assert standing(missing) == {}


def test_an_estimate_does_not_cross_an_exchange(ledger: Ledger, tmp_path: Path) -> None:
    exchange = FILES["installations.csv"].replace(
        "T1/a,M1,2026-01-01,,,",
        "T1/a,M1,2026-01-01,2026-10-02T12:00:00+07:00,,\nT1/a,M3,2026-10-02T12:00:00+07:00,,,",
    )
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": exchange})
    read(ledger, {**GOOD, "M1": [0, None], "M3": [None, None, None, 500, 1_000]})
    run(ledger)
    assert queue(ledger) == [("V01", "M1"), ("V01", "M3")]
    report = ask(ledger, Decision.ESTIMATE, FindingFilter())
    assert report.decided == []
    assert len(report.refused) == 2
    assert all("E1 not_given" in reason for _, reason in report.refused)
    assert len(queue(ledger)) == 2


def test_methods_that_somebody_answers_for_are_asked_for_by_name(missing: Ledger) -> None:
    report = ask(missing, Decision.ESTIMATE, FindingFilter(meter="M1"), method="E6")
    assert report.refused[0][1].endswith("E6 no_history")
    with pytest.raises(InvalidRequest, match="agreed"):
        ask(missing, Decision.ESTIMATE, FindingFilter(), method="E5")
    with pytest.raises(InvalidRequest, match="method"):
        ask(missing, Decision.ACCEPT, FindingFilter(), method="E1")


def test_an_edit_is_of_one_finding_and_lies_between_its_neighbours(missing: Ledger) -> None:
    (stored,) = list_findings(missing, FindingFilter(meter="M1"))
    one = FindingFilter(ids=[stored.id])
    with pytest.raises(InvalidRequest, match="one finding"):
        ask(missing, Decision.EDIT, FindingFilter(), value=2_500)
    with pytest.raises(InvalidRequest, match="needs the index"):
        ask(missing, Decision.EDIT, one)
    assert "fall" in ask(missing, Decision.EDIT, one, value=999).refused[0][1]
    assert "fall" in ask(missing, Decision.EDIT, one, value=3_002).refused[0][1]
    assert standing(missing) == {}
    report = ask(missing, Decision.EDIT, one, value=2_500, photo="IMG-7")
    assert report.decided == [stored.id]
    found = standing(missing)["M1", 2]
    assert (found.kind, found.value, found.photo) == (ManualKind.EDIT, 2_500, "IMG-7")
    with missing.read() as uow:
        (decision,) = uow.findings.history(stored.id)
    assert decision.manual_index is not None
    # Twice is refused, and said.
    assert "already" in ask(missing, Decision.ACCEPT, one).refused[0][1]


def test_what_is_not_about_one_day_is_not_estimated(station: Ledger) -> None:
    read(station, {**GOOD, "M2": [7] * 5})
    run(station)
    report = ask(station, Decision.ESTIMATE, FindingFilter())
    assert report.refused[0][1].startswith("V06 is not about")


@pytest.mark.parametrize(
    "deciding",
    [
        Deciding(Decision.GONE, "An", "why"),
        Deciding(Decision.ACCEPT, "An", " "),
        Deciding(Decision.ACCEPT, "An", "x" * 501),
        Deciding(Decision.ACCEPT, "An", "why", value=5),
        Deciding(Decision.EDIT, "An", "why", value=-1),
    ],
)
def test_decisions_that_cannot_be(missing: Ledger, deciding: Deciding) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decide(missing, FindingFilter(ids=[1]), deciding, PLACE)
    assert caught.value.hint


def test_an_id_that_there_is_not(missing: Ledger) -> None:
    with pytest.raises(NotFound, match="999"):
        ask(missing, Decision.ACCEPT, FindingFilter(ids=[1, 999]))
    assert len(queue(missing)) == 3


def test_more_than_can_be_decided_at_once(station: Ledger) -> None:
    found = [
        Finding("V01", Severity.WARNING, "T1/a", "M1", "", str(number), START, START, facts={})
        for number in range(BULK_MAX + 1)
    ]
    with station.begin() as uow:
        assert uow.findings.add(found, NOW) == BULK_MAX + 1
        assert uow.findings.add(found[:3], NOW) == 0
    with pytest.raises(InvalidRequest, match="at once"):
        decide(station, FindingFilter(), Deciding(Decision.ACCEPT, "An", "why"), PLACE)


class Desk:
    """Takes commands, or does not."""

    def __init__(self, *, takes: bool) -> None:
        self.takes = takes
        self.sent: list[tuple[str, list[str] | None]] = []

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        del retain, timeout_s
        self.sent.append((topic.split("/")[2], decode_command(payload).arguments.meters))
        return self.takes


def known_gateway(ledger: Ledger, name: str) -> None:
    from sqlalchemy import insert

    from collector.ledger.tables import gateways

    counts = dict.fromkeys(("batches", "reads", "duplicates", "quarantined", "status_count"), 0)
    with ledger.begin() as uow:
        uow.findings._connection.execute(
            insert(gateways).values(
                gateway=name,
                generation=1,
                first_seen_at=NOW,
                last_seen_at=NOW,
                online=True,
                **counts,
            )
        )


def test_to_read_again_sends_one_command_to_each_gateway(missing: Ledger) -> None:
    known_gateway(missing, "GW-1")
    desk = Desk(takes=True)
    place = replace(PLACE, sender=desk)
    deciding = Deciding(Decision.RE_READ, "An", "again, please")
    report = decide(missing, FindingFilter(), deciding, place)
    assert desk.sent == [("GW-1", ["M1", "M2"])]
    assert len(report.decided) == 3
    assert len(report.commands) == 1
    # It waits for what the meter says.
    assert len(queue(missing)) == 3
    assert {one.decision for one in list_findings(missing, FindingFilter())} == {Decision.RE_READ}


def test_what_somebody_else_decides_meanwhile_is_not_decided_twice(missing: Ledger) -> None:
    known_gateway(missing, "GW-1")
    (first, *_) = list_findings(missing, FindingFilter(meter="M1"))

    class Slow(Desk):
        def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
            ask(missing, Decision.ACCEPT, FindingFilter(ids=[first.id]))
            return super().send(topic, payload, retain=retain, timeout_s=timeout_s)

    deciding = Deciding(Decision.RE_READ, "Bình", "again, please")
    report = decide(missing, FindingFilter(), deciding, replace(PLACE, sender=Slow(takes=True)))
    assert report.refused == [(first.id, "it was decided meanwhile")]
    assert len(report.decided) == 2
    (stored,) = list_findings(missing, FindingFilter(ids=[first.id], open=None))
    assert (stored.decision, stored.author) == (Decision.ACCEPT, "An")


def test_what_cannot_be_sent_is_not_decided(missing: Ledger) -> None:
    known_gateway(missing, "GW-1")
    deciding = Deciding(Decision.RE_READ, "An", "again, please")
    with pytest.raises(BrokerUnavailable):
        decide(missing, FindingFilter(), deciding, replace(PLACE, sender=Desk(takes=False)))
    with pytest.raises(InvalidRequest):
        decide(missing, FindingFilter(), deciding, PLACE)
    assert {one.decision for one in list_findings(missing, FindingFilter())} == {None}


def test_filters(missing: Ledger) -> None:
    for wanted, count in (
        (FindingFilter(rule="V01"), 3),
        (FindingFilter(rule="V02"), 0),
        (FindingFilter(station="T1"), 3),
        (FindingFilter(station="T2"), 0),
        (FindingFilter(point="T1/a"), 1),
        (FindingFilter(severity=Severity.WARNING), 3),
        (FindingFilter(severity=Severity.BLOCK), 0),
        (FindingFilter(from_at=START + 2 * DAY), 2),
        (FindingFilter(to_at=START + DAY), 1),
        (FindingFilter(open=False), 0),
        (FindingFilter(open=None), 3),
    ):
        assert len(list_findings(missing, wanted)) == count, wanted
        with missing.read() as uow:
            assert sum(uow.findings.counts(wanted).values()) == count
    first, *rest = list_findings(missing, FindingFilter())
    assert list_findings(missing, FindingFilter(), after_id=first.id) == rest
    assert list_findings(missing, FindingFilter(), limit=1) == [first]
    with pytest.raises(InvalidRequest):
        list_findings(missing, FindingFilter(), limit=0)


# --- an index by hand -------------------------------------------------------------------------


def by_hand(value: int | None, at: datetime, **more: str) -> ManualIndex:
    base = {"point": "T1/a", "meter": "M1", "register": IMPORT_ACTIVE, "reason": "line is down"}
    of = base | more
    return ManualIndex(
        ManualKind.HAND,
        of["point"],
        of["meter"],
        of["register"],
        at,
        value,
        "An",
        NOW,
        of["reason"],
        photo="IMG-9",
    )


def test_an_index_by_hand_stands_where_it_is_the_nearest(missing: Ledger) -> None:
    enter_index(missing, by_hand(2_100, START + 2 * DAY + timedelta(hours=2)), NOW)
    report = run(missing)
    assert (report.gone, report.days_missing) == (1, 2)
    with missing.read() as uow:
        actions = {entry.action for entry in uow.audit.newest(9)}
    assert "index.enter" in actions


@pytest.mark.parametrize(
    ("value", "at", "more"),
    [
        (-1, START, {}),
        (5, NOW + DAY, {}),
        (5, START + timedelta(microseconds=1), {}),
        (5, START, {"register": "1-0:32.7.0"}),
        (5, START, {"register": "nonsense"}),
        (5, START, {"reason": ""}),
    ],
)
def test_indices_by_hand_that_cannot_be(
    missing: Ledger, value: int, at: datetime, more: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequest):
        enter_index(missing, by_hand(value, at, **more), NOW)


def test_an_index_by_hand_of_a_meter_that_was_not_there(missing: Ledger) -> None:
    with pytest.raises(NotFound):
        enter_index(missing, by_hand(5, START, point="T1/b"), NOW)
    with pytest.raises(NotFound):
        enter_index(missing, by_hand(5, midnight("2025-01-01")), NOW)
