"""Serial ports on the event loop: the only module that uses pyserial.

Opens and closes ports; it must not know what travels over them.
"""

import asyncio
import contextlib
import errno
import termios
from pathlib import Path
from typing import cast

import serial  # type: ignore[import-untyped]
import serial_asyncio  # type: ignore[import-untyped]

from gateway.holder import Holder, holder_of
from gateway.lines.endpoints import SerialEndpoint


async def open_port(endpoint: SerialEndpoint, protocol: asyncio.Protocol) -> asyncio.Transport:
    """The open port, exclusively ours, with `protocol` attached.

    Raises OSError with the reason; EBUSY and who has it if another program does.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await serial_asyncio.create_serial_connection(
            loop,
            lambda: protocol,
            endpoint.device,
            baudrate=endpoint.baud,
            bytesize=8,
            parity=endpoint.parity.value,
            stopbits=endpoint.stop_bits,
            exclusive=True,
        )
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
        holder = holder_of(Path(endpoint.device)) or Holder()
        raise OSError(errno.EBUSY, f"in use by {holder}") from error
    except (ValueError, termios.error) as error:  # SerialException is an OSError already
        raise OSError(f"{endpoint.device} does not take {endpoint}: {error}") from error
    return cast("asyncio.Transport", transport)


def set_baud(transport: asyncio.Transport, baud: int) -> None:
    """Go on at another rate, at once; what is still being sent is damaged. Raises OSError."""
    port: serial.Serial = transport.get_extra_info("serial")
    try:
        port.baudrate = baud
    except (ValueError, termios.error) as error:
        raise OSError(f"{port.name} does not take {baud} baud: {error}") from error


def unsent_bytes(transport: asyncio.Transport) -> int:
    """How many bytes have not yet gone to the device; its own few may still be on their way."""
    port: serial.Serial = transport.get_extra_info("serial")
    try:
        return transport.get_write_buffer_size() + int(port.out_waiting)
    except (OSError, termios.error):
        return 0  # the port is gone, which the reader will notice


def abort_port(transport: asyncio.Transport) -> None:
    """Close the port at once; what has not been sent is thrown away.

    Without the throwing away, closing waits for a device that may be gone.
    """
    port: serial.Serial | None = transport.get_extra_info("serial")
    if port is not None and port.is_open:
        with contextlib.suppress(OSError, termios.error):
            port.reset_output_buffer()
    transport.abort()
