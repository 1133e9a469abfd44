"""Many seeds on all cores, in processes of their own, and what came of them together."""

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.bugs import planted
from tests.simulation.false_histories import FALSE, falsified
from tests.simulation.run import Outcome, simulate

# Strings must hash alike everywhere, or a seed would not repeat in another process.
HASH_SEED = "0"
SEED_MAX = 2**31
_YEAR_S = 365.25 * 86_400


@dataclass(slots=True)
class Tally:
    """What came of many seeds."""

    seeds: int = 0
    gateway_s: float = 0.0
    batches: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)
    took_s: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.seeds += 1
        self.gateway_s += outcome.gateway_s
        self.batches += outcome.batches
        self.faults += outcome.faults
        if outcome.violations:
            self.failed.append(outcome)

    @property
    def gateway_years(self) -> float:
        """How long gateways were simulated together."""
        return self.gateway_s / _YEAR_S


def outcomes(
    seeds: Sequence[int],
    *,
    processes: int | None = None,
    bug: str | None = None,
    logs: bool = False,
) -> Iterator[Outcome]:
    """The outcome of each seed, as they come; with `bug` planted, if one is named."""
    found = tried([(bug, seed) for seed in seeds], processes=processes, logs=logs)
    try:
        for _, outcome in found:
            yield outcome
    finally:
        found.close()


def tried(
    tries: Sequence[tuple[str | None, int]], *, processes: int | None = None, logs: bool = False
) -> Generator[tuple[str | None, Outcome], None, None]:
    """The outcome of each seed with each bug planted, or with none, as they come."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = HASH_SEED
    context = multiprocessing.get_context("spawn")
    try:
        with context.Pool(processes or os.cpu_count()) as pool:
            yield from pool.imap_unordered(partial(_one, logs), tries, chunksize=1)
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def tally(
    seeds: Sequence[int],
    *,
    processes: int | None = None,
    each: Callable[[Outcome], None] = lambda _: None,
) -> Tally:
    """All of them; `each` is told as they come."""
    result = Tally()
    begun_s = time.monotonic()
    for outcome in outcomes(seeds, processes=processes):
        result.add(outcome)
        each(outcome)
    result.took_s = time.monotonic() - begun_s
    return result


def first_caught(bug: str, seeds: Iterable[int]) -> int | None:
    """The first of `seeds` that finds a violation with `bug` planted; None if none does."""
    results = outcomes(list(seeds), bug=bug)
    found = None
    for outcome in results:
        if outcome.violations:
            found = outcome.seed
            break
    results.close()  # type: ignore[attr-defined]  # a generator
    return found


def fresh(count: int) -> tuple[int, range]:
    """A random first seed, and that many from there on."""
    first = random.SystemRandom().randrange(SEED_MAX)
    return first, range(first, first + count)


def told(outcome: Outcome) -> str:
    """A seed that failed: what was violated, and how to see it again."""
    return f"seed {outcome.seed}: {outcome.violations[0]}  (make simulate SEED={outcome.seed})"


def _one(logs: bool, what: tuple[str | None, int]) -> tuple[str | None, Outcome]:
    bug, seed = what
    if bug is None:
        return None, simulate(seed, logs=logs)
    with falsified(bug) if bug in FALSE else planted(bug):
        return bug, simulate(seed, logs=logs)
