"""The indices that stand for the ends of stretches in a balance, fetched for all meters at once.

It joins registry, reads and what people put in; which of them stands is decided by
`collector.balance.boundary`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from collector.balance.boundary import (
    FAR,
    NEAR,
    BoundaryIndex,
    BoundaryRead,
    How,
    boundary_index,
)
from collector.balance.boundary import needs_more as lacks_a_side
from collector.balance.energy import REGISTERS
from collector.billing.snapshot import Boundary, Stretch
from collector.ledger import UnitOfWork
from collector.ledger.boundary_reads import Span
from collector.ledger.findings import ManualIndex, ManualKind
from collector.registry.asking import belongs
from collector.registry.values import Installation, Registry
from contract.registers import IMPORT_ACTIVE


@dataclass(slots=True)
class _Wanted:
    """One boundary of one installation, with the reads found for it, by register."""

    installation: Installation
    at: datetime
    reads: dict[str, list[BoundaryRead]] = field(default_factory=dict)


def boundary_indices(
    uow: UnitOfWork, registry: Registry, parts: Iterable[Stretch], *, near_only: bool = False
) -> dict[Boundary, dict[str, BoundaryIndex]]:
    """What stands for both ends of every stretch, by register; with `near_only` no far read does.

    Reads within the hour first, for all meters; beyond it only for what lacks one on a side.
    """
    wanted = _wanted(parts)
    if not wanted:
        return {}
    _fetch(uow, wanted, NEAR)
    more = _doubtful(wanted)
    for one in more:
        one.reads.clear()
    _fetch(uow, more, FAR)
    _put_in(uow, wanted)
    found: dict[Boundary, dict[str, BoundaryIndex]] = {}
    for one in wanted:
        row = one.installation
        roll_over = registry.meters[row.meter].roll_over_wh
        of_boundary = found[row.point, row.installed_at, one.at] = {}
        for register, reads in one.reads.items():
            index = boundary_index(reads, one.at, roll_over)
            if index is not None and not (near_only and index.how is How.FAR):
                of_boundary[register] = index
    return found


def _wanted(parts: Iterable[Stretch]) -> list[_Wanted]:
    found: dict[Boundary, _Wanted] = {}
    for part in parts:
        row = part.installation
        for at in (part.from_at, part.to_at):
            key = (row.point, row.installed_at, at)
            if key not in found:
                found[key] = _Wanted(row, at)
    return list(found.values())


def _fetch(uow: UnitOfWork, wanted: Sequence[_Wanted], window: timedelta) -> None:
    """Put the reads within `window` of each boundary to it, where the meter was there."""
    by_meter: dict[str, list[_Wanted]] = {}
    for one in wanted:
        by_meter.setdefault(one.installation.meter, []).append(one)
    spans = [
        Span(meter, first_at, last_at)
        for meter, ones in by_meter.items()
        for first_at, last_at in _joined({one.at for one in ones}, window)
    ]
    for meter, register, at, value, slot, unsure in uow.boundary_reads.within(spans):
        read = BoundaryRead(at, value, unsure)
        for one in by_meter[meter]:
            if abs(at - one.at) <= window and belongs(one.installation, slot):
                one.reads.setdefault(register, []).append(read)


def _joined(instants: Iterable[datetime], window: timedelta) -> list[tuple[datetime, datetime]]:
    """The spans around these instants; those that touch are one, so that no read comes twice."""
    spans: list[tuple[datetime, datetime]] = []
    for at in sorted(instants):
        if spans and at - window <= spans[-1][1]:
            spans[-1] = (spans[-1][0], at + window)
        else:
            spans.append((at - window, at + window))
    return spans


def _doubtful(wanted: Iterable[_Wanted]) -> list[_Wanted]:
    """Boundaries that an hour's reads are not enough for."""
    counted: dict[tuple[str, datetime, str], bool] = {}
    wanted = list(wanted)
    for one in wanted:
        row = one.installation
        for register, reads in one.reads.items():
            key = (row.point, row.installed_at, register)
            counted[key] = counted.get(key, False) or any(read.value > 0 for read in reads)
    found = []
    for one in wanted:
        row = one.installation
        registers = {
            register
            for register in REGISTERS
            if register == IMPORT_ACTIVE or (row.point, row.installed_at, register) in counted
        }
        for register in registers:
            reads = one.reads.get(register, [])
            # A zero of a register that counts may be a fault: an earlier read shows it.
            zero = counted.get((row.point, row.installed_at, register), False) and any(
                read.value == 0 for read in reads
            )
            if zero or lacks_a_side(reads, one.at):
                found.append(one)
                break
    return found


def _put_in(uow: UnitOfWork, wanted: Sequence[_Wanted]) -> None:
    """Add what was written on the spot at exchanges, and what people read or decided."""
    instants = [one.at for one in wanted]
    manual: dict[str, list[ManualIndex]] = {}
    meters = {one.installation.meter for one in wanted}
    for entry in uow.manual_indices.standing(meters, min(instants) - FAR, max(instants) + FAR):
        manual.setdefault(entry.meter, []).append(entry)
    for one in wanted:
        row = one.installation
        for indices, at in (
            (row.install_indices, row.installed_at),
            (row.removal_indices, row.removed_at),
        ):
            if at is not None and abs(at - one.at) <= FAR:
                for register, value in indices.items():
                    if register in REGISTERS:
                        spot = BoundaryRead(at, value, fixed=True)
                        one.reads.setdefault(register, []).append(spot)
        for entry in manual.get(row.meter, ()):
            if entry.register in REGISTERS and belongs(row, entry.at):
                _add_manual(one, entry)


def _add_manual(one: _Wanted, entry: ManualIndex) -> None:
    assert entry.value is not None, "what was withdrawn does not stand"
    if entry.kind is ManualKind.HAND:
        read = BoundaryRead(entry.at, entry.value)
    elif entry.at == one.at:
        estimated = entry.kind is ManualKind.ESTIMATE
        read = BoundaryRead(entry.at, entry.value, fixed=True, estimated=estimated)
    else:
        return
    one.reads.setdefault(entry.register, []).append(read)
