"""What is wrong with a gateway, judged from what can be seen on its machine, and what to try.

Pure: facts in, problems out. It must not look at anything by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.holder import Holder
from gateway.outbox_look import OutboxLook

WAITING_MAX = timedelta(minutes=15)  # several tries of the uplink; a slow network needs less
SCANS_MISSED_MAX = 2
FREE_BYTES_MIN = 64 * 1024 * 1024  # logs and the outbox's own log need some
USED_PERCENT_MAX = 80


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. `outbox` is None, with `outbox_trouble`, where none could be read.

    `devices_missing` has (line, device) of serial ports that are not there. `broker_trouble` is
    empty when a connection to the broker could be opened; `certificate_concern` when the gateway's
    certificate is good for long enough.
    """

    now: datetime
    interval: timedelta
    holder: Holder | None
    outbox: OutboxLook | None
    outbox_trouble: str
    outbox_bytes_max: int
    free_bytes: int
    is_clock_synced: bool
    broker: str
    broker_trouble: str
    devices_missing: tuple[tuple[str, str], ...]
    certificate_concern: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to try."""

    what: str
    remedy: str


def problems(facts: Facts) -> list[Problem]:
    """Everything that is wrong, what stops most first."""
    return [*_of_service(facts), *_of_lines(facts), *_of_delivery(facts), *_of_machine(facts)]


def _of_service(facts: Facts) -> Iterator[Problem]:
    if facts.holder is None:
        yield Problem(
            "the gateway does not run",
            "systemctl start songlo-gateway; journalctl -u songlo-gateway -n 50 says why it ended",
        )
    if facts.outbox is None:
        yield Problem(
            f"the outbox cannot be read: {facts.outbox_trouble}",
            "start the gateway once, which makes it; else look for `data` in the station file, and "
            "run this as the gateway's own user or as root",
        )
        return
    last = facts.outbox.last_slot_at
    limit = SCANS_MISSED_MAX * facts.interval
    if facts.holder is not None and (last is None or facts.now - last > limit):
        since = "ever" if last is None else f"since {_said(last)}"
        yield Problem(
            f"no scan has been kept {since}",
            "the first one comes at the next full interval; journalctl -u songlo-gateway says what "
            "lines and meters do",
        )


def _of_lines(facts: Facts) -> Iterator[Problem]:
    for line, device in facts.devices_missing:
        yield Problem(
            f"line {line}: {device} is not there",
            "is the adapter plugged in? `ls -l /dev/serial/by-path` has the names that there are",
        )


def _of_delivery(facts: Facts) -> Iterator[Problem]:
    if facts.broker_trouble:
        yield Problem(
            f"the broker {facts.broker} cannot be reached: {facts.broker_trouble}",
            "is the network up (ip route; the modem's lights), is the name known (getent hosts), "
            "is the port open on the way?",
        )
    if facts.certificate_concern:
        yield Problem(
            facts.certificate_concern,
            "docs/fleet.md has the way; what is read meanwhile waits in the outbox",
        )
    outbox = facts.outbox
    if outbox is None:
        return
    oldest = outbox.oldest_waiting_at
    if oldest is not None and facts.now - oldest > WAITING_MAX:
        yield Problem(
            f"{outbox.waiting} batches wait, the oldest since {_said(oldest)}",
            "nothing is lost: they are kept and sent when the broker and the collector take them. "
            + (
                "See the broker first."
                if facts.broker_trouble
                else "The broker can be reached: is the name that of the certificate, and does "
                "the collector run (its /health)?"
            ),
        )
    if outbox.tombstones:
        newest = outbox.tombstones[-1]
        yield Problem(
            f"{len(outbox.tombstones)} batches were dropped, the newest of slot "
            f"{_said(newest.slot)} ({newest.reason})",
            "the outbox or the disk was full: see below, and deliver the backlog",
        )


def _of_machine(facts: Facts) -> Iterator[Problem]:
    outbox = facts.outbox
    if outbox is not None:
        percent = 100 * outbox.file_bytes // facts.outbox_bytes_max
        if percent >= USED_PERCENT_MAX and outbox.waiting:
            yield Problem(
                f"the outbox has grown to {percent} % of outbox.bytes_max",
                "deliver the backlog, or allow more in the station file if the disk has it",
            )
    if facts.free_bytes < FREE_BYTES_MIN:
        yield Problem(
            f"the disk has {facts.free_bytes // 2**20} MB left",
            "journalctl --vacuum-size=50M; du -x / shows what is large",
        )
    if not facts.is_clock_synced:
        yield Problem(
            "the clock is not synchronised",
            "timedatectl; it must reach a time server, else its reads are marked and indices count "
            "as S",
        )


def _said(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
