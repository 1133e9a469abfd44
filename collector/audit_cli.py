"""`songlo collector audit`: what was done, and whether the trail of it is whole.

Owns words and exit codes (0: done, 1: not done or not whole, with the reason and what to do).
"""

import contextlib
from typing import Annotated

import typer

from collector.app import open_ledger
from collector.civil import format_instant
from collector.cli_common import ConfigOption, reported
from collector.config import load_config
from collector.ledger.audit_chain import canonical_json
from collector.operations import audit

app = typer.Typer(no_args_is_help=True, help="What was done, by whom; and that nobody changed it.")


@app.command()
def verify(
    config: ConfigOption,
    head: Annotated[
        str | None,
        typer.Option(help="What audit head printed before: the trail must still have that row."),
    ] = None,
) -> None:
    """Follow the trail and name the first row that was changed, removed, inserted or moved."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        found = audit.verify_audit(ledger, head)
    if found.broken is not None:
        typer.echo(found.broken.text, err=True)
        typer.echo(
            f"the trail holds up to {found.head}; keep the ledger as it is, take a copy, and"
            " compare it with a backup (docs/operating.md)",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(f"{found.head.sequence} rows, each follows the one before it")
    if head is None:
        typer.echo(
            "whether rows are missing at the end is known only with --head; write this down"
            " elsewhere:"
        )
    typer.echo(str(found.head))


@app.command("head")
def head_(config: ConfigOption) -> None:
    """Print the last row's number and hash, to be written down elsewhere."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        typer.echo(str(audit.audit_head(ledger)))


@app.command("list")
def list_(
    config: ConfigOption,
    limit: Annotated[int, typer.Option(min=1, max=audit.LIST_MAX)] = 100,
    before: Annotated[int | None, typer.Option(help="Only rows numbered below this.")] = None,
    action: Annotated[str | None, typer.Option(help="Of one action, as snapshot.create.")] = None,
) -> None:
    """Print who did what, the newest first."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        found = audit.list_audit(ledger, limit=limit, before=before, action=action)
    for row in found:
        typer.echo(
            f"{row.sequence}  {format_instant(row.at)}  {row.actor}  {row.action}  {row.subject}\n"
            f"    {canonical_json(row.detail)}"
        )
    if not found:
        typer.echo("there are no such rows")
    elif len(found) == limit:
        typer.echo(f"there may be more: --before {found[-1].sequence}", err=True)
