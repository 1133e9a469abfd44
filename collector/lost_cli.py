"""`songlo collector lost`: batches that will never come, and what people have said of them.

Owns words and exit codes (0: done, 1: not done); no rule is decided here.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from collector.cli_common import ConfigOption, actor, configured
from collector.clock import system_now
from collector.ledger.delivery_views import LostBatches
from collector.operations import lost

app = typer.Typer(no_args_is_help=True, help="Batches that will never come.")

GatewayOption = Annotated[str, typer.Option("--gateway", "-g", help="The gateway's name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; the audit trail keeps it.")]


@app.command("list")
def list_(config: ConfigOption) -> None:
    """Print what is lost: first what nobody has accepted, then the rest."""
    with configured(config) as (ledger, _):
        found = lost.all_lost(ledger)
    _print("new", found.new)
    _print("accepted", found.accepted)
    if not found.new and not found.accepted:
        typer.echo("nothing is lost")


@app.command()
def accept(gateway: GatewayOption, reason: ReasonOption, config: ConfigOption) -> None:
    """Say that a gateway's lost batches were seen; they stay listed, and `verify` is content."""
    with configured(config) as (ledger, _):
        found = lost.accept(ledger, gateway=gateway, reason=reason, actor=actor(), now=system_now())
    _print("accepted", found)


@app.command()
def gone(gateway: GatewayOption, reason: ReasonOption, config: ConfigOption) -> None:
    """Say that a gateway will never come back: what it still owed is lost."""
    with configured(config) as (ledger, _):
        owed = lost.gateway_gone(
            ledger, gateway=gateway, reason=reason, actor=actor(), now=system_now()
        )
    typer.echo(f"{lost.count(owed)} batches that {gateway} owed are lost")


def _print(word: str, parts: Sequence[LostBatches]) -> None:
    for part in parts:
        at = part.recorded_at.isoformat(timespec="seconds")
        typer.echo(
            f"{word:8}  {part.gateway}  epoch {part.epoch}  batches {part.first} to {part.last}"
            f"  {part.reason}  recorded {at}"
        )
