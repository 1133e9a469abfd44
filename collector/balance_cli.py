"""`songlo collector balance`: losses by station, commune, unit; days, trend, causes.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do); nothing is added
up here.
"""

import sys
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from collector.balance.export import (
    AREA_COLUMNS,
    MASTER_COLUMNS,
    STATION_COLUMNS,
    area_row,
    balance_csv,
    cause_lines,
    csv_bytes,
    master_row,
    note_lines,
    period_row,
    report_json,
    station_row,
)
from collector.balance.losses import Order, StationLoss
from collector.balance.texts import BANDS, STANDINGS, TECHNICAL
from collector.civil import format_instant, parse_instant
from collector.cli_common import ConfigOption, configured, reported
from collector.config import CollectorConfig
from collector.errors import InvalidRequest
from collector.ledger import Ledger
from collector.operations import losses
from collector.operations.losses import LossReport, Period

app = typer.Typer(no_args_is_help=True, help="Energy balance and losses.")


class _Format(StrEnum):
    """How what was found is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class _Language(StrEnum):
    """Languages of causes and states."""

    ENGLISH = "en"
    VIETNAMESE = "vi"


MonthOption = Annotated[str | None, typer.Option("--month", help="A calendar month: 2026-10.")]
FromOption = Annotated[str | None, typer.Option("--from", help="A day, or RFC 3339.")]
ToOption = Annotated[str | None, typer.Option("--to", help="The end, not included.")]
BookOption = Annotated[
    str | None, typer.Option(help="The period of this reading book that ends in --month.")
]
FormatOption = Annotated[_Format, typer.Option("--format", "-f", help="table, csv or json.")]
LanguageOption = Annotated[_Language, typer.Option("--language", "-l", help="en or vi.")]
OrderOption = Annotated[Order, typer.Option(help="What the ranking goes by.")]


@app.command("station")
def station_(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    station: Annotated[
        str | None, typer.Argument(help="One station; all, ranked, if none.")
    ] = None,
    month: MonthOption = None,
    first: FromOption = None,
    last: ToOption = None,
    book: BookOption = None,
    order: OrderOption = Order.ENERGY,
    form: FormatOption = _Format.TABLE,
    language: LanguageOption = _Language.ENGLISH,
) -> None:
    """Losses of stations, the largest unexplained first, with what to check beside them."""
    report = _report(config, (month, first, last, book), station=station, order=order)
    ordered = [*report.ranking, *(one for one in report.stations if one not in report.ranking)]
    rows = [station_row(loss) for loss in ordered]
    if form is _Format.CSV:
        _write(csv_bytes(STATION_COLUMNS, rows))
    elif form is _Format.JSON:
        _write(report_json(report.period.from_at, report.period.to_at, stations=ordered,
                           causes=report.causes))  # fmt: skip
    else:
        for loss in ordered:
            _print_station(loss, report, language.value)


@app.command()
def commune(
    config: ConfigOption,
    month: MonthOption = None,
    first: FromOption = None,
    last: ToOption = None,
    book: BookOption = None,
    form: FormatOption = _Format.TABLE,
) -> None:
    """Losses of communes: their stations together, and the wholesale masters."""
    report = _report(config, (month, first, last, book))
    _print_areas(report, "communes", form)


@app.command()
def unit(
    config: ConfigOption,
    month: MonthOption = None,
    first: FromOption = None,
    last: ToOption = None,
    book: BookOption = None,
    form: FormatOption = _Format.TABLE,
) -> None:
    """Losses of units: their stations together, and against their boundary meters."""
    report = _report(config, (month, first, last, book))
    _print_areas(report, "units", form)


@app.command()
def days(
    station: str,
    config: ConfigOption,
    month: Annotated[str, typer.Option("--month", help="A calendar month: 2026-10.")],
    form: FormatOption = _Format.TABLE,
) -> None:
    """A station's days of a month, and the complete ones together."""
    with configured(config) as (ledger, settings):
        start = _month(month)
        found = losses.station_days(
            ledger,
            station=station,
            first_day=start,
            last_day=losses.last_day(start),
            zone=settings.zone,
        )
    if form is _Format.CSV:
        _write(b"".join(balance_csv(found.days)))
        return
    if form is _Format.JSON:
        _write(report_json(None, None, days=found.days, total=found.total))
        return
    for one in found.days:
        balance = one.balance
        had = f"{balance.points_complete}/{balance.points}"
        loss = balance.loss_percent if balance.complete else "-"
        lost = _kwh(balance.loss_wh if balance.complete else None)
        typer.echo(f"{one.day}  {_kwh(balance.received_wh)}  {lost}  {loss or '-':>9} %  {had:>9}")
    total = found.total
    typer.echo(
        f"{total.complete} of {total.days} days complete: received"
        f" {_kwh(total.received_wh).strip()} kWh, lost {_kwh(total.loss_wh).strip()} kWh,"
        f" {total.loss_percent or '-'} %"
    )


