"""What intake asks of SQLite with every group must not grow with the history behind it."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event

from collector.ledger import Ledger
from collector.ledger.daily_reads import DailyReadRepository
from collector.ledger.findings import FindingFilter, FindingRepository
from collector.ledger.index_reads import IndexReadRepository
from collector.ledger.progress import ProgressRepository
from collector.ledger.receipts import BatchKey, ReceiptRows

NOW = datetime(2026, 11, 24, tzinfo=UTC)
EPOCH = "0123456789abcdef" * 2


def _settle(connection: Connection) -> None:
    ProgressRepository(connection).settle({"GW1", "GW2"}, NOW)


def _acks(connection: Connection) -> None:
    ProgressRepository(connection).acks(["GW1", "GW2"], NOW)


def _look(connection: Connection) -> None:
    ReceiptRows(connection).look([BatchKey("GW1", EPOCH, 1), BatchKey("GW1", EPOCH, 2)])


def _compare(connection: Connection) -> None:
    IndexReadRepository(connection)._stored([(1, "M1", "1-0:1.8.0"), (1, "M2", "1-0:1.8.0")])


def _slots(connection: Connection) -> None:
    list(DailyReadRepository(connection).for_slots({"M1", "M2"}, [NOW]))


def _decisions(connection: Connection) -> None:
    FindingRepository(connection).find(FindingFilter(), 10)


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (_settle, {"r": "(gateway=? AND epoch=? AND seq>?)", "g": "(gateway=? AND epoch=?)"}),
        (_acks, {"r": "(gateway=? AND epoch=? AND seq>?)", "g": "(gateway=? AND epoch=?)"}),
        (_look, {"r": "(gateway=? AND epoch=? AND seq=?)"}),
        (_compare, {"i": "(at=? AND meter=? AND register=?)"}),
        (_slots, {"i": "(meter=? AND at>? AND at<?)"}),
        (
            _decisions,
            {"finding_decisions": "(rowid=?) LEFT-JOIN", "finding_decisions_1": "(finding=?)"},
        ),
    ],
    ids=["settle", "acks", "look", "compare", "slots", "decisions"],
)
def test_the_long_tables_are_searched_by_their_whole_key(
    ask: Callable[[Connection], None], wanted: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}").migrate()
    engine = create_engine(f"sqlite:///{path}")
    plans: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def explain(
        _connection: Connection,
        cursor: sqlite3.Cursor,
        statement: str,
        parameters: tuple[object, ...],
        *_: object,
    ) -> None:
        rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.extend(row[3] for row in rows)

    with engine.connect() as connection:
        ask(connection)
    engine.dispose()
    for table, by in wanted.items():
        touching = [plan for plan in plans if f"SEARCH {table} " in plan or f"SCAN {table}" in plan]
        assert touching, f"{table} was not asked: {plans}"
        for plan in touching:
            assert plan.endswith(by), plan
