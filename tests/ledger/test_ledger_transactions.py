"""Transactions of the ledger: all or nothing, one view, and no writing while reading."""

import sqlite3
import threading
from pathlib import Path

import pytest

from collector.errors import InvalidRequest, LedgerStateError, LedgerUnavailable
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.registry.values import Station
from tests.ledger.building import NOW
from tests.services import PostgresServer


class Stop(Exception):
    pass


def add_and_stop(ledger: Ledger) -> None:
    with ledger.begin() as uow:
        uow.registry.add_stations([Station("T1", "one")])
        uow.audit.add(AuditEntry(NOW, "tester", "add", "T1", {"n": 1}))
        raise Stop


def test_a_block_that_raises_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(Stop):
        add_and_stop(ledger)
    with ledger.read() as uow:
        assert uow.registry.stations() == []
        assert uow.audit.newest(10) == []


def test_a_block_that_ends_is_kept(ledger: Ledger) -> None:
    entry = AuditEntry(NOW, "tester", "add", "T1", {"n": 1})
    with ledger.begin() as uow:
        uow.registry.add_stations([Station("T1", "một", "Sông Lô", 250)])
        uow.audit.add(entry)
    with ledger.read() as uow:
        assert uow.registry.stations() == [Station("T1", "một", "Sông Lô", 250)]
        assert uow.audit.newest(10) == [entry]


def test_reading_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(LedgerStateError), ledger.read() as uow:
        uow.registry.add_stations([Station("T1", "one")])
    # The same connection may write again afterwards.
    with ledger.begin() as uow:
        uow.registry.add_stations([Station("T1", "one")])


def test_a_reader_sees_one_moment(ledger: Ledger) -> None:
    with ledger.read() as reader:
        assert reader.registry.stations() == []
        with ledger.begin() as writer:
            writer.registry.add_stations([Station("T1", "one")])
        assert reader.registry.stations() == []
    with ledger.read() as reader:
        assert len(reader.registry.stations()) == 1


def test_writers_wait_for_each_other(ledger: Ledger) -> None:
    first_is_in = threading.Event()

    def write_first() -> None:
        with ledger.begin() as uow:
            uow.registry.add_stations([Station("T1", "one")])
            first_is_in.set()
            # Long enough that the other one does have to wait.
            threading.Event().wait(0.3)

    thread = threading.Thread(target=write_first)
    thread.start()
    assert first_is_in.wait(10)
    # It looks before it writes: what it saw must still be so when it does.
    with ledger.begin() as uow:
        seen = uow.registry.stations()
        uow.registry.add_stations([Station("T2", "two")])
    thread.join()
    assert ledger_is_postgresql(ledger) or [row.station for row in seen] == ["T1"]
    with ledger.read() as uow:
        assert [row.station for row in uow.registry.stations()] == ["T1", "T2"]


def test_a_ledger_that_somebody_holds_is_unavailable_and_then_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.ledger.unit_of_work.BUSY_TIMEOUT_MS", 50)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable), ledger.begin():
        pass
    with ledger.read() as uow:
        assert uow.registry.stations() == []
    holder.execute("ROLLBACK")
    holder.close()
    with ledger.begin() as uow:
        uow.registry.add_stations([Station("T1", "one")])
    ledger.close()


def test_a_server_that_goes_away_is_unavailable_and_then_works(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    ledger = Ledger(postgres_url)
    ledger.migrate()
    postgres_server.stop()
    with pytest.raises(LedgerUnavailable) as caught, ledger.begin():
        pass
    assert caught.value.hint
    postgres_server.start()
    with ledger.begin() as uow:
        uow.registry.add_stations([Station("T1", "one")])
    ledger.close()


def test_a_server_that_dies_within_a_transaction_leaves_nothing() -> None:
    with PostgresServer(durable=True) as server:
        ledger = Ledger(server.create_database())
        ledger.migrate()

        def write_while_it_dies() -> None:
            with ledger.begin() as uow:
                uow.registry.add_stations([Station("T1", "one")])
                server.kill()
                uow.registry.add_stations([Station("T2", "two")])

        with pytest.raises(LedgerUnavailable):
            write_while_it_dies()
        server.start()
        with ledger.read() as uow:
            assert uow.registry.stations() == []
        ledger.close()


def ledger_is_postgresql(ledger: Ledger) -> bool:
    # There, writers wait for each other by row, not by ledger.
    return ledger._engine.dialect.name == "postgresql"


def test_a_character_that_no_text_has_is_an_invalid_request(postgres_url: str) -> None:
    ledger = Ledger(postgres_url)
    ledger.migrate()
    with pytest.raises(InvalidRequest, match=r"U\+0000"), ledger.read() as uow:
        uow.registry.stations("T\0")
    ledger.close()
