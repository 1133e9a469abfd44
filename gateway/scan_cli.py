"""`songlo gateway scan`: who answers on this line, at which settings, and as which model.

Owns what a technician types and sees. Like all commands it imports what it needs only when it is
run, so that the others start at once.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.line_options import (
    JsonOption,
    RtuOverTcpOption,
    SerialOption,
    TcpOption,
    numbers,
    parities,
    tcp_endpoint,
)

if TYPE_CHECKING:
    from gateway.lines.endpoints import Endpoint
    from gateway.meters.readout_profile import AnyProfile
    from gateway.ports import ReadFailed
    from gateway.search.values import Found, Report

TIMEOUT_MS = 300
RTU_ADDRESSES = "1-247"
ADDRESS_MAX = 255  # Modbus TCP; 248 to 255 are reserved on a serial line, and some bridges use 255
BAUD_MIN, BAUD_MAX = 300, 921_600
NOBODY, LINE_DOWN, INTERRUPTED = 1, 3, 130


@dataclass(slots=True)
class _Work:
    """A search that is ready to run, and what it has found so far."""

    run: "Callable[[list[Found], Report], Coroutine[Any, Any, None]]"
    estimate_s: float
    what: str
    is_serial: bool


def scan(  # noqa: PLR0913 - these are the options of a command
    serial: SerialOption = None,
    tcp: TcpOption = None,
    rtu_over_tcp: RtuOverTcpOption = None,
    iec: Annotated[
        bool, typer.Option("--iec", help="Search for IEC 62056-21 meters on --serial.")
    ] = False,
    baud: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Rates to try: 9600, or 300 with --iec, by default."),
    ] = None,
    parity: Annotated[str, typer.Option(metavar="LIST", help="Parities to try.")] = "N,E",
    stop_bits: Annotated[int, typer.Option(min=1, max=2, help="Stop bits.")] = 1,
    addresses: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="1-247 by default; with --iec device addresses or any."),
    ] = None,
    profiles: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Only these meter profiles, by name or file."),
    ] = None,
    timeout_ms: Annotated[
        int, typer.Option(min=20, max=10_000, help="How long each address is waited for.")
    ] = TIMEOUT_MS,
    quick: Annotated[
        bool, typer.Option("--quick", help="One request an address; misses meters that ignore it.")
    ] = False,
    as_json: JsonOption = False,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="A piece of a station file instead of a table.")
    ] = False,
) -> None:
    """Search a line for meters: their addresses and settings, and which profile fits each."""
    if sum(given is not None for given in (serial, tcp, rtu_over_tcp)) != 1:
        raise typer.BadParameter("give one of --serial DEVICE, --tcp and --rtu-over-tcp HOST:PORT")
    if iec and serial is None:
        raise typer.BadParameter("--iec needs --serial DEVICE")
    if iec:
        assert serial is not None
        work = _iec_work(serial, baud or "300", addresses, profiles)
    else:
        rates = baud or "9600"
        endpoints = _endpoints(serial, tcp, rtu_over_tcp, rates, parity, stop_bits)
        work = _modbus_work(endpoints, addresses, profiles, timeout_ms, is_quick=quick)
    _run(work, as_json=as_json, as_yaml=as_yaml)


def _run(work: _Work, *, as_json: bool, as_yaml: bool) -> None:
    import asyncio  # noqa: PLC0415 - see the module's docstring

    from gateway.ports import ReadFailed  # noqa: PLC0415
    from gateway.progress import duration, shown  # noqa: PLC0415
    from gateway.search.report import as_json as json_text  # noqa: PLC0415
    from gateway.search.report import as_table  # noqa: PLC0415
    from gateway.search.report import as_yaml as yaml_text  # noqa: PLC0415

    found: list[Found] = []
    failure: ReadFailed | None = None
    is_interrupted = False
    typer.echo(f"{work.what}: at most about {duration(work.estimate_s)}, Ctrl-C ends it", err=True)
    try:
        with shown() as report:
            asyncio.run(work.run(found, report))
    except KeyboardInterrupt:
        is_interrupted = True
    except ReadFailed as error:
        failure = error
    text = json_text if as_json else yaml_text if as_yaml else as_table
    if found or as_json:
        typer.echo(text(found))
    _finish(work, found, failure, is_interrupted=is_interrupted)


def _finish(
    work: _Work, found: "list[Found]", failure: "ReadFailed | None", *, is_interrupted: bool
) -> None:
    """Say what is wrong and exit: 0 somebody was found, 1 nobody, 3 the line is down."""
    from gateway.advice import advice, nobody  # noqa: PLC0415

    if failure is not None:
        typer.echo(failure.detail, err=True)
        typer.echo(advice(failure.reason, failure.detail, is_serial=work.is_serial), err=True)
        raise typer.Exit(LINE_DOWN)
    if is_interrupted:
        typer.echo("interrupted: what comes after is not searched", err=True)
        raise typer.Exit(INTERRUPTED)
    if not found:
        typer.echo(nobody(is_serial=work.is_serial), err=True)
        raise typer.Exit(NOBODY)


def _endpoints(
    serial: str | None,
    tcp: str | None,
    rtu_over_tcp: str | None,
    baud: str,
    parity: str,
    stop_bits: int,
) -> "tuple[Endpoint, ...]":
    from gateway.lines.endpoints import Framing, SerialEndpoint  # noqa: PLC0415

    if tcp is not None:
        return (tcp_endpoint(tcp),)
    if rtu_over_tcp is not None:
        return (tcp_endpoint(rtu_over_tcp, Framing.RTU, "--rtu-over-tcp"),)
    assert serial is not None
    return tuple(
        SerialEndpoint(serial, rate, each, stop_bits)
        for rate in numbers(baud, "--baud", BAUD_MIN, BAUD_MAX)
        for each in parities(parity)
    )


def _modbus_work(
    endpoints: "tuple[Endpoint, ...]",
    addresses: str | None,
    profiles: str | None,
    timeout_ms: int,
    *,
    is_quick: bool,
) -> _Work:
    from gateway.lines.endpoints import SerialEndpoint  # noqa: PLC0415
    from gateway.meters.checks import RegistersQuestion  # noqa: PLC0415
    from gateway.meters.profile import MeterProfile  # noqa: PLC0415
    from gateway.search.modbus import search_modbus  # noqa: PLC0415
    from gateway.search.values import HOLDING_QUESTION, INPUT_QUESTION, Search  # noqa: PLC0415

    is_serial = isinstance(endpoints[0], SerialEndpoint)
    highest = 247 if is_serial else ADDRESS_MAX
    models = tuple(model for model in _profiles(profiles) if isinstance(model, MeterProfile))
    presence = [INPUT_QUESTION, HOLDING_QUESTION]
    if profiles is not None:  # whoever names models may know meters that answer nothing else
        first = (check.question(model.function) for model in models for check in model.probe[:1])
        presence = [*(q for q in first if isinstance(q, RegistersQuestion)), *presence]
    units = numbers(addresses or RTU_ADDRESSES, "--addresses", 1, highest)
    asked = tuple(dict.fromkeys(presence))[: 1 if is_quick else None]
    search = Search(endpoints, units, models, timeout_ms / 1000, asked)
    settings = "setting" if len(endpoints) == 1 else "settings"
    what = f"{len(units)} addresses at {len(endpoints)} {settings}"
    return _Work(
        lambda found, report: search_modbus(search, found, report),
        search.estimate_s,
        what,
        is_serial,
    )


def _iec_work(serial: str, baud: str, addresses: str | None, profiles: str | None) -> _Work:
    from gateway.lines.endpoints import IecEndpoint  # noqa: PLC0415
    from gateway.meters.readout_profile import ReadoutProfile  # noqa: PLC0415
    from gateway.protocols.iec_messages import BAUD_RATES, is_address  # noqa: PLC0415
    from gateway.search.iec import IecSearch, search_iec  # noqa: PLC0415

    rates = numbers(baud, "--baud", BAUD_RATES[0], BAUD_RATES[-1])
    for rate in rates:
        if rate not in BAUD_RATES:
            raise typer.BadParameter(f"--baud: IEC 62056-21 has no {rate}; use {BAUD_RATES}")
    wanted = tuple(part.strip() for part in (addresses or "").split(","))
    for address in wanted:
        if not is_address(address):
            raise typer.BadParameter(f"--addresses: {address!r} is no device address")
    models = tuple(model for model in _profiles(profiles) if isinstance(model, ReadoutProfile))
    search = IecSearch(tuple(IecEndpoint(serial, rate) for rate in rates), wanted, models)
    return _Work(
        lambda found, report: search_iec(search, found, report),
        search.estimate_s,
        f"sign-on at {', '.join(map(str, rates))} baud",
        is_serial=True,
    )


def _profiles(names: str | None) -> "list[AnyProfile]":
    from gateway.meters.profile_file import ProfileError  # noqa: PLC0415
    from gateway.profiles import (  # noqa: PLC0415
        SUFFIX,
        ProfileLibrary,
        UnknownProfileError,
        profile_from_file,
    )

    library = ProfileLibrary()
    wanted = library.names() if names is None else [name.strip() for name in names.split(",")]
    try:
        return [
            profile_from_file(Path(name))
            if name.endswith(SUFFIX) or "/" in name
            else library.get(name)
            for name in wanted
        ]
    except (UnknownProfileError, ProfileError) as error:
        raise typer.BadParameter(f"--profiles: {error}") from error
