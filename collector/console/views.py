"""What the pages show, gathered from the operations that the API uses too.

Each function answers one part of one page; it must not know HTTP, templates or languages.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from collector.civil import day_start
from collector.operations import collection, fleet, registry
from collector.registry.values import Station
from collector.web.context import Context

STATIONS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class GatewayState:
    """How the gateways of one station fare; `silent_s` is of the one heard of last."""

    gateway_count: int = 0
    gateways_online: int = 0
    silent_s: float | None = None


@dataclass(frozen=True, slots=True)
class StationRow:
    """One row of the first page."""

    station: str
    name: str
    commune: str | None
    capacity_kva: int | None
    points: int
    missing: int
    gateway_count: int
    gateways_online: int
    silent_s: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page's figures and some of its rows: `first` to `last`, counted from 1."""

    query: str
    chosen: str
    rows: Sequence[StationRow]
    first: int
    last: int
    found_total: int
    stations_total: int
    points_total: int
    due_total: int
    missing_total: int
    gateways_total: int
    gateways_online: int
    unassigned_total: int
    previous_url: str
    next_url: str


@dataclass(frozen=True, slots=True)
class GatewayLine:
    """One row of the gateways page; `holes` counts batches, `waiting` is the gateway's own word.

    So is `meters_offline`.
    """

    gateway: str
    station: str | None
    online: bool
    silent_s: int
    waiting: int | None
    waiting_known: int
    meters_offline: int
    holes: int
    quarantine_open: int
    lost: int
    batches: int
    reads: int
    duplicates: int
    version: str | None


def chosen_station(context: Context, wanted: str | None, query: str) -> Station | None:
    """The station to plot on the first page: the one asked for, else the first that is shown."""
    views = registry.stations(context.ledger)
    if wanted:
        for view in views:
            if view.station.station == wanted:
                return view.station
        raise registry.unknown_station(wanted)
    found = _matching(views, query)
    return found[0].station if found else None


def overview(context: Context, query: str, page: int, chosen: str) -> Overview:
    """The first page's figures, and the rows of page `page` (1 is the first)."""
    views = registry.stations(context.ledger)
    found = _matching(views, query)
    pages = max(1, -(-len(found) // STATIONS_PER_PAGE))
    page = min(page, pages)
    first = (page - 1) * STATIONS_PER_PAGE
    lacking = collection.meters_without_index(
        context.ledger, day=context.today(), zone=context.zone
    )
    missing = Counter(row.station for row in lacking)
    gateways = fleet.gateways(context.ledger, context.now())
    states = gateway_states(gateways)
    rows = [
        _station_row(view, missing[view.station.station], states)
        for view in found[first : first + STATIONS_PER_PAGE]
    ]
    return Overview(
        query=query,
        chosen=chosen,
        rows=rows,
        first=first + 1 if rows else 0,
        last=first + len(rows),
        found_total=len(found),
        stations_total=len(views),
        points_total=sum(view.points for view in views),
        due_total=installed(context, None),
        missing_total=len(lacking),
        gateways_total=len(gateways),
        gateways_online=sum(gateway.online for gateway in gateways),
        unassigned_total=len(collection.unassigned_meters(context.ledger)),
        previous_url=_page_url(query, page - 1) if page > 1 else "",
        next_url=_page_url(query, page + 1) if page < pages else "",
    )


def _matching(views: Sequence[registry.StationView], query: str) -> Sequence[registry.StationView]:
    wanted = query.strip().casefold()
    if not wanted:
        return views
    return [
        view
        for view in views
        if any(
            wanted in text.casefold()
            for text in (view.station.station, view.station.name, view.station.commune or "")
        )
    ]


def _station_row(
    view: registry.StationView, missing: int, states: Mapping[str, GatewayState]
) -> StationRow:
    state = states.get(view.station.station, GatewayState())
    return StationRow(
        station=view.station.station,
        name=view.station.name,
        commune=view.station.commune,
        capacity_kva=view.station.capacity_kva,
        points=view.points,
        missing=missing,
        gateway_count=state.gateway_count,
        gateways_online=state.gateways_online,
        silent_s=state.silent_s,
    )


def gateway_states(gateways: Sequence[fleet.GatewayView]) -> dict[str, GatewayState]:
    """The state of each station that a gateway reports for."""
    states: dict[str, GatewayState] = {}
    for gateway in gateways:
        if gateway.station is None:
            continue
        state = states.get(gateway.station, GatewayState())
        silences = [gateway.silent_s, *([] if state.silent_s is None else [state.silent_s])]
        states[gateway.station] = GatewayState(
            state.gateway_count + 1, state.gateways_online + gateway.online, min(silences)
        )
    return states


def installed(context: Context, station: str | None) -> int:
    """How many meters today's index is due of."""
    at = day_start(context.today(), context.zone)
    return sum(
        view.installation is not None for view in registry.points(context.ledger, at, station)
    )


def _page_url(query: str, page: int) -> str:
    return "/?" + urlencode({"q": query, "page": page})


def gateway_rows(context: Context) -> list[GatewayLine]:
    """All gateways: those offline first, then those that have been silent longest."""
    found = [
        GatewayLine(
            gateway=row.gateway,
            station=row.station,
            online=row.online,
            silent_s=row.silent_s,
            waiting=row.waiting,
            waiting_known=row.waiting or 0,
            meters_offline=sum(line.offline for line in row.lines),
            holes=sum(epoch.missing for epoch in row.holes),
            quarantine_open=row.quarantine_open,
            lost=row.lost,
            batches=row.batches,
            reads=row.reads,
            duplicates=row.duplicates,
            version=row.version,
        )
        for row in fleet.gateways(context.ledger, context.now())
    ]
    return sorted(found, key=lambda row: (row.online, -row.silent_s, row.gateway))
