"""The gateway's commands, as people type them: `songlo gateway run|check|enrol|scan|read|status …`.

Parses, calls, prints. It must not decide anything, and imports what a command needs only when it
is run, so that `check` and `--help` start at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import gateway.lean  # noqa: F401 before all that imports structlog
from gateway.enrol_cli import enrol
from gateway.profile_cli import profile
from gateway.read_cli import read
from gateway.scan_cli import scan
from gateway.status_cli import status
from gateway.watch_cli import watch

if TYPE_CHECKING:
    from gateway.config import StationConfig
    from gateway.meters.readout_profile import AnyProfile

app = typer.Typer(
    help="The gateway at a transformer station.", no_args_is_help=True, add_completion=False
)
app.command("read")(read)
app.command("scan")(scan)
app.command("watch")(watch)
app.command("status")(status)
app.command("profile")(profile)
app.add_typer(enrol, name="enrol")

_Config = Annotated[Path, typer.Option("--config", help="The station file.")]


@app.command()
def run(
    config: _Config,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every detail.")] = False,
) -> None:
    """Poll the station's meters and deliver what was read, until told to stop."""
    import logging  # noqa: PLC0415 see the module's docstring

    from gateway.app import configure_logging  # noqa: PLC0415
    from gateway.app import run as run_app  # noqa: PLC0415
    from gateway.config import StationFileError  # noqa: PLC0415
    from gateway.outbox_file import OutboxError  # noqa: PLC0415
    from gateway.running import serve  # noqa: PLC0415

    configure_logging(logging.DEBUG if verbose else logging.INFO)
    try:
        run_app(lambda stop: serve(config, stop))
    except OutboxError as error:
        _fail([str(error)])
    except StationFileError as error:
        _fail(error.problems)


@app.command()
def check(
    config: _Config,
    ports: Annotated[
        bool, typer.Option("--ports", help="Also open every port and bridge once.")
    ] = False,
) -> None:
    """Read a station file as `run` would, and say what is in it or all that is wrong with it."""
    station = _load(config)
    if ports:
        from gateway.port_checks import port_problems  # noqa: PLC0415

        if problems := port_problems(station):
            _fail(problems)
    concern = _certificate(station)
    typer.echo(f"station {station.station}, gateway {station.gateway}: {config} is in order")
    if concern:
        typer.echo(f"but {concern}")
    _say_remote(station, config)
    schedule = station.schedule
    indices = ", ".join(f"{m // 60:02d}:{m % 60:02d}" for m in schedule.index_minutes) or "none"
    typer.echo(
        f"scans every {schedule.interval_min} min; indices at {indices} ({schedule.zone}); "
        f"outbox in {station.data}"
    )
    for line in station.lines:
        requests = sum(_requests(meter.profile) for meter in line.meters)
        noun = "meter" if len(line.meters) == 1 else "meters"
        typer.echo(
            f"line {line.name} ({_endpoint(line.endpoint)}): "
            f"{len(line.meters)} {noun}, {requests} requests a scan"
        )
        for meter in line.meters:
            head = "  head" if meter.serial in station.heads else ""
            typer.echo(
                f"  {meter.address or '-':>3}  {meter.serial}  {meter.profile.profile}{head}"
            )


def _certificate(station: "StationConfig") -> str:
    """What should be done about the gateway's certificate; ends the command if it is unusable."""
    if station.tls is None:
        return ""
    from gateway.clock import system_now  # noqa: PLC0415 see the module's docstring
    from gateway.credentials import BadCredentials, concern  # noqa: PLC0415

    try:
        return concern(station.tls, station.gateway, system_now())
    except BadCredentials as error:
        _fail([str(error)])


def _say_remote(station: "StationConfig", path: Path) -> None:
    """Whether a station file from the collector stands in place of this one."""
    from gateway.config_store import ConfigStore  # noqa: PLC0415 see the module's docstring
    from gateway.in_force import FOLDER  # noqa: PLC0415

    if station.remote is None:
        return
    store = ConfigStore(station.data / FOLDER)
    try:
        version = store.look().version
    except PermissionError:
        typer.echo("whether a station file from the collector is in force, this user may not see")
        return
    if not version:
        typer.echo("station files from the collector are taken; none is in force")
    elif store.is_changed(path.read_text(encoding="utf-8")):
        typer.echo(f"it was changed: at the next start it goes before version {version}")
    else:
        typer.echo(f"but version {version} from the collector is in force, until it is changed")


def _requests(profile: "AnyProfile") -> int:
    """How many requests or sessions a scan of such a meter takes."""
    from gateway.meters.plan import plan  # noqa: PLC0415 see the module's docstring
    from gateway.meters.profile import MeterProfile  # noqa: PLC0415
    from gateway.meters.readout_profile import ReadBy  # noqa: PLC0415
    from gateway.ports import Part  # noqa: PLC0415

    if isinstance(profile, MeterProfile):
        return sum(len(plan(profile, part)) for part in Part)
    if profile.read_by is ReadBy.READOUT:
        return 1
    return len({mapped.register.is_integer for mapped in profile.registers})


def _endpoint(endpoint: object) -> str:
    from gateway.station_file import (  # noqa: PLC0415
        Iec62056Section,
        ModbusRtuOverTcpSection,
        ModbusRtuSection,
        ModbusTcpSection,
    )

    if isinstance(endpoint, Iec62056Section):
        return f"{endpoint.device} {endpoint.baud} {endpoint.characters}"
    if isinstance(endpoint, ModbusRtuSection):
        return f"{endpoint.device} {endpoint.baud} 8{endpoint.parity}{endpoint.stop_bits}"
    if isinstance(endpoint, ModbusRtuOverTcpSection):
        return f"{endpoint.host}:{endpoint.port} RTU {endpoint.baud}"
    assert isinstance(endpoint, ModbusTcpSection)
    return f"{endpoint.host}:{endpoint.port}"


def _load(path: Path) -> "StationConfig":
    from gateway.config import StationFileError, load_station  # noqa: PLC0415

    try:
        return load_station(path)
    except StationFileError as error:
        _fail(error.problems)


def _fail(lines: list[str]) -> NoReturn:
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(1)
