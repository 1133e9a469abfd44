"""What to try when a meter or a line does not answer: sentences for whoever stands before it.

Pure text by reason. It must not know how anything was asked.
"""

from contract.messages import MissingReason

_ALONE = (
    "Nobody answers at this address. Try the address that the meter's display shows, another "
    "--baud or --parity, the wires A and B exchanged, and look for a second meter that has the "
    "same address."
)
_OTHERS_ANSWER = (
    "The others on this line answer, so wiring and rate are right: look for this meter's supply, "
    "the address on its display, and its own two wires."
)
_NONE_ANSWERS = (
    "No meter of this line answers: look for the line's rate and parity, A and B exchanged, the "
    "cable from the adapter to the first meter, and the termination at both ends."
)
_BY_REASON = {
    MissingReason.BAD_REPLY: (
        "The meter answers something else than was asked. Look for a second master or a second "
        "meter with this address on the line."
    ),
    MissingReason.EXCEPTION: (
        "The meter answers, but refuses. This profile may be of another model: compare it with "
        "the type plate."
    ),
    MissingReason.NOT_AVAILABLE: (
        "The meter answers that it has no values. Is it connected to the mains on all phases?"
    ),
    MissingReason.WINDOW_CLOSED: (
        "The line is too slow for its interval: spread its meters over more lines."
    ),
}
_SERIAL_DOWN = (
    "See `ls -l /dev/serial/by-path` for the adapter's name, whether you may use it (group "
    "dialout), and whether another program, such as the gateway itself, has it open."
)
_SERIAL_BUSY = (
    "Only one program can use a line. If it is the gateway, stop it (systemctl stop "
    "songlo-gateway), and start it again within five minutes, so that no slot is lost."
)
_TCP_DOWN = "Check the address and the port, and whether the device can be reached (ping)."

_NOBODY_SERIAL = (
    "Nobody answered. In this order: is the adapter the right one (ls -l /dev/serial/by-path), do "
    "the meters have mains, are A and B exchanged (some makers call them B and A), other rates and "
    "parities (--baud 2400,9600,19200 --parity N,E,O), meters that speak IEC 62056-21 (--iec), a "
    "broken cable: begin with the first meter alone."
)
_NOBODY_TCP = (
    "Nobody answered. The bridge is there: do its serial settings suit the meters, does it speak "
    "Modbus TCP (else --rtu-over-tcp), and is another master using it?"
)


def nobody(*, is_serial: bool) -> str:
    """What to try when a search has found no meter."""
    return _NOBODY_SERIAL if is_serial else _NOBODY_TCP


def advice(
    reason: MissingReason, detail: str = "", *, is_serial: bool, others_answer: bool | None = None
) -> str:
    """What to try after a read failed for `reason`.

    `others_answer` says whether other meters of the line do; None where that is not known.
    """
    if reason is MissingReason.LINE_DOWN:
        if not is_serial:
            return _TCP_DOWN
        return _SERIAL_BUSY if "in use by" in detail else _SERIAL_DOWN
    if reason is MissingReason.TIMEOUT:
        return {None: _ALONE, True: _OTHERS_ANSWER, False: _NONE_ANSWERS}[others_answer]
    return _BY_REASON[reason]
