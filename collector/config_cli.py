"""`songlo collector config`: sign station files and send them to their gateways.

Owns words, exit codes (0: done, 1: not done) and the files of keys; no rule is decided here.
"""

import contextlib
import os
import stat
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from collector import signing
from collector.app import open_desk, open_ledger
from collector.cli_common import (
    ConfigOption,
    DryRunOption,
    actor,
    configured,
    load_config_or_exit,
    reported,
)
from collector.clock import system_now
from collector.errors import InvalidRequest
from collector.intake.desk import CommandDesk
from collector.ledger import Ledger
from collector.operations import station_files
from contract.limits import CONFIG_BYTES_MAX
from contract.messages import ConfigRefusal, ConfigStatus, MessageError, encode
from contract.signed_config import SignedConfig, decode_config
from contract.topics import ConfigTopic, build

BROKER_WAIT_S = 10.0
RETAINED_WAIT_S = 1.0
WAIT_S_MAX = 24 * 3_600
POLL_S = 0.5

_PRIVATE_MODE = 0o600

app = typer.Typer(no_args_is_help=True, help="Station files for gateways, signed.")

StationFile = Annotated[Path, typer.Argument(help="The station file.")]
KeyOption = Annotated[Path, typer.Option("--key", help="The private key's file, mode 0600.")]


@app.command()
def keygen(
    name: Annotated[Path, typer.Argument(help="Makes NAME.key (private) and NAME.pub.")],
) -> None:
    """Make a pair of keys; neither file may exist."""
    private, public = (name.with_name(name.name + suffix) for suffix in (".key", ".pub"))
    with reported():
        for path in (private, public):
            if path.exists():
                raise InvalidRequest(f"{path} exists and is kept", hint="choose another name")
        private_text, public_text = signing.new_key_pair()
        try:
            for path, text, mode in (
                (private, private_text, _PRIVATE_MODE),
                (public, public_text, 0o644),
            ):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(text + "\n")
        except OSError as error:
            raise InvalidRequest(f"{error.filename}: {error.strerror}") from error
    typer.echo(f"{private}  keep it where station files are signed, and nowhere else")
    typer.echo(f"{public}  goes to every gateway: config.public_key_file")


@app.command()
def sign(
    station_file: StationFile,
    key: KeyOption,
    version: Annotated[int, typer.Option(min=1, help="Higher than any before.")],
    output: Annotated[Path, typer.Option(help="Where the signed message is written.")],
) -> None:
    """Sign a station file, on a computer that need not reach the broker."""
    with reported():
        config = _signed(station_file, key, version, system_now())
        try:
            output.write_bytes(encode(config) + b"\n")
        except OSError as error:
            raise InvalidRequest(f"{output}: {error.strerror}") from error
    typer.echo(f"{output}: version {config.version} for gateway {config.gateway}")


