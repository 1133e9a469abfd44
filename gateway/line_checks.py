"""What a kind of line demands of its meters: their addresses, and profiles that can be read on it.

Rules over values of the station file; how mistakes are reported is `gateway.config`'s business.
"""

from collections.abc import Iterator

from gateway.meters.profile import MeterProfile
from gateway.meters.readout_profile import AnyProfile
from gateway.protocols.iec_messages import ADDRESS_CHARS_MAX, is_address
from gateway.station_file import (
    EndpointSection,
    Iec62056Section,
    ModbusRtuSection,
)

MODBUS_ADDRESS_MAX = 247  # Modbus over Serial Line V1.02, 2.2; 0 is a broadcast


def address_problem(
    endpoint: EndpointSection, address: int | str | None, *, is_alone: bool
) -> str | None:
    """What is wrong with a meter's address on such a line; None if nothing is.

    `is_alone` says that there is no other meter on the line.
    """
    if isinstance(endpoint, Iec62056Section):
        return _device_address_problem(address, is_alone=is_alone)
    if address is None:
        return "a Modbus meter needs an address; add it"
    if not isinstance(address, int):
        return f"Modbus addresses are numbers, {address!r} is text; write it without quotes"
    if not 1 <= address <= MODBUS_ADDRESS_MAX:
        return f"{address} is no Modbus address; use 1 to {MODBUS_ADDRESS_MAX}"
    return None


def _device_address_problem(address: int | str | None, *, is_alone: bool) -> str | None:
    if address is None or address == "":
        text = "without an address every meter on the line would answer; add it"
        return None if is_alone else text
    if not isinstance(address, str):
        return "write a device address in quotes; without them its leading zeros are lost"
    if not is_address(address):
        return (
            f"{address!r} is no device address; use at most {ADDRESS_CHARS_MAX} of 0-9 A-Z a-z, "
            "or leave it out where the meter is alone"
        )
    return None


def profile_problems(endpoint: EndpointSection, profile: AnyProfile) -> Iterator[str]:
    """What keeps a meter with `profile` from being read on such a line."""
    if isinstance(profile, MeterProfile):
        if isinstance(endpoint, Iec62056Section):
            yield f"{profile.name} is of a Modbus meter; this line speaks IEC 62056-21"
        elif isinstance(endpoint, ModbusRtuSection):
            yield from _modbus_settings(endpoint, profile)
    elif not isinstance(endpoint, Iec62056Section):
        yield f"{profile.name} is of a meter that speaks IEC 62056-21; this line speaks Modbus"
    elif endpoint.baud not in profile.sign_on_baud:
        allowed = ", ".join(map(str, profile.sign_on_baud))
        yield f"{profile.name} does not begin at {endpoint.baud} baud; it does at {allowed}"


def _modbus_settings(endpoint: ModbusRtuSection, profile: MeterProfile) -> Iterator[str]:
    serial = profile.serial
    if serial is None:
        return
    if endpoint.baud not in serial.baud:
        allowed = ", ".join(map(str, serial.baud))
        yield f"{profile.name} cannot run at {endpoint.baud} baud; it can at {allowed}"
    if endpoint.parity not in [str(parity.value) for parity in serial.parity]:
        allowed = ", ".join(parity.value for parity in serial.parity)
        yield f"{profile.name} cannot run at parity {endpoint.parity}; it can at {allowed}"
