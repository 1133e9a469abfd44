"""A real PostgreSQL server: a cluster of its own in a temporary folder, on a free port.

Root cannot run PostgreSQL, so under root it runs as the account `postgres` of the Debian package.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.services.process import ServerProcess, ServiceFailed, find_program, free_port

PACKAGE = "postgresql"
INITDB_TIMEOUT_S = 60


def _folders() -> list[Path]:
    """The folders with the server's programs, newest version first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda path: float(path.parent.name), reverse=True)


class PostgresServer:
    """One server. Without `durable` it does not fsync: faster, and of no use after a power cut."""

    host = "127.0.0.1"
    user = "postgres"

    def __init__(self, *, durable: bool = False) -> None:
        folders = _folders()
        self._initdb = find_program("initdb", PACKAGE, folders)
        program = find_program("postgres", PACKAGE, folders)
        self._account = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="songlo-postgres-"))
        self._names = (f"test_{number}" for number in itertools.count(1))
        if self._account is not None:
            shutil.chown(self.folder, self._account, self._account)
        self.port = free_port()
        settings = [
            f"port={self.port}",
            f"listen_addresses={self.host}",
            f"unix_socket_directories={self.folder}",
            "max_connections=200",
            "shared_buffers=64MB",
        ]
        if not durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        command = [program, "-D", str(self.folder / "data")]
        for setting in settings:
            command += ["-c", setting]
        self.process = ServerProcess(
            "postgres",
            command,
            self.folder / "postgres.log",
            self._answers,
            user=self._account,
            # "Fast": open transactions are rolled back, not waited for.
            stop_signal=signal.SIGINT,
        )

    def start(self) -> None:
        """Make the cluster at the first call, start it, and return when it takes connections."""
        if not (self.folder / "data").exists():
            self._make_cluster()
        self.process.start()

    def stop(self) -> None:
        """End it in an orderly way; open transactions are rolled back."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL to the server and all its workers."""
        self.process.kill()
        # A killed server leaves its lock behind; the next start checks the id in it, which by
        # then may be some other process of the same account.
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        """Stop and start on the same port, with its data."""
        self.process.restart()

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.process.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """A new database, empty or a copy of one that nobody is connected to.

        Returns its URL for SQLAlchemy with psycopg 3.
        """
        name = name or next(self._names)
        copied = f' TEMPLATE "{template}"' if template else ""
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"{copied}'.encode())
        return f"postgresql+psycopg://{self.user}@{self.host}:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = url.rsplit("/", 1)[1]
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _dsn(self, database: str) -> str:
        return f"host={self.host} port={self.port} user={self.user} dbname={database}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_cluster(self) -> None:
        made = subprocess.run(
            [
                self._initdb,
                f"--pgdata={self.folder / 'data'}",
                f"--username={self.user}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            timeout=INITDB_TIMEOUT_S,
            user=self._account,
            group=self._account,
            extra_groups=None if self._account is None else [],
        )
        if made.returncode != 0:
            raise ServiceFailed(f"initdb failed:\n{made.stdout}{made.stderr}")
