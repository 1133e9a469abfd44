"""The commands of `songlo fleet`: each opens the folder, does one act and prints.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do; `check`: 1 if
something needs a person). No rule of the authority's is decided here.
"""

import contextlib
import json
import secrets
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from contract.limits import ENROLMENT_BYTES_MAX
from fleet import operations
from fleet.book import TOKEN_LIFETIME, TOKEN_LIFETIME_MAX, Kind, said
from fleet.clock import system_now
from fleet.errors import FleetError
from fleet.folder import Folder, opened, replace_file

PASSPHRASE_CHARS_MIN = 12
TOKEN_RANDOM_BYTES = 16

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The fleet's authority: certificates of gateways, services and the broker.",
)

CaOption = Annotated[Path, typer.Option("--ca", help="The authority's folder.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Holds the keys' passphrase; none: it is asked for."),
]
HostOption = Annotated[
    list[str] | None, typer.Option("--host", help="A name or address that reaches the broker.")
]
GatewayArgument = Annotated[str, typer.Argument(help="The gateway's name.")]
OutputOption = Annotated[Path | None, typer.Option("--output", help="Where the answer is written.")]


@app.command()
def init(
    ca: CaOption,
    host: HostOption = None,
    passphrase_file: PassphraseOption = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unencrypted, mode 0600.")
    ] = False,
) -> None:
    """Make the authority, and with it the broker's and the services' first certificates."""
    with _reported():
        if not host:
            raise FleetError(
                "no_host", "the broker needs a name that gateways reach it by", "give it: --host"
            )
        passphrase = None if no_passphrase else _new_passphrase(passphrase_file)
        operations.begin(ca, host, passphrase, system_now())
    typer.echo(f"{ca}  is the authority: keep it off the network, and a copy elsewhere")
    typer.echo(f"{ca / 'broker'}  goes to the broker: /etc/mosquitto/songlo")
    typer.echo(f"{ca / 'services'}  goes to the collector: broker.tls, commands.tls")


@app.command()
def token(
    gateway: GatewayArgument,
    ca: CaOption,
    days: Annotated[
        int, typer.Option(min=1, max=TOKEN_LIFETIME_MAX.days, help="How long it can be used.")
    ] = TOKEN_LIFETIME.days,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take earlier certificates back when it is used.")
    ] = False,
) -> None:
    """Make a claim token, good for one certificate; it is printed once and kept nowhere."""
    with _opened(ca) as folder:
        made, kept = operations.new_claim(
            folder,
            gateway,
            random=secrets.token_bytes(TOKEN_RANDOM_BYTES),
            lifetime=timedelta(days=days),
            replaces=replace,
            now=system_now(),
        )
    typer.echo(made.text)
    typer.echo(f"for {gateway}, once, until {said(kept.expires_at)}", err=True)


@app.command()
def withdraw(gateway: GatewayArgument, ca: CaOption) -> None:
    """Have a gateway's unused claim tokens count no more."""
    with _opened(ca) as folder:
        count = operations.withdraw(folder, gateway, system_now())
    typer.echo(f"{count} tokens of {gateway} withdrawn")


