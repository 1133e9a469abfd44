"""The commands `songlo collector registry`: import, export, show.

Owns words and exit codes; every rule is the registry's.
"""

from pathlib import Path
from typing import Annotated

import typer

from collector.cli_common import ConfigOption, DryRunOption, actor, configured
from collector.clock import system_now
from collector.operations.registry_applications import open_applications
from collector.operations.registry_export import export_registry
from collector.operations.registry_history import point_history
from collector.operations.registry_import import ImportReport, import_registry
from collector.operations.registry_writing import Touched
from collector.registry.cells import instant_text

app = typer.Typer(no_args_is_help=True, help="What is metered, by what, for whom, since when.")


@app.command("import")
def registry_import(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE", help="CSV files in a folder or .zip, or one .xlsx workbook."
        ),
    ],
    config: ConfigOption,
    dry_run: DryRunOption = False,
    tariff: Annotated[
        list[Path] | None,
        typer.Option(help="A tariff file or folder with price groups beside the built-in ones."),
    ] = None,
    correct: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Dated rows may correct stored ones; these are kept."),
    ] = None,
) -> None:
    """Import stations, points, meters, contracts … (docs/registry-files.md): all rows or none."""
    with configured(config) as (ledger, settings):
        report = import_registry(
            ledger,
            source,
            actor(),
            system_now(),
            zone=settings.zone,
            dry_run=dry_run,
            tariffs=tariff or (),
            correction=correct,
        )
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for error in report.errors:
        typer.echo(f"error: {error} · {error.reason_vi}", err=True)
    if report.errors:
        typer.echo("nothing was imported; correct these rows and import again", err=True)
        raise typer.Exit(1)
    typer.echo(_summary(report))
    if report.touched is not None and (report.corrected or _rests(report.touched)):
        typer.echo(_touched(report.touched, settings.zone))


def _rests(found: Touched) -> bool:
    return bool(found.open_runs or found.exported_runs or found.snapshots)


def _touched(found: Touched, zone: str) -> str:
    """What of the past counts otherwise, for whoever has to act on it."""
    until = "" if found.to_at is None else f" to {instant_text(found.to_at, zone)}"
    text = (
        f"touches {found.point_count} points from {instant_text(found.from_at, zone)}{until}:"
        " their balances and previews are computed anew"
    )
    for runs, what in (
        (found.open_runs, "make these billing runs again"),
        (found.exported_runs, "exported, corrected by the run after them"),
    ):
        text += f"; {what}: {', '.join(runs)}" if runs else ""
    return text + (f"; snapshots that stay as they are: {found.snapshots}" * bool(found.snapshots))


def _summary(report: ImportReport) -> str:
    counts = ", ".join(f"{count} {what}" for what, count in report.added.items() if count)
    verb = "imported" if report.written else "would import"
    more = "".join(
        f"; {what}: {count}"
        for what, count in (
            ("contracts ended", report.closed_contracts),
            ("completed", report.completed),
            ("customers corrected", report.corrected_customers),
            ("rows corrected", report.corrected),
        )
        if count
    )
    return (
        f"{verb} {counts or 'nothing new'}; installations closed: {report.closed}{more};"
        f" unchanged: {report.unchanged}"
    )


@app.command("export")
def registry_export(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="A new folder, .zip or .xlsx workbook.")
    ],
    config: ConfigOption,
) -> None:
    """Write the whole registry as the files that import takes, names and addresses included."""
    with configured(config) as (ledger, settings):
        counts = export_registry(ledger, target, actor(), system_now(), zone=settings.zone)
    rows = ", ".join(f"{count} {name.removesuffix('.csv')}" for name, count in counts.items())
    typer.echo(f"exported {rows or 'nothing: the registry is empty'}")


@app.command("show")
def registry_show(point: str, config: ConfigOption) -> None:
    """Print everything dated about a point: stations, meters, contracts, prices, books."""
    with configured(config) as (ledger, settings):
        history = point_history(ledger, point, settings.zone)
    for entry in history:
        at = "" if entry.at is None else instant_text(entry.at, settings.zone)
        typer.echo(f"{at:25}  {entry.what:10}  {entry.text}")


@app.command("applications")
def registry_applications(
    config: ConfigOption,
    longer_than: Annotated[
        int, typer.Option("--longer-than", min=0, help="Only those that wait for more days.")
    ] = 0,
) -> None:
    """List applications for supply that are not closed, the oldest first."""
    with configured(config) as (ledger, settings):
        found = open_applications(ledger, system_now(), settings.zone, longer_than_days=longer_than)
    for one in found:
        row = one.application
        typer.echo(
            f"{row.application:20}  {row.received_on}  {one.days:4} days  {one.state.value:10}"
            f"  {row.customer or '-'}  {row.point or '-'}"
        )
    typer.echo(f"{len(found)} applications wait")
