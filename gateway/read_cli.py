"""`songlo gateway read`: one meter, read once from the command line, without a station.

Owns what a technician types and sees. Like all commands it imports what it needs only when it is
run, so that the others start at once.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.advice import advice
from gateway.line_options import (
    JsonOption,
    RtuOverTcpOption,
    SerialOption,
    TcpOption,
    tcp_endpoint,
)
from gateway.meters.profile import MeterProfile, Parity
from gateway.read_text import answer, instant, rows

if TYPE_CHECKING:
    from gateway.lines.endpoints import Endpoint
    from gateway.meters.attributes import AttributeValue
    from gateway.meters.readout_profile import AnyProfile
    from gateway.read_once import Reading

BAUD = 9600
ADDRESS_MAX = 255  # of Modbus TCP
RTU_ADDRESS_MAX = 247  # Modbus over Serial Line V1.02, 2.2; 0 is a broadcast, which none answers


def read(  # noqa: PLR0913 - these are the options of a command
    profile: Annotated[str, typer.Option(help="A meter profile's name, or its file.")],
    address: Annotated[
        str | None,
        typer.Option(help="Modbus address, or IEC 62056-21 device address; none for the only one."),
    ] = None,
    tcp: TcpOption = None,
    rtu_over_tcp: RtuOverTcpOption = None,
    serial: SerialOption = None,
    baud: Annotated[
        int | None,
        typer.Option(min=300, max=921_600, help="Bits a second; 9600, or as the profile begins."),
    ] = None,
    parity: Annotated[
        Parity, typer.Option(case_sensitive=False, help="None, even or odd.")
    ] = Parity.NONE,
    as_json: JsonOption = False,
    dump: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a vectors file, without serial numbers."),
    ] = None,
    raw: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a readout as it came.")
    ] = None,
) -> None:
    """Read every register of one meter, once, and show what it says."""
    import logging  # noqa: PLC0415 - see the module's docstring

    import structlog  # noqa: PLC0415

    for option, path in (("--dump", dump), ("--raw", raw)):
        if path is not None and path.exists():
            raise typer.BadParameter(f"{option}: {path} exists already")
    model = _profile(profile)
    # What the line would log is told in full below; standard output is for the answer.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if isinstance(model, MeterProfile):
        if raw is not None:
            raise typer.BadParameter("--raw is for IEC 62056-21; a Modbus meter has --dump")
        endpoint = _endpoint(tcp, rtu_over_tcp, serial, baud or BAUD, parity)
        _read_modbus(endpoint, model, _unit(address, serial), dump, as_json=as_json)
        return
    from gateway.read_iec_cli import read_iec  # noqa: PLC0415

    if tcp is not None or rtu_over_tcp is not None or serial is None:
        raise typer.BadParameter(f"{model.name} speaks IEC 62056-21: give --serial DEVICE")
    if dump is not None:
        raise typer.BadParameter("--dump is for Modbus; a readout is kept with --raw")
    read_iec(model, serial, address or "", baud, raw, as_json=as_json)


def _read_modbus(
    endpoint: "Endpoint", model: MeterProfile, unit: int, dump: Path | None, *, as_json: bool
) -> None:
    import asyncio  # noqa: PLC0415

    from gateway.clock import SystemClock  # noqa: PLC0415
    from gateway.lines.endpoints import SerialEndpoint  # noqa: PLC0415
    from gateway.ports import ReadFailed  # noqa: PLC0415
    from gateway.read_once import read_once, words_once  # noqa: PLC0415

    try:
        reading = asyncio.run(read_once(endpoint, model, unit, SystemClock()))
        words = asyncio.run(words_once(endpoint, model, unit)) if dump else {}
    except ReadFailed as failure:
        is_serial = isinstance(endpoint, SerialEndpoint)
        typer.echo(f"{endpoint}, address {unit}: {failure}", err=True)
        typer.echo(advice(failure.reason, failure.detail, is_serial=is_serial), err=True)
        raise typer.Exit(1) from None
    typer.echo(_as_json(reading) if as_json else _as_table(reading))
    if dump is not None:
        _write(dump, model, words)


def _unit(address: str | None, serial: str | None) -> int:
    if address is None:
        raise typer.BadParameter("a Modbus meter needs --address")
    if not address.isdecimal() or not 0 <= int(address) <= ADDRESS_MAX:
        raise typer.BadParameter(f"--address: {address} is not in the range 0 to {ADDRESS_MAX}")
    if serial is not None and not 1 <= int(address) <= RTU_ADDRESS_MAX:
        raise typer.BadParameter(f"--address on a serial line is 1 to {RTU_ADDRESS_MAX}")
    return int(address)


def _write(path: Path, profile: MeterProfile, words: dict[int, int]) -> None:
    from gateway.meters.vectors import vectors_text  # noqa: PLC0415

    try:
        path.write_text(vectors_text(profile, "what a meter said", words))
    except OSError as error:
        raise typer.BadParameter(f"--dump: {path}: {error.strerror}") from error
    typer.echo(f"{path} has its words: compare them with the display, then keep them.", err=True)


def _endpoint(
    tcp: str | None, rtu_over_tcp: str | None, serial: str | None, baud: int, parity: Parity
) -> "Endpoint":
    from gateway.lines.endpoints import Framing, SerialEndpoint  # noqa: PLC0415

    if sum(given is not None for given in (tcp, rtu_over_tcp, serial)) != 1:
        raise typer.BadParameter("give either --tcp HOST:PORT or --serial DEVICE")
    if tcp is not None:
        return tcp_endpoint(tcp)
    if rtu_over_tcp is not None:
        return tcp_endpoint(rtu_over_tcp, Framing.RTU, "--rtu-over-tcp")
    assert serial is not None
    return SerialEndpoint(serial, baud, parity)


def _profile(name: str) -> "AnyProfile":
    from gateway.meters.profile_file import ProfileError  # noqa: PLC0415
    from gateway.profiles import (  # noqa: PLC0415
        SUFFIX,
        ProfileLibrary,
        UnknownProfileError,
        profile_from_file,
    )

    try:
        is_file = name.endswith(SUFFIX) or "/" in name
        return profile_from_file(Path(name)) if is_file else ProfileLibrary().get(name)
    except (UnknownProfileError, ProfileError) as error:
        raise typer.BadParameter(f"--profile: {error}") from error


def _as_json(reading: "Reading") -> str:
    told = answer(
        reading.profile.name, reading.address, reading.at, reading.values, reading.missing
    )
    return json.dumps(told)


def _as_table(reading: "Reading") -> str:
    head = f"{reading.profile.model}, address {reading.address}, {instant(reading.at)}"
    about = [f"{name}: {_said(value)}" for name, value in reading.attributes.items()]
    return "\n".join([head, *rows(reading.values, reading.missing), *about])


def _said(value: "AttributeValue") -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "no value" if value is None else str(value)