@app.command()
def publish(
    station_file: Annotated[Path, typer.Argument(help="The station file, or what `sign` wrote.")],
    config: ConfigOption,
    key: Annotated[
        Path | None, typer.Option("--key", help="Sign with this key; none: it is signed already.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="With --key; by default the next one.")
    ] = None,
    wait: Annotated[
        int,
        typer.Option("--wait", min=0, max=WAIT_S_MAX, help="Seconds to wait for confirmation."),
    ] = 0,
    dry_run: DryRunOption = False,
) -> None:
    """Send a station file to its gateway; with --wait, exit 1 unless it is confirmed in time."""
    settings = load_config_or_exit(config)
    now = system_now()
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        desk = open_desk(settings, ledger)
        with desk.opened(BROKER_WAIT_S):
            signed = _to_publish(ledger, desk, station_file, key, version)
            status = station_files.gateway_config(ledger, signed.gateway, now).status
            station_files.check_version(signed, status)
            if dry_run:
                typer.echo(f"would send version {signed.version} to gateway {signed.gateway}")
                return
            station_files.publish(ledger, desk, signed, actor=actor(), now=now)
        typer.echo(f"version {signed.version} was sent to gateway {signed.gateway}")
        if wait and not _confirmed(
            ledger, signed, wait, None if status is None else status.refused
        ):
            raise typer.Exit(1)


@app.command()
def show(
    gateway: Annotated[str, typer.Option("--gateway", "-g", help="The gateway's name.")],
    config: ConfigOption,
) -> None:
    """Print which station file a gateway runs, and which one the broker holds for it."""
    with configured(config) as (ledger, settings):
        found = station_files.gateway_config(ledger, gateway, system_now())
        desk = open_desk(settings, ledger)
        with desk.opened(BROKER_WAIT_S):
            retained = _retained(desk, gateway)
    if not found.known:
        typer.echo("the gateway was never heard of")
    elif found.status is None:
        typer.echo("the gateway takes no station file from here: it has no section 'config'")
    else:
        typer.echo(f"in force: {_said(found.status)}")
        if (refused := found.status.refused) is not None:
            text = f"version {refused.version} ({refused.code}): {refused.text}"
            typer.echo(f"last refused: {text}")
    if retained is None:
        typer.echo("at the broker: none")
    else:
        at = retained.issued_at.isoformat(timespec="seconds")
        typer.echo(f"at the broker: version {retained.version}, signed {at}")


def _to_publish(
    ledger: Ledger, desk: CommandDesk, path: Path, key: Path | None, version: int | None
) -> SignedConfig:
    if key is None:
        return _signed_before(path)
    if version is None:
        gateway = station_files.gateway_of(_text(path))
        known = station_files.gateway_config(ledger, gateway, system_now())
        version = station_files.next_version(known.status, _retained(desk, gateway))
    return _signed(path, key, version, system_now())


def _signed(path: Path, key: Path, version: int, now: datetime) -> SignedConfig:
    text = _text(path)
    signed = signing.signed_config(
        _private_key(key),
        gateway=station_files.gateway_of(text),
        version=version,
        issued_at=now.replace(microsecond=0),
        station_file=text,
    )
    station_files.check_size(signed)
    return signed


def _signed_before(path: Path) -> SignedConfig:
    try:
        return decode_config(_text(path).strip().encode())
    except MessageError as error:
        raise InvalidRequest(
            f"{path} is not signed: {error}",
            hint="give --key to sign it now, or sign it with: songlo collector config sign",
        ) from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > CONFIG_BYTES_MAX:
            raise InvalidRequest(f"{path} has more than {CONFIG_BYTES_MAX} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from error


def _private_key(path: Path) -> str:
    text = _text(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidRequest(
            f"{path} can be read by others",
            hint=f"chmod 600 {path}, and make a new pair if others may have read it",
        )
    if signing.public_key_of(text) is None:
        raise InvalidRequest(
            f"{path} holds no private key", hint="make one with: songlo collector config keygen"
        )
    return text


def _retained(desk: CommandDesk, gateway: str) -> SignedConfig | None:
    payload = desk.retained(build(ConfigTopic(gateway)), RETAINED_WAIT_S)
    if not payload:
        return None
    try:
        return decode_config(payload)
    except MessageError:
        return None


def _confirmed(
    ledger: Ledger, signed: SignedConfig, wait_s: int, before: ConfigRefusal | None
) -> bool:
    """Wait until the gateway says that it is confirmed or refused, and print which.

    `before` was refused before it was sent, perhaps the same version, and says nothing of it.
    """
    deadline = time.monotonic() + wait_s
    said = ""
    while time.monotonic() < deadline:
        known = station_files.gateway_config(ledger, signed.gateway, system_now())
        status = known.status or ConfigStatus()
        refused = status.refused
        if refused is not None and refused.version == signed.version and refused != before:
            typer.echo(f"refused ({refused.code}): {refused.text}", err=True)
            return False
        if status.version == signed.version and not status.trial:
            typer.echo("it is confirmed")
            return True
        if status.version == signed.version and said != "trial":
            said = "trial"
            typer.echo("it is on trial", err=True)
        time.sleep(POLL_S)
    typer.echo(f"not confirmed within {timedelta(seconds=wait_s)}", err=True)
    if before is not None and before.version == signed.version:
        typer.echo(f"it was refused before ({before.code}): {before.text}", err=True)
    return False


def _said(status: ConfigStatus) -> str:
    name = f"version {status.version}" if status.version else "the gateway's own file"
    return f"{name}, on trial" if status.trial else name
