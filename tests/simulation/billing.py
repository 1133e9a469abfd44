"""Two periods closed at the end of a run, by the product's billing runs: what was billed of whom.

The first ends on the day whose midnight the fewest meters were read at: holes in the reads are what
makes closing a period hard. What cannot be billed then is estimated or left out, as chance has it.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from collector.billing.gates import Cause
from collector.billing.run_values import RunLine
from collector.billing.values import LineQuality
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    exclude_point,
    export_run,
    make_version,
    open_run,
    run_exceptions,
    verify_runs,
    version_lines,
)
from collector.operations.findings import enter_index
from collector.operations.vee_files import load_limits
from tests.simulation.meters import ENERGY, Truth
from tests.simulation.world import START_AT, World

ZONE = "Asia/Ho_Chi_Minh"
# The first midnight of the zone after the start.
FIRST_AT = START_AT + timedelta(hours=5)
_DAY = timedelta(days=1)
_MS = timedelta(milliseconds=1)


@dataclass(slots=True)
class Billed:
    """What was exported, run by run; what was estimated, by meter and register; what is unsound."""

    runs: list[list[RunLine]] = field(default_factory=list)
    estimates: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def end_at(days: int) -> datetime:
    """When the second period of a run of so many days ends."""
    return FIRST_AT + (days - 1) * _DAY


def close_periods(
    world: World, ledger: Ledger, truth: Truth, days: int, read_at: Collection[datetime]
) -> Billed:
    """Bill the whole simulated time in two periods; `read_at` are the instants of index reads."""
    chance = world.chance("billing")
    last_at = end_at(days)
    middles = [FIRST_AT + day * _DAY for day in range(2, days - 2)]
    chance.shuffle(middles)
    near = timedelta(hours=1)
    middle_at = min(middles, key=lambda at: sum(abs(one - at) < near for one in read_at))
    by = BilledBy(load_limits(None), ZONE)
    billed = Billed()
    for from_at, to_at in ((FIRST_AT, middle_at), (middle_at, last_at)):
        run = open_run(
            ledger,
            from_at=from_at,
            to_at=to_at,
            zone=ZONE,
            by_whom=_who(world, "an"),
            scope=Scope(),
        ).run
        make_version(ledger, run, by, _who(world, "an"))
        _answer(world, ledger, truth, run, by, billed, chance)
        version = make_version(ledger, run, by, _who(world, "an")).version
        for cause in {one.cause for one in run_exceptions(ledger, run, by) if one.blocks}:
            accept_exceptions(ledger, run, cause, _who(world, "an"))
        approve_run(ledger, run, version.sha256, by, _who(world, "bình"))
        export_run(ledger, run, by, _who(world, "an"))
        billed.runs.append(version_lines(ledger, run))
        _know_better(world, ledger, truth, billed.runs[-1])
    billed.faults = verify_runs(ledger)
    return billed


def _answer(
    world: World,
    ledger: Ledger,
    truth: Truth,
    run: str,
    by: BilledBy,
    billed: Billed,
    chance: random.Random,
) -> None:
    """Estimate or leave out what has no consumption."""
    ends = [
        line
        for line in version_lines(ledger, run)
        if line.index_to is None and line.index_from is not None
    ]
    for point in sorted({line.point for line in ends}):
        if chance.random() < 0.5:
            for line in ends:
                if line.point == point:
                    _estimate(world, ledger, truth, line, billed, chance)
    make_version(ledger, run, by, _who(world, "an"))
    lacking = {
        one.point for one in run_exceptions(ledger, run, by) if one.cause is Cause.NO_CONSUMPTION
    }
    for point in sorted(lacking):
        exclude_point(ledger, run, point, _who(world, "an"), include=False)


def _estimate(
    world: World, ledger: Ledger, truth: Truth, line: RunLine, billed: Billed, chance: random.Random
) -> None:
    """Put in an index that may be too low or, worse, too high, and is never below the last one."""
    assert line.index_from is not None
    true_wh = truth.energy_wh(line.meter, (line.to_at - START_AT) // _MS)
    guess = true_wh + chance.choice((-30_000, 0, 30_000, 200_000))
    value = max(line.index_from, guess) if line.register == ENERGY else line.index_from + 10
    billed.estimates.setdefault((line.meter, line.register), set()).add(value)
    _enter(world, ledger, line, value)


def _know_better(world: World, ledger: Ledger, truth: Truth, lines: list[RunLine]) -> None:
    """What the estimated meters showed becomes known, after it was billed."""
    for line in lines:
        if line.quality is LineQuality.ESTIMATED and line.register == ENERGY:
            true_wh = truth.energy_wh(line.meter, (line.to_at - START_AT) // _MS)
            _enter(world, ledger, line, true_wh)


def _enter(world: World, ledger: Ledger, line: RunLine, value: int) -> None:
    entered = ManualIndex(
        kind=ManualKind.ESTIMATE,
        point=line.point,
        meter=line.meter,
        register=line.register,
        at=line.to_at,
        value=value,
        author="cường",
        entered_at=world.now(),
        reason="nothing was read",
        method="E1",
    )
    enter_index(ledger, entered, world.now())


def _who(world: World, name: str) -> Acting:
    return Acting(name, world.now(), "a period ends")
