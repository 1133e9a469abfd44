"""How the commands tell expected failures: one message, its hint, exit code 1.

It must not know which command failed.
"""

import contextlib
from collections.abc import Iterator

import typer

from collector.errors import CollectorError
from collector.readings.port import StoreUnavailable


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
