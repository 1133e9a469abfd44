"""`songlo gateway read`: one meter, read once from the command line, without a station.

Owns what a technician types and sees. Like all commands it imports what it needs only when it is
run, so that the others start at once.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.registers import BY_OBIS
from gateway.advice import advice
from gateway.line_options import tcp_endpoint
from gateway.meters.profile import MeterProfile, Parity

if TYPE_CHECKING:
    from gateway.lines.endpoints import Endpoint
    from gateway.meters.attributes import AttributeValue
    from gateway.read_once import Reading

RTU_ADDRESS_MAX = 247  # Modbus over Serial Line V1.02, 2.2; 0 is a broadcast, which none answers


def read(  # noqa: PLR0913 - these are the options of a command
    profile: Annotated[str, typer.Option(help="A meter profile's name, or its file.")],
    address: Annotated[int, typer.Option(min=0, max=255, help="The meter's Modbus address.")],
    tcp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A meter or bridge on Modbus TCP.")
    ] = None,
    serial: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="A serial port with an RS-485 line.")
    ] = None,
    baud: Annotated[int, typer.Option(min=300, max=921_600, help="Bits a second.")] = 9600,
    parity: Annotated[
        Parity, typer.Option(case_sensitive=False, help="None, even or odd.")
    ] = Parity.NONE,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    dump: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a vectors file, without serial numbers."),
    ] = None,
) -> None:
    """Read every register of one meter, once, and show what it says."""
    import asyncio  # noqa: PLC0415 - see the module's docstring
    import logging  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from gateway.clock import SystemClock  # noqa: PLC0415
    from gateway.ports import ReadFailed  # noqa: PLC0415
    from gateway.read_once import read_once, words_once  # noqa: PLC0415

    if dump is not None and dump.exists():
        raise typer.BadParameter(f"--dump: {dump} exists already")
    endpoint = _endpoint(tcp, serial, baud, parity, address)
    model = _profile(profile)
    # What the line would log is told in full below; standard output is for the answer.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        reading = asyncio.run(read_once(endpoint, model, address, SystemClock()))
        words = asyncio.run(words_once(endpoint, model, address)) if dump else {}
    except ReadFailed as failure:
        typer.echo(f"{endpoint}, address {address}: {failure}", err=True)
        typer.echo(advice(failure.reason, failure.detail, is_serial=serial is not None), err=True)
        raise typer.Exit(1) from None
    typer.echo(_as_json(reading) if as_json else _as_table(reading))
    if dump is not None:
        _write(dump, model, words)


def _write(path: Path, profile: MeterProfile, words: dict[int, int]) -> None:
    from gateway.meters.vectors import vectors_text  # noqa: PLC0415

    try:
        path.write_text(vectors_text(profile, "what a meter said", words))
    except OSError as error:
        raise typer.BadParameter(f"--dump: {path}: {error.strerror}") from error
    typer.echo(f"{path} has its words: compare them with the display, then keep them.", err=True)


def _endpoint(
    tcp: str | None, serial: str | None, baud: int, parity: Parity, address: int
) -> "Endpoint":
    from gateway.lines.endpoints import SerialEndpoint  # noqa: PLC0415

    if serial is not None and tcp is None:
        if not 1 <= address <= RTU_ADDRESS_MAX:
            raise typer.BadParameter(f"--address on a serial line is 1 to {RTU_ADDRESS_MAX}")
        return SerialEndpoint(serial, baud, parity)
    if tcp is None or serial is not None:
        raise typer.BadParameter("give either --tcp HOST:PORT or --serial DEVICE")
    return tcp_endpoint(tcp)


def _profile(name: str) -> MeterProfile:
    from gateway.meters.profile_file import ProfileError  # noqa: PLC0415
    from gateway.profiles import (  # noqa: PLC0415
        SUFFIX,
        ProfileLibrary,
        UnknownProfileError,
        profile_from_file,
    )

    try:
        is_file = name.endswith(SUFFIX) or "/" in name
        profile = profile_from_file(Path(name)) if is_file else ProfileLibrary().get(name)
    except (UnknownProfileError, ProfileError) as error:
        raise typer.BadParameter(f"--profile: {error}") from error
    if not isinstance(profile, MeterProfile):
        raise typer.BadParameter(f"--profile: {name} is not of a Modbus meter")
    return profile


def _at(reading: "Reading") -> str:
    return reading.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_json(reading: "Reading") -> str:
    return json.dumps(
        {
            "profile": reading.profile.name,
            "address": reading.address,
            "at": _at(reading),
            "registers": {
                obis: {"value": value, "unit": BY_OBIS[obis].unit.value}
                for obis, value in reading.values.items()
            },
            "missing": reading.missing,
        }
    )


def _as_table(reading: "Reading") -> str:
    rows = [
        (obis, BY_OBIS[obis].field, f"{value:,}".replace(",", " "), BY_OBIS[obis].unit.value)
        for obis, value in reading.values.items()
    ]
    rows += [(obis, BY_OBIS[obis].field, "no value", "") for obis in reading.missing]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{obis:<{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}} {unit}".rstrip()
        for obis, name, value, unit in rows
    ]
    head = f"{reading.profile.model}, address {reading.address}, {_at(reading)}"
    about = [f"{name}: {_said(value)}" for name, value in reading.attributes.items()]
    return "\n".join([head, *lines, *about])


def _said(value: "AttributeValue") -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "no value" if value is None else str(value)
