"""The commands of `songlo collector`: each reads the file, calls one operation and prints.

Owns words and exit codes (0: done, 1: not done, with the reason and what to do); no rule of the
collector's is decided here.
"""

import contextlib
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from collector import (
    audit_cli,
    backup_cli,
    balance_cli,
    billing_cli,
    command_cli,
    config_cli,
    export_cli,
    lost_cli,
    rating_cli,
    registry_cli,
    vee_cli,
)
from collector.app import Role, configure_logging, open_ledger, open_link, open_store
from collector.app import run as run_collector
from collector.cli_common import (
    ConfigOption,
    DryRunOption,
    actor,
    load_config_or_exit,
    reported,
)
from collector.clock import system_now
from collector.config import CollectorConfig, load_config
from collector.errors import InvalidRequest, LedgerUnavailable
from collector.garbage import collect_garbage_seldom
from collector.operations import audit, billing_runs, bills, delivery, keys

# How long a command waits for the broker, in seconds.
BROKER_WAIT_S = 10.0

# Progress of a replay is asked for this often, in seconds.
PROGRESS_S = 0.5

# Of a payload in quarantine that is shown among other things, in bytes.
SHOWN_BYTES_MAX = 400

app = typer.Typer(no_args_is_help=True, help="Store, balance and bill what arrives.")
key_app = typer.Typer(no_args_is_help=True, help="API keys.")
quarantine_app = typer.Typer(no_args_is_help=True, help="What could not be taken.")
app.add_typer(registry_cli.app, name="registry")
app.add_typer(key_app, name="key")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(lost_cli.app, name="lost")
app.add_typer(command_cli.app, name="command")
app.add_typer(config_cli.app, name="config")
app.add_typer(export_cli.app, name="export")
app.add_typer(rating_cli.tariffs_app, name="tariffs")
app.command()(rating_cli.rate)
app.add_typer(vee_cli.app, name="vee")
app.add_typer(audit_cli.app, name="audit")
app.add_typer(billing_cli.app, name="billing")
app.add_typer(balance_cli.app, name="balance")
app.command()(backup_cli.backup)
app.command()(backup_cli.restore)


@app.callback()
def _root() -> None:
    """Store, balance and bill what arrives."""
    configure_logging()
    collect_garbage_seldom()


@app.command()
def run(
    config: ConfigOption,
    role: Annotated[Role, typer.Option(help="What this process does.")] = Role.ALL,
) -> None:
    """Take batches from the broker and serve the API until stopped (SIGTERM)."""
    with reported():
        run_collector(load_config(config), role)


@app.command()
def migrate(config: ConfigOption) -> None:
    """Bring the ledger's schema to this version's."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.migrate()
        typer.echo("the ledger's schema is up to date")


@key_app.command("add")
def key_add(
    name: str,
    config: ConfigOption,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(keys.Scope)}; or read, snapshot. May be repeated."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
) -> None:
    """Make an API key and print it: the only time it can be seen."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        now = system_now()
        typer.echo(
            keys.add_key(
                ledger,
                name=name,
                scopes=scope or ["read"],
                now=now,
                expires_at=None if days is None else now + timedelta(days=days),
                actor=actor(),
            )
        )


@key_app.command("list")
def key_list(config: ConfigOption) -> None:
    """Print all keys: whose they are and what they may do, never the keys themselves."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        found = keys.list_keys(ledger)
    now = system_now()
    for key in found:
        state = "good"
        if key.revoked_at is not None:
            state = f"revoked {key.revoked_at.isoformat(timespec='seconds')}"
        elif key.expires_at is not None:
            verb = "expired" if key.expires_at <= now else "expires"
            state = f"{verb} {key.expires_at.isoformat(timespec='seconds')}"
        typer.echo(
            f"{key.name:24} sgl_{key.prefix}_…  {','.join(key.scopes):16}"
            f" made {key.created_at.isoformat(timespec='seconds')}  {state}  {_used(key)}"
        )
    if not found:
        typer.echo("there are no keys: make one with songlo collector key add NAME")


def _used(key: keys.KeyView) -> str:
    if key.last_used_at is None:
        return "never used"
    return f"used {key.last_used_at.isoformat(timespec='seconds')}"


@key_app.command("revoke")
def key_revoke(name: str, config: ConfigOption) -> None:
    """Have a key open nothing any more, at once and for good."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        keys.revoke_key(ledger, name=name, now=system_now(), actor=actor())
    typer.echo(f"{name} is revoked")


