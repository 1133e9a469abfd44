"""`songlo collector billing bills`: preview a run's bills, from the first set to the file.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do); no rule is decided
here.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from collector.billing.bill_gate import BillCause, BillFilter
from collector.billing.bill_values import BillSetHead
from collector.billing.gates import Reference
from collector.civil import format_instant, zone_info
from collector.cli_common import ConfigOption, acting, configured
from collector.console.bill_text import bill_text
from collector.console.locale import speech
from collector.operations import bills
from collector.operations.billing_settings import rated_by
from collector.operations.exports import write_file

app = typer.Typer(
    no_args_is_help=True, help="Bill previews of a run: sets, exceptions, approval, the file."
)

SetArgument = Annotated[str, typer.Argument(metavar="SET", help="The set, as `list` has it.")]
RunArgument = Annotated[str, typer.Argument(help="The run, as `billing list` has it.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; kept for ever.")]


class Form(StrEnum):
    """The forms of the file for the receivables system."""

    CSV = "csv"
    JSONL = "jsonl"


class Language(StrEnum):
    """The language of a bill."""

    VI = "vi"
    EN = "en"


@app.command()
def make(
    config: ConfigOption, run: RunArgument, reason: ReasonOption = "made from what is known now"
) -> None:
    """Preview all bills of a run: of its exported version, or of its latest."""
    with configured(config) as (ledger, settings):
        made = bills.make_bills(ledger, run, rated_by(settings), acting(reason))
    head = made.head
    typer.echo(head.bill_set)
    said = "made" if made.is_new else "still holds; nothing has changed"
    typer.echo(f"set {head.number} of version {head.version} {said}: {_sums(head)}")
    typer.echo(f"sha256 {head.sha256}")


@app.command("list")
def list_(
    config: ConfigOption,
    run: Annotated[str | None, typer.Option(help="Of one run.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 20,
) -> None:
    """The sets of bills, with their state."""
    with configured(config) as (ledger, _):
        views = bills.list_bills(ledger, limit, run=run)
    if not views:
        typer.echo("no bills yet; songlo collector billing bills make RUN makes some")
    for view in views:
        head = view.head
        typer.echo(
            f"{head.bill_set}  run {head.run} version {head.version}  {view.state.value}  "
            f"{_sums(head)}"
        )


@app.command()
def show(
    config: ConfigOption,
    bill_set: SetArgument,
    contract: Annotated[str | None, typer.Option(help="One bill, with what it rests on.")] = None,
    language: Annotated[Language, typer.Option(help="The bill's language.")] = Language.EN,
) -> None:
    """A set and what people did with it; or one bill of it."""
    with configured(config) as (ledger, settings):
        view = bills.view_bills(ledger, bill_set)
        preview = None if contract is None else bills.get_bill(ledger, bill_set, contract)
    if preview is not None:
        for line in bill_text(preview, speech(language.value, zone_info(settings.zone))):
            typer.echo(line)
        return
    typer.echo(f"{view.state.value}: {_sums(view.head)}")
    typer.echo(f"sha256 {view.head.sha256}")
    for act in view.acts:
        typer.echo(
            f"{format_instant(act.at)} {act.actor} {act.act.value} {act.subject}: {act.reason}"
        )
    if view.export is not None:
        at = format_instant(view.export.exported_at)
        typer.echo(f"exported {at} by {view.export.exported_by}")


@app.command("exceptions")
def exceptions_(
    config: ConfigOption,
    bill_set: SetArgument,
    cause: Annotated[BillCause | None, typer.Option(help="List all of one cause.")] = None,
) -> None:
    """What somebody must look at before the bills may be approved."""
    with configured(config) as (ledger, settings):
        found = bills.exceptions_of_bills(ledger, bill_set, rated_by(settings))
    counts = Counter((one.cause, one.blocks) for one in found)
    for (of_cause, blocks), count in sorted(counts.items()):
        typer.echo(f"{of_cause.value:15} {count:6}{'  blocks' if blocks else ''}")
    if not found:
        typer.echo("no exceptions")
    for one in [one for one in found if one.cause is cause]:
        amount = "" if one.amount_vnd is None else f"{one.amount_vnd} đồng"
        reference = "a year before" if one.reference is Reference.YEAR else "before"
        before = "" if one.before_vnd is None else f"{reference} {one.before_vnd}"
        typer.echo(" ".join(("  " + one.bill, one.point, amount, before, one.detail)).rstrip())


@app.command()
def accept(
    config: ConfigOption,
    bill_set: SetArgument,
    reason: ReasonOption,
    cause: Annotated[list[BillCause] | None, typer.Option(help="Of this cause.")] = None,
    contract: Annotated[list[str] | None, typer.Option(help="Of this contract.")] = None,
    below_vnd: Annotated[int | None, typer.Option(help="Up to so many đồng.")] = None,
) -> None:
    """Answer for exceptions, one by one or in bulk: all that fit every option."""
    wanted = BillFilter(frozenset(cause or ()), frozenset(contract or ()), below_vnd)
    with configured(config) as (ledger, settings):
        count = bills.accept_bills(ledger, bill_set, rated_by(settings), wanted, acting(reason))
    typer.echo(f"{count} exceptions accepted")


@app.command()
def approve(
    config: ConfigOption,
    bill_set: SetArgument,
    sha256: Annotated[str, typer.Argument(help="The hash of the set that you have seen.")],
    reason: ReasonOption = "seen and found right",
) -> None:
    """Approve a set; only by who had no hand in it."""
    with configured(config) as (ledger, settings):
        bills.approve_bills(ledger, bill_set, sha256, rated_by(settings), acting(reason))
    typer.echo(f"set {bill_set} approved")


@app.command()
def export(
    config: ConfigOption,
    bill_set: SetArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the file goes.")],
    form: Annotated[Form, typer.Option("--format", help="Its form.")] = Form.CSV,
) -> None:
    """Write the approved bills for the receivables system; again: the same file."""
    digest = hashlib.sha256()
    with configured(config) as (ledger, _):
        head, pieces = bills.export_bills(ledger, bill_set, form.value, acting())
        write_file(_hashed(pieces, digest), output)
    typer.echo(f"{output}: {_sums(head)}")
    typer.echo(f"sha256 of the file {digest.hexdigest()}")


@app.command("what-if")
def what_if(
    config: ConfigOption,
    run: RunArgument,
    table: Annotated[str, typer.Argument(help="A price table, as `tariffs list` has it.")],
) -> None:
    """What the same run would come to under another price table; nothing is stored."""
    with configured(config) as (ledger, settings):
        found = bills.what_if_bills(ledger, run, table, rated_by(settings))
    difference = found.what_if_total_vnd - found.total_vnd
    typer.echo(f"{found.bill_count} bills, {found.refused_count} without a preview")
    typer.echo(f"to pay {found.total_vnd} đồng; under {table} {found.what_if_total_vnd} đồng")
    typer.echo(
        f"{difference:+} đồng; {found.dearer_count} bills dearer, {found.cheaper_count} cheaper"
    )


@app.command()
def verify(config: ConfigOption) -> None:
    """Check every stored bill's hash, every set's, and its sums."""
    with configured(config) as (ledger, _):
        faults = bills.verify_bills(ledger)
    for fault in faults:
        typer.echo(fault)
    if faults:
        raise typer.Exit(1)
    typer.echo("all bills are as they were made")


def _hashed(pieces: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _sums(head: BillSetHead) -> str:
    refused = f", {head.refused_count} refused" if head.refused_count else ""
    adjusted = f" with adjustments of {head.adjustments_vnd}" if head.adjustments_vnd else ""
    return (
        f"{head.bill_count} bills{refused}, {head.energy_kwh} kWh, "
        f"{head.amount_vnd} + {head.vat_vnd} tax = {head.total_vnd} đồng{adjusted}"
    )
