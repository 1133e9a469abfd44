"""`songlo gateway read` for a meter that speaks IEC 62056-21: what it prints and what it keeps.

Owns what a technician sees. It must not know how sessions are held.
"""

import asyncio
import json
from pathlib import Path

import typer

from contract.messages import MissingReason
from gateway.advice import advice
from gateway.clock import SystemClock
from gateway.lines.endpoints import IecEndpoint
from gateway.meters.readout_profile import ReadoutProfile
from gateway.ports import ReadFailed
from gateway.protocols.iec_messages import ADDRESS_CHARS_MAX, BAUD_RATES, is_address
from gateway.read_iec import IecReading, read_iec_once
from gateway.read_text import answer, instant, rows

_SILENT = (
    "Nobody signs on. Try --baud 300 (the usual one) or the rate to which the meter is set, the "
    "optical head turned the other way, A and B exchanged, and the address: without --address only "
    "a meter that is alone on its line answers."
)


def read_iec(
    model: ReadoutProfile,
    device: str,
    address: str,
    baud: int | None,
    raw: Path | None,
    *,
    as_json: bool,
) -> None:
    """Read the meter at `address`, print what it says, keep its own words in `raw`."""
    if not is_address(address):
        raise typer.BadParameter(
            f"--address: {address!r} is no device address; at most {ADDRESS_CHARS_MAX} of "
            "0-9 A-Z a-z"
        )
    rate = baud or model.sign_on_baud[0]
    if rate not in BAUD_RATES:
        raise typer.BadParameter(f"--baud: IEC 62056-21 has no {rate}; use {BAUD_RATES}")
    endpoint = IecEndpoint(device, rate)
    try:
        reading = asyncio.run(read_iec_once(endpoint, model, address, SystemClock()))
    except ReadFailed as failure:
        typer.echo(f"{endpoint}, address {address or 'any'}: {failure}", err=True)
        is_silent = failure.reason is MissingReason.TIMEOUT
        text = _SILENT if is_silent else advice(failure.reason, failure.detail, is_serial=True)
        typer.echo(text, err=True)
        raise typer.Exit(1) from None
    typer.echo(_json(reading) if as_json else _table(reading))
    if raw is not None:
        _keep(raw, reading)
    if reading.stranger is not None:
        typer.echo(
            f"the meter says that it is {reading.stranger}, not {address}: compare its plate",
            err=True,
        )
    if not reading.values:
        typer.echo("this profile finds nothing in what the meter lists: is it the model?", err=True)
        raise typer.Exit(1)


def _keep(path: Path, reading: IecReading) -> None:
    try:
        path.write_text(reading.text, encoding="ascii", newline="")
    except OSError as error:
        raise typer.BadParameter(f"--raw: {path}: {error.strerror}") from error
    typer.echo(f"{path} has what it listed, its serial number included.", err=True)


def _json(reading: IecReading) -> str:
    told = answer(
        reading.profile.name, reading.address, reading.at, reading.values, reading.missing
    )
    return json.dumps({**told, "identification": reading.identification})


def _table(reading: IecReading) -> str:
    where = reading.address or "any"
    head = f"{reading.profile.model}, address {where}, {instant(reading.at)}"
    said = f"introduces itself as {reading.identification}"
    return "\n".join([head, said, *rows(reading.values, reading.missing)])
