"""Gateways and collector under every fault at once, in virtual time, seed by seed.

The suite tries 300 seeds, from one on that is printed at the top; `SONGLO_FIRST_SEED=n` tries
others, and `SONGLO_FIRST_SEED=clock` such as nobody has tried. A seed that fails is repeated by
`make simulate SEED=n`. docs/reliability.md says what is simulated.
"""

import itertools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.loop import Endless, bounded
from tests.simulation.many import first_caught, outcomes, tally, told, tried
from tests.simulation.run import Outcome, simulate

SEEDS = 300

# Seeds that found something, and what. They repeat a run only as long as what befalls it is chosen
# in the same way: the bug itself is among the planted ones.
KEPT = {
    75: "polling ended where a clock was put back while the outbox's file could not be read",
    258742451: "an epoch of which all was dropped for room was not listed, its losses not told",
    261015493: "a process was killed before its thread had begun, and the others were left to run",
    700143: "a thousand messages waited, and each connection broke before the collector had looked",
    500461: "a clock a year ahead made old what had been delivered, and a ledger was restored",
    265287514: "claimed, the collector died, the outbox had no room: told as lost, no violation",
    5001859: "the same, where ledgers were restored and a card was replaced later",
    7410190: "what was delivered was dropped for room; a ledger of when it was claimed came back",
    500052: "a ledger of before its generation was raised came back, and no gateway took its acks",
}

# With each bug planted, a seed that found it: tried first. When what befalls a run is chosen in
# another way, or takes another time, it may be another one: then all up to SEARCHED are tried.
CAUGHT_BY = {
    "ack_across_generations": 2,
    "ack_before_commit": 136,
    "ack_beyond_holes": 1,
    "asked_once": 75,
    "complete_before_append": 4,
    "conflict_merged": 19,
    "dropped_on_reconnect": 42,
    "duplicate_by_time": 2,
    "epoch_reused": 8,
    "gap_not_listed": 2,
    "generation_not_raised": 3,
    "never_sent_again": 2,
    "outbox_not_synced": 6,
    "purged_before_delivery": 7,
    "receipt_outside_the_transaction": 4,
    "restamp_lost": 2,
    "slot_marked_apart": 5,
}
SEARCHED = 1_000


@pytest.mark.timeout(1800)
def test_seeds_find_no_violation() -> None:
    first = int(os.environ["SONGLO_FIRST_SEED"])
    result = tally(range(first, first + SEEDS))
    assert not result.failed, "\n".join(map(told, result.failed))
    assert result.seeds == SEEDS
    # A simulation in which nothing happens finds nothing: it must have been rough.
    assert result.faults["gateway killed"] + result.faults["gateway power cut"] > SEEDS / 4
    assert result.faults["collector killed"] + result.faults["collector power cut"] > SEEDS / 4
    assert result.faults["broker lost everything"] > SEEDS / 4
    assert result.batches > 10 * SEEDS


@pytest.mark.timeout(600)
def test_seeds_that_found_something_are_quiet_now() -> None:
    failed = [told(one) for one in outcomes(list(KEPT)) if one.violations]
    assert not failed, "\n".join(failed)


@pytest.mark.timeout(600)
def test_a_seed_repeats_exactly_whatever_ran_before_it() -> None:
    # 20 is told of a file that cannot be opened: its path is another one in each process.
    seeds = (3, 11, 20)
    alone = {seed: next(outcomes([seed], processes=1)).digest for seed in seeds}
    after_others = {one.seed: one.digest for one in outcomes([7, 20, 11, 5, 3], processes=1)}
    assert {seed: after_others[seed] for seed in alone} == alone
    assert len(set(after_others.values())) == 5


@pytest.mark.timeout(600)
def test_a_run_without_an_end_is_a_violation_and_does_not_disturb_the_next() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as one:
        alone = one.submit(simulate, 3).result()
        busy = one.submit(simulate, 2, cpu_max_s=0.05).result()
        stormy = one.submit(simulate, 2, timers_max=1_000).result()
        after = one.submit(simulate, 3).result()
    assert busy.violations[0].startswith("no end")
    assert "a processor" in busy.violations[0]
    assert stormy.violations[0].startswith("no end")
    assert "timers" in stormy.violations[0]
    assert (after.digest, after.violations) == (alone.digest, [])


def test_an_end_that_was_not_let_through_is_told_in_the_end() -> None:
    def deaf() -> None:
        try:
            for number in itertools.count():
                str(number)
        except Endless:
            return

    with pytest.raises(Endless, match="a processor"), bounded(0.05):
        deaf()
    with bounded(60.0):
        pass


def test_every_planted_bug_has_a_seed() -> None:
    assert CAUGHT_BY.keys() == BUGS.keys()


@pytest.fixture(scope="module")
def known() -> dict[tuple[str | None, int], Outcome]:
    """The known seed of each planted bug, with it and without."""
    tries: set[tuple[str | None, int]] = {*CAUGHT_BY.items()}
    tries |= {(None, seed) for seed in CAUGHT_BY.values()}
    return {(bug, outcome.seed): outcome for bug, outcome in tried(sorted(tries, key=str))}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bug", sorted(CAUGHT_BY))
def test_a_planted_bug_is_caught(bug: str, known: dict[tuple[str | None, int], Outcome]) -> None:
    seed = CAUGHT_BY[bug]
    assert not known[None, seed].violations, told(known[None, seed])
    if not known[bug, seed].violations:
        found = first_caught(bug, range(1, SEARCHED + 1))
        assert found is not None, f"no seed up to {SEARCHED} finds {bug}"
        assert not next(outcomes([found], processes=1)).violations
