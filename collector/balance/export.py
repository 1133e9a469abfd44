"""Balances and losses as CSV, JSON and lines: a projection, never a computation.

It knows columns; it must not know where the balances come from.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from collector.balance.causes import Cause
from collector.balance.energy import Note
from collector.balance.losses import AreaLoss, DaysLoss, MasterLoss, StationLoss
from collector.balance.station import Balance, DayBalance
from collector.balance.texts import CAUSES, DOUBTS
from collector.civil import format_instant
from collector.registry.cells import tame_cell

COLUMNS = ("station", "day", "head_wh", "customers_wh", "loss_wh", "loss_percent", "complete")

STATION_COLUMNS = (
    "station",
    "commune",
    "unit",
    "received_wh",
    "sold_wh",
    "loss_wh",
    "loss_percent",
    "technical_wh",
    "technical_note",
    "unexplained_wh",
    "unexplained_percent",
    "points",
    "points_complete",
    "complete",
    "error_max_wh",
    "standing",
    "band",
    "previous_loss_wh",
    "previous_loss_percent",
    "sudden",
)
AREA_COLUMNS = (
    "name",
    "stations",
    "known",
    "complete",
    "received_wh",
    "sold_wh",
    "loss_wh",
    "loss_percent",
    "technical_wh",
    "technical_lacking",
    "unexplained_wh",
    "unexplained_percent",
    "boundary_received_wh",
    "boundary_loss_wh",
    "boundary_loss_percent",
    "mv_wh",
    "boundary_complete",
)
MASTER_COLUMNS = (
    "point",
    "station",
    "import_wh",
    "export_wh",
    "share_percent",
    "points_behind",
    "points_known",
    "behind_wh",
    "loss_wh",
    "loss_percent",
)

Cell = str | int | None

# Of the doubtful indices of one station that are printed one by one.
NOTES_MAX = 10


def balance_csv(balances: Iterable[DayBalance]) -> Iterator[bytes]:
    """UTF-8, comma, header row, lines end in LF; `complete` is true or false, unknown is empty."""
    yield _row(COLUMNS)
    for entry in balances:
        balance = entry.balance
        yield _row(
            (
                balance.station,
                entry.day.isoformat(),
                balance.head_wh,
                balance.customers_wh,
                balance.loss_wh,
                balance.loss_percent,
                _truth(balance.complete),
            )
        )


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """UTF-8, comma, header row, lines end in LF."""
    return b"".join(_row(row) for row in (columns, *rows))


def station_row(loss: StationLoss) -> tuple[Cell, ...]:
    """The cells of STATION_COLUMNS."""
    balance, previous = loss.balance, loss.previous
    return (
        loss.station.station,
        loss.station.commune,
        loss.station.unit,
        balance.received_wh,
        balance.customers_wh,
        balance.loss_wh,
        balance.loss_percent,
        loss.technical.energy_wh,
        loss.technical.note.value,
        loss.unexplained_wh,
        loss.unexplained_percent,
        balance.points,
        balance.points_complete,
        _truth(balance.complete),
        balance.error_max_wh,
        loss.standing.value,
        loss.band.value,
        None if previous is None else previous.loss_wh,
        None if previous is None else previous.loss_percent,
        _truth(loss.is_sudden),
    )


def period_row(loss: StationLoss) -> tuple[Cell, ...]:
    """The same with the period before it."""
    at = (format_instant(loss.balance.from_at), format_instant(loss.balance.to_at))
    return (*at, *station_row(loss))


def area_row(area: AreaLoss) -> tuple[Cell, ...]:
    """The cells of AREA_COLUMNS."""
    edge = area.boundary
    of_edge: tuple[Cell, ...] = (None,) * 5
    if edge is not None:
        of_edge = (
            edge.received_wh,
            edge.loss_wh,
            edge.loss_percent,
            edge.mv_wh,
            _truth(edge.complete),
        )
    return (
        area.name,
        area.stations,
        area.known,
        area.complete,
        area.received_wh,
        area.sold_wh,
        area.loss_wh,
        area.loss_percent,
        area.technical_wh,
        area.technical_lacking,
        area.unexplained_wh,
        area.unexplained_percent,
        *of_edge,
    )


def master_row(master: MasterLoss) -> tuple[Cell, ...]:
    """The cells of MASTER_COLUMNS."""
    return tuple(getattr(master, column) for column in MASTER_COLUMNS)


def report_json(  # noqa: PLR0913  one a part of the report
    from_at: datetime | None,
    to_at: datetime | None,
    *,
    stations: Iterable[StationLoss] | None = None,
    causes: Mapping[str, Sequence[Cause]] | None = None,
    communes: Iterable[AreaLoss] | None = None,
    units: Iterable[AreaLoss] | None = None,
    masters: Iterable[MasterLoss] | None = None,
    days: Iterable[DayBalance] | None = None,
    total: DaysLoss | None = None,
) -> bytes:
    """What is given as one JSON document, the names those of the columns; ends in LF."""
    document: dict[str, object] = {}
    if from_at is not None and to_at is not None:
        document |= {"from_at": format_instant(from_at), "to_at": format_instant(to_at)}
    if stations is not None:
        document["stations"] = [station_document(one, causes or {}) for one in stations]
    for name, areas in (("communes", communes), ("units", units)):
        if areas is not None:
            document[name] = [dict(zip(AREA_COLUMNS, area_row(one), strict=True)) for one in areas]
    if masters is not None:
        document["masters"] = [
            dict(zip(MASTER_COLUMNS, master_row(one), strict=True)) for one in masters
        ]
    if days is not None:
        document["days"] = [_day(one) for one in days]
    if total is not None:
        document["total"] = total
    return msgspec.json.encode(document) + b"\n"


def station_document(loss: StationLoss, causes: Mapping[str, Sequence[Cause]]) -> dict[str, object]:
    """One station as JSON shows it."""
    document: dict[str, object] = dict(zip(STATION_COLUMNS, station_row(loss), strict=True))
    document |= {
        "complete": loss.balance.complete,
        "sudden": loss.is_sudden,
        "from_at": format_instant(loss.balance.from_at),
        "to_at": format_instant(loss.balance.to_at),
        "lacking": loss.balance.lacking,
        "notes": [note_document(note) for note in loss.balance.notes],
        "causes": causes.get(loss.station.station, ()),
    }
    return document


def note_document(note: Note) -> dict[str, object]:
    """One doubtful index as JSON shows it."""
    return {
        "point": note.point,
        "meter": note.meter,
        "register": note.register,
        "at": format_instant(note.at),
        "doubt": note.doubt.value,
        "off_s": note.off_s,
        "error_max_wh": note.error_max_wh,
    }


def note_lines(balance: Balance, language: str) -> Iterator[str]:
    """The doubtful indices as lines: which point, when, by how long, what it can make wrong."""
    for note in balance.notes[:NOTES_MAX]:
        off = "" if note.off_s is None else f", {note.off_s} s"
        error = "" if note.error_max_wh is None else f", ± {note.error_max_wh} Wh"
        where = f"{note.point}  {note.register}  {format_instant(note.at)}"
        yield f"{where}  {DOUBTS[note.doubt].of(language)}{off}{error}"
    if len(balance.notes) > NOTES_MAX:
        yield f"… {len(balance.notes) - NOTES_MAX}"


def cause_lines(causes: Iterable[Cause], language: str) -> Iterator[str]:
    """The causes to check as lines, those that a fact speaks for marked."""
    for cause in causes:
        mark = "! " if cause.likely else ""
        names = ", ".join((*cause.points, *cause.stations))
        energy = "" if cause.energy_wh is None else f" ({cause.energy_wh} Wh)"
        yield f"{mark}{CAUSES[cause.kind].of(language)}{': ' if names else ''}{names}{energy}"


def _day(one: DayBalance) -> dict[str, object]:
    balance = one.balance
    return {
        "day": one.day.isoformat(),
        "received_wh": balance.received_wh,
        "sold_wh": balance.customers_wh,
        "loss_wh": balance.loss_wh,
        "loss_percent": balance.loss_percent,
        "points": balance.points,
        "points_complete": balance.points_complete,
        "complete": balance.complete,
        "lacking": balance.lacking,
    }


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _row(cells: Sequence[Cell]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(map(tame_cell, cells))
    return buffer.getvalue().encode()
