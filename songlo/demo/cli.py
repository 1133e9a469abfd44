"""`songlo demo`: options in, a progress bar and a table out.

The terminal's side of the demo; what runs is in `system`, what is awaited in `replay`.
"""

import signal
import tempfile
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from collector.errors import CollectorError
from simulator.errors import SimulatorError
from songlo.demo.api import ApiError
from songlo.demo.district.command import run_command
from songlo.demo.district.life import DistrictFailed
from songlo.demo.district.options import (
    SEED_DEFAULT,
    STATIONS_DEFAULT,
    DistrictOptions,
    district_options,
)
from songlo.demo.options import ZONE, DemoOptions, OptionsError, Transport, period
from songlo.demo.programs import ProgramFailed, port_is_free
from songlo.demo.replay import POLL_S, replay
from songlo.demo.report import Outcome, conclude, table, write_files
from songlo.demo.system import System, running_system

LIVE_INTERVAL_MIN = 1

# Slots between the end of the replay and now are caught up with when there are this few of them.
CATCH_UP_MAX = timedelta(days=1, hours=1)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


@app.command()
def demo(  # noqa: PLR0913 - one parameter an option
    grid: Annotated[Path | None, typer.Option(help="A network file; default LV2.101.")] = None,
    load: Annotated[Path | None, typer.Option(help="A year of load for it.")] = None,
    start: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.")] = None,
    days: Annotated[int, typer.Option(help="How many days to replay.")] = 31,
    hours: Annotated[int | None, typer.Option(help="Hours instead of days, up to 24.")] = None,
    interval: Annotated[int, typer.Option(help="Minutes between two scans.")] = 30,
    output: Annotated[Path | None, typer.Option(help="Folder for the CSV files.")] = None,
    exit_: Annotated[bool, typer.Option("--exit", help="End after the replay.")] = False,
    transport: Annotated[
        Transport, typer.Option(help="tcp: at full speed; rtu: serial lines at 9600 baud.")
    ] = Transport.TCP,
    model: Annotated[
        str | None, typer.Option(help="One meter model for all, e.g. schneider-iem3155.")
    ] = None,
    lines: Annotated[int, typer.Option(help="How many lines the meters are spread over.")] = 4,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the API and the console.")
    ] = 8000,
    keep: Annotated[
        Path | None, typer.Option(help="Keep stores, files and logs in this empty folder.")
    ] = None,
    district: Annotated[
        bool, typer.Option("--district", help="A district's two billing periods, without Modbus.")
    ] = False,
    stations: Annotated[
        int | None, typer.Option(help="With --district: how many stations; default 100.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --district: another district.")] = None,
) -> None:
    """Run the whole system on a simulated station: replay a period, then stay live.

    With --exit the exit code is 0 only if everything that was due was stored exactly once. With
    --district a whole district is billed twice instead, and held against the simulated truth.
    """
    try:
        if district:
            wanted = district_options(
                stations=STATIONS_DEFAULT if stations is None else stations,
                interval_min=interval,
                seed=SEED_DEFAULT if seed is None else seed,
                start=_date(start),
                today=_today(),
            )
            raise typer.Exit(_district(wanted, keep, output, port=port, exits=exit_))
        _refuse_for_a_station(stations, seed)
        start_at, end_at = period(_date(start), days, hours, interval, _today())
        options = DemoOptions(
            start_at, end_at, interval, grid, load, transport, model, lines, api_port=port
        )
        _check_surroundings(options, keep)
        with tempfile.TemporaryDirectory(prefix="songlo-demo-") as scratch:
            code = _run(options, keep or Path(scratch), output, exit_)
    except OptionsError as error:
        console.print(f"songlo demo: {error}", style="red", highlight=False)
        code = 2
    except (ProgramFailed, ApiError, SimulatorError, CollectorError, DistrictFailed) as error:
        console.print(f"songlo demo: {error}", style="red", highlight=False, markup=False)
        code = 1
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def _refuse_for_a_station(stations: int | None, seed: int | None) -> None:
    if stations is not None or seed is not None:
        raise OptionsError("--stations and --seed are for --district")


def _district(
    options: DistrictOptions, keep: Path | None, output: Path | None, *, port: int, exits: bool
) -> int:
    _check_place(keep, None if exits else port)
    with tempfile.TemporaryDirectory(prefix="songlo-district-") as scratch:
        return run_command(options, keep or Path(scratch), output, port=port, exits=exits)


def _run(options: DemoOptions, directory: Path, output: Path | None, exits: bool) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    console.print("Starting simulator, broker, collector and gateway …")
    with running_system(options, directory, _now()) as system:
        console.print(f"Console  http://127.0.0.1:{options.api_port}")
        console.print(f"API key  {system.key}", highlight=False)
        outcome = _replay(system)
        stdout = Console()
        stdout.print(table(system, outcome, time.monotonic() - began))
        stdout.print(f"Snapshot {outcome.snapshot_id}", highlight=False, soft_wrap=True)
        stdout.print(f"SHA-256  {outcome.snapshot_sha256}", highlight=False, soft_wrap=True)
        if output is not None:
            write_files(system, outcome, output)
            console.print(f"Wrote {output / 'snapshot.csv'} and {output / 'balance.csv'}")
        if exits:
            return 0 if outcome.exact else 1
        _stay_live(system)
    return 0


def _replay(system: System) -> Outcome:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("meter reads"),
        TimeRemainingColumn(),
    )
    due = system.options.slot_count * len(system.station.meters)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Replaying", total=due)
        progress = replay(
            system,
            lambda now: bar.update(
                task,
                completed=now.accounted,
                description=f"{now.now_at.astimezone(ZoneInfo(ZONE)):%d/%m/%Y %H:%M}",
            ),
        )
    return conclude(system, progress)


def _stay_live(system: System) -> None:
    """Catch up with now where that is near, then scan once a minute until interrupted."""
    options = system.options
    live = replace(options, interval_min=LIVE_INTERVAL_MIN)
    near = timedelta(0) < _now() - options.end_at < CATCH_UP_MAX
    if near:
        console.print("Catching up with today …")
        _go_on(system, _last_slot(options, _now()))
    system.gateway.stop()
    system.write_station_file(live)
    system.gateway.start()
    if near:
        _go_on(system, _last_slot(live, _now()))
    system.clock.live()
    console.print("Live: one scan a minute. Ctrl-C ends the demo.")
    while True:
        system.check()
        time.sleep(1)


def _go_on(system: System, to_at: datetime) -> None:
    """Let the replay go on to a slot; returns when its scan has begun."""
    system.clock.extend(to_at)
    while system.clock.now() < to_at:
        system.check()
        time.sleep(POLL_S)


def _last_slot(options: DemoOptions, now_at: datetime) -> datetime:
    step = timedelta(minutes=options.interval_min)
    return options.end_at + (now_at - options.end_at) // step * step


def _check_surroundings(options: DemoOptions, keep: Path | None) -> None:
    for name, path in (("--grid", options.grid), ("--load", options.load)):
        if path is not None and not path.is_file():
            raise OptionsError(f"{name} {path}: there is no such file")
    _check_place(keep, options.api_port)


def _check_place(keep: Path | None, port: int | None) -> None:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise OptionsError(f"--keep {keep}: the folder is not empty")
    if port is not None and not port_is_free(port):
        raise OptionsError(f"--port {port}: something listens there; choose another")


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise OptionsError(f"--start {text}: not a date; write it as YYYY-MM-DD") from error


def _today() -> date:
    return _now().astimezone(ZoneInfo(ZONE)).date()


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the one place where the demo reads the real clock


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
