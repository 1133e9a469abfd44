"""`songlo collector export`: files of a billing run or a snapshot, for billing and for people.

Owns words and exit codes: 0 written and nothing to look at, 1 not written, 3 written with
disagreements that a person must look at.
"""

import contextlib
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from collector.app import open_ledger
from collector.billing.exports.cmis.fill import Tally
from collector.billing.exports.papers import bills_pdf
from collector.billing.exports.xlsx import previews_xlsx
from collector.billing.rating.pieces import PriceSplit
from collector.civil import day_start, zone_info
from collector.cli_common import ConfigOption, actor, load_config_or_exit, reported
from collector.clock import system_now
from collector.config import CollectorConfig
from collector.console.export_text import disagreement_text, tally_text
from collector.console.locale import speech
from collector.errors import InvalidRequest
from collector.ledger import Ledger
from collector.operations import exports, run_exports
from collector.operations.cmis_context import CmisDays
from collector.operations.export_selection import Selection
from collector.operations.green_button import Cadence, export_green_button
from collector.operations.half_hours import export_half_hours
from collector.operations.rating import rate_file
from collector.operations.tariffs import load_tariffs
from collector.operations.vee_files import load_limits
from collector.rating_cli import Language, SplitOption, TariffOption
from collector.registry.cells import tame_cell
from collector.registry.values import Role

LOOK_AT = 3

# Of disagreements that are printed, a few screens; all of them are in the file of --report.
SHOWN_MAX = 50

app = typer.Typer(
    no_args_is_help=True, help="Files of a billing run or a snapshot: for CMIS and for people."
)

