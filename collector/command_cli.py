"""`songlo collector command`: send a command to a gateway and print what became of it.

Owns words and exit codes (0: done, 1: not done or not known); no rule is decided here.
"""

import contextlib
import time
from enum import StrEnum
from typing import Annotated

import typer

from collector.app import open_desk, open_ledger
from collector.cli_common import ConfigOption, actor, configured, load_config_or_exit, reported
from collector.clock import system_now
from collector.config import CommandsConfig
from collector.operations import commands, station_files
from collector.operations.commands import CommandState, CommandView, Wanted
from contract.commands import CommandKind, Result
from contract.messages import Scan
from contract.registers import BY_OBIS

BROKER_WAIT_S = 10.0
WAIT_S_MAX = 3_600

app = typer.Typer(no_args_is_help=True, help="Commands to gateways.")

GatewayOption = Annotated[str, typer.Option("--gateway", "-g", help="The gateway's name.")]


class _Kind(StrEnum):
    """The kinds of commands as they are typed."""

    PING = "ping"
    READ = "read"
    SET_CLOCK = "set-clock"
    RELOAD = "reload"


@app.command()
def send(
    kind: Annotated[_Kind, typer.Argument(help="What it is to do.")],
    gateway: GatewayOption,
    config: ConfigOption,
    meter: Annotated[
        list[str] | None, typer.Option("--meter", help="A serial; may be repeated. All if none.")
    ] = None,
    wait: Annotated[
        int, typer.Option("--wait", min=0, max=WAIT_S_MAX, help="Seconds to wait for the result.")
    ] = 30,
) -> None:
    """Send a command and print its result; exit 1 if it was not done, or no result came."""
    settings = load_config_or_exit(config)
    lifetime_s = max(wait, (settings.commands or CommandsConfig()).lifetime_s)
    wanted = Wanted(gateway, CommandKind[kind.name].value, meter, actor(), lifetime_s)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        known = station_files.gateway_config(ledger, gateway, system_now())
        if known.known and not known.online:
            typer.echo(f"gateway {gateway} is offline: it gets no commands meanwhile", err=True)
        desk = open_desk(settings, ledger)
        with desk.opened(BROKER_WAIT_S):
            began_s = time.monotonic()
            sent = commands.send_command(ledger, desk, wanted, system_now())
            typer.echo(f"command {sent.command.id} was sent to {gateway}", err=True)
            if not wait:
                return
            heard = desk.wait_result(sent.command.id, wait)
            took_s = time.monotonic() - began_s
    if heard is None:
        typer.echo(f"no result within {wait} s; ask later with:", err=True)
        again = f"songlo collector command show {sent.command.id} --gateway {gateway}"
        typer.echo(f"  {again} --config {config}", err=True)
        raise typer.Exit(1)
    _print_result(heard[1], took_s)
    if not heard[1].ok:
        raise typer.Exit(1)


@app.command()
def show(command: str, gateway: GatewayOption, config: ConfigOption) -> None:
    """Print how far a command has come; exit 1 if it was not done, or that is not known."""
    with configured(config) as (ledger, _):
        found = commands.get_command(ledger, gateway=gateway, command=command, now=system_now())
    _print_view(found)
    if found.event is not None:
        at = found.event.at.isoformat(timespec="seconds")
        typer.echo(f"the gateway's own record, {at}: {found.event.detail}")
    if not found.command.ok:
        raise typer.Exit(1)


@app.command("list")
def list_(
    gateway: GatewayOption,
    config: ConfigOption,
    limit: Annotated[int, typer.Option(min=1, max=commands.LIST_MAX)] = 20,
) -> None:
    """Print the newest commands of a gateway, newest first."""
    with configured(config) as (ledger, _):
        found = commands.list_commands(ledger, gateway=gateway, limit=limit, now=system_now())
    for view in found:
        _print_view(view)
    if not found:
        typer.echo("no commands were sent")


def _print_view(view: CommandView) -> None:
    stored = view.command
    at = stored.issued_at.isoformat(timespec="seconds")
    state = view.state.value
    if view.state is CommandState.ANSWERED:
        state = f"{stored.code}: {stored.text}" if stored.text else str(stored.code)
    typer.echo(f"{stored.id}  {at}  {stored.kind:9}  {stored.issuer}  {state}")


def _print_result(result: Result, took_s: float) -> None:
    text = f": {result.text}" if result.text else ""
    typer.echo(f"{result.code}{text} ({took_s:.1f} s)")
    detail = result.detail
    if detail.uptime_s is not None:
        clock = "unknown" if detail.clock is None else detail.clock.value
        file = f"version {detail.config_version}" if detail.config_version else "its own file"
        typer.echo(
            f"version {detail.version}, up {detail.uptime_s} s, clock {clock}, station file: {file}"
        )
    for what, drift_s in (("before", detail.drift_s), ("after", detail.drift_after_s)):
        if drift_s is not None:
            typer.echo(f"the meter's clock {what}: {drift_s:+.0f} s")
    for problem in detail.problems:
        typer.echo(f"  {problem}")
    if detail.scan is not None:
        _print_scan(detail.scan)


def _print_scan(scan: Scan) -> None:
    for table in scan.tables:
        registers = [BY_OBIS.get(obis) for obis in table.registers]
        for serial, _, values, _ in table.reads:
            typer.echo(f"meter {serial}")
            for obis, register, value in zip(table.registers, registers, values, strict=True):
                if value is not None:
                    unit = "" if register is None else f" {register.unit.value}"
                    typer.echo(f"  {obis:14} {value}{unit}")
    for serial, reason in scan.missing:
        typer.echo(f"meter {serial}: {reason}")
