"""`songlo gateway status`: how this gateway is, from its files and its machine.

Owns what a technician sees. Like all commands it imports what it needs only when it is run, so
that the others start at once.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from contract.messages import ConfigStatus
    from gateway.config import StationConfig
    from gateway.outbox_look import OutboxLook
    from gateway.self_check import Facts, Problem

WRONG = 1
CONNECT_TIMEOUT_S = 3.0
GAPS_SHOWN_MAX = 5

_WHO = "run this as the gateway's own user (sudo -u songlo-gateway …) or as root"


def status(
    config: Annotated[Path, typer.Option("--config", help="The station file.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Say how this gateway is: what it holds, whether it delivers, what is wrong, what to try."""
    from gateway.config import StationFileError  # noqa: PLC0415 - see the docstring
    from gateway.in_force import station_in_force  # noqa: PLC0415
    from gateway.self_check import problems  # noqa: PLC0415

    try:
        station, remote = station_in_force(config)
    except StationFileError as error:
        for text in error.problems:
            typer.echo(text, err=True)
        raise typer.Exit(WRONG) from None
    if not _may_look(station.data):
        typer.echo(f"{station.data}: may not be looked into by this user", err=True)
        typer.echo(_WHO, err=True)
        raise typer.Exit(WRONG)
    facts = _facts(station)
    wrong = problems(facts)
    say = _json if as_json else _text
    typer.echo(say(station, remote, facts, wrong))
    if wrong:
        raise typer.Exit(WRONG)


def _may_look(folder: Path) -> bool:
    """Whether this user may look into `folder`; of one that is not there, into the one above."""
    import os  # noqa: PLC0415

    path = folder.absolute()
    while not path.exists() and os.access(path.parent, os.X_OK):
        path = path.parent
    return os.access(path, os.R_OK | os.X_OK)


def _facts(station: "StationConfig") -> "Facts":
    import os  # noqa: PLC0415

    from contract.messages import Clock  # noqa: PLC0415
    from gateway.clock import system_now, system_state  # noqa: PLC0415
    from gateway.holder import holder_of  # noqa: PLC0415
    from gateway.outbox import FILE_NAME, LOCK_NAME  # noqa: PLC0415
    from gateway.outbox_look import OutboxUnreadable, look  # noqa: PLC0415
    from gateway.self_check import Facts  # noqa: PLC0415

    holder = holder_of(station.data / LOCK_NAME)
    outbox, trouble = None, ""
    try:
        outbox = look(station.data / FILE_NAME, in_use=holder is not None)
    except OutboxUnreadable as error:
        trouble = str(error)
    folder = next(
        path for path in (station.data, *station.data.absolute().parents) if path.exists()
    )
    disk = os.statvfs(folder)
    devices = [(line.name, getattr(line.endpoint, "device", "")) for line in station.lines]
    return Facts(
        now=system_now(),
        interval=timedelta(minutes=station.schedule.interval_min),
        holder=holder,
        outbox=outbox,
        outbox_trouble=trouble,
        outbox_bytes_max=station.outbox.bytes_max,
        free_bytes=disk.f_bavail * disk.f_frsize,
        is_clock_synced=station.replay is not None or system_state() is Clock.SYNCED,
        broker=f"{station.broker.host}:{station.broker.port}",
        broker_trouble=_broker_trouble(station.broker.host, station.broker.port),
        certificate_concern=_certificate_concern(station),
        devices_missing=tuple(
            (name, device) for name, device in devices if device and not Path(device).exists()
        ),
    )


def _broker_trouble(host: str, port: int) -> str:
    import socket  # noqa: PLC0415

    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _certificate_concern(station: "StationConfig") -> str:
    from gateway.clock import system_now  # noqa: PLC0415
    from gateway.credentials import BadCredentials, concern  # noqa: PLC0415

    if station.tls is None:
        return ""
    try:
        return concern(station.tls, station.gateway, system_now())
    except BadCredentials as error:
        return str(error)


