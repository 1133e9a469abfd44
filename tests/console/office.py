"""An office in July: June is exported, points use far more since, and indices are missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from collector.api.app import create_app
from collector.billing.gates import Cause
from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.metrics import Metrics
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    export_run,
    make_version,
    open_run,
)
from collector.operations.billing_settings import default_rules
from collector.operations.keys import Scope as KeyScope
from collector.operations.keys import add_key
from collector.operations.vee import VeeRun, run_vee
from collector.operations.vee_files import load_limits
from contract.messages import Clock, EpochStatus, LineStatus, OutboxStatus, Status, encode
from contract.topics import StatusTopic, build
from tests.api.test_api_billing import office
from tests.api.world import FIRST_AT, ZONE, World
from tests.ledger.building import GATEWAY, midnight, put

# Whose key may what: who decides findings, bills, approves and takes files, and only looks.
SCOPES = {
    "judge": [KeyScope.VEE],
    "biller": [KeyScope.SNAPSHOT],
    "chief": [KeyScope.APPROVE, KeyScope.EXPORT],
    "looker": [KeyScope.READ],
    "both": [KeyScope.SNAPSHOT, KeyScope.APPROVE, KeyScope.VEE, KeyScope.EXPORT],
    "taker": [KeyScope.EXPORT],
}


class Broker:
    """Takes everything, and keeps the topics."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        del payload, retain, timeout_s
        self.sent.append(topic)
        return True


@contextmanager
def office_of_july(folder: Path) -> Iterator[World]:
    """Book A with an exported June, the indices of 20 July, and their findings in the queue."""
    with office(folder) as made:
        for name, scopes in SCOPES.items():
            if name not in made.keys or name == "both":
                made.keys[name] = add_key(
                    made.ledger, name=f"{name}-key", scopes=scopes, now=FIRST_AT
                )
        _export_june(made)
        made.now += timedelta(hours=1)
        values = {"MA": 4_500_900, "MA1": 1_110_000, "MB": 1_420_000}
        put(made.ledger, midnight("2026-07-20"), values, seq=4)
        days = VeeRun(date(2026, 7, 18), date(2026, 7, 19), ZONE, load_limits(None))
        assert run_vee(made.ledger, days, actor="test", now=made.now).new > 0
        _hear_of_the_gateway(made)
        made.app = create_app(replace(made.app.state.context, sender=Broker()))
        yield made


def _hear_of_the_gateway(made: World) -> None:
    status = Status(
        v=1,
        online=True,
        station="T1",
        count=1,
        sent_at=made.now,
        started_at=FIRST_AT,
        clock=Clock.SYNCED,
        version="0.1.0",
        epochs=[EpochStatus("0" * 32, 5, 5)],
        outbox=OutboxStatus(waiting=0, used_bytes=1_000_000, limit_bytes=1_000_000_000),
        lines=[LineStatus("rs485-1", "up", 4, 4)],
    )
    pipeline = Pipeline(made.ledger, made.store, lambda: made.now, Metrics())
    pipeline.take_statuses([Message(build(StatusTopic(GATEWAY)), encode(status))])


def _export_june(made: World) -> None:
    by = default_rules(ZONE).billed
    clerk, chief = Acting("someone", made.now, "June"), Acting("other", made.now, "June")
    period = midnight("2026-05-20"), midnight("2026-06-20")
    head = open_run(
        made.ledger,
        from_at=period[0],
        to_at=period[1],
        zone=ZONE,
        by_whom=clerk,
        scope=Scope(book="A"),
    )
    version = make_version(made.ledger, head.run, by, clerk).version
    for cause in (Cause.FIRST, Cause.NOT_VALIDATED):
        accept_exceptions(made.ledger, head.run, cause, clerk)
    approve_run(made.ledger, head.run, version.sha256, by, chief)
    export_run(made.ledger, head.run, by, clerk)