@app.command()
def verify(
    config: ConfigOption,
    ledger_only: Annotated[
        bool, typer.Option("--ledger-only", help="Do not open the reading store.")
    ] = False,
) -> None:
    """Compare what was acknowledged with what is stored; exit 1 if anything does not agree."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        if ledger_only:
            found = delivery.verify(ledger, None)
        else:
            with contextlib.closing(open_store(settings)) as store:
                found = delivery.verify(ledger, store)
        problems = [
            *found.problems,
            *audit.verify_snapshots(ledger),
            *billing_runs.verify_runs(ledger),
            *bills.verify_bills(ledger),
        ]
        trail = audit.verify_audit(ledger)
    if trail.broken is not None:
        problems.append(f"audit trail: {trail.broken.text}: songlo collector audit verify")
    for part in found.receipts:
        typer.echo(
            f"{part.content:12} {part.state:9} {part.batches:10} batches"
            f" {part.reads:12} reads {part.missing:8} missing"
        )
    stored = "not asked" if found.reads_stored is None else str(found.reads_stored)
    typer.echo(f"meter reads: {found.reads_expected} delivered, in the reading store: {stored}")
    for fact in found.known:
        typer.echo(f"known: {fact}")
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo("everything else agrees" if found.known else "everything agrees")


@app.command()
def replay(  # noqa: PLR0913  one parameter per option
    config: ConfigOption,
    from_at: Annotated[str, typer.Option("--from", help="First slot: RFC 3339, or a local date.")],
    to_at: Annotated[str, typer.Option("--to", help="First slot not wanted any more.")],
    gateway: Annotated[str | None, typer.Option(help="One gateway.")] = None,
    station: Annotated[str | None, typer.Option(help="All gateways of one station.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until everything has come again.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Have gateways send a period again (all of them by default)."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        first, last = _instant(from_at, settings), _instant(to_at, settings)
        report = delivery.replay(
            ledger,
            gateway=gateway,
            station=station,
            from_at=first,
            to_at=last,
            actor=actor(),
            now=system_now(),
            dry_run=dry_run,
        )
        verb = "would be reopened" if dry_run else "reopened"
        typer.echo(f"{verb}: {report.batches} batches of {len(report.gateways)} gateways")
        if wait and not dry_run:
            total = delivery.reopened(ledger)
            with typer.progressbar(length=total, label="coming again") as bar:
                left = total
                while left:
                    time.sleep(PROGRESS_S)
                    now_left = min(left, delivery.reopened(ledger))
                    bar.update(left - now_left)
                    left = now_left


@app.command()
def restored(config: ConfigOption, dry_run: DryRunOption = False) -> None:
    """Say that the ledger came back from a backup: gateways send again what it may lack."""
    settings = load_config_or_exit(config)
    with reported(), contextlib.closing(open_ledger(settings)) as ledger:
        ledger.check_schema()
        link = open_link(settings, reader=True)
        link.start()
        try:
            deadline = time.monotonic() + BROKER_WAIT_S
            while not link.connected:
                if time.monotonic() > deadline:
                    raise LedgerUnavailable(
                        "the broker cannot be reached, and it may hold acks to be looked at",
                        code="broker_unavailable",
                        hint="start the broker and try again",
                    )
                time.sleep(0.05)
            acks = link.collect_acks()
        finally:
            link.stop()
        raised = delivery.restored(
            ledger, acks=acks, actor=actor(), now=system_now(), dry_run=dry_run
        )
        for name, generation in raised.items():
            typer.echo(f"{name}: generation {generation}")
        verb = "would send" if dry_run else "will send"
        typer.echo(f"{len(raised)} gateways {verb} again what the ledger may lack")


@app.command()
def compact(config: ConfigOption) -> None:
    """Remove repeats from the reading store that no query shows anyway."""
    with reported(), contextlib.closing(open_store(load_config(config))) as store:
        typer.echo(f"{store.compact()} repeats removed")


@quarantine_app.command("list")
def quarantine_list(
    config: ConfigOption,
    limit: Annotated[int, typer.Option(min=1, max=delivery.LIST_MAX)] = 100,
) -> None:
    """Print what is kept aside and why, oldest first."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        entries = delivery.quarantine_list(ledger, limit)
    for entry in entries:
        asked = " (to be tried again)" if entry.retry_asked_at else ""
        typer.echo(
            f"{entry.id}  {entry.received_at.isoformat(timespec='seconds')}  {entry.code}{asked}\n"
            f"    {entry.topic}  {len(entry.payload)} bytes\n    {entry.reason}"
        )
    if not entries:
        typer.echo("nothing is in quarantine")


