"""`songlo collector billing`: bill a period, from the first draft to the export.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do); no rule is decided
here.
"""

import hashlib
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from collector import bills_cli
from collector.billing.exports.run_csv import run_csv
from collector.billing.gates import Cause, ExceptionFilter, Reference
from collector.civil import civil_day, day_start, format_instant
from collector.cli_common import ConfigOption, acting, configured
from collector.errors import InvalidRequest
from collector.ledger import Ledger
from collector.operations import billing_runs
from collector.operations.billing_runs import LineChange, RunView, Scope
from collector.operations.billing_settings import billed_by
from collector.operations.exports import write_file
from collector.operations.registry_history import book_periods
from collector.operations.run_decisions import Verdict, decide_exceptions, mark_point
from collector.operations.run_validation import validate_run
from contract.registers import BY_OBIS

app = typer.Typer(
    no_args_is_help=True, help="Billing runs: draft, exceptions, approval by another, export."
)

app.add_typer(bills_cli.app, name="bills")

RunArgument = Annotated[str, typer.Argument(help="The run, as `list` has it.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; kept for ever.")]

# Lines of a kind that are printed one by one.
SHOWN = 20

# What an amount was compared with, in words.
_REFERENCES = {
    Reference.PERIOD: "before",
    Reference.YEAR: "a year before",
    Reference.INSTALLATION: "since its installation",
}


