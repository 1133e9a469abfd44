"""The `songlo` command: finds the program that is asked for and loads that one alone.

It must not import a program before it is named: a gateway has no collector installed, and a
Raspberry Pi has no memory for what it does not run.
"""

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class _Program:
    module: str
    extra: str
    help: str


_PROGRAMS = {
    "demo": _Program("songlo.demo.cli", "demo", "Run the whole system on a simulated station."),
    "gateway": _Program("gateway.cli", "gateway", "Poll a station's meters and deliver the reads."),
    "collector": _Program("collector.cli", "collector", "Store, balance and bill what arrives."),
    "fleet": _Program("fleet.cli", "fleet", "Certificates of gateways, services and the broker."),
    "simulator": _Program("simulator.cli", "simulator", "A virtual station with real sockets."),
}

_OWN = {"contract", "gateway", "collector", "fleet", "simulator", "songlo"}


class _LazyGroup(TyperGroup):
    """Knows all programs by name and imports one only when it is run or asked for help."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(_PROGRAMS)

    def get_command(self, ctx: object, cmd_name: str) -> Any:  # noqa: ANN401 - typer keeps this type private
        program = _PROGRAMS.get(cmd_name)
        if program is None:
            return None
        # `songlo --help` wants one line a program, not the programs.
        named = bool(set(sys.argv[1:]) & set(_PROGRAMS))
        command = get_command(_load(program) if named else _summary(program))
        command.name = cmd_name
        return command


def _load(program: _Program) -> typer.Typer:
    try:
        module = importlib.import_module(program.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _OWN:
            raise
        sys.stderr.write(
            f"songlo: this program needs {error.name!r}, which is not installed here.\n"
            f"Install its extra: pip install 'songlo[{program.extra}]'\n"
        )
        raise SystemExit(1) from error
    app = module.app
    assert isinstance(app, typer.Typer)
    return app


def _summary(program: _Program) -> typer.Typer:
    summary = typer.Typer(help=program.help)
    summary.command(help=program.help)(lambda: None)
    return summary


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Songlo: metering for a power company's stations, from the meter's terminals to the bill.",
)


@app.callback()
def _root() -> None:
    """Songlo: metering from the meter's terminals to the bill."""


def main() -> None:
    """The entry point of the `songlo` command."""
    app(prog_name="songlo")