RunOption = Annotated[
    str | None, typer.Option("--run", help="The billing run, approved or exported.")
]
SnapshotOption = Annotated[str | None, typer.Option("--snapshot", help="The snapshot's id.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
LanguageOption = Annotated[Language, typer.Option("--language", "-l", help="vi or en.")]
BookOption = Annotated[str | None, typer.Option(help="Only of this reading book.")]
CommuneOption = Annotated[str | None, typer.Option(help="Only of stations of this commune.")]
StationOption = Annotated[str | None, typer.Option(help="Only of this station.")]
KindOption = Annotated[Role | None, typer.Option(help="Only of points of this kind.")]
PointOption = Annotated[str | None, typer.Option(help="Only of this metering point.")]


@dataclass(frozen=True, slots=True)
class _Target:
    """An open ledger, whose file it is, and where it goes."""

    ledger: Ledger
    by: exports.By
    output: Path

    def write(self, export: exports.Export | run_exports.RunExport) -> None:
        """Write it whole or not at all, and say what is in it."""
        exports.write_file(export.pieces, self.output)
        of = (
            f"snapshot {export.head.id}"
            if isinstance(export, exports.Export)
            else f"run {export.head.run}, version {export.version.version}"
        )
        typer.echo(f"{export.tally.rows} rows of {of} in {self.output}")


@app.command()
def cmis(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    output: OutputOption,
    run: RunOption = None,
    snapshot: SnapshotOption = None,
    book: BookOption = None,
    commune: CommuneOption = None,
    station: StationOption = None,
    kind: KindOption = None,
    fill: Annotated[
        Path | None, typer.Option(help="Their GCS file to fill; a new one is made without it.")
    ] = None,
    from_their_index: Annotated[
        bool,
        typer.Option(help="Where only CS_CU differs, count SL_MOI from theirs: it was billed."),
    ] = False,
    old_day: Annotated[
        str | None, typer.Option(help="NGAY_CU, if it is not the period's first day.")
    ] = None,
    new_day: Annotated[
        str | None, typer.Option(help="NGAY_MOI, if it is not the period's last day.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="All disagreements as CSV in this file.")
    ] = None,
    force: ForceOption = False,
    language: LanguageOption = Language.VI,
) -> None:
    """Write the reading file (GCS) for CMIS; exit 3 if there are disagreements to look at."""
    settings = load_config_or_exit(config)
    wanted = Selection(book, commune, station, kind)
    with reported(), contextlib.ExitStack() as stack:
        source = _one_of(run, snapshot)
        if fill is not None and output.exists() and output.samefile(fill):
            raise InvalidRequest(
                f"{output} is the file to fill", hint="name another: theirs is kept as evidence"
            )
        days = CmisDays(_day(old_day), _day(new_day))
        target = stack.enter_context(_target(settings, output, force=force))
        if report is not None:
            exports.check_target(report, force=force)
        theirs = None if fill is None else _theirs(fill, stack)
        export = _cmis(target, source, theirs, days, wanted, from_their_index=from_their_index)
        exports.write_file(export.pieces, output)
        if report is not None:
            exports.write_file([_report(export.tally)], report)
    words = speech(language.value, zone_info(settings.zone))
    for line in tally_text(export.tally, words):
        typer.echo(line)
    for one in export.tally.disagreements[:SHOWN_MAX]:
        typer.echo(disagreement_text(one, words), err=True)
    if export.tally.disagreements:
        raise typer.Exit(LOOK_AT)


def _cmis(
    target: _Target,
    source: tuple[str | None, str],
    theirs: exports.Named | None,
    days: CmisDays,
    wanted: Selection,
    *,
    from_their_index: bool,
) -> exports.Export | run_exports.RunExport:
    run, snapshot = source
    ledger, by = target.ledger, target.by
    if run is not None and theirs is None:
        return run_exports.export_run_cmis(ledger, run, by, days, wanted)
    if run is not None and theirs is not None:
        return run_exports.fill_run_cmis(
            ledger, run, theirs, by, days, wanted, from_their_index=from_their_index
        )
    if theirs is None:
        return exports.export_cmis(ledger, snapshot, by, days, wanted)
    return exports.fill_cmis(
        ledger, snapshot, theirs, by, days, wanted, from_their_index=from_their_index
    )


@app.command("csv")
def csv_(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    output: OutputOption,
    run: RunOption = None,
    snapshot: SnapshotOption = None,
    book: BookOption = None,
    commune: CommuneOption = None,
    station: StationOption = None,
    kind: KindOption = None,
    force: ForceOption = False,
) -> None:
    """Write the lines of a billing run or a snapshot as CSV, in Wh."""
    wanted = Selection(book, commune, station, kind)
    with reported(), _target(load_config_or_exit(config), output, force=force) as target:
        of_run, of_snapshot = _one_of(run, snapshot)
        if of_run is not None:
            target.write(run_exports.export_run_csv(target.ledger, of_run, target.by, wanted))
        else:
            target.write(exports.export_csv(target.ledger, of_snapshot, target.by, wanted))


@app.command("json")
def json_(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    output: OutputOption,
    run: RunOption = None,
    snapshot: SnapshotOption = None,
    book: BookOption = None,
    commune: CommuneOption = None,
    station: StationOption = None,
    kind: KindOption = None,
    force: ForceOption = False,
) -> None:
    """Write a run's version, or a snapshot, with its lines as one JSON document, in Wh."""
    wanted = Selection(book, commune, station, kind)
    with reported(), _target(load_config_or_exit(config), output, force=force) as target:
        of_run, of_snapshot = _one_of(run, snapshot)
        if of_run is not None:
            target.write(run_exports.export_run_json(target.ledger, of_run, target.by, wanted))
        else:
            target.write(exports.export_json(target.ledger, of_snapshot, target.by, wanted))


@app.command()
def xlsx(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    output: OutputOption,
    run: RunOption = None,
    snapshot: SnapshotOption = None,
    book: BookOption = None,
    commune: CommuneOption = None,
    station: StationOption = None,
    kind: KindOption = None,
    force: ForceOption = False,
) -> None:
    """Write the lines as a workbook, in kWh, with the sum of each register."""
    wanted = Selection(book, commune, station, kind)
    with reported(), _target(load_config_or_exit(config), output, force=force) as target:
        of_run, of_snapshot = _one_of(run, snapshot)
        if of_run is not None:
            target.write(run_exports.export_run_xlsx(target.ledger, of_run, target.by, wanted))
        else:
            target.write(exports.export_xlsx(target.ledger, of_snapshot, target.by, wanted))


@app.command()
def statement(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    output: OutputOption,
    run: RunOption = None,
    snapshot: SnapshotOption = None,
    point: PointOption = None,
    book: BookOption = None,
    commune: CommuneOption = None,
    station: StationOption = None,
    kind: KindOption = None,
    force: ForceOption = False,
) -> None:
    """Write the index statement (sao kê chỉ số) to print, as PDF."""
    with reported(), _target(load_config_or_exit(config), output, force=force) as target:
        ledger, by = target.ledger, target.by
        of_run, of_snapshot = _one_of(run, snapshot)
        if of_run is not None:
            wanted = Selection(book, commune, station, kind, point)
            target.write(run_exports.export_run_statement(ledger, of_run, by, wanted))
        else:
            wanted = Selection(book, commune, station, kind)
            target.write(exports.export_statement(ledger, of_snapshot, by, point, wanted))


@app.command()
def bills(
    config: ConfigOption,
    determinants: Annotated[
        Path, typer.Option("--input", "-i", help="Determinants, .json or .csv (docs/rating.md).")
    ],
    output: OutputOption,
    tariff: TariffOption = None,
    split: SplitOption = PriceSplit.INDEX,
    force: ForceOption = False,
) -> None:
    """Rate a file and write the bill previews as a workbook (.xlsx) or to print (.pdf)."""
    with reported(), _target(load_config_or_exit(config), output, force=force) as target:
        write = _WRITERS.get(output.suffix.lower())
        if write is None:
            raise InvalidRequest(
                f"{output} is neither .xlsx nor .pdf", hint="its name says what is written"
            )
        previews = rate_file(determinants, load_tariffs(tariff or ()), split, None).previews
        pieces = exports.export_bills(target.ledger, previews, determinants.name, target.by, write)
        exports.write_file(pieces, output)
    typer.echo(f"{len(previews)} bill previews in {output}")


@app.command("green-button")
def green_button(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    customer: Annotated[str, typer.Option(help="The customer's code.")],
    first: Annotated[str, typer.Option("--from", help="The first day.")],
    last: Annotated[str, typer.Option("--to", help="The day after the last.")],
    output: OutputOption,
    by: Annotated[Cadence, typer.Option(help="By day, or by half-hour: a year at most.")] = (
        Cadence.DAY
    ),
    force: ForceOption = False,
) -> None:
    """Write one customer's energy by day or half-hour as Green Button (ESPI) XML."""
    settings = load_config_or_exit(config)
    with reported(), _target(settings, output, force=force) as target:
        days = [_day(text) for text in (first, last)]
        begin, end = (day_start(day, settings.zone) for day in days if day is not None)
        if by is Cadence.HALF_HOUR:
            made = export_half_hours(target.ledger, customer, (begin, end), target.by)
        else:
            book = load_limits(settings.vee.limits_file)
            made = export_green_button(target.ledger, customer, (begin, end), book, target.by)
        exports.write_file(made.pieces, output)
    typer.echo(f"{made.intervals} intervals of {len(made.points)} points in {output}")


_WRITERS: dict[str, exports.WritePreviews] = {".xlsx": previews_xlsx, ".pdf": bills_pdf}


@contextlib.contextmanager
def _target(settings: CollectorConfig, output: Path, *, force: bool) -> Iterator[_Target]:
    exports.check_target(output, force=force)
    with contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        yield _Target(ledger, exports.By(actor(), system_now(), settings.zone), output)


def _one_of(run: str | None, snapshot: str | None) -> tuple[str | None, str]:
    """The run, or None and the snapshot. Raises InvalidRequest unless one is named."""
    if (run is None) == (snapshot is None):
        raise InvalidRequest(
            "whose file is it?", hint="give --run (what is billed) or --snapshot, not both"
        )
    return run, snapshot or ""


def _theirs(fill: Path, stack: contextlib.ExitStack) -> exports.Named:
    try:
        return exports.Named(stack.enter_context(fill.open("rb")), fill.name)
    except OSError as error:
        raise InvalidRequest(
            f"{fill} cannot be read: {error.strerror}", hint="name their GCS file"
        ) from error


def _report(tally: Tally) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("row", "point", "register", "reason", "theirs", "ours"))
    for one in tally.disagreements:
        row = "" if one.row is None else one.row
        cells = (row, one.point, one.code, one.reason.value, one.theirs, one.ours)
        writer.writerow(map(tame_cell, cells))
    return buffer.getvalue().encode()


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no date", hint="write it as 2026-06-19") from error
