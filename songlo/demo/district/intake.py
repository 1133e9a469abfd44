"""Batches straight into the collector's intake, with a clock that says the simulated time.

It drives the real pipeline, group by group, as the collector's worker does; only the broker between
is left out.
"""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from collector.intake.batch import Message
from collector.intake.judge import Claim
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.readings.port import ReadingStore
from songlo.demo.district.gateways import Sent

GROUP_BATCHES = 500  # the collector's `intake.group_max`


class SimulatedClock:
    """The instant that the district lives in; set by whoever plays it."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """The simulated instant, UTC."""
        return self.at


class DirectIntake:
    """The pipeline over a ledger and a store. `outcomes` counts what became of the batches."""

    def __init__(self, ledger: Ledger, store: ReadingStore, clock: SimulatedClock) -> None:
        self._pipeline = Pipeline(ledger, store, clock.now, Metrics())
        self._pool = ThreadPoolExecutor(1)
        self._concluding: Future[None] | None = None
        self.outcomes: Counter[str] = Counter()

    def take(self, sent: Iterable[Sent]) -> None:
        """Take all of these; everything is in both stores when it returns."""
        waiting = iter(sent)
        while group := list(islice(waiting, GROUP_BATCHES)):
            claim = self._pipeline.claim([Message(one.topic, one.payload) for one in group])
            self.outcomes.update(claim.outcomes)
            self._wait()
            self._concluding = self._pool.submit(self._conclude, claim)
        self._wait()

    def take_statuses(self, sent: Iterable[Sent]) -> None:
        """Take what gateways say of themselves."""
        self._pipeline.take_statuses(
            [Message(one.topic, one.payload, retained=True) for one in sent]
        )

    def close(self) -> None:
        """Let the second thread end."""
        self._pool.shutdown()

    def _conclude(self, claim: Claim) -> None:
        if claim.pending or claim.settled:
            refused = self._pipeline.append(claim.pending)
            self._pipeline.complete(claim.pending, refused, claim.settled)

    def _wait(self) -> None:
        if self._concluding is not None:
            self._concluding.result()
            self._concluding = None
