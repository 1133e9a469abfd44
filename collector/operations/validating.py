"""Validation that somebody asks for by a request: done once, and one at a time.

What a run does is `vee.run_vee`; it must not know a rule, nor how a request came.
"""

from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.idempotency import Once
from collector.operations.vee import VeeReport, VeeRun, run_vee

# What is remembered of a run, in this order: with seven digits each they fit into a subject.
_REMEMBERED = ("meters", "days_due", "days_missing", "found", "new", "gone", "reopened")

_BASE = 36


@dataclass(frozen=True, slots=True)
class Validation:
    """What a run counted. `report` is None where the same request had it run before (`again`)."""

    meters: int
    days_due: int
    days_missing: int
    found: int
    new: int
    gone: int
    reopened: int
    report: VeeReport | None = None

    @property
    def again(self) -> bool:
        """Whether an earlier request did it."""
        return self.report is None


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a run, when, whether only to count, and what tells the request from others."""

    actor: str
    now: datetime
    dry_run: bool = False
    once: Once | None = None


def validate_period(ledger: Ledger, run: VeeRun, asking: Asking, busy: Lock) -> Validation:
    """Run validation as `run_vee` does, unless another one holds `busy`.

    A request that was sent `once` before is answered with what it counted then. Raises Conflict
    (`validation_running`), and what `run_vee` raises.
    """
    once = None if asking.dry_run else asking.once
    if once is not None:
        with ledger.read() as uow:
            earlier = uow.idempotency.find(once, asking.now)
        if earlier is not None:
            return _remembered(earlier)
    # It reads every meter of the period: a second one beside it would only make both slower.
    if not busy.acquire(blocking=False):
        raise Conflict(
            "a validation is running",
            hint="wait until it is done; then the same request is taken",
            code="validation_running",
        )
    try:
        report = run_vee(ledger, run, actor=asking.actor, now=asking.now, dry_run=asking.dry_run)
    finally:
        busy.release()
    done = Validation(
        report.meters,
        report.days_due,
        report.days_missing,
        report.found.total(),
        report.new,
        report.gone,
        report.reopened,
        report,
    )
    if once is not None:
        with ledger.begin() as uow:
            # Running again adds nothing: two that were sent at once have counted the same.
            uow.idempotency.claim(once, _subject(done), asking.now)
    return done


def _subject(done: Validation) -> str:
    return " ".join(_digits(getattr(done, name)) for name in _REMEMBERED)


def _remembered(subject: str) -> Validation:
    meters, due, missing, found, new, gone, reopened = (
        int(text, _BASE) for text in subject.split()
    )
    return Validation(meters, due, missing, found, new, gone, reopened)


def _digits(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, _BASE)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
