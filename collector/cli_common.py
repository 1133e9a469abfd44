"""What the commands of `songlo collector` have in common: options, errors as messages, who acts.

It must not know any command.
"""

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from collector.app import open_ledger
from collector.clock import system_now
from collector.config import CollectorConfig, load_config
from collector.errors import CollectorError
from collector.ledger import Ledger
from collector.operations.run_facts import Acting
from collector.readings.port import StoreUnavailable

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The collector file (docs/collector-file.md).")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")
]

NOBODY_LOGGED_IN = 2**32 - 1


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Expected failures as one message with its hint, and exit code 1."""
    try:
        yield
    except CollectorError as error:
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        raise typer.Exit(1) from error
    except StoreUnavailable as error:
        typer.echo(f"error: {error}", err=True)
        typer.echo("hint: see that the reading store runs and can be reached", err=True)
        raise typer.Exit(1) from error


def actor() -> str:
    """Who gives the command, for the audit trail: the account's name, cut to what it holds."""
    return f"command:{login_name()}"[:64]


def login_name() -> str:
    """The account that logged in, also behind sudo; where nobody did, the one that runs this.

    From the kernel alone (proc(5), loginuid): a variable of the environment says what anybody
    likes, and whoever approves must be another person. An account without a name is its number.
    """
    try:
        logged_in = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        logged_in = NOBODY_LOGGED_IN
    number = os.getuid() if logged_in == NOBODY_LOGGED_IN else logged_in
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def acting(reason: str = "") -> Acting:
    """Who gives the command, now, and why."""
    return Acting(actor(), system_now(), reason)


def load_config_or_exit(path: Path) -> CollectorConfig:
    """The collector file; its faults are printed and end the command."""
    with reported():
        return load_config(path)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def configured(config: Path) -> Iterator[tuple[Ledger, CollectorConfig]]:
    """The ledger of a collector file, its schema checked; expected failures end the command."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        yield ledger, settings
