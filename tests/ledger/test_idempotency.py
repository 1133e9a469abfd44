"""A request that comes twice makes one thing, on both databases and at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.idempotency import KEPT, Once
from collector.operations.snapshots import create_snapshot, list_snapshots
from tests.ledger.building import FILES, NOW, import_files, midnight, put

ONCE = Once("billing", "october", "a" * 64)


def make(ledger: Ledger, once: Once | None, *, late: timedelta = timedelta(0)) -> str:
    head = create_snapshot(
        ledger,
        station=None,
        from_at=midnight("2026-10-01"),
        to_at=midnight("2026-11-01"),
        actor="billing",
        now=NOW + late,
        once=once,
    )
    return head.id


def fill(ledger: Ledger, folder: Path) -> None:
    import_files(ledger, folder, FILES)
    put(ledger, midnight("2026-10-01"), {"M1": 100})


def test_the_same_request_again_gets_the_same_snapshot(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path / "registry")
    first = make(ledger, ONCE)
    assert make(ledger, ONCE, late=KEPT - timedelta(seconds=1)) == first
    assert make(ledger, None) != first
    assert make(ledger, Once("other", "october", "b" * 64)) != first
    assert make(ledger, Once("billing", "november", "b" * 64)) != first
    with pytest.raises(Conflict) as caught:
        make(ledger, Once("billing", "october", "b" * 64))
    assert caught.value.code == "idempotency_key_reused"
    assert len(list_snapshots(ledger)) == 4
    # After a week the token is anyone's again.
    assert make(ledger, ONCE, late=KEPT) != first
    with ledger.read() as uow:
        assert uow.idempotency.find(Once("billing", "november", "b" * 64), NOW) is None


def test_the_same_request_from_several_makes_one_snapshot(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path / "registry")
    start = threading.Barrier(4)

    def at_once(_: int) -> str:
        start.wait(10)
        return make(ledger, ONCE)

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(at_once, range(4)))
    assert len(made) == 1
    assert len(list_snapshots(ledger)) == 1


def test_snapshots_in_pages_with_equal_instants(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path / "registry")
    for number in range(7):
        make(ledger, None, late=timedelta(seconds=number // 3))
    whole = [head.id for head in list_snapshots(ledger)]
    seen: list[str] = []
    while page := list_snapshots(ledger, 2, seen[-1] if seen else None):
        seen += [head.id for head in page]
    assert seen == whole
    assert len(set(seen)) == 7
