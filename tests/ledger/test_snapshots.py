"""Snapshots: what they hold, that they stay, and what cannot be asked for."""

import hashlib
import json
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from collector.billing.exports.csv_export import snapshot_csv
from collector.billing.exports.json_export import snapshot_json
from collector.billing.values import SnapshotHead
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations.snapshots import (
    create_snapshot,
    get_snapshot,
    list_snapshots,
    snapshot_lines,
)
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, import_files, midnight, put

FROM, TO = midnight("2026-09-20"), midnight("2026-10-20")
EXCHANGE = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/a,M1,2026-01-01,2026-10-01T09:00:00+07:00,,12398200
T1/a,M3,2026-10-01T09:00:00+07:00,,300,
"""


@pytest.fixture
def billed(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A station with indices at both ends of the period: 4,000 Wh received, 3,500 sold."""
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, FROM, {"M0": 100_000, "M1": 1_000, "M2": 99_999_000})
    put(ledger, TO, {"M0": 104_000, "M1": 3_000, "M2": 500}, seq=2)
    return ledger


def make(ledger: Ledger, station: str | None = "T1", *, now: datetime = NOW) -> SnapshotHead:
    return create_snapshot(ledger, station=station, from_at=FROM, to_at=TO, actor="clerk", now=now)


def test_the_lines_of_a_plain_period(billed: Ledger) -> None:
    head = make(billed)
    text = b"".join(snapshot_csv(snapshot_lines(billed, head.id))).decode()
    assert text == (
        "point,meter,register,index_from_wh,index_to_wh,read_from_at,read_to_at,multiplier,"
        "consumption_wh,quality\n"
        "T1/a,M1,1-0:1.8.0,1000,3000,2026-09-19T17:00:00.400Z,2026-10-19T17:00:00.400Z,1,2000,A\n"
        # It rolled over at 100,000,000 Wh.
        "T1/b,M2,1-0:1.8.0,99999000,500,2026-09-19T17:00:00.400Z,2026-10-19T17:00:00.400Z,1,1500,A\n"
        "T1/head,M0,1-0:1.8.0,100000,104000,2026-09-19T17:00:00.400Z,2026-10-19T17:00:00.400Z,1,"
        "4000,A\n"
    )


def test_the_hash_is_that_of_the_canonical_json(billed: Ledger) -> None:
    head = make(billed)
    document = json.loads(b"".join(snapshot_json(head, snapshot_lines(billed, head.id))))
    assert document["id"] == head.id
    assert document["line_count"] == len(document["lines"]) == 3
    canonical = {key: document[key] for key in ("from_at", "to_at", "station", "lines")}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == head.sha256 == document["sha256"]


def test_it_is_found_again_and_recorded(billed: Ledger) -> None:
    first, second = make(billed), make(billed, None, now=NOW + timedelta(seconds=1))
    assert get_snapshot(billed, first.id) == first
    assert list_snapshots(billed) == [second, first]
    assert list_snapshots(billed, 1) == [second]
    assert (first.station, first.created_by, first.line_count) == ("T1", "clerk", 3)
    with billed.read() as uow:
        assert uow.audit.newest(1)[0].subject == second.id


def test_the_same_again_has_the_same_hash(billed: Ledger) -> None:
    assert make(billed).sha256 == make(billed, now=NOW + timedelta(hours=1)).sha256


def test_what_comes_later_changes_no_snapshot(billed: Ledger) -> None:
    head = make(billed)
    lines = list(snapshot_lines(billed, head.id))
    # A better read of the same slot: nearer to it.
    put(billed, TO, {"M1": 2_990}, offset=timedelta(0), seq=3)
    later = make(billed)
    assert later.sha256 != head.sha256
    assert list(snapshot_lines(billed, head.id)) == lines
    assert get_snapshot(billed, head.id) == head


def test_a_missing_read_is_replaced_by_the_nearest_and_flagged(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, FROM, {"M0": 100, "M1": 10})
    put(ledger, TO - timedelta(hours=2), {"M1": 15}, seq=2)
    put(ledger, TO, {"M0": 150}, seq=3)
    a, b, head = snapshot_lines(ledger, make(ledger).id)
    assert (a.consumption, a.quality.value) == (5, "S")
    assert a.read_to_at == TO - timedelta(hours=2) + timedelta(milliseconds=400)
    assert (b.index_from, b.index_to, b.consumption, b.quality.value) == (None, None, None, "N")
    assert (head.consumption, head.quality.value) == (50, "A")


def test_an_index_that_went_backwards_is_no_consumption(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, FROM, {"M1": 50_000_000})
    put(ledger, TO, {"M1": 49_000_000}, seq=2)
    line = next(snapshot_lines(ledger, make(ledger).id))
    assert (line.index_from, line.index_to) == (50_000_000, 49_000_000)
    assert (line.consumption, line.quality.value) == (None, "N")