@quarantine_app.command("retry")
def quarantine_retry(
    config: ConfigOption,
    ids: Annotated[list[int] | None, typer.Argument(help="Entries; all open ones if none.")] = None,
) -> None:
    """Have entries tried again, with today's rules, at the intake's next tick."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        entries = delivery.quarantine_retry(ledger, ids or [], actor=actor(), now=system_now())
        typer.echo(f"{len(entries)} entries will be tried again by the running collector")


@quarantine_app.command("show")
def quarantine_show(
    entry: Annotated[int, typer.Argument(help="The entry's number.")],
    config: ConfigOption,
    payload: Annotated[
        bool, typer.Option("--payload", help="Print only what was received, byte for byte.")
    ] = False,
) -> None:
    """Print one entry whole."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        found = delivery.quarantine_show(ledger, entry)
    if payload:
        sys.stdout.buffer.write(found.payload)
        return
    lines = {
        "entry": found.id,
        "gateway": found.gateway or "unknown",
        "topic": found.topic,
        "received": found.received_at.isoformat(timespec="seconds"),
        "code": found.code,
        "reason": found.reason,
        "state": "open"
        if found.resolved_at is None
        else f"resolved {found.resolved_at.isoformat(timespec='seconds')}",
        "sha256": found.sha256.hex(),
        "bytes": len(found.payload),
    }
    for name, value in lines.items():
        typer.echo(f"{name:9} {value}")
    start = found.payload[:SHOWN_BYTES_MAX].decode(errors="backslashreplace")
    more = len(found.payload) > SHOWN_BYTES_MAX
    typer.echo(f"payload   {start!r}{' … (all of it: --payload)' if more else ''}")


@quarantine_app.command("close")
def quarantine_close(
    ids: Annotated[list[int], typer.Argument(help="The entries' numbers.")],
    config: ConfigOption,
    reason: Annotated[str, typer.Option(help="Why nothing more will be done; it is kept.")],
) -> None:
    """Say that nothing more will be done about entries; they are kept, and listed no more."""
    with reported(), contextlib.closing(open_ledger(load_config(config))) as ledger:
        ledger.check_schema()
        entries = delivery.quarantine_close(
            ledger, ids, reason=reason, actor=actor(), now=system_now()
        )
    typer.echo(f"{len(entries)} entries are closed")


def _instant(text: str, config: CollectorConfig) -> datetime:
    """An RFC 3339 instant, or the start of a date in the utility's zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{text!r} is no instant", hint="write 2026-01-31 or 2026-01-31T00:00:00+07:00"
        ) from error
    if at.tzinfo is None:
        if len(text) > len("2026-01-31"):
            raise InvalidRequest(
                f"{text!r} says no offset from UTC", hint="append Z or +07:00, or give a date only"
            )
        at = at.replace(tzinfo=config.tzinfo)
    return at.astimezone(UTC)
