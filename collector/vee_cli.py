"""`songlo collector vee`: validate a period, look through the findings, decide them.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do); no rule is decided
here.
"""

import contextlib
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from collector.app import open_desk, open_store
from collector.civil import day_start, format_instant
from collector.cli_common import ConfigOption, DryRunOption, actor, configured, reported
from collector.clock import system_now
from collector.config import CollectorConfig
from collector.errors import CollectorError, InvalidRequest
from collector.ledger import Ledger
from collector.ledger.findings import (
    Decision,
    FindingFilter,
    ManualIndex,
    ManualKind,
    StoredFinding,
)
from collector.operations import vee
from collector.operations.commands import Sender
from collector.operations.daily import DAY
from collector.operations.deciding import DecidedAt, DecideReport, Deciding
from collector.operations.findings import decide, enter_index, show_finding
from collector.operations.vee_files import load_limits, translation
from collector.readings.port import ReadingStore
from collector.vee.catalogue import BY_ID
from collector.vee.estimation.estimate import Method
from collector.vee.texts import (
    Translate,
    check_next_text,
    found_text,
    methods_table,
    rules_table,
    severity_text,
    title,
)
from collector.vee.values import Severity
from contract.registers import IMPORT_ACTIVE

BROKER_WAIT_S = 10.0

# How many refused findings are printed one by one.
REFUSED_SHOWN = 20

app = typer.Typer(no_args_is_help=True, help="Validation, estimation and editing of indices.")


class _Language(StrEnum):
    """Languages of what is printed of findings."""

    ENGLISH = "en"
    VIETNAMESE = "vi"


class _Decision(StrEnum):
    """What a person may decide, as it is typed."""

    ACCEPT = "accept"
    ESTIMATE = "estimate"
    EDIT = "edit"
    RE_READ = "re-read"


class _Method(StrEnum):
    """Methods of estimation that may be asked for by name."""

    E1 = "E1"
    E2 = "E2"
    E3 = "E3"
    E4 = "E4"
    E6 = "E6"


LanguageOption = Annotated[_Language, typer.Option("--language", "-l", help="en or vi.")]
RuleOption = Annotated[str | None, typer.Option(help="Of one rule: V01 … V17.")]
SeverityOption = Annotated[Severity | None, typer.Option(help="Of one severity.")]
StationOption = Annotated[str | None, typer.Option(help="Of one station.")]
PointOption = Annotated[str | None, typer.Option(help="Of one point.")]
MeterOption = Annotated[str | None, typer.Option(help="Of one meter.")]
FromOption = Annotated[str | None, typer.Option("--from", help="First day, e.g. 2026-10-20.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day; the first if none.")]


