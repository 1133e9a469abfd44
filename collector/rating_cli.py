"""The commands `songlo collector rate` and `tariffs`: nothing is stored.

A file of determinants is rated without a collector file or a ledger; a snapshot needs both.

Owns words and exit codes; every rule is the rating room's.
"""

import contextlib
import sys
from collections.abc import Sequence
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from collector.app import open_ledger
from collector.billing.exports.previews import previews_csv, previews_json
from collector.billing.rating.from_registry import Refusal
from collector.billing.rating.pieces import PriceSplit
from collector.billing.rating.tariff import Header
from collector.civil import DEFAULT_ZONE, zone_info
from collector.cli_common import reported
from collector.config import load_config
from collector.console.bill_text import bill_text
from collector.console.locale import speech
from collector.errors import InvalidRequest, NotFound
from collector.operations.rating import RatedFile, RatedSnapshot, rate_file, rate_snapshot
from collector.operations.tariffs import load_tariffs

_HASH_SHOWN = 12

tariffs_app = typer.Typer(no_args_is_help=True, help="Prices, hours, taxes and their sources.")

TariffOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--tariff", help="A tariff file or a folder of them, beside or in place of the built-in."
    ),
]

SplitOption = Annotated[
    PriceSplit, typer.Option(help="At a change of price: by the day's index, or by days.")
]


class OutputFormat(StrEnum):
    """How previews are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Language(StrEnum):
    """The language of the table."""

    VI = "vi"
    EN = "en"


def rate(  # noqa: PLR0913  one parameter per option
    determinants: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="Determinants, .json or .csv (docs/rating.md)."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(help="A snapshot's id: its bills by the registry's contracts (--config)."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The collector file, for a snapshot.")
    ] = None,
    book: Annotated[
        str | None, typer.Option(help="Of a snapshot: the bills of one reading book.")
    ] = None,
    tariff: TariffOption = None,
    what_if: Annotated[
        str | None, typer.Option("--what-if", help="The id of a price table to compare with.")
    ] = None,
    split: SplitOption = PriceSplit.INDEX,
    output: Annotated[OutputFormat, typer.Option("--format", help="What to print.")] = (
        OutputFormat.TABLE
    ),
    language: Annotated[Language, typer.Option(help="The table's language.")] = Language.EN,
) -> None:
    """Preview bills from a file of determinants or from a snapshot; nothing is stored."""
    refused: Sequence[Refusal] = ()
    with reported():
        tariffs = load_tariffs(tariff or ())
        if determinants is not None and (snapshot, config, book) == (None, None, None):
            rated: RatedFile | RatedSnapshot = rate_file(determinants, tariffs, split, what_if)
        elif determinants is None and snapshot is not None and config is not None:
            settings = load_config(config)
            with contextlib.closing(open_ledger(settings)) as ledger:
                ledger.check_schema()
                rated = rate_snapshot(
                    ledger, snapshot, tariffs, split, what_if, zone=settings.zone, book=book
                )
            refused = rated.refused
        else:
            raise InvalidRequest(
                "there is nothing to rate, or two things",
                hint="give --input FILE, or --snapshot ID with --config FILE",
            )
    _print(rated, output, language)
    for one in refused:
        typer.echo(f"error: {one.point}: {one.error}", err=True)
        typer.echo(f"hint: {one.error.hint}", err=True)
    if refused:
        count = f"{len(refused)} without a preview, {len(rated.previews)} previews"
        typer.echo(count, err=True)
        raise typer.Exit(1)


def _print(rated: RatedFile | RatedSnapshot, output: OutputFormat, language: Language) -> None:
    if output is OutputFormat.TABLE:
        words = speech(language.value, zone_info(DEFAULT_ZONE))
        for preview, other in zip_longest(rated.previews, rated.what_if):
            for line in bill_text(preview, words, other):
                typer.echo(line)
            typer.echo()
        return
    write = previews_json if output is OutputFormat.JSON else previews_csv
    for piece in write([*rated.previews, *rated.what_if]):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@tariffs_app.command("check")
def tariffs_check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders to check with the built-in.")
    ] = None,
) -> None:
    """Look at every tariff file, alone and together; exit 1 with each fault's place."""
    with reported():
        book = load_tariffs(paths or ())
    typer.echo(f"{len(book.headers)} tariff files are sound and leave no day without one")


@tariffs_app.command("list")
def tariffs_list(tariff: TariffOption = None) -> None:
    """Print the tariffs by kind and time: since when, how sure, and the hash of the file."""
    with reported():
        book = load_tariffs(tariff or ())
    for header in book.headers:
        typer.echo(
            f"{header.kind:9} {header.id:17} {_validity(header):24}"
            f" {header.source.certainty:10} {header.sha256[:_HASH_SHOWN]}  {header.name_vi}"
        )


@tariffs_app.command("show")
def tariffs_show(
    tariff_id: Annotated[str, typer.Argument(metavar="ID", help="As `tariffs list` prints it.")],
    tariff: TariffOption = None,
) -> None:
    """Print one tariff as JSON: everything that was read from its file, in đồng."""
    with reported():
        book = load_tariffs(tariff or ())
        value = book.values.get(tariff_id)
        if value is None:
            known = ", ".join(header.id for header in book.headers)
            raise NotFound(f"no tariff {tariff_id!r}", hint=f"there are: {known}")
    text = msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2)
    typer.echo(text.decode())


def _validity(header: Header) -> str:
    if not header.in_force:
        return "not in force"
    if header.valid_from is None:
        return "each rate has its days"
    return f"{header.valid_from} – {header.valid_to or ''}".rstrip()
