"""The schema's version: what it is, what this program needs, and the way from one to the other.

It drives alembic without a configuration file; it must not know what the tables are for.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from alembic.script.revision import Revision
from sqlalchemy import Connection

from collector.ledger.billing_tables import metadata

_FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Run what is missing up to the newest revision, in the connection's transaction."""
    script = _script()

    def steps(revision: str, _context: MigrationContext) -> list[RevisionStep]:
        # What alembic's own `upgrade` command does; there is no public way to it.
        return script._upgrade_revs("head", revision)  # noqa: SLF001

    with EnvironmentContext(_config(), script, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


def current_revision(connection: Connection) -> str | None:
    """The revision of the database; None where there is no schema."""
    return MigrationContext.configure(connection).get_current_revision()


@cache
def head_revision() -> str:
    """The revision that this version of the program works with."""
    head = _script().get_current_head()
    assert head is not None, "there is at least one revision"
    return head


def is_known(revision: str) -> bool:
    """Whether this version of the program has that revision, so that it has a way on from it."""
    return any(one.revision == revision for one in revisions())


def revisions() -> Sequence[Revision]:
    """All revisions, newest first."""
    return list(_script().walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
