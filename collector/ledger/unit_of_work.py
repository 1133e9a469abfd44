"""The ledger as one thing: its databases, its schema and its transactions.

It knows SQLite and PostgreSQL apart so that nobody else has to; it must not know what is billed.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeoutError,
)

from collector.errors import CollectorError, InvalidRequest, LedgerStateError, LedgerUnavailable
from collector.ledger.accounting import AccountingRepository
from collector.ledger.audit import AuditRepository
from collector.ledger.billing_runs import BillingRunRepository
from collector.ledger.bills import BillRepository
from collector.ledger.boundary_reads import BoundaryReadRepository
from collector.ledger.commands import CommandRepository
from collector.ledger.contracts import ContractRepository
from collector.ledger.coverage import CoverageRepository
from collector.ledger.daily_reads import DailyReadRepository
from collector.ledger.delivery import DeliveryRepository
from collector.ledger.demands import DemandRepository
from collector.ledger.findings import FindingRepository, ManualIndexRepository
from collector.ledger.idempotency import IdempotencyRepository
from collector.ledger.index_reads import IndexReadRepository
from collector.ledger.keys import KeyRepository
from collector.ledger.registry import RegistryRepository
from collector.ledger.registry_pages import RegistryPages
from collector.ledger.registry_rows import RegistryRows
from collector.ledger.replaced import ReplacedRows
from collector.ledger.schema import current_revision, head_revision, is_known, upgrade
from collector.ledger.snapshots import SnapshotRepository
from collector.ledger.validations import ValidationRepository
from collector.ledger.vee_facts import VeeFactRepository

# How long a writer waits for another one, in milliseconds. A group of batches commits in tens of
# milliseconds; a registry import of 10,000 meters in a few seconds.
BUSY_TIMEOUT_MS = 15_000

# How often a connection tries again to switch a new file to write-ahead logging, in seconds.
WAL_POLL_S = 0.005

# How long opening a connection to PostgreSQL may take, in seconds.
CONNECT_TIMEOUT_S = 5

# Connections of one process: intake, API requests and a command; more wait, then fail.
POOL_SIZE = 8
POOL_OVERFLOW = 8
POOL_TIMEOUT_S = 15.0

# SQLite's page cache per connection, in KiB: a billing day of 10,000 meters fits.
SQLITE_CACHE_KIB = 32_768

# How long one that does not want to wait waits for another writer, in milliseconds.
NO_WAIT_MS = 50

_READ_ONLY = "songlo_read_only"
_NO_WAIT = "songlo_no_wait"
_TOLD_WAIT = "songlo_told_wait"
_TOLD_READ_ONLY = "songlo_told_read_only"
_MIGRATE_HINT = "songlo collector migrate"


class UnitOfWork:
    """What one transaction may do, by subject."""

    def __init__(self, connection: Connection) -> None:
        self.delivery = DeliveryRepository(connection)
        self.demands = DemandRepository(connection)
        self.index_reads = IndexReadRepository(connection)
        self.registry = RegistryRepository(connection)
        self.contracts = ContractRepository(connection)
        self.registry_pages = RegistryPages(connection)
        self.registry_rows = RegistryRows(connection)
        self.replaced_rows = ReplacedRows(connection)
        self.snapshots = SnapshotRepository(connection)
        self.billing_runs = BillingRunRepository(connection)
        self.bills = BillRepository(connection)
        self.keys = KeyRepository(connection)
        self.audit = AuditRepository(connection)
        self.idempotency = IdempotencyRepository(connection)
        self.commands = CommandRepository(connection)
        self.coverage = CoverageRepository(connection)
        self.accounting = AccountingRepository(connection)
        self.daily_reads = DailyReadRepository(connection)
        self.boundary_reads = BoundaryReadRepository(connection)
        self.findings = FindingRepository(connection)
        self.manual_indices = ManualIndexRepository(connection)
        self.validations = ValidationRepository(connection)
        self.vee_facts = VeeFactRepository(connection)


class Ledger:
    """The ledger behind `url`: `sqlite:///PATH` or `postgresql+psycopg://user@host/database`.

    Safe to share between threads. Every method may raise LedgerUnavailable: nothing was changed
    then, and the same call may succeed later.
    """

    def __init__(self, url: str | URL, *, password: str | None = None) -> None:
        self._engine = _engine(url, password)

    def migrate(self) -> None:
        """Bring the schema to this version's, in one transaction; does nothing if it is there.

        Raises LedgerStateError where a later version made it.
        """
        with _translated(), self._engine.connect() as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                # Two processes that start at once must not both create the tables.
                connection.execute(text("SELECT pg_advisory_xact_lock(736672)"))
            found = current_revision(connection)
            if found is not None and not is_known(found):
                raise _unknown_schema(found)
            upgrade(connection)

    def check_schema(self) -> None:
        """Raises LedgerStateError unless the schema is exactly this version's."""
        with _translated(), self._engine.connect() as connection, connection.begin():
            found = current_revision(connection)
        if found is not None and not is_known(found):
            raise _unknown_schema(found)
        if found != head_revision():
            stored = "no schema" if found is None else f"schema {found}"
            raise LedgerStateError(
                f"the ledger has {stored}, this version works with {head_revision()}",
                hint=_MIGRATE_HINT,
            )

    @contextmanager
    def begin(self, *, wait: bool = True) -> Iterator[UnitOfWork]:
        """A write transaction: committed when the block ends, rolled back when it raises.

        Without `wait` it raises LedgerUnavailable at once where another writer is in the way.
        """
        options: dict[str, Any] = {} if wait else {_NO_WAIT: True}
        with (
            _translated(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            if not wait and connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = {NO_WAIT_MS}"))
            unit = UnitOfWork(connection)
            yield unit
            unit.audit.seal()

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """One consistent view of the ledger, whatever others commit meanwhile; writing fails."""
        options: dict[str, Any] = {_READ_ONLY: True}
        if self._engine.dialect.name == "postgresql":
            options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        with (
            _translated(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield UnitOfWork(connection)

    def close(self) -> None:
        """Release all connections. The ledger may be used again; it then opens new ones."""
        self._engine.dispose()


def _engine(url: str | URL, password: str | None) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _wrong_url(str(url)) from error
    if password is not None:
        parsed = parsed.set(password=password)
    pool: dict[str, Any] = {
        "pool_size": POOL_SIZE,
        "max_overflow": POOL_OVERFLOW,
        "pool_timeout": POOL_TIMEOUT_S,
    }
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"} and parsed.database not in {
        None,
        "",
        ":memory:",
    }:
        engine = create_engine(parsed, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername == "postgresql+psycopg":
        return create_engine(
            parsed,
            **pool,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
    raise _wrong_url(parsed.render_as_string(hide_password=True))


def _unknown_schema(found: str) -> LedgerStateError:
    return LedgerStateError(
        f"the ledger has schema {found}, which this version, of {head_revision()}, does not know",
        hint="a later version made it: install that one, or restore a backup from before it",
    )


def _wrong_url(url: str) -> InvalidRequest:
    return InvalidRequest(
        f"{url!r} is no address of a ledger",
        hint="use sqlite:///PATH or postgresql+psycopg://user@host/database",
    )


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch the file to write-ahead logging, which it then keeps.

    While another process uses a new file, SQLite refuses this at once instead of waiting as it
    does for every other lock ("PRAGMA journal_mode", busy handlers): so the waiting is done here.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_POLL_S)
        else:
            return


def _prepare_sqlite(dbapi_connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not open transactions by itself: _begin_sqlite says which kind it is.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    read_only = bool(options.get(_READ_ONLY))
    wait_ms = NO_WAIT_MS if options.get(_NO_WAIT) else BUSY_TIMEOUT_MS
    # What a connection was told it keeps, across transactions and the pool.
    info = connection.info
    if info.get(_TOLD_WAIT) != wait_ms:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
        info[_TOLD_WAIT] = wait_ms
    if info.get(_TOLD_READ_ONLY) != read_only:
        connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
        info[_TOLD_READ_ONLY] = read_only
    # IMMEDIATE waits for its turn at once; a later upgrade from a read lock could only fail.
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    """Database errors as the collector's own."""
    try:
        yield
    except PoolTimeoutError as error:
        raise LedgerUnavailable(
            "no free connection to the ledger", hint="try again; raise the pool if it persists"
        ) from error
    except DBAPIError as error:
        translated = _collector_error(error)
        if translated is None:
            raise
        raise translated from error


def _collector_error(error: DBAPIError) -> CollectorError | None:  # noqa: PLR0911  one a cause
    """What a database error means to a caller; None for a broken invariant (a bug)."""
    said = str(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    if "no such table" in said or state == "42P01":
        return LedgerStateError("the ledger has no tables, or old ones", hint=_MIGRATE_HINT)
    if isinstance(error, DataError) and "NUL" in said:
        # SQLite would take it; nothing that is stored anywhere has one.
        return InvalidRequest(
            "a name or text holds the character U+0000", hint="leave the character out"
        )
    if "readonly database" in said or state == "25006":
        return LedgerStateError(
            "the ledger cannot be written", hint="check who owns the file and its directory"
        )
    if "unable to open database file" in said:
        return LedgerUnavailable(
            "the ledger's file cannot be opened",
            hint="see that its folder exists and belongs to this account",
        )
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return LedgerUnavailable(
            f"the ledger cannot be used now: {said}", hint="it may pass; see that the database runs"
        )
    if isinstance(error, ProgrammingError) or type(error) is not DatabaseError:
        return None
    return LedgerStateError(f"the ledger is damaged: {said}", hint="restore it from a backup")
