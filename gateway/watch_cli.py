"""`songlo gateway watch`: the meters of a station file, read every few seconds, as a live table.

Owns what a technician types and sees. Like all commands it imports what it needs only when it is
run, so that the others start at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gateway.config import LineConfig, StationConfig
    from gateway.watch import Row, Watch

NOT_ALL, LINE_BUSY = 1, 3
REDRAW_S = 1.0  # ages grow without a read


def watch(
    config: Annotated[Path, typer.Option("--config", help="The station file.")],
    line: Annotated[str | None, typer.Option(help="Only the line of this name.")] = None,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds from one reading to the next.")
    ] = 5.0,
    once: Annotated[
        bool, typer.Option("--once", help="Read each meter once; exit with 1 if one fails.")
    ] = False,
) -> None:
    """Read the station's meters over and over, and show what each says or what it lacks."""
    import asyncio  # noqa: PLC0415 - see the module's docstring
    import logging  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from gateway.app import line_of  # noqa: PLC0415
    from gateway.clock import SystemClock  # noqa: PLC0415
    from gateway.watch import Watch  # noqa: PLC0415

    station = _station(config)
    lines = _chosen(station, line)
    _refuse_if_running(station, lines)
    # What lines would log is in the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def main() -> "Watch":
        clock = SystemClock()
        zone = station.schedule.zone
        lines_and_kinds = [(line_of(one, clock, zone), _is_serial(one)) for one in lines]
        watched = Watch(lines_and_kinds, clock, every)
        await _show(watched, is_once=once)
        return watched

    try:
        watched = asyncio.run(main())
    except KeyboardInterrupt:
        return
    if any(row.reason is not None for row in watched.rows):
        is_busy = any("in use by" in row.detail for row in watched.rows)
        raise typer.Exit(LINE_BUSY if is_busy else NOT_ALL)


async def _show(watched: "Watch", *, is_once: bool) -> None:
    if is_once or not sys.stdout.isatty():
        await _print(watched, is_once=is_once)
    else:
        await _draw(watched)


async def _print(watched: "Watch", *, is_once: bool) -> None:
    """All rows in plain text each time that every meter has been read once more."""
    from gateway.clock import system_now  # noqa: PLC0415
    from gateway.watch_view import as_text  # noqa: PLC0415

    left = len(watched.rows)

    def changed() -> None:
        nonlocal left
        left -= 1
        if not left:
            left = len(watched.rows)
            typer.echo(as_text(watched.rows, system_now()))
            sys.stdout.flush()

    await watched.run(changed, passes=1 if is_once else None)


async def _draw(watched: "Watch") -> None:
    """A table that is drawn anew with every read, and every second."""
    import asyncio  # noqa: PLC0415

    from rich.live import Live  # noqa: PLC0415

    with Live(_table(watched.rows), auto_refresh=False) as live:

        def redraw() -> None:
            live.update(_table(watched.rows), refresh=True)

        async def tick() -> None:
            while True:
                await asyncio.sleep(REDRAW_S)
                redraw()

        async with asyncio.TaskGroup() as group:
            group.create_task(tick())
            group.create_task(watched.run(redraw))


def _table(rows: "list[Row]") -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from gateway.clock import system_now  # noqa: PLC0415
    from gateway.watch_view import HEADINGS, RIGHT_ALIGNED, advices, cells  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in RIGHT_ALIGNED else "left")
    now = system_now()
    for row in rows:
        colour = "red" if row.reason is not None else "green" if row.outcomes else "dim"
        *others, state = map(Text, cells(row, now))
        state.stylize(colour)
        table.add_row(*others, state)
    return Group(table, *map(Text, advices(rows)), Text("Ctrl-C ends it", style="dim"))


def _chosen(station: "StationConfig", name: str | None) -> "list[LineConfig]":
    lines = [line for line in station.lines if name in (None, line.name)]
    if not lines:
        names = ", ".join(line.name for line in station.lines)
        raise typer.BadParameter(f"--line: there is no {name!r}; there are: {names}")
    return lines


def _refuse_if_running(station: "StationConfig", lines: "list[LineConfig]") -> None:
    from contract.messages import MissingReason  # noqa: PLC0415
    from gateway.advice import advice  # noqa: PLC0415
    from gateway.holder import holder_of  # noqa: PLC0415
    from gateway.outbox import LOCK_NAME  # noqa: PLC0415

    holder = holder_of(station.data / LOCK_NAME)
    if holder is None:
        return
    serial = [line.name for line in lines if _is_serial(line)]
    if not serial:
        typer.echo(f"{holder} reads these meters too: it is the gateway", err=True)
        return
    detail = f"{', '.join(serial)}: in use by {holder}, which is the gateway"
    typer.echo(detail, err=True)
    typer.echo(advice(MissingReason.LINE_DOWN, detail, is_serial=True), err=True)
    raise typer.Exit(LINE_BUSY)


def _is_serial(line: "LineConfig") -> bool:
    from gateway.station_file import Iec62056Section, ModbusRtuSection  # noqa: PLC0415

    return isinstance(line.endpoint, ModbusRtuSection | Iec62056Section)


def _station(path: Path) -> "StationConfig":
    from gateway.config import StationFileError  # noqa: PLC0415
    from gateway.in_force import station_in_force  # noqa: PLC0415

    try:
        return station_in_force(path)[0]
    except StationFileError as error:
        for text in error.problems:
            typer.echo(text, err=True)
        raise typer.Exit(1) from None