@app.command("open")
def open_(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    first: Annotated[
        str | None, typer.Option("--from", help="The reading day that begins the period.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="The next one; it is not in the period.")
    ] = None,
    station: Annotated[str | None, typer.Option(help="Of one station; else of all.")] = None,
    book: Annotated[str | None, typer.Option(help="Of one reading book.")] = None,
    month: Annotated[
        str | None, typer.Option(help="The book's period that ends in this month: 2026-11.")
    ] = None,
    number: Annotated[
        int | None, typer.Option(help="Which of the month's periods, where there are several.")
    ] = None,
) -> None:
    """Begin the billing of a period: --book B01 --month 2026-11, or --from DAY --to DAY."""
    with configured(config) as (ledger, settings):
        from_at, to_at = _period(ledger, (book, month, number), (first, last), settings.zone)
        head = billing_runs.open_run(
            ledger,
            scope=Scope(station, book),
            from_at=from_at,
            to_at=to_at,
            zone=settings.zone,
            by_whom=acting(),
        )
    typer.echo(head.run)


@app.command()
def make(
    config: ConfigOption, run: RunArgument, reason: ReasonOption = "made from what is known now"
) -> None:
    """Work out what the run bills; a new version, if anything has changed since the last one."""
    with configured(config) as (ledger, settings):
        made = billing_runs.make_version(ledger, run, billed_by(settings), acting(reason))
    version = made.version
    said = "made" if made.is_new else "still holds; nothing has changed"
    typer.echo(f"version {version.version} {said}: {version.line_count} lines")
    if version.version > 1 and made.is_new:
        _print_changes(made.changes)
    typer.echo(f"sha256 {version.sha256}")


@app.command()
def validate(config: ConfigOption, run: RunArgument) -> None:
    """Ask all rules about the days that the run bills; what they find is in `vee list`."""
    with configured(config) as (ledger, settings):
        reports = validate_run(ledger, run, billed_by(settings), acting())
    for report in reports:
        found = f"{report.found.total()} findings, {report.new} of them new"
        meters = f"{report.meters} meters"
        typer.echo(f"{report.first_day} to {report.last_day}: {meters}, {found}")
    if any(report.new for report in reports):
        typer.echo("decide them: songlo collector vee list")


@app.command("list")
def list_(
    config: ConfigOption,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 20,
) -> None:
    """The runs, with their state."""
    with configured(config) as (ledger, settings):
        views = billing_runs.list_runs(ledger, limit)
    if not views:
        typer.echo("no run yet; songlo collector billing open --from DAY --to DAY begins one")
    for view in views:
        typer.echo(_one_line(view, settings.zone))


@app.command()
def show(
    config: ConfigOption,
    run: RunArgument,
    version: Annotated[int | None, typer.Option(help="What this version changed.")] = None,
) -> None:
    """A run's versions, what people did with it, and what a version changed."""
    with configured(config) as (ledger, settings):
        view = billing_runs.view_run(ledger, run)
        changes = None if version is None else billing_runs.version_changes(ledger, run, version)
    typer.echo(_one_line(view, settings.zone))
    for one in view.versions:
        made = f"{format_instant(one.made_at)} {one.made_by}"
        typer.echo(f"version {one.version}  {one.line_count} lines  {made}: {one.reason}")
        typer.echo(f"  sha256 {one.sha256}")
    for act in view.acts:
        typer.echo(
            f"{format_instant(act.at)} {act.actor} {act.act.value} {act.subject} "
            f"(version {act.version}): {act.reason}"
        )
    if view.export is not None:
        export = view.export
        typer.echo(
            f"version {export.version} exported {format_instant(export.exported_at)} "
            f"by {export.exported_by}"
        )
    if changes is not None:
        _print_changes(changes)


@app.command("exceptions")
def exceptions_(
    config: ConfigOption,
    run: RunArgument,
    cause: Annotated[Cause | None, typer.Option(help="List all of one cause.")] = None,
) -> None:
    """What somebody must look at before the run may be approved."""
    with configured(config) as (ledger, settings):
        found = billing_runs.run_exceptions(ledger, run, billed_by(settings))
    counts = Counter((one.cause, one.blocks) for one in found)
    for (of_cause, blocks), count in sorted(counts.items()):
        typer.echo(f"{of_cause.value:15} {count:6}{'  blocks' if blocks else ''}")
    if not found:
        typer.echo("no exceptions")
    for one in [one for one in found if one.cause is cause]:
        reference = "before" if one.reference is None else _REFERENCES[one.reference]
        before = "" if one.before is None else f" {reference} {_amount(one.before, one.register)}"
        billed = "none" if one.billed is None else _amount(one.billed, one.register)
        typer.echo(f"  {one.point} {one.register} {billed}{before} {one.detail}".rstrip())


@app.command()
def accept(config: ConfigOption, run: RunArgument, cause: Cause, reason: ReasonOption) -> None:
    """Answer for all exceptions of one cause in the latest version."""
    with configured(config) as (ledger, _):
        billing_runs.accept_exceptions(ledger, run, cause, acting(reason))
    typer.echo(f"{cause.value} accepted")


@app.command()
def decide(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    run: RunArgument,
    verdict: Annotated[Verdict, typer.Argument(help="They are right, or are left out.")],
    reason: ReasonOption,
    cause: Annotated[list[Cause] | None, typer.Option(help="Of this cause.")] = None,
    point: Annotated[list[str] | None, typer.Option(help="Of this point.")] = None,
    below_kwh: Annotated[
        int | None, typer.Option(help="Only where no more was billed than so many kWh.")
    ] = None,
    below_percent: Annotated[
        int | None, typer.Option(help="Only up to so many per cent of what was before.")
    ] = None,
) -> None:
    """Decide undecided exceptions one by one or in bulk: all that fit every option."""
    wanted = ExceptionFilter(
        frozenset(cause or ()),
        frozenset(point or ()),
        None if below_kwh is None else below_kwh * 1000,
        below_percent,
    )
    with configured(config) as (ledger, settings):
        count = decide_exceptions(ledger, run, billed_by(settings), wanted, verdict, acting(reason))
    typer.echo(f"{count} exceptions decided: {verdict.value}")
    if count and verdict is Verdict.HOLD:
        typer.echo(f"they count from the next version on: songlo collector billing make {run}")


@app.command()
def mark(
    config: ConfigOption,
    run: RunArgument,
    point: str,
    letter: Annotated[str, typer.Argument(help="A letter of TTR_MOI; '' takes it back.")],
    reason: ReasonOption,
) -> None:
    """Say what the reader found at a point; refused where it says zero and the meter counted."""
    with configured(config) as (ledger, _):
        mark_point(ledger, run, point, letter, acting(reason))
    typer.echo(f"{point}: {letter or 'no mark'}")


@app.command()
def exclude(config: ConfigOption, run: RunArgument, point: str, reason: ReasonOption) -> None:
    """Leave a point out; a later run bills it from where it was billed to. Then `make` again."""
    with configured(config) as (ledger, _):
        billing_runs.exclude_point(ledger, run, point, acting(reason), include=False)
    typer.echo(f"{point} is left out of the next version: songlo collector billing make {run}")


@app.command()
def include(config: ConfigOption, run: RunArgument, point: str, reason: ReasonOption) -> None:
    """Take a point in again that was left out. Then `make` again."""
    with configured(config) as (ledger, _):
        billing_runs.exclude_point(ledger, run, point, acting(reason), include=True)
    typer.echo(f"{point} is in the next version: songlo collector billing make {run}")


@app.command()
def approve(
    config: ConfigOption,
    run: RunArgument,
    sha256: Annotated[str, typer.Argument(help="The hash of the version that you have seen.")],
    reason: ReasonOption = "seen and found right",
) -> None:
    """Approve the latest version; only by who had no hand in it."""
    with configured(config) as (ledger, settings):
        version = billing_runs.approve_run(ledger, run, sha256, billed_by(settings), acting(reason))
    typer.echo(f"version {version.version} approved")


@app.command()
def export(
    config: ConfigOption,
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the CSV goes.")],
) -> None:
    """Close the run and write its lines. Once exported it never changes; again: the same file."""
    with configured(config) as (ledger, settings):
        view = billing_runs.view_run(ledger, run)
        done = view.export or billing_runs.export_run(ledger, run, billed_by(settings), acting())
        data = b"".join(run_csv(billing_runs.version_lines(ledger, run, done.version)))
    try:
        write_file([data], output)
    except InvalidRequest as error:
        typer.echo(f"error: {error}", err=True)
        typer.echo("hint: the run is exported; give the command again with another path", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"version {done.version} of run {run}: {output}")
    typer.echo(f"sha256 of the file {hashlib.sha256(data).hexdigest()}")


@app.command()
def verify(config: ConfigOption) -> None:
    """Check every version's hash, their chain, and that nothing exported was billed twice."""
    with configured(config) as (ledger, _):
        faults = billing_runs.verify_runs(ledger)
    for fault in faults:
        typer.echo(fault)
    if faults:
        raise typer.Exit(1)
    typer.echo("all runs are as they were made")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no day", hint="write it as 2026-10-20") from error


def _period(
    ledger: Ledger,
    of_book: tuple[str | None, str | None, int | None],
    days: tuple[str | None, str | None],
    zone: str,
) -> tuple[datetime, datetime]:
    """From when to when: as the book has it, or by its days."""
    book, month, number = of_book
    first, last = days
    if first is not None and last is not None and month is None:
        return day_start(_day(first), zone), day_start(_day(last), zone)
    if book is None or month is None or first is not None or last is not None:
        raise InvalidRequest(
            "the period is not clear",
            hint="give --from and --to, or --book with --month (2026-11)",
        )
    periods = book_periods(ledger, book, _day(f"{month}-01"), zone)
    found = [one for one in periods if number is None or one.number == number]
    if len(found) != 1:
        known = ", ".join(
            f"{one.number}: {civil_day(one.from_at, zone)} to {civil_day(one.to_at, zone)}"
            for one in periods
        )
        raise InvalidRequest(
            f"book {book} has {len(periods)} periods that end in {month}"
            + (f" ({known})" if known else ""),
            hint="say which with --number, or see its reading days in reading_days.csv",
        )
    return found[0].from_at, found[0].to_at


def _one_line(view: RunView, zone: str) -> str:
    head = view.head
    first, last = civil_day(head.from_at, zone), civil_day(head.to_at, zone)
    whose = f"book {head.book}" if head.book else head.station or "all stations"
    left_out = f", {len(view.excluded)} points left out" if view.excluded else ""
    return (
        f"{head.run}  {first} to {last}  {whose}  "
        f"{view.state.value}, {len(view.versions)} versions{left_out}"
    )


def _print_changes(changes: list[LineChange]) -> None:
    typer.echo(f"{len(changes)} points and registers changed")
    for one in changes[:SHOWN]:
        before, after = (
            "none" if value is None else _amount(value, one.register)
            for value in (one.billed_before, one.billed_after)
        )
        typer.echo(f"  {one.point} {one.register}: {before} → {after}")
    if len(changes) > SHOWN:
        typer.echo(f"  and {len(changes) - SHOWN} more")


def _amount(value: int, register: str) -> str:
    unit = BY_OBIS[register].unit.value
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole, rest = divmod(value, 1000)
    decimals = f".{rest:03}".rstrip("0") if rest else ""
    return f"{sign}{whole}{decimals} k{unit}"
