"""Which points an export is of: a reading book, a commune, a station, a kind, or one point.

It fetches and matches names; it must not know which file is made.
"""

from dataclasses import dataclass
from datetime import datetime

from collector.errors import InvalidRequest, NotFound
from collector.ledger import UnitOfWork
from collector.operations.registry import unknown_station
from collector.operations.registry_history import unknown_book
from collector.registry.asking import just_before, points_at_station, points_of_book
from collector.registry.values import Registry, Role


@dataclass(frozen=True, slots=True)
class Selection:
    """All that are named must hold of a point when the period ends; None: whatever it is.

    `commune` is that of the point's station, `kind` the point's role.
    """

    book: str | None = None
    commune: str | None = None
    station: str | None = None
    kind: Role | None = None
    point: str | None = None

    def document(self) -> dict[str, str]:
        """What was named, for the audit trail and for who reads the file."""
        named = {
            "book": self.book,
            "commune": self.commune,
            "kind": None if self.kind is None else self.kind.value,
            "point": self.point,
            "station": self.station,
        }
        return {name: value for name, value in named.items() if value is not None}


EVERYTHING = Selection()


def selected_points(uow: UnitOfWork, wanted: Selection, to_at: datetime) -> set[str] | None:
    """Who is selected at the end of a period; None: everybody. Raises NotFound, InvalidRequest."""
    if wanted == EVERYTHING:
        return None
    at = just_before(to_at)
    registry = uow.registry.load(None)
    found = set(registry.points)
    if wanted.book is not None:
        if wanted.book not in {row.book for row in uow.contracts.books()}:
            raise unknown_book(wanted.book)
        members = points_of_book(uow.contracts.memberships(), wanted.book, at)
        found &= {row.point for row in members}
    stations = _stations(registry, wanted)
    if stations is not None:
        points = registry.points.values()
        found &= {
            point
            for station in stations
            for point in points_at_station(points, registry.transfers, station, at)
        }
    if wanted.kind is not None:
        found = {name for name in found if registry.points[name].role is wanted.kind}
    if wanted.point is not None:
        found &= {wanted.point}
    if not found:
        raise nothing_selected(wanted)
    return found


def _stations(registry: Registry, wanted: Selection) -> set[str] | None:
    """The stations that are meant; None: all."""
    found: set[str] | None = None
    if wanted.commune is not None:
        rows = registry.stations.items()
        found = {name for name, row in rows if row.commune == wanted.commune}
        if not found:
            raise NotFound(
                f"no station is in commune {wanted.commune!r}",
                hint="communes are written as stations.csv has them",
            )
    if wanted.station is not None:
        if wanted.station not in registry.stations:
            raise unknown_station(wanted.station)
        found = {wanted.station} & (found or {wanted.station})
    return found


def nothing_selected(wanted: Selection) -> InvalidRequest:
    """The error for a file that would be empty."""
    named = ", ".join(f"{name} {value}" for name, value in wanted.document().items())
    return InvalidRequest(
        f"no line of it is of {named}" if named else "there are no lines",
        hint="look at who is there when the period ends: songlo collector billing show RUN",
        code="empty_selection",
    )
