"""The schema of the ledger: the way to it, and what the database refuses by itself."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from collector.errors import InvalidRequest, LedgerStateError, LedgerUnavailable
from collector.ledger import Ledger
from collector.ledger.findings import (
    Decision,
    FindingFilter,
    ManualIndex,
    ManualKind,
    NewDecision,
)
from collector.ledger.schema import current_revision, head_revision, revisions, upgrade
from collector.ledger.tables import metadata
from collector.operations.snapshots import create_snapshot
from collector.vee.values import Finding, Severity
from tests.ledger.building import FILES, NOW, import_files, midnight, put
from tests.services.process import free_port


def test_migrations_and_tables_agree(ledger: Ledger) -> None:
    with ledger._engine.connect() as connection, connection.begin():
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_again_does_nothing(ledger: Ledger) -> None:
    ledger.migrate()
    ledger.check_schema()


def test_there_is_one_head_and_every_revision_has_a_parent() -> None:
    found = revisions()
    assert found[0].revision == head_revision()
    assert [one.down_revision for one in found] == [one.revision for one in found[1:]] + [None]


def test_an_empty_database_is_refused_with_what_to_do(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    with pytest.raises(LedgerStateError, match="no schema") as caught:
        ledger.check_schema()
    assert caught.value.hint == "songlo collector migrate"
    with pytest.raises(LedgerStateError) as caught, ledger.read() as uow:
        uow.registry.stations()
    assert caught.value.hint == "songlo collector migrate"
    ledger.close()


def test_a_schema_of_another_version_is_refused(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for look in (ledger.check_schema, ledger.migrate):
        with pytest.raises(LedgerStateError, match="9999") as caught:
            look()
        assert "a later version made it" in caught.value.hint


def test_a_migration_that_is_cut_off_leaves_nothing(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    with ledger._engine.connect() as connection:
        connection.begin()
        upgrade(connection)
        assert current_revision(connection) == head_revision()
        # The connection goes without a commit, as that of a killed process does.
    with pytest.raises(LedgerStateError, match="no schema"):
        ledger.check_schema()
    ledger.migrate()
    ledger.check_schema()
    ledger.close()


def test_processes_that_migrate_at_once_do_it_once(ledger_url: str) -> None:
    ledgers = [Ledger(ledger_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Ledger.migrate, ledgers))
    for ledger in ledgers:
        ledger.check_schema()
        ledger.close()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    # SQLite does not wait for the switch to write-ahead logging; one round seldom shows it.
    for number in range(30):
        ledgers = [Ledger(f"sqlite:///{tmp_path / f'{number}.sqlite'}") for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(Ledger.migrate, ledgers))
        for ledger in ledgers:
            ledger.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE index_reads SET value = value + 1",
        "DELETE FROM index_reads",
        "UPDATE snapshots SET sha256 = 'x'",
        "DELETE FROM snapshots",
        "UPDATE snapshot_lines SET consumption = 0",
        "DELETE FROM snapshot_lines",
        "UPDATE findings SET severity = 'warning'",
        "DELETE FROM findings",
        "UPDATE finding_decisions SET reason = 'x'",
        "DELETE FROM finding_decisions",
        "UPDATE manual_indices SET value = 0",
        "DELETE FROM manual_indices",
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
    ],
)
def test_the_database_refuses_to_amend_what_is_billed(
    ledger: Ledger, tmp_path: Path, statement: str
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, midnight("2026-10-01"), {"M1": 100})
    create_snapshot(
        ledger,
        station=None,
        from_at=midnight("2026-10-01"),
        to_at=midnight("2026-11-01"),
        actor="tester",
        now=NOW,
    )
    with ledger.begin() as uow:
        at = midnight("2026-10-01")
        uow.findings.add(
            [Finding("V01", Severity.WARNING, "T1/a", "M1", "", "k", at, at, facts={})], NOW
        )
        (stored,) = uow.findings.find(FindingFilter(), 1)
        uow.findings.decide([NewDecision(stored.id, Decision.ACCEPT, "tester", NOW, "seen")])
        uow.manual_indices.add(
            ManualIndex(ManualKind.HAND, "T1/a", "M1", "1-0:1.8.0", at, 1, "tester", NOW, "read")
        )
    with (
        pytest.raises(IntegrityError, match="append-only"),
        ledger._engine.begin() as connection,
    ):
        connection.execute(text(statement))


def test_postgresql_refuses_to_empty_what_is_billed(postgres_url: str) -> None:
    ledger = Ledger(postgres_url)
    ledger.migrate()
    with (
        pytest.raises(IntegrityError, match="append-only"),
        ledger._engine.begin() as connection,
    ):
        connection.execute(text("TRUNCATE index_reads"))
    ledger.close()


def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database, but it is long enough to look at" * 100)
    ledger = Ledger(f"sqlite:///{path}")
    with pytest.raises(LedgerStateError, match="damaged"):
        ledger.check_schema()
    ledger.close()


def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    for url in (
        f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none",
        f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'ledger.db'}",
    ):
        ledger = Ledger(url)
        with pytest.raises(LedgerUnavailable):
            ledger.migrate()
        ledger.close()


@pytest.mark.parametrize("url", ["", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_an_address_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Ledger(url)
    assert "sqlite:///PATH" in caught.value.hint


def test_a_password_is_used_and_never_shown() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Ledger("mysql://host/db", password="secret-word")
    assert "secret-word" not in str(caught.value)
