"""Lines as people name them on a command line: HOST:PORT, lists of rates, ranges of addresses.

Turns options into endpoints and refuses what makes no sense. It must not open anything.
"""

from typing import Annotated

import typer

from gateway.lines.endpoints import Framing, TcpEndpoint
from gateway.meters.profile import Parity

MODBUS_PORT = 502
PORT_MAX = 0xFFFF

TcpOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="A meter or bridge on Modbus TCP.")
]
RtuOverTcpOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="A transparent serial server.")
]
SerialOption = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="A serial port with an RS-485 line.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def tcp_endpoint(text: str, framing: Framing = Framing.TCP, option: str = "--tcp") -> TcpEndpoint:
    """The endpoint in `HOST:PORT` or `HOST`. Raises typer.BadParameter."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(MODBUS_PORT))
    if not host or not port.isdecimal() or not 1 <= int(port) <= PORT_MAX:
        raise typer.BadParameter(f"{option} is HOST:PORT, as in 192.168.1.20:502, not {text!r}")
    return TcpEndpoint(host.strip("[]"), int(port), framing)


def numbers(text: str, option: str, low: int, high: int) -> tuple[int, ...]:
    """The numbers in `9600,19200` or `1-20,47`, each once, in the order given.

    Raises typer.BadParameter for anything else, and beyond `low` to `high`.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.strip().isdecimal() for end in ends):
            raise typer.BadParameter(f"{option}: {part.strip()!r} is no number; write 1-20,47")
        begin, end = int(ends[0]), int(ends[1])
        if not low <= begin <= end <= high:
            raise typer.BadParameter(f"{option}: {part.strip()} is not within {low} to {high}")
        found |= dict.fromkeys(range(begin, end + 1))
    return tuple(found)


def parities(text: str) -> tuple[Parity, ...]:
    """The parities in `N,E`. Raises typer.BadParameter."""
    try:
        return tuple(Parity(part.strip().upper()) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--parity: {text!r}; use N, E and O, as in N,E") from error
