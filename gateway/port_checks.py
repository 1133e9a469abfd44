"""Whether the ports and bridges of a station file can be opened on this computer, now.

Opens each once and lets go of it at once. It must not know what is spoken there, nor whose
station file it is.
"""

import os
import socket
import stat
from collections.abc import Collection

from gateway.config import StationConfig
from gateway.station_file import EndpointSection, ModbusRtuOverTcpSection, ModbusTcpSection

CONNECT_TIMEOUT_S = 3.0

_Bridge = ModbusTcpSection | ModbusRtuOverTcpSection


def port_problems(config: StationConfig, in_use: Collection[EndpointSection] = ()) -> list[str]:
    """What keeps the lines of `config` from being opened; `in_use` are open already, by us.

    Blocks for up to CONNECT_TIMEOUT_S a bridge.
    """
    found = []
    for line in config.lines:
        if line.endpoint in in_use:
            continue
        if isinstance(line.endpoint, _Bridge):
            problem = _tcp_problem(line.endpoint)
        else:
            ours = any(
                not isinstance(other, _Bridge)
                and os.path.realpath(other.device) == os.path.realpath(line.endpoint.device)
                for other in in_use
            )
            problem = _device_problem(line.endpoint.device, is_ours=ours)
        if problem is not None:
            found.append(f"line {line.name}: {problem}")
    return found


def _tcp_problem(endpoint: _Bridge) -> str | None:
    try:
        socket.create_connection((endpoint.host, endpoint.port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return f"{endpoint.host}:{endpoint.port} cannot be reached: {error}"
    return None


def _device_problem(device: str, *, is_ours: bool) -> str | None:
    try:
        if not stat.S_ISCHR(os.stat(device).st_mode):
            return f"{device} is no serial port"
        if not is_ours:
            os.close(os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except FileNotFoundError:
        return f"{device} is not there; is the adapter plugged in? ls /dev/serial/by-path"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return None
