"""Gateways and collector under every fault at once, in virtual time, seed by seed.

The suite tries the same seeds each time, `make simulate` seeds that nobody has tried. A seed that
fails is repeated exactly by `make simulate SEED=n`. docs/reliability.md says what is simulated.
"""

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.many import first_caught, outcomes, tally

SEEDS = range(1, 101)

# Seeds that found something, and what. They repeat a run only as long as what befalls it is chosen
# in the same way: the bug itself is among the planted ones.
KEPT = {
    75: "polling ended where a clock was put back while the outbox's file could not be read",
}

# With each bug planted: the first seed that finds it, when the seeds from 1 on are tried in turn.
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
    "slot_marked_apart": 2,
}


@pytest.mark.timeout(1800)
def test_seeds_find_no_violation() -> None:
    result = tally(SEEDS)
    assert [(one.seed, one.violations[0]) for one in result.failed] == []
    assert result.seeds == len(SEEDS)
    # A simulation in which nothing happens finds nothing: it must have been rough.
    assert result.faults["gateway killed"] + result.faults["gateway power cut"] > len(SEEDS) / 4
    assert result.faults["collector killed"] + result.faults["collector power cut"] > len(SEEDS) / 4
    assert result.faults["broker lost everything"] > len(SEEDS) / 4
    assert result.batches > 10 * len(SEEDS)


@pytest.mark.timeout(600)
def test_seeds_that_found_something_are_quiet_now() -> None:
    found = [(one.seed, one.violations[:1]) for one in outcomes(list(KEPT)) if one.violations]
    assert found == []


@pytest.mark.timeout(600)
def test_a_seed_repeats_exactly_whatever_ran_before_it() -> None:
    alone = {seed: next(outcomes([seed], processes=1)).digest for seed in (3, 11)}
    after_others = {one.seed: one.digest for one in outcomes([7, 11, 5, 3], processes=1)}
    assert {seed: after_others[seed] for seed in alone} == alone
    assert len(set(after_others.values())) == 4


def test_every_planted_bug_has_a_seed() -> None:
    assert CAUGHT_BY.keys() == BUGS.keys()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bug", sorted(CAUGHT_BY))
def test_a_planted_bug_is_caught(bug: str) -> None:
    seed = CAUGHT_BY[bug]
    assert seed in SEEDS or not next(outcomes([seed], processes=1)).violations
    assert first_caught(bug, [seed]) is not None
