"""What a first bill is compared with: what its meter counted from its installation on.

It fetches; what is too much is `collector.billing.gates`.
"""

from collections.abc import Iterable
from datetime import timedelta

from collector.billing.run_values import LineKind, RunLine
from collector.ledger import UnitOfWork
from collector.registry.asking import belongs
from contract.registers import IMPORT_ACTIVE

_HOUR = timedelta(hours=1)


def since_installed(
    uow: UnitOfWork, lines: Iterable[RunLine], before: Iterable[RunLine]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Of points that are billed for the first time: Wh from installation to opening, and hours.

    By point and register, of the active energy taken. Below zero where the opening index is below
    the one that was written down at the installation. A point has none where none was written
    down, or where it is billed from its installation on: nothing was counted before.
    """
    billed = {(line.point, line.register) for line in before}
    first: dict[tuple[str, str], RunLine] = {}
    for line in lines:
        key = line.point, line.register
        if line.register != IMPORT_ACTIVE or line.kind is not LineKind.CONSUMPTION:
            continue
        if key not in billed and (key not in first or line.from_at < first[key].from_at):
            first[key] = line
    if not first:
        return {}
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in uow.registry.installations():
        key = row.point, IMPORT_ACTIVE
        opening = first.get(key)
        if opening is None or opening.meter != row.meter or not belongs(row, opening.from_at):
            continue
        written = row.install_indices.get(IMPORT_ACTIVE)
        hours = (opening.from_at - row.installed_at) // _HOUR
        if written is not None and opening.index_from is not None and hours > 0:
            counted = (opening.index_from - written) * opening.multiplier
            found[key] = int(counted), hours
    return found