def _text(
    station: "StationConfig", remote: "ConfigStatus | None", facts: "Facts", wrong: "list[Problem]"
) -> str:
    runs = f"yes, {facts.holder}" if facts.holder else "no"
    rows = [
        ("station", f"{station.station}, gateway {station.gateway}"),
        ("file", _file_text(remote)),
        ("runs", runs),
        *(_outbox_rows(facts.outbox) if facts.outbox else []),
        ("disk", f"{facts.free_bytes // 2**20} MB free"),
        ("clock", "synchronised" if facts.is_clock_synced else "not synchronised"),
        ("broker", f"{facts.broker}, {facts.broker_trouble or 'can be reached'}"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    if not wrong:
        return "\n".join([*lines, "nothing is wrong that can be seen from here"])
    for problem in wrong:
        lines += [f"WRONG: {problem.what}", f"  try: {problem.remedy}"]
    return "\n".join(lines)


def _file_text(remote: "ConfigStatus | None") -> str:
    """Which station file is in force, and why the last one from the collector is not."""
    if remote is None:
        return "its own; none is taken from the collector"
    text = f"version {remote.version} from the collector" if remote.version else "its own"
    if remote.trial:
        text += ", on trial"
    if remote.refused is not None:
        refused = remote.refused
        text += f"; version {refused.version} is not ({refused.code}): {refused.text}"
    return text


def _outbox_rows(outbox: "OutboxLook") -> list[tuple[str, str]]:
    waiting = f"{outbox.waiting} batches, {outbox.waiting_bytes} bytes"
    if outbox.oldest_waiting_at is not None:
        waiting += (
            f", of {outbox.waiting_epochs} epochs, oldest kept {_said(outbox.oldest_waiting_at)}"
        )
    acknowledged = f"{outbox.delivered} batches are still kept"
    if outbox.newest_delivered_at is not None:
        acknowledged += f", the newest was kept {_said(outbox.newest_delivered_at)}"
    gaps = [
        f"{gap.kind.value} {_said(gap.first)} to {_said(gap.last)} ({gap.reason})"
        for gap in outbox.gaps[-GAPS_SHOWN_MAX:]
    ]
    return [
        ("epoch", f"{outbox.epoch}, next batch {outbox.next_seq}, generation {outbox.generation}"),
        ("last slot", _said(outbox.last_slot_at) or "none yet"),
        ("waiting", waiting),
        ("acknowledged", acknowledged),
        ("outbox", f"{outbox.file_bytes} bytes"),
        ("dropped", f"{len(outbox.tombstones)} batches"),
        ("gaps", "; ".join(gaps) or "none"),
    ]


def _json(
    station: "StationConfig", remote: "ConfigStatus | None", facts: "Facts", wrong: "list[Problem]"
) -> str:
    outbox = facts.outbox
    return json.dumps(
        {
            "station": station.station,
            "gateway": station.gateway,
            "config": None if remote is None else _config_object(remote),
            "runs": facts.holder is not None,
            "pid": facts.holder.pid if facts.holder else None,
            "outbox": None if outbox is None else _outbox_object(outbox),
            "free_bytes": facts.free_bytes,
            "clock_synced": facts.is_clock_synced,
            "broker": facts.broker,
            "broker_reachable": not facts.broker_trouble,
            "problems": [{"what": problem.what, "try": problem.remedy} for problem in wrong],
        }
    )


def _config_object(remote: "ConfigStatus") -> dict[str, object]:
    refused = remote.refused
    return {
        "version": remote.version,
        "trial": remote.trial,
        "highest": remote.highest,
        "refused": None
        if refused is None
        else {"version": refused.version, "code": refused.code, "text": refused.text},
    }


def _outbox_object(outbox: "OutboxLook") -> dict[str, object]:
    return {
        "epoch": outbox.epoch,
        "next_seq": outbox.next_seq,
        "generation": outbox.generation,
        "waiting": outbox.waiting,
        "waiting_bytes": outbox.waiting_bytes,
        "waiting_epochs": outbox.waiting_epochs,
        "oldest_waiting_at": _said(outbox.oldest_waiting_at),
        "delivered": outbox.delivered,
        "newest_delivered_at": _said(outbox.newest_delivered_at),
        "last_slot_at": _said(outbox.last_slot_at),
        "file_bytes": outbox.file_bytes,
        "tombstones": len(outbox.tombstones),
        "gaps": [
            {
                "kind": gap.kind.value,
                "first": _said(gap.first),
                "last": _said(gap.last),
                "reason": gap.reason,
            }
            for gap in outbox.gaps
        ],
    }


def _said(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")