def test_an_exchange_makes_two_lines(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    import_files(ledger, tmp_path / "registry", {"installations.csv": EXCHANGE})
    put(ledger, FROM, {"M1": 12_345_600})
    put(ledger, TO, {"M3": 101_900}, seq=2)
    old, new = list(snapshot_lines(ledger, make(ledger).id))[:2]
    assert (old.meter, old.consumption, old.quality.value) == ("M1", 52_600, "A")
    assert (new.meter, new.consumption, new.quality.value) == ("M3", 101_600, "A")
    assert old.read_to_at == new.read_from_at == midnight("2026-10-01") + timedelta(hours=9)


def test_an_exchange_without_indices_takes_the_nearest_reads(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    text = EXCHANGE.replace("12398200", "").replace("300", "", 1)
    assert import_files(ledger, tmp_path / "registry", {"installations.csv": text}).written
    exchange = midnight("2026-10-01") + timedelta(hours=9)
    put(ledger, FROM, {"M1": 1_000})
    put(ledger, exchange - timedelta(hours=1), {"M1": 1_500}, seq=2)
    put(ledger, exchange + timedelta(hours=1), {"M3": 10, "M1": 9_999}, seq=3)
    put(ledger, TO, {"M3": 40}, seq=4)
    old, new = list(snapshot_lines(ledger, make(ledger).id))[:2]
    assert (old.consumption, old.quality.value) == (500, "S")
    assert (new.consumption, new.quality.value) == (30, "S")


def test_a_multiplier_and_its_change(ledger: Ledger, tmp_path: Path) -> None:
    # Domain B13 i: 20 up to 1,234.56 kWh, 40 from there on: 1,711.2 kWh.
    rows = "T1/head,2026-01-01,20\nT1/head,2026-10-01,40\n"
    files = FILES | {"multipliers.csv": "point,from_at,multiplier\n" + rows}
    import_files(ledger, tmp_path / "registry", files)
    put(ledger, FROM, {"M0": 1_200_000})
    put(ledger, midnight("2026-10-01"), {"M0": 1_234_560}, seq=2)
    put(ledger, TO, {"M0": 1_260_060}, seq=3)
    before, after = list(snapshot_lines(ledger, make(ledger).id))[2:]
    assert (before.multiplier, before.consumption) == (Fraction(20), 691_200)
    assert (after.multiplier, after.consumption) == (Fraction(40), 1_020_000)


def test_all_billing_registers_of_a_meter_have_lines(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    registers = ("1-0:3.8.0", "1-0:1.6.0", "1-0:2.8.0", IMPORT_ACTIVE)
    put(ledger, FROM, {"M0": (5, 900, 7, 9)}, registers=registers)
    put(ledger, TO, {"M0": (6, 800, 7, 19)}, registers=registers, seq=2)
    lines = [line for line in snapshot_lines(ledger, make(ledger).id) if line.point == "T1/head"]
    # The greatest demand is no index: it is not here.
    assert [(line.register, line.consumption) for line in lines] == [
        ("1-0:1.8.0", 10),
        ("1-0:2.8.0", 0),
        ("1-0:3.8.0", 1),
    ]


@pytest.mark.parametrize(
    ("from_at", "to_at", "said"),
    [
        (TO, FROM, "not before"),
        (FROM, FROM, "not before"),
        (FROM, NOW + timedelta(milliseconds=1), "in the future"),
        (FROM.replace(tzinfo=None), TO, "no offset"),
        (FROM + timedelta(microseconds=1), TO, "finer than a millisecond"),
        (midnight("2025-01-01"), midnight("2025-02-01"), "no meter was installed"),
    ],
)
def test_a_period_that_cannot_be_is_refused(
    billed: Ledger, from_at: datetime, to_at: datetime, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        create_snapshot(billed, station="T1", from_at=from_at, to_at=to_at, actor="x", now=NOW)
    assert caught.value.hint
    assert list_snapshots(billed) == []


def test_an_empty_registry_and_unknown_names(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no installed meters") as caught:
        make(ledger, None)
    assert caught.value.code == "empty_registry"
    assert "registry import" in caught.value.hint
    with pytest.raises(NotFound, match="T1"):
        make(ledger)
    with pytest.raises(NotFound):
        get_snapshot(ledger, "nothing")
    with pytest.raises(NotFound):
        snapshot_lines(ledger, "nothing")
    for limit in (0, 1001):
        with pytest.raises(InvalidRequest):
            list_snapshots(ledger, limit)


def test_lines_are_handed_out_in_pages(billed: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    head = make(billed)
    whole = list(snapshot_lines(billed, head.id))
    monkeypatch.setattr("collector.operations.snapshots.PAGE_LINES", 2)
    assert list(snapshot_lines(billed, head.id)) == whole
