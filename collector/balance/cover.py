"""For how long a head had no meter while its station was being supplied.

What a head took in then nobody counted. Pure functions over stretches; it must not know where
indices are kept.
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from collector.balance.boundary import FAR, NEAR
from collector.balance.energy import Doubt, Note, PointEnergy
from collector.billing.snapshot import Stretch
from collector.registry.values import Point, Role
from contract.registers import IMPORT_ACTIVE

# An exchange takes its time: what passes meanwhile is as little as what a read within the hour
# leaves open. Beyond a day nothing stands in for a head, as nothing does for an index.
EXCHANGE_MAX = NEAR
FLAGGED_MAX = FAR


def with_gaps(
    counted: Mapping[str, MutableMapping[str, PointEnergy]],
    points: Mapping[str, Point],
    parts: Iterable[tuple[str, Stretch]],
    heads_there: Mapping[str, Collection[str]],
    to_at: datetime,
) -> None:
    """Note in `counted` the heads that were without a meter; beyond a day they have no energy.

    `parts` are the stretches of a period that ends at `to_at`, by station; `heads_there` the head
    points that belong to each station at its end.
    """
    heads: dict[str, dict[str, list[Stretch]]] = {}
    begun: dict[str, datetime] = {}
    for station, part in parts:
        name = part.installation.point
        if points[name].role is Role.HEAD:
            heads.setdefault(station, {}).setdefault(name, []).append(part)
        else:
            begun[station] = min(part.from_at, begun.get(station, part.from_at))
    for station, some in heads.items():
        there = heads_there.get(station, ())
        is_only = len(some.keys() | set(there)) == 1
        for name, of_head in some.items():
            gap = longest_gap(
                of_head,
                begun.get(station) if is_only else None,
                to_at if name in there else None,
            )
            if gap is None or gap[1] <= EXCHANGE_MAX:
                continue
            at, length = gap
            energy = counted[station][name]
            note = Note(name, of_head[-1].installation.meter, IMPORT_ACTIVE, at, Doubt.NO_METER)
            energy = replace(energy, notes=(*energy.notes, note))
            if length > FLAGGED_MAX:
                energy = replace(energy, import_wh=None)
            counted[station][name] = energy


def longest_gap(
    head: Sequence[Stretch], begun: datetime | None, to_at: datetime | None
) -> tuple[datetime, timedelta] | None:
    """The start and length of the longest time that a head had no meter; None without one.

    Between two meters it should have had one; so up to `to_at`, and from `begun` on, when those
    behind it began to count: None where it may not have been there.
    """
    spans = sorted((part.from_at, part.to_at) for part in head)
    if to_at is not None:
        spans.append((to_at, to_at))
    last = spans[0][0] if begun is None else min(begun, spans[0][0])
    found: tuple[datetime, timedelta] | None = None
    for from_at, until_at in spans:
        if from_at > last and (found is None or from_at - last > found[1]):
            found = last, from_at - last
        last = max(last, until_at)
    return found
