"""What a change reaches back to: which points count otherwise from when on, and until when.

Balances, daily indices and previews are computed when asked, so they follow by themselves; what was
frozen or exported does not. It must not know what has been.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from collector.registry.contract_values import Contract, ContractRegistry
from collector.registry.planning import RegistryChanges
from collector.registry.rows import key_of, stored_key_of
from collector.registry.values import Installation, Registry

_INSTANT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Reach:
    """These points count otherwise in [from_at, to_at); to_at None: from then on."""

    points: frozenset[str]
    from_at: datetime
    to_at: datetime | None


# The kinds whose rows bills or balances rest on, and the field of their name.
_NAMES = {
    "transfers": "point",
    "multipliers": "point",
    "memberships": "point",
    "terms": "contract",
    "allocations": "contract",
    "reading_days": "book",
}


def reach(
    changes: RegistryChanges, stored: Registry, contracts: ContractRegistry, now: datetime
) -> Reach | None:
    """What the changes touch of the past; None where they begin at `now` or later.

    A change of several stretches is given as one, from the first to the last.
    """
    found = [
        (point, from_at, to_at)
        for point, from_at, to_at in _stretches(changes, stored, contracts)
        if from_at < now
    ]
    if not found:
        return None
    ends = [to_at for _, _, to_at in found]
    return Reach(
        frozenset(point for point, _, _ in found),
        min(from_at for _, from_at, _ in found),
        None if None in ends else max(end for end in ends if end is not None),
    )


def ahead(
    changes: RegistryChanges, stored: Registry, contracts: ContractRegistry, now: datetime
) -> dict[datetime, set[str]]:
    """What the changes say of the time to come: the points, by the instant, `now` or later.

    Where a change ends, the instant is the last before its end: the index of a removal is one of
    the period that ends just then.
    """
    found: dict[datetime, set[str]] = {}
    for point, from_at, to_at in _stretches(changes, stored, contracts):
        for at in (from_at, None if to_at is None else to_at - _INSTANT):
            if at is not None and at >= now:
                found.setdefault(at, set()).add(point)
    return found


_Stretch = tuple[str, datetime, datetime | None]


def _stretches(
    changes: RegistryChanges, stored: Registry, contracts: ContractRegistry
) -> Iterator[_Stretch]:
    for place in changes.installations:
        yield place.point, place.installed_at, place.removed_at
    for place in changes.closed:
        assert place.removed_at is not None
        # The index of a removal is one of the period that ends just then.
        begins = place.removed_at - _INSTANT if place.removal_indices else place.removed_at
        yield place.point, begins, None
    for one in changes.contracts:
        yield one.point, one.from_at, one.to_at
    for one in changes.closed_contracts:
        assert one.to_at is not None
        yield one.point, one.to_at, None
    yield from _replaced(changes, stored, contracts)
    known = {**contracts.contracts, **{row.contract: row for row in changes.contracts}}
    members = _members(contracts)
    for kind, column in _NAMES.items():
        rows = [*getattr(changes, kind), *changes.corrected.get(kind, ())]
        standing = getattr(stored if hasattr(stored, kind) else contracts, kind)
        begun = _begun(standing, column) if rows else {}
        for row in rows:
            name = getattr(row, column)
            later = [at for at in begun.get(name, ()) if at > row.from_at]
            for point in _points(column, name, known, members):
                yield point, row.from_at, min(later, default=None)


def _replaced(
    changes: RegistryChanges, stored: Registry, contracts: ContractRegistry
) -> Iterator[_Stretch]:
    """What corrected installations and contracts touch: where they say something else."""
    places = {key_of("installations", row): row for row in stored.installations}
    for place in changes.corrected.get("installations", ()):
        yield from _moved(places[stored_key_of("installations", place)], place)
    for one in changes.corrected.get("contracts", ()):
        before = contracts.contracts[one.contract]
        if before.customer != one.customer:
            yield one.point, min(before.from_at, one.from_at), None
        yield from _between(one.point, before.from_at, one.from_at)
        yield from _between(one.point, before.to_at, one.to_at)


def _moved(before: Installation, after: Installation) -> Iterator[_Stretch]:
    """What a corrected installation touches: around its ends, all of it for another meter."""
    ends = (before.removed_at, after.removed_at)
    if before.meter != after.meter:
        known = [end for end in ends if end is not None]
        until = max(known) if len(known) == len(ends) else None
        yield after.point, min(before.installed_at, after.installed_at), until
        return
    if before.install_indices != after.install_indices:
        yield after.point, after.installed_at, after.installed_at + _INSTANT
    yield from _between(after.point, before.installed_at, after.installed_at)
    if before.removal_indices != after.removal_indices:
        # It ends the period before, where that ends just then.
        for end in ends:
            if end is not None:
                yield after.point, end - _INSTANT, end
    yield from _between(after.point, *ends)


def _between(point: str, one: datetime | None, other: datetime | None) -> Iterator[_Stretch]:
    """From the earlier to the later of two instants, where they differ; None is for ever."""
    if one == other:
        return
    known = sorted(at for at in (one, other) if at is not None)
    yield point, known[0], known[1] if len(known) > 1 else None


def _points(
    column: str,
    name: str,
    contracts: Mapping[str, Contract],
    members: Mapping[str, Iterable[str]],
) -> Iterable[str]:
    if column == "contract":
        return (contracts[name].point,)
    return members.get(name, ()) if column == "book" else (name,)


def _members(contracts: ContractRegistry) -> dict[str, set[str]]:
    """The points that ever were in a book."""
    found: dict[str, set[str]] = {}
    for row in contracts.memberships:
        if row.book is not None:
            found.setdefault(row.book, set()).add(row.point)
    return found


def _begun(rows: Iterable[Any], column: str) -> dict[str, set[datetime]]:
    found: dict[str, set[datetime]] = {}
    for row in rows:
        found.setdefault(getattr(row, column), set()).add(row.from_at)
    return found
