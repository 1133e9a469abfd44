"""`songlo collector backup` and `restore`: what a collector keeps, as a folder and back.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do).
"""

from pathlib import Path
from typing import Annotated

import typer

from collector.cli_common import ConfigOption, reported
from collector.clock import system_now
from collector.config import CollectorConfig, DuckDbConfig, load_config, read_secret
from collector.operations.backup import (
    Backup,
    Place,
    check_backup,
    make_backup,
    restore_backup,
)

BYTES_PER_MB = 1_000_000

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The backup's folder.")]


def backup(
    folder: FolderArgument,
    config: ConfigOption,
    check: Annotated[
        bool, typer.Option("--check", help="Copy nothing: compare a backup with its manifest.")
    ] = False,
    ledger_only: Annotated[
        bool, typer.Option("--ledger-only", help="Leave the readings out.")
    ] = False,
) -> None:
    """Copy ledger and readings into a new folder while collectors work."""
    with reported():
        settings = load_config(config)
        if check:
            _say("is whole", folder, check_backup(folder))
            return
        made = make_backup(_place(settings, ledger_only), folder, now=system_now())
    _say("was made", folder, made)
    if not isinstance(settings.readings, DuckDbConfig):
        typer.echo("the readings are InfluxDB's own: back them up with its tools (influx backup)")


def restore(folder: FolderArgument, config: ConfigOption) -> None:
    """Put a backup, checked first, where the collector file says and nothing is yet."""
    with reported():
        restored = restore_backup(_place(load_config(config), ledger_only=False), folder)
    _say("is in place", folder, restored)
    typer.echo(
        "now, before any collector starts: songlo collector migrate, then songlo collector"
        " restored, so that gateways send again what came after it"
    )


def _place(settings: CollectorConfig, ledger_only: bool) -> Place:
    password = settings.ledger_password_file
    readings = settings.readings
    return Place(
        settings.ledger,
        None if password is None else read_secret(password),
        readings.path if isinstance(readings, DuckDbConfig) and not ledger_only else None,
    )


def _say(what: str, folder: Path, found: Backup) -> None:
    readings = "no readings"
    if found.readings_rows is not None:
        readings = f"{found.readings_rows} rows of readings"
    typer.echo(
        f"{folder} {what}: of {found.made_at}, schema {found.schema},"
        f" {sum(found.ledger_rows.values())} rows of the ledger, {readings},"
        f" {found.bytes_all / BYTES_PER_MB:.1f} MB"
    )