@app.command()
def sign(
    request: Annotated[Path, typer.Argument(help="What `songlo gateway enrol` wrote.")],
    ca: CaOption,
    output: OutputOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Check a gateway's request and sign it; the answer goes back to the gateway."""
    with _opened(ca) as folder:
        asked = operations.read_request(_read(request))
        passphrase = _passphrase(folder, passphrase_file)
        signed = operations.sign(folder, asked, passphrase, system_now())
        path = output or request.with_name(f"{asked.gateway}.answer")
        _write(path, operations.encoded(signed.answer))
    certificate = signed.certificate
    until = certificate.not_after_at.date()
    typer.echo(f"{path}  certificate {certificate.serial} of {asked.gateway}, good until {until}")
    if certificate.revokes:
        typer.echo(
            f"taken back: {', '.join(certificate.revokes)}. Give the broker the new lists "
            f"({ca / 'broker'}) once the gateway has its answer"
        )


@app.command()
def show(gateway: GatewayArgument, ca: CaOption, output: OutputOption = None) -> None:
    """Write a gateway's latest answer again, where the file was lost on its way."""
    with _opened(ca) as folder:
        certificate = operations.latest(folder, gateway, system_now())
        path = output or Path(f"{gateway}.answer")
        _write(path, operations.encoded(operations.answer_of(folder, certificate)))
    typer.echo(f"{path}  certificate {certificate.serial}")


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="broker, intake, commands or monitor.")],
    ca: CaOption,
    host: HostOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make a new key and certificate for the broker or a service."""
    with _opened(ca) as folder:
        now, passphrase = system_now(), _passphrase(folder, passphrase_file)
        if name == operations.BROKER:
            path = operations.rotate_broker(folder, host or [], passphrase, now)
        else:
            path = operations.rotate_service(folder, name, passphrase, now)
        operations.write_out(folder, passphrase, now)
    typer.echo(f"{path}  and its key beside it: install both, and start {name} again")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="A gateway or a service.")],
    ca: CaOption,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the journal.")],
    serial: Annotated[
        str | None, typer.Option("--serial", help="This certificate alone; none: all of them.")
    ] = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take certificates back; the broker must be given the new lists."""
    with _opened(ca) as folder:
        passphrase = _passphrase(folder, passphrase_file)
        serials = operations.revoke(
            folder,
            name,
            reason=reason,
            passphrase=passphrase,
            now=system_now(),
            serial=serial,
        )
    typer.echo(f"taken back: {', '.join(serials)}")
    typer.echo(f"copy {ca / 'broker'}/*-crl.pem to the broker, and reload or restart it")


@app.command()
def lists(ca: CaOption, passphrase_file: PassphraseOption = None) -> None:
    """Write the lists of what was taken back anew, for the broker."""
    with _opened(ca) as folder:
        written = operations.write_out(folder, _passphrase(folder, passphrase_file), system_now())
    for path in written:
        typer.echo(str(path))


@app.command("list")
def list_(
    ca: CaOption,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Print who has a certificate, until when, and which tokens are open."""
    with _opened(ca) as folder:
        now = system_now()
        rows, warnings = operations.rows(folder, now), operations.warnings(folder, now)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(
            f"{row['kind']:8} {row['name']:24} {row['state']:13} {row['until']:21} {row['serial']}"
        )
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def check(ca: CaOption) -> None:
    """Exit 1, with a line each, if something runs out soon or was left undone; for cron."""
    with _opened(ca) as folder:
        warnings = operations.warnings(folder, system_now())
    for warning in warnings:
        typer.echo(warning)
    if warnings:
        raise typer.Exit(1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Folder]:
    with _reported(), opened(path) as folder:
        yield folder


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Expected failures as one message with its hint, and exit code 1."""
    try:
        yield
    except FleetError as error:
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"error: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(ENROLMENT_BYTES_MAX + 1)


def _write(path: Path, content: bytes) -> None:
    replace_file(path, content, 0o644)


def _passphrase(folder: Folder, path: Path | None) -> str | None:
    if path is not None:
        return _first_line(path)
    if not any(folder.is_encrypted(kind) for kind in Kind) or not sys.stdin.isatty():
        return None
    return str(typer.prompt("Passphrase of the authority", hide_input=True))


def _new_passphrase(path: Path | None) -> str:
    if path is not None:
        passphrase = _first_line(path)
    elif sys.stdin.isatty():
        passphrase = str(typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True))
    else:
        raise FleetError(
            "passphrase",
            "the authority's keys need a passphrase",
            "give --passphrase-file, or --no-passphrase where the disk itself is encrypted",
        )
    if len(passphrase) < PASSPHRASE_CHARS_MIN:
        raise FleetError(
            "passphrase", f"the passphrase has less than {PASSPHRASE_CHARS_MIN} characters"
        )
    return passphrase


def _first_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8").splitlines()
    if not text or not text[0]:
        raise FleetError("passphrase", f"{path} is empty", "its first line is the passphrase")
    return text[0]
