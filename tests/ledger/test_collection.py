"""Collection: who lacks an index, who is unknown, and the account of every slot."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.tables import gaps, gateways, receipts
from collector.operations.collection import (
    accounting,
    last_indices,
    meters_without_index,
    unassigned_meters,
)
from tests.ledger.building import (
    EPOCH,
    FILES,
    GATEWAY,
    NOW,
    STATION,
    ZONE,
    import_files,
    midnight,
    put,
)

DAY = timedelta(days=1)
HALF_HOUR = timedelta(minutes=30)
T = midnight("2026-10-20")


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    import_files(ledger, tmp_path / "registry", FILES)
    return ledger


def test_meters_that_lack_the_index_of_a_day(station: Ledger, tmp_path: Path) -> None:
    put(station, T - DAY, {"M0": 1, "M1": 1})
    put(station, T, {"M0": 2}, seq=2)
    # Near to midnight, but not for it.
    put(station, T + HALF_HOUR, {"M1": 2}, seq=3)
    found = meters_without_index(station, day=date(2026, 10, 20), zone=ZONE)
    read_at = T + HALF_HOUR + timedelta(milliseconds=400)
    assert [(row.meter, row.point, row.last_read_at) for row in found] == [
        ("M1", "T1/a", read_at),
        ("M2", "T1/b", None),
    ]
    assert meters_without_index(station, day=date(2026, 10, 20), zone=ZONE, station="T1") == found
    # Before it was installed a meter lacks nothing, nor from the instant on that it was removed.
    assert meters_without_index(station, day=date(2025, 10, 20), zone=ZONE) == []
    removed = "point,meter,installed_at,removed_at\nT1/b,M2,2026-01-01,2026-10-20\n"
    assert import_files(station, tmp_path / "registry", {"installations.csv": removed}).written
    left = meters_without_index(station, day=date(2026, 10, 20), zone=ZONE)
    assert [row.meter for row in left] == ["M1"]
    with pytest.raises(NotFound):
        meters_without_index(station, day=date(2026, 10, 20), zone=ZONE, station="T9")


def test_unassigned_meters_until_they_are_installed(station: Ledger, tmp_path: Path) -> None:
    put(station, T, {"M1": 1, "M3": 4, "X1": 1})
    assert [row.meter for row in unassigned_meters(station)] == ["M3", "X1"]
    files = {
        "points.csv": "point,station,role,name\nT1/c,T1,household,C\n",
        "installations.csv": "point,meter,installed_at\nT1/c,M3,2026-10-01\n",
    }
    assert import_files(station, tmp_path / "registry", files).written
    [left] = unassigned_meters(station)
    assert (left.meter, left.first_read_at) == ("X1", left.last_read_at)


def test_the_last_index_of_each_point(station: Ledger) -> None:
    put(station, T, {"M0": 1, "M1": 5})
    put(station, T + DAY, {"M1": 6}, seq=2)
    a, b, head = last_indices(station, station=STATION, at=T + 2 * DAY)
    assert (a.value_wh, b.value_wh, b.read_at, head.value_wh) == (6, None, None, 1)
    assert last_indices(station, station=STATION, at=T + HALF_HOUR)[0].value_wh == 5
    with pytest.raises(NotFound):
        last_indices(station, station="T9", at=T)


def test_every_slot_of_every_meter_is_accounted_for(station: Ledger) -> None:
    _gateway(station, duplicates=3)
    # Two scans of one index slot: what the first missed, the second brought for M1 alone.
    _receipt(station, 1, T, reads=1, missing=2)
    _gap(station, 1, "scan", (T, T, 0), ["M1"], "timeout", kind="index")
    _gap(station, 1, "scan", (T, T, 0), ["M2"], "exception", ordinal=1, kind="index")
    _receipt(station, 2, T, reads=1, missing=1)
    _gap(station, 2, "scan", (T, T, 0), ["M2"], "timeout", kind="index")
    put(station, T, {"M0": 1, "M1": 1}, seq=2)
    # A plain interval scan, and slots that nobody scanned: 4 of 6 lie in the range.
    _receipt(station, 3, T + HALF_HOUR, reads=3, missing=0)
    _gap(
        station,
        4,
        "slots",
        (T + 42 * HALF_HOUR + DAY, T + 47 * HALF_HOUR + DAY, 1800),
        ["M0", "M1", "M2"],
        "gateway_down",
    )
    # A batch that had to be dropped, and two that never came.
    _gap(station, 5, "tombstone", (T + DAY, T + DAY, 0), ["M0", "M1"], "overflow")
    _gap(station, 6, "seq", (None, None, None), None, "lost", seq_to=7)
    to_at = T + DAY + 46 * HALF_HOUR
    for name in (GATEWAY, STATION):
        found = accounting(station, gateway_or_station=name, from_at=T, to_at=to_at)
        assert found.gateways == (GATEWAY,)
        assert (found.counts.slots, found.counts.had) == (2, 5)
        assert found.counts.missing == {"timeout": 1}
        assert found.counts.gaps == {"gateway_down": 12, "overflow": 2}
        assert found.counts.due == 5 + 1 + 14
        assert (found.counts.batches_lost, found.counts.duplicates) == (2, 3)
    # 4 slots of the same gap, from its third on.
    from_at = T + DAY + 44 * HALF_HOUR
    rest = accounting(station, gateway_or_station=GATEWAY, from_at=from_at, to_at=T + 2 * DAY)
    assert (rest.counts.gaps, rest.counts.slots) == ({"gateway_down": 12}, 0)
    before = accounting(station, gateway_or_station=GATEWAY, from_at=T - DAY, to_at=T)
    assert before.counts.due == 0


def test_a_slot_that_was_scanned_after_all_is_no_gap(station: Ledger) -> None:
    # A gateway restored from a copy lists slots as missed that it had scanned and delivered.
    _gateway(station, duplicates=0)
    _receipt(station, 1, T + HALF_HOUR, reads=3, missing=0)
    _gap(station, 2, "slots", (T, T + 3 * HALF_HOUR, 1800), ["M0", "M1", "M2"], "gateway_down")
    # What was dropped of a slot is missing although another batch of the slot came.
    _gap(station, 3, "tombstone", (T + HALF_HOUR, T + HALF_HOUR, 0), ["M3"], "overflow")
    found = accounting(station, gateway_or_station=GATEWAY, from_at=T, to_at=T + DAY)
    assert (found.counts.had, found.counts.gaps) == (3, {"gateway_down": 9, "overflow": 1})


def test_an_account_that_cannot_be_asked_for(station: Ledger) -> None:
    with pytest.raises(NotFound):
        accounting(station, gateway_or_station="GW-9", from_at=T, to_at=T + DAY)
    with pytest.raises(InvalidRequest):
        accounting(station, gateway_or_station=GATEWAY, from_at=T, to_at=T)


def _gateway(ledger: Ledger, *, duplicates: int) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(
            insert(gateways).values(
                gateway=GATEWAY,
                station=STATION,
                generation=1,
                first_seen_at=NOW,
                last_seen_at=NOW,
                online=True,
                status_count=0,
                batches=0,
                reads=0,
                duplicates=duplicates,
                quarantined=0,
            )
        )


def _receipt(ledger: Ledger, seq: int, slot: datetime, *, reads: int, missing: int) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(
            insert(receipts).values(
                gateway=GATEWAY,
                epoch=EPOCH,
                seq=seq,
                sha256=bytes(32),
                state="complete",
                content="scan",
                kind="index",
                slot=slot,
                reads=reads,
                missing=missing,
                received_at=NOW,
            )
        )


def _gap(
    ledger: Ledger,
    seq: int,
    source: str,
    span: tuple[datetime | None, datetime | None, int | None],
    meters: list[str] | None,
    reason: str,
    *,
    ordinal: int = 0,
    kind: str = "interval",
    seq_to: int | None = None,
) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(
            insert(gaps).values(
                gateway=GATEWAY,
                station=STATION,
                source=source,
                epoch=EPOCH,
                seq_from=seq,
                seq_to=seq if seq_to is None else seq_to,
                ordinal=ordinal,
                kind=kind,
                first_at=span[0],
                last_at=span[1],
                every_s=span[2],
                meters=meters,
                reason=reason,
                recorded_at=NOW,
            )
        )
