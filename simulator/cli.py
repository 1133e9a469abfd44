"""`songlo simulator`: run a virtual station, or print what its meters truly show.

Owns the commands and the words for failures; everything else is `simulator.app`'s.
"""

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from simulator.app import serve
from simulator.config import load_config
from simulator.errors import SimulatorError
from simulator.station import build_station, write_truth

app = typer.Typer(
    name="simulator", help="A virtual transformer station on real sockets and serial lines."
)

_Config = Annotated[
    Path, typer.Option("--config", help="The simulator's file (YAML or JSON).", dir_okay=False)
]


@app.command()
def run(config: _Config) -> None:
    """Serve the station until SIGTERM; one JSON line on stdout says where, once it is ready."""
    try:
        asyncio.run(serve(load_config(config), _say_ready))
    except SimulatorError as error:
        _fail(error)
    except OSError as error:
        _fail(SimulatorError(f"cannot listen or write: {error}"))


@app.command()
def truth(
    config: _Config,
    at: Annotated[
        list[str], typer.Option("--at", help="An instant (RFC 3339); may be given several times.")
    ],
) -> None:
    """Print as CSV what every meter's energy registers show at the given instants."""
    try:
        instants = [_instant(text) for text in at]
        write_truth(build_station(load_config(config)), instants, sys.stdout)
    except SimulatorError as error:
        _fail(error)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise SimulatorError(f"--at {text}: is no instant: {error}") from error
    if at.tzinfo is None:
        raise SimulatorError(f"--at {text}: needs an offset from UTC, for example +07:00 or Z")
    return at


def _say_ready(ready: dict[str, object]) -> None:
    typer.echo(msgspec.json.encode(ready).decode())
    sys.stdout.flush()


def _fail(error: SimulatorError) -> None:
    typer.echo(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
    raise typer.Exit(1)