@app.command()
def trend(
    station: str,
    config: ConfigOption,
    month: Annotated[str, typer.Option("--month", help="The last month: 2026-10.")],
    months: Annotated[int, typer.Option(min=1, max=losses.PERIODS_MAX)] = 12,
    form: FormatOption = _Format.TABLE,
) -> None:
    """A station's losses month by month, oldest first."""
    with configured(config) as (ledger, settings):
        found = losses.station_trend(
            ledger,
            station=station,
            instants=losses.month_instants(_month(month), settings.zone, months),
            settings=losses.load_settings(settings.balance.losses_file, settings.zone),
        )
    if form is _Format.CSV:
        _write(
            csv_bytes(("from_at", "to_at", *STATION_COLUMNS), [period_row(one) for one in found])
        )
    elif form is _Format.JSON:
        _write(report_json(None, None, stations=found, causes={}))
    else:
        for one in found:
            typer.echo(f"{format_instant(one.balance.from_at)}  {_figures(one)}")


@app.command("check-file")
def check_file(path: Path) -> None:
    """Say what is wrong with a losses file, with its line and key."""
    with reported():
        losses.load_settings(path, "Asia/Ho_Chi_Minh")
    typer.echo(f"{path}: nothing is wrong with it")


def _report(
    config: Path,
    asked: tuple[str | None, str | None, str | None, str | None],
    *,
    station: str | None = None,
    order: Order = Order.ENERGY,
) -> LossReport:
    with configured(config) as (ledger, settings):
        return losses.district_losses(
            ledger,
            _period(ledger, settings, *asked),
            losses.load_settings(settings.balance.losses_file, settings.zone),
            station=station,
            order=order,
        )
    raise AssertionError("unreachable")


def _period(
    ledger: Ledger,
    settings: CollectorConfig,
    month: str | None,
    first: str | None,
    last: str | None,
    book: str | None,
) -> Period:
    """The period that the options name: a month, a book's, or a range."""
    if month is not None and first is None and last is None:
        if book is None:
            return losses.month_period(_month(month), settings.zone)
        return losses.book_period(ledger, book, _month(month), settings.zone)
    if month is None and book is None and first is not None and last is not None:
        return losses.range_period(
            _instant(first, settings.zone), _instant(last, settings.zone), settings.zone
        )
    raise InvalidRequest(
        "the period is not clear",
        hint="give --month, or --month and --book, or --from and --to",
    )


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no month", hint="write 2026-10") from error


def _instant(text: str, zone: str) -> datetime:
    try:
        return parse_instant(text, zone)
    except ValueError as error:
        raise InvalidRequest(str(error), hint="write 2026-10-01") from error


def _print_station(loss: StationLoss, report: LossReport, language: str) -> None:
    state = STANDINGS[loss.standing].of(language)
    technical = TECHNICAL[loss.technical.note].of(language)
    typer.echo(f"{_figures(loss)}  {BANDS[loss.band].of(language)}  [{state}; {technical}]")
    for line in note_lines(loss.balance, language):
        typer.echo(f"    {line}")
    for line in cause_lines(report.causes.get(loss.station.station, ()), language):
        typer.echo(f"    → {line}")


def _figures(loss: StationLoss) -> str:
    balance = loss.balance
    had = f"{balance.points_complete}/{balance.points}"
    return (
        f"{loss.station.station:16} {_kwh(balance.received_wh)} {_kwh(balance.customers_wh)}"
        f" {_kwh(balance.loss_wh)} {balance.loss_percent or '-':>9} %"
        f" {_kwh(loss.unexplained_wh)} {loss.unexplained_percent or '-':>9} % {had:>9}"
    )


def _print_areas(report: LossReport, level: str, form: _Format) -> None:
    areas = report.communes if level == "communes" else report.units
    if form is _Format.CSV:
        _write(csv_bytes(AREA_COLUMNS, [area_row(one) for one in areas]))
        return
    if form is _Format.JSON:
        period = (report.period.from_at, report.period.to_at)
        if level == "communes":
            _write(report_json(*period, communes=areas, masters=report.masters))
        else:
            _write(report_json(*period, units=areas))
        return
    for one in areas:
        typer.echo(
            f"{one.name or '-':16} {_kwh(one.received_wh)} {_kwh(one.sold_wh)} {_kwh(one.loss_wh)}"
            f" {one.loss_percent or '-':>9} %  {one.known}/{one.stations} stations known,"
            f" {one.complete} complete"
        )
        if one.boundary is not None:
            edge = one.boundary
            typer.echo(
                f"    against boundary meters: {_kwh(edge.received_wh)} {_kwh(edge.sold_wh)}"
                f" {_kwh(edge.loss_wh)} {edge.loss_percent or '-':>9} %,"
                f" before the stations {_kwh(edge.mv_wh).strip()} kWh"
                + ("" if edge.complete else f"; not complete: {', '.join(edge.lacking[:5])}")
            )
    if level == "communes":
        for row in (master_row(one) for one in report.masters):
            cells = zip(MASTER_COLUMNS, row, strict=True)
            typer.echo(
                "wholesale  "
                + "  ".join(f"{key}={value}" for key, value in cells if value is not None)
            )


def _kwh(wh: int | None) -> str:
    """kWh with one decimal, half away from zero."""
    if wh is None:
        return f"{'-':>12}"
    tenths = (2 * abs(wh) + 100) // 200
    sign = "-" if wh < 0 and tenths else ""
    return f"{sign}{tenths // 10}.{tenths % 10}".rjust(12)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
