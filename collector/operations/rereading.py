"""Meters that are to be read again for a finding: commands to gateways, and what they brought.

It must not know how commands travel, nor what is decided of a finding.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collector.errors import CollectorError, InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.commands import StoredCommand
from collector.operations.commands import (
    CommandState,
    Sender,
    Wanted,
    send_command,
    state_of,
)
from contract.commands import CommandKind

# How long a gateway may take to read again, in seconds.
RE_READ_LIFETIME_S = 900

# How many meters one command names.
_METERS_MAX = 500


@dataclass(frozen=True, slots=True)
class ReRead:
    """What became of a command that was sent to read a meter again.

    `had` says whether the meter was read; None: nobody knows yet. `why`: the gateway's word for
    what went wrong.
    """

    command: str
    gateway: str
    state: CommandState
    issued_at: datetime
    answered_at: datetime | None
    had: bool | None
    why: str | None


def send_re_reads(
    ledger: Ledger, sender: Sender | None, meters: Collection[str], actor: str, now: datetime
) -> dict[str, str]:
    """Have gateways read meters again: the command of each meter; those that no gateway took lack.

    Raises InvalidRequest without a sender, and what `send_command` raises where nothing was sent.
    """
    if sender is None:
        raise InvalidRequest(
            "there is nothing here that sends commands", hint="decide it where the broker is known"
        )
    with ledger.read() as uow:
        gateways = {meter: uow.daily_reads.last_gateway(meter) for meter in sorted(meters)}
    by_gateway: dict[str, list[str]] = {}
    for meter, gateway in gateways.items():
        if gateway is not None:
            by_gateway.setdefault(gateway, []).append(meter)
    found: dict[str, str] = {}
    for gateway, serials in by_gateway.items():
        for part in _parts(serials):
            command = Wanted(gateway, CommandKind.READ.value, part, actor, RE_READ_LIFETIME_S)
            try:
                sent = send_command(ledger, sender, command, now)
            except CollectorError:
                if not found:
                    raise
                # Some were sent: what was not stays open, and is said.
                continue
            found |= dict.fromkeys(part, sent.command.id)
    return found


def re_reads(uow: UnitOfWork, commands: Iterable[str], meter: str, now: datetime) -> list[ReRead]:
    """What became of commands to read a meter again, in their order."""
    found = []
    for name in commands:
        stored = uow.commands.find(name)
        if stored is not None:
            had, why = _outcome(stored, meter)
            state = state_of(stored, now)
            found.append(
                ReRead(name, stored.gateway, state, stored.issued_at, stored.answered_at, had, why)
            )
    return found


def _outcome(stored: StoredCommand, meter: str) -> tuple[bool | None, str | None]:
    """Whether this meter was read by a command, and why not."""
    if stored.answered_at is None:
        return None, None
    scan: Mapping[str, Any] = (stored.detail or {}).get("scan") or {}
    missing = dict(scan.get("missing") or ())
    if meter in missing:
        return False, str(missing[meter])
    if any(read[0] == meter for table in scan.get("tables") or () for read in table["reads"]):
        return True, None
    # Tables that would not fit are left out of a result: the meter is not among those missed.
    return (True, None) if scan and stored.ok else (False, stored.code)


def _parts(serials: Sequence[str]) -> Iterable[Sequence[str]]:
    for first in range(0, len(serials), _METERS_MAX):
        yield serials[first : first + _METERS_MAX]
