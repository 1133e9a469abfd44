"""From every earlier schema, with data, killed half way: the old schema or the new, never between.

A kill while a transaction is under way is tried at chosen statements: SQLite and PostgreSQL both
take back what was not committed, tables included, and alembic's steps are in one transaction.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from collector.errors import LedgerStateError
from collector.ledger import Ledger
from collector.ledger.schema import current_revision, head_revision, revisions
from collector.ledger.tables import to_ms
from tests.ledger.building import midnight
from tests.ledger.migrator import main as migrate_and_die
from tests.ledger.test_registry_migration import STORED, upgrade_to
from tests.services import PostgresServer, free_port

OLD = [one.revision for one in reversed(revisions())][:-1]


@dataclass
class Databases:
    """Makes databases of one kind that are copies of one another."""

    kind: str
    folder: Path
    server: PostgresServer | None

    def new(self, template: str | None = None) -> str:
        if self.server is not None:
            name = None if template is None else template.rsplit("/", 1)[1]
            return self.server.create_database(template=name)
        path = self.folder / f"{free_port()}.db"
        if template is not None:
            shutil.copyfile(template.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    if request.param == "sqlite":
        yield Databases("sqlite", tmp_path, None)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.start()
    made: list[str] = []
    create = server.create_database

    class Remembering:
        def create_database(self, *, template: str | None = None) -> str:
            made.append(create(template=template))
            return made[-1]

    yield Databases("postgresql", tmp_path, Remembering())  # type: ignore[arg-type]
    for url in made:
        server.drop_database(url)


def filled(url: str, revision: str) -> str:
    """A ledger of an old schema with a village's registry in it."""
    ledger = Ledger(url)
    at = to_ms(midnight("2026-01-01"))
    with ledger._engine.begin() as connection:
        upgrade_to(connection, revision)
        for table, rows in STORED.items():
            connection.execute(text(f"INSERT INTO {table} VALUES {rows.format(at=at)}"))
    ledger.close()
    return url


def look(url: str) -> tuple[str | None, frozenset[str], dict[str, int]]:
    """The revision, the tables, and how many rows of those that were filled there are."""
    ledger = Ledger(url)
    with ledger._engine.connect() as connection, connection.begin():
        rows = {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in (name.split(" ")[0] for name in STORED)
        }
        tables = frozenset(inspect(connection).get_table_names())
        found = current_revision(connection), tables, rows
    ledger.close()
    return found


def in_a_child(url: str, last: int, out: Path) -> int | None:
    """Migrate in a process killed before statement `last`; how many there were, None if killed."""
    child = os.fork()
    if child == 0:
        os._exit(_child(url, last, out))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.waitstatus_to_exitcode(status) == 0, out.read_text()
    return int(out.read_text())


def _child(url: str, last: int, out: Path) -> int:
    try:
        out.write_text(str(migrate_and_die(url, last)))
    except BaseException as error:  # noqa: BLE001  it is told to the parent
        out.write_text(repr(error))
        return 1
    return 0


def test_killed_half_way_from_every_schema_the_next_migration_completes(
    databases: Databases, tmp_path: Path
) -> None:
    for revision in OLD:
        old = filled(databases.new(), revision)
        before = look(old)
        assert before[0] == revision
        whole = databases.new(old)
        statements = in_a_child(whole, 0, tmp_path / "out")
        assert statements is not None
        after = look(whole)
        assert after[0] == head_revision()
        assert after[2] == before[2]
        for last in sorted({2, statements // 2, statements}):
            url = databases.new(old)
            assert in_a_child(url, last, tmp_path / "out") is None
            found = look(url)
            assert found == before, f"from {revision}, killed before statement {last}"
            ledger = Ledger(url)
            with pytest.raises(LedgerStateError, match=f"schema {revision}") as caught:
                ledger.check_schema()
            assert caught.value.hint == "songlo collector migrate"
            ledger.migrate()
            ledger.check_schema()
            ledger.close()
            assert look(url) == after
