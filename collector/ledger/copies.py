"""Copies of a ledger while others write to it, and ledgers made of such copies.

SQLite is copied by its own backup interface, PostgreSQL by `pg_dump` and `pg_restore`. Owns that a
copy is one instant's, and that nothing is put over what is there; it must not know what is in it.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url

from collector.errors import Conflict, LedgerStateError, LedgerUnavailable
from collector.ledger.schema import current_revision
from collector.ledger.unit_of_work import _engine, _translated

SQLITE_FILE = "ledger.sqlite3"
POSTGRESQL_FILE = "ledger.pgdump"

_TOOLS_HINT = "install PostgreSQL's client programs, of the server's version or a later one"
_NOT_EMPTY_HINT = "restore into a new place: name another ledger in the collector file, or move it"


@dataclass(frozen=True, slots=True)
class LedgerCopy:
    """What a copy holds: its schema (None: none) and the rows of each table."""

    schema: str | None
    rows: Mapping[str, int]


def file_of(url: str) -> str:
    """The name of a copy of the ledger at `url`."""
    return SQLITE_FILE if url.startswith("sqlite") else POSTGRESQL_FILE


def copy_ledger(url: str, password: str | None, target: Path) -> LedgerCopy:
    """Copy the ledger as it is at one instant to the new file `target`.

    Writers go on meanwhile. Raises LedgerUnavailable or LedgerStateError.
    """
    if url.startswith("sqlite"):
        _copy_sqlite(_sqlite_path(url), target)
        return look_at_sqlite(target)
    engine = _engine(url, password)
    try:
        with (
            _translated(),
            engine.connect().execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ) as connection,
            connection.begin(),
        ):
            # The dump and the counts are of the same instant, which this transaction holds.
            snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            found = _contents(connection)
            _run_tool(
                "pg_dump", "--format=custom", "--no-owner", "--no-privileges",
                f"--snapshot={snapshot}", f"--file={target}", _libpq_url(url),
                password=password,
            )  # fmt: skip
    finally:
        engine.dispose()
    target.chmod(0o600)
    return found


def look_at_sqlite(path: Path) -> LedgerCopy:
    """What a copied file holds. Raises LedgerStateError where it is damaged."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            faults = [row[0] for row in db.execute("PRAGMA integrity_check")]
            faults = [] if faults == ["ok"] else faults
            faults += [str(row) for row in db.execute("PRAGMA foreign_key_check")]
            if not faults:
                return _contents_of_sqlite(db)
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    raise LedgerStateError(f"{path} is damaged: {faults[0]}", hint="use another backup")


def look_at_dump(path: Path) -> None:
    """Raises LedgerStateError where `pg_restore` cannot read an archive to its end."""
    try:
        # To nowhere: as SQL, so that every block of data is read and unpacked.
        _run_tool("pg_restore", f"--file={os.devnull}", str(path), password=None)
    except LedgerUnavailable as error:
        raise LedgerStateError(f"{path} is damaged: {error}", hint="use another backup") from error


def check_empty(url: str, password: str | None) -> None:
    """Raises Conflict where something is at `url` already."""
    if url.startswith("sqlite"):
        path = _sqlite_path(url)
        for one in (path, path.with_name(f"{path.name}-wal")):
            if one.exists():
                raise Conflict(f"{one} is there already", hint=_NOT_EMPTY_HINT)
        return
    if _look(url, password).rows:
        raise Conflict("the ledger's database has tables already", hint=_NOT_EMPTY_HINT)


def put_ledger(source: Path, url: str, password: str | None) -> LedgerCopy:
    """Make the ledger at `url`, where nothing is, of the copy `source`; whole or not at all."""
    check_empty(url, password)
    if not url.startswith("sqlite"):
        _run_tool(
            "pg_restore", "--single-transaction", "--exit-on-error", "--no-owner",
            "--no-privileges", f"--dbname={_libpq_url(url)}", str(source), password=password,
        )  # fmt: skip
        return _look(url, password)
    target = _sqlite_path(url)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.chmod(0o600)
        sync(part)
        found = look_at_sqlite(part)
        part.rename(target)
        sync(target.parent)
    except OSError as error:
        raise LedgerUnavailable(
            f"{target} cannot be written: {error.strerror or error}",
            hint="see that its folder exists, belongs to this account and has room",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return found


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.exists():
        raise LedgerUnavailable(f"{source} is not there", hint="see `ledger` in the collector file")
    try:
        with (
            contextlib.closing(sqlite3.connect(source, timeout=15)) as db,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            # In one step, which is one read transaction: in several, each commit of a collector
            # would have it begin anew, and under load it would never end.
            db.backup(copy, pages=-1)
            # A file by itself, without a log beside it that could be forgotten.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as error:
        raise LedgerUnavailable(
            f"{source} cannot be copied: {error}", hint="it may pass; see that there is room"
        ) from error
    target.chmod(0o600)


def _contents_of_sqlite(db: sqlite3.Connection) -> LedgerCopy:
    names = [
        row[0]
        for row in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
    ]
    rows = {
        name: int(db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608  a name of the file's own
        for name in sorted(names)
    }
    schema = None
    if rows.get("alembic_version"):
        schema = str(db.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    return LedgerCopy(schema, rows)


def _look(url: str, password: str | None) -> LedgerCopy:
    engine = _engine(url, password)
    try:
        with _translated(), engine.connect() as connection, connection.begin():
            return _contents(connection)
    finally:
        engine.dispose()


def _contents(connection: Connection) -> LedgerCopy:
    names = sorted(inspect(connection).get_table_names())
    rows = {
        name: int(connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one())  # noqa: S608  a name of the database's own
        for name in names
    }
    return LedgerCopy(current_revision(connection), rows)


def _run_tool(program: str, *arguments: str, password: str | None) -> None:
    found = shutil.which(program)
    if found is None:
        raise LedgerUnavailable(f"the program {program} is not installed", hint=_TOOLS_HINT)
    # By the environment, where other accounts of the machine cannot see it as they see arguments.
    given = {} if password is None else {"PGPASSWORD": password}
    done = subprocess.run(  # noqa: S603  a program found by name, arguments of our own
        [found, *arguments],
        env={**os.environ, **given},  # noqa: TID251  what the program itself is told by it
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise LedgerUnavailable(f"{program}: {said[0]}", hint=_TOOLS_HINT)


def _sqlite_path(url: str) -> Path:
    return Path(make_url(url).database or "")


def _libpq_url(url: str) -> str:
    """The same address without the driver's name, and without a password among the arguments."""
    parsed = make_url(url).set(drivername="postgresql", password=None)
    return parsed.render_as_string(hide_password=False)