@app.command()
def run(
    config: ConfigOption,
    first: Annotated[str, typer.Option("--from", help="First day, e.g. 2026-10-20.")],
    last: ToOption = None,
    station: StationOption = None,
    voltages: Annotated[
        bool, typer.Option("--voltages", help="Open the reading store, for V16.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Ask all rules about the daily indices of a period and put what they find in the queue."""
    with configured(config) as (ledger, settings):
        first_day = _day(first)
        last_day = first_day if last is None else _day(last)
        book = load_limits(settings.vee.limits_file)
        with _store(settings, wanted=voltages) as store:
            wanted = vee.VeeRun(first_day, last_day, settings.zone, book, station, store)
            report = vee.run_vee(ledger, wanted, actor=actor(), now=system_now(), dry_run=dry_run)
    had = report.days_due - report.days_missing
    typer.echo(f"meters: {report.meters}; daily indices: {had} of {report.days_due} due")
    for rule in BY_ID:
        found, meters = report.found[rule], report.applied[rule]
        typer.echo(f"{rule}  {found:7} found  {meters:7} meters  {BY_ID[rule].title}")
    verb = "found, nothing written" if dry_run else f"in the queue, {report.new} of them new"
    typer.echo(
        f"{report.found.total()} {verb}; not found any more: {report.gone};"
        f" found again: {report.reopened}"
    )


@app.command("list")
def list_(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    rule: RuleOption = None,
    severity: SeverityOption = None,
    station: StationOption = None,
    point: PointOption = None,
    meter: MeterOption = None,
    first: FromOption = None,
    last: ToOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are decided too.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Only findings numbered above this.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=vee.LIST_MAX)] = 100,
    language: LanguageOption = _Language.ENGLISH,
) -> None:
    """Print findings in the order in which they were found, with what to check next."""
    with configured(config) as (ledger, settings):
        wanted = FindingFilter(
            rule=rule,
            severity=severity,
            station=station,
            point=point,
            meter=meter,
            from_at=_from(first, settings),
            to_at=_to(last or first, settings),
            open=None if everything else True,
        )
        found = vee.list_findings(ledger, wanted, limit=limit, after_id=after)
        translate = translation(language)
    for stored in found:
        _print(stored, translate)
    if not found:
        typer.echo("there are no such findings")
    elif len(found) == limit:
        typer.echo(f"there may be more: --after {found[-1].id}", err=True)


@app.command("decide")
def decide_(  # noqa: PLR0913  one parameter per option
    decision: Annotated[_Decision, typer.Argument(help="What becomes of them.")],
    config: ConfigOption,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it is kept.")],
    ids: Annotated[
        list[int] | None, typer.Argument(help="Findings by number; else all that the filter says.")
    ] = None,
    rule: RuleOption = None,
    severity: SeverityOption = None,
    station: StationOption = None,
    point: PointOption = None,
    meter: MeterOption = None,
    first: FromOption = None,
    last: ToOption = None,
    value: Annotated[int | None, typer.Option(min=0, help="The index of an edit, in Wh.")] = None,
    photo: Annotated[str | None, typer.Option(help="Where the photo of the display is.")] = None,
    method: Annotated[_Method | None, typer.Option(help="This method and no other.")] = None,
    expect: Annotated[
        int | None, typer.Option(min=0, help="Only if so many can be decided; see --dry-run.")
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Decide findings, one by one or all of a filter; exit 1 if any of them could not be."""
    with configured(config) as (ledger, settings):
        wanted = FindingFilter(
            ids=ids or None,
            rule=rule,
            severity=severity,
            station=station,
            point=point,
            meter=meter,
            from_at=_from(first, settings),
            to_at=_to(last or first, settings),
        )
        if wanted == FindingFilter():
            raise InvalidRequest(
                "that would decide every open finding", hint="name findings, or give a filter"
            )
        of_method: Method | None = None if method is None else method.value
        deciding = Deciding(
            Decision[decision.name], actor(), reason, value=value, photo=photo, method=of_method
        )
        sends = decision is _Decision.RE_READ and not dry_run
        with _sender(settings, ledger, wanted=sends) as sender:
            place = DecidedAt(
                load_limits(settings.vee.limits_file), settings.zone, system_now(), sender, expect
            )
            report = decide(ledger, wanted, deciding, place, dry_run=dry_run)
    _print_decided(report)
    if report.refused:
        raise typer.Exit(1)


@app.command()
def show(
    finding: Annotated[int, typer.Argument(min=1, help="Its number.")],
    config: ConfigOption,
    language: LanguageOption = _Language.ENGLISH,
) -> None:
    """Print one finding with its decisions, what became of re-reads, and the reads around it."""
    with configured(config) as (ledger, _):
        shown = show_finding(ledger, finding, system_now())
        translate = translation(language)
    _print(shown.stored, translate)
    for decision in shown.history:
        typer.echo(
            f"    {format_instant(decision.at)}  {decision.decision.value} by {decision.author}:"
            f" {decision.reason}"
        )
    for one in shown.re_reads:
        had = {True: "read", False: f"not read: {one.why}", None: "no answer yet"}[one.had]
        typer.echo(f"    command {one.command} to {one.gateway}: {one.state.value}, {had}")
    for at, register, value, _ in shown.reads:
        typer.echo(f"    {format_instant(at)}  {register}  {value}")


@app.command()
def enter(  # noqa: PLR0913  one parameter per option
    point: str,
    meter: str,
    value: Annotated[int, typer.Argument(min=0, help="The index, in the register's unit (Wh).")],
    config: ConfigOption,
    at: Annotated[str, typer.Option(help="When it was read: RFC 3339 with an offset.")],
    reason: Annotated[str, typer.Option(help="Why by hand, in a sentence; it is kept.")],
    register: Annotated[str, typer.Option(help="The register's OBIS code.")] = IMPORT_ACTIVE,
    photo: Annotated[str | None, typer.Option(help="Where the photo of the display is.")] = None,
) -> None:
    """Record an index that was read from a meter's display."""
    with configured(config) as (ledger, _):
        try:
            read_at = datetime.fromisoformat(at)
        except ValueError as error:
            raise InvalidRequest(
                f"{at!r} is no instant", hint="write 2026-01-31T09:30:00+07:00"
            ) from error
        if read_at.tzinfo is None:
            raise InvalidRequest(f"{at!r} says no offset from UTC", hint="append +07:00")
        now = system_now()
        new = ManualIndex(
            ManualKind.HAND,
            point,
            meter,
            register,
            read_at,
            value,
            actor(),
            now,
            reason,
            photo=photo,
        )
        number = enter_index(ledger, new, now)
    typer.echo(f"index {number} is recorded; run the validation of its day again")


@app.command()
def rules() -> None:
    """Print the rules and the methods of estimation as Markdown tables, in both languages."""
    translate = translation("vi")
    typer.echo(rules_table(translate))
    typer.echo(methods_table(translate), nl=False)


@app.command("check-limits")
def check_limits(path: Path) -> None:
    """Say what is wrong with a limits file, with its line and key."""
    with reported():
        load_limits(path)
    typer.echo(f"{path}: nothing is wrong with it")


@contextlib.contextmanager
def _store(settings: CollectorConfig, *, wanted: bool) -> Iterator[ReadingStore | None]:
    """The reading store where it is wanted; None, and said, where it cannot be opened."""
    # Not by itself: while a DuckDB file is open here the collector could not start.
    if not wanted:
        yield None
        return
    try:
        store = open_store(settings)
    except CollectorError as error:
        typer.echo(f"V16 looks at no voltages: {error}", err=True)
        yield None
        return
    with contextlib.closing(store):
        yield store


@contextlib.contextmanager
def _sender(settings: CollectorConfig, ledger: Ledger, *, wanted: bool) -> Iterator[Sender | None]:
    """Something that sends commands, where that is wanted."""
    if not wanted:
        yield None
        return
    desk = open_desk(settings, ledger)
    with desk.opened(BROKER_WAIT_S):
        yield desk


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no day", hint="write 2026-01-31") from error


def _from(text: str | None, settings: CollectorConfig) -> datetime | None:
    return None if text is None else day_start(_day(text), settings.zone)


def _to(text: str | None, settings: CollectorConfig) -> datetime | None:
    return None if text is None else day_start(_day(text) + DAY, settings.zone)


def _print(stored: StoredFinding, translate: Translate) -> None:
    finding = stored.finding
    register = f" {finding.register}" if finding.register else ""
    state = "" if stored.decision is None else f" [{stored.decision.value}: {stored.reason}]"
    typer.echo(
        f"{stored.id}  {finding.rule} {title(finding.rule, translate)}"
        f" ({severity_text(finding.severity, translate)}){state}\n"
        f"    {finding.point}  {finding.meter}{register}  {format_instant(finding.to_at)}\n"
        f"    {found_text(finding, translate)}\n"
        f"    → {check_next_text(finding, translate)}"
    )


def _print_decided(report: DecideReport) -> None:
    for one in report.indices:
        how = "edit" if one.method is None else one.method
        where = f"{one.point}  {one.meter}  {one.register}  {format_instant(one.at)}"
        typer.echo(f"{where}  {one.value}  {how}")
    for command in report.commands:
        typer.echo(f"command {command} was sent")
    for number, why in report.refused[:REFUSED_SHOWN]:
        typer.echo(f"finding {number}: {why}", err=True)
    verb = "decided" if report.written else "would be decided"
    typer.echo(f"{len(report.decided)} {verb}; not: {len(report.refused)}")
