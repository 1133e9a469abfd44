"""The commands `songlo gateway enrol …`: ask for a certificate, renew it, take the answer in.

Parses, calls, prints; decides nothing.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.limits import ENROLMENT_BYTES_MAX

if TYPE_CHECKING:
    from contract.enrolment import EnrolmentRequest

enrol = typer.Typer(
    no_args_is_help=True, help="Get this gateway's certificate; its key never leaves the machine."
)

GatewayArgument = Annotated[str, typer.Argument(help="The gateway's name.")]
FolderOption = Annotated[Path, typer.Option("--folder", help="Where its key and certificate lie.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", help="The request's file; none: GATEWAY.request.")
]
_FOLDER = Path("/etc/songlo")


@enrol.command()
def request(
    gateway: GatewayArgument,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Holds the claim token; none: it is asked.")
    ] = None,
    folder: FolderOption = _FOLDER,
    output: OutputOption = None,
) -> None:
    """Ask for the first certificate, with the claim token that was given for this gateway."""
    from gateway.enrolment import Files, request_first  # noqa: PLC0415 loads only when used

    with _reported():
        if token_file is not None:
            token = token_file.read_text(encoding="utf-8")
        else:
            # Not as an argument: other users of the machine see those.
            token = str(typer.prompt("Claim token"))
        _write(request_first(Files(folder, gateway), token), output)


@enrol.command()
def renew(
    gateway: GatewayArgument, folder: FolderOption = _FOLDER, output: OutputOption = None
) -> None:
    """Ask for the next certificate, by the one in force; no token is needed."""
    from gateway.enrolment import Files, request_next  # noqa: PLC0415 loads only when used

    with _reported():
        _write(request_next(Files(folder, gateway)), output)


@enrol.command()
def install(
    gateway: GatewayArgument,
    answer: Annotated[Path, typer.Argument(help="What the authority gave back.")],
    folder: FolderOption = _FOLDER,
) -> None:
    """Take the authority's answer in; the next connection to the broker uses it."""
    from gateway.clock import system_now  # noqa: PLC0415 loads only when used
    from gateway.enrolment import Files  # noqa: PLC0415
    from gateway.enrolment import install as take_in  # noqa: PLC0415

    files = Files(folder, gateway)
    with _reported():
        with answer.open("rb") as file:
            payload = file.read(ENROLMENT_BYTES_MAX + 1)
        until = take_in(files, payload, system_now())
    typer.echo(f"{files.credentials}  key and certificate of {gateway}, good until {until.date()}")
    typer.echo(f"{files.broker_ca}  the broker's authority")
    typer.echo(
        f"station file: tls: {{ca_file: {files.broker_ca.name}, "
        f"certificate_file: {files.credentials.name}, key_file: {files.credentials.name}}}"
    )


def _write(asked: "EnrolmentRequest", output: Path | None) -> None:
    import msgspec  # noqa: PLC0415 loads only when used

    path = output or Path(f"{asked.gateway}.request")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(asked)) + b"\n")
    typer.echo(f"{path}  carry it to the authority: songlo fleet sign")


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    from gateway.enrolment_key import EnrolmentFailed  # noqa: PLC0415 loads only when used

    try:
        yield
    except EnrolmentFailed as error:
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"error: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
