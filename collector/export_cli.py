"""`songlo collector export`: files of a snapshot for the billing system and for people.

Owns words and exit codes: 0 written and nothing to look at, 1 not written, 3 written with
disagreements that a person must look at.
"""

import contextlib
import csv
import io
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from collector.app import open_ledger
from collector.billing.exports.cmis.fill import Tally
from collector.billing.exports.papers import bills_pdf
from collector.billing.exports.xlsx import previews_xlsx
from collector.billing.rating.pieces import PriceSplit
from collector.civil import zone_info
from collector.cli_common import ConfigOption, actor, load_config_or_exit, reported
from collector.clock import system_now
from collector.config import CollectorConfig
from collector.console.export_text import disagreement_text, tally_text
from collector.console.locale import speech
from collector.errors import InvalidRequest
from collector.operations import exports
from collector.operations.rating import rate_file
from collector.operations.tariffs import load_tariffs
from collector.rating_cli import Language, SplitOption, TariffOption

LOOK_AT = 3

# Of disagreements that are printed, a few screens; all of them are in the file of --report.
SHOWN_MAX = 50

app = typer.Typer(no_args_is_help=True, help="Files of a snapshot: for CMIS and for people.")

SnapshotOption = Annotated[str, typer.Option("--snapshot", help="The snapshot's id.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
LanguageOption = Annotated[Language, typer.Option("--language", "-l", help="vi or en.")]


@app.command()
def cmis(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    snapshot: SnapshotOption,
    output: OutputOption,
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
    language: LanguageOption = Language.VI,
) -> None:
    """Write the reading file (GCS) for CMIS; exit 3 if there are disagreements to look at."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.ExitStack() as stack:
        if fill is not None and output.exists() and output.samefile(fill):
            raise InvalidRequest(
                f"{output} is the file to fill", hint="name another: theirs is kept as evidence"
            )
        ledger = stack.enter_context(contextlib.closing(open_ledger(settings)))
        ledger.check_schema()
        by = _by(settings)
        days = exports.CmisDays(_day(old_day), _day(new_day))
        if fill is None:
            export = exports.export_cmis(ledger, snapshot, by, days)
        else:
            try:
                theirs = stack.enter_context(fill.open("rb"))
            except OSError as error:
                raise InvalidRequest(
                    f"{fill} cannot be read: {error.strerror}", hint="name their GCS file"
                ) from error
            named = exports.Named(theirs, fill.name)
            export = exports.fill_cmis(
                ledger, snapshot, named, by, days, from_their_index=from_their_index
            )
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


@app.command()
def xlsx(config: ConfigOption, snapshot: SnapshotOption, output: OutputOption) -> None:
    """Write a snapshot as a workbook, with the sum of each register."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        export = exports.export_xlsx(ledger, snapshot, _by(settings))
        exports.write_file(export.pieces, output)
    typer.echo(f"{export.tally.rows} rows of snapshot {export.head.id} in {output}")


@app.command()
def statement(
    config: ConfigOption,
    snapshot: SnapshotOption,
    output: OutputOption,
    point: Annotated[str | None, typer.Option(help="Of one metering point.")] = None,
) -> None:
    """Write the index statement (sao kê chỉ số) to print, as PDF."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        export = exports.export_statement(ledger, snapshot, _by(settings), point)
        exports.write_file(export.pieces, output)
    typer.echo(f"{export.tally.rows} rows of snapshot {export.head.id} in {output}")


@app.command()
def bills(
    config: ConfigOption,
    determinants: Annotated[
        Path, typer.Option("--input", "-i", help="Determinants, .json or .csv (docs/rating.md).")
    ],
    output: OutputOption,
    tariff: TariffOption = None,
    split: SplitOption = PriceSplit.INDEX,
) -> None:
    """Rate a file and write the bill previews as a workbook (.xlsx) or to print (.pdf)."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        write = _WRITERS.get(output.suffix.lower())
        if write is None:
            raise InvalidRequest(
                f"{output} is neither .xlsx nor .pdf", hint="its name says what is written"
            )
        previews = rate_file(determinants, load_tariffs(tariff or ()), split, None).previews
        pieces = exports.export_bills(ledger, previews, determinants.name, _by(settings), write)
        exports.write_file(pieces, output)
    typer.echo(f"{len(previews)} bill previews in {output}")


_WRITERS: dict[str, exports.WritePreviews] = {".xlsx": previews_xlsx, ".pdf": bills_pdf}


def _report(tally: Tally) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("row", "point", "register", "reason", "theirs", "ours"))
    for one in tally.disagreements:
        row = "" if one.row is None else one.row
        writer.writerow((row, one.point, one.code, one.reason.value, one.theirs, one.ours))
    return buffer.getvalue().encode()


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no date", hint="write it as 2026-06-19") from error


def _by(settings: CollectorConfig) -> exports.By:
    return exports.By(actor(), system_now(), settings.zone)
