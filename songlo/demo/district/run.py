"""A district's run from the first day to the checks: the months go by, the office works.

It puts the parts together and measures; what is shown of it is `report.py`.
"""

import contextlib
import itertools
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from collector.balance.losses import Order
from collector.civil import day_start
from collector.garbage import collect_garbage_seldom
from collector.ledger import Ledger
from collector.operations.losses import Period, district_losses
from collector.readings.duckdb_store import DuckDbStore
from simulator.district.plan import District
from simulator.district.planning import plan_district
from simulator.district.store import solve_district
from songlo.demo.district.check import (
    Check,
    StationLoss,
    Truth,
    check_consumption,
    check_losses,
    check_ranking,
    check_telescoping,
)
from songlo.demo.district.gateways import Counts
from songlo.demo.district.life import Life, Stores
from songlo.demo.district.office import Office, PeriodOutcome, Timings
from songlo.demo.district.options import DistrictOptions
from songlo.demo.options import ZONE

LEDGER_FILE, READINGS_FILE = "ledger.sqlite3", "reads.duckdb"

Watch = Callable[[str, int, int], None]
"""Told on the way: what goes on, how much of it is done, of how much."""


@dataclass(slots=True)
class DistrictOutcome:
    """What a run ended with. `peak_kb` is the process's most resident memory, in KiB.

    `line_loss_permille` is what the lines alone lost of what came into a station in a period: the
    least of all stations and periods, and the most.
    """

    options: DistrictOptions
    district: District
    counts: Counts = field(default_factory=Counts)
    stored: dict[str, int] = field(default_factory=dict)
    periods: list[PeriodOutcome] = field(default_factory=list)
    losses: list[list[StationLoss]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    line_loss_permille: tuple[int, int] = (0, 0)
    timings: Timings = field(default_factory=Timings)
    peak_kb: int = 0
    truth: Truth = field(init=False)

    @property
    def holds(self) -> bool:
        """Whether everything agrees with the truth."""
        return all(check.holds for check in self.checks)


def run_district(
    options: DistrictOptions, folder: Path, watch: Watch, *, ledger_url: str | None = None
) -> DistrictOutcome:
    """Live through the district's two periods, all files in `folder`.

    Raises SimulatorError, DistrictFailed, CollectorError.
    """
    district = plan_district(options.wanted())
    # As the collector's own processes do, whose work this one does.
    collect_garbage_seldom()
    outcome = DistrictOutcome(options, district)
    _solve(outcome, folder, watch)
    ledger = Ledger(ledger_url or f"sqlite:///{folder / LEDGER_FILE}")
    with (
        contextlib.closing(ledger),
        contextlib.closing(DuckDbStore(folder / READINGS_FILE)) as store,
    ):
        ledger.migrate()
        life = Life(district, options, Stores(ledger, store, folder))
        with contextlib.closing(life):
            _live(outcome, life, watch)
            _check(outcome, life)
    outcome.peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return outcome


def _solve(outcome: DistrictOutcome, folder: Path, watch: Watch) -> None:
    options, district = outcome.options, outcome.district
    energy = folder / "energy"
    energy.mkdir()
    solved = solve_district(
        district, options.instant(0), options.zone, energy, slot_quarters=options.slot_quarters
    )
    with outcome.timings.of("power flows"):
        for number, _ in enumerate(solved, start=1):
            watch("Power flows of the stations", number, len(district.stations))


def _live(outcome: DistrictOutcome, life: Life, watch: Watch) -> None:
    options, timings = outcome.options, outcome.timings
    office = Office(life.ledger, life.clock.now, timings)
    with timings.of("registry"):
        life.begin()
    closing = {
        _day(options, last): number for number, last in enumerate(options.boundaries) if number
    }
    for day in range(options.days):
        number = max(1, sum(day >= _day(options, last) for last in options.boundaries[:-1]))
        with timings.of(f"intake of period {number}"):
            life.live(day)
        if day in closing:
            first, last = options.boundaries[closing[day] - 1 : closing[day] + 1]
            period = office.begin(first, last)
            outcome.periods.append(period)
            office.make(period, "the first version, on the billing day")
        if day - 1 in closing:
            period = outcome.periods[-1]
            office.make(period, "what has come in since")
            office.close(period)
            office.bill(period)
            office.hand_over(period, life.folder / "files" / f"{period.last:%Y-%m}")
            outcome.losses.append(_losses(outcome, life.ledger, period))
        watch("Days", day + 1, options.days)
    outcome.counts = life.counts
    outcome.stored = dict(life.intake.outcomes)


def _losses(outcome: DistrictOutcome, ledger: Ledger, period: PeriodOutcome) -> list[StationLoss]:
    """What the collector says of all stations, by unexplained loss, the greatest first."""
    before = outcome.periods[:-1]
    with outcome.timings.of("balances"):
        report = district_losses(
            ledger,
            Period(
                from_at=day_start(period.first, ZONE),
                to_at=day_start(period.last, ZONE),
                previous_from_at=day_start(before[-1].first, ZONE) if before else None,
            ),
            order=Order.PERCENT,
        )
    return [
        StationLoss(
            one.station.station,
            one.balance.received_wh,
            one.balance.loss_wh,
            one.balance.complete,
        )
        for one in report.ranking
    ]


def _check(outcome: DistrictOutcome, life: Life) -> None:
    options, district = outcome.options, outcome.district
    truth = outcome.truth = Truth(district, life.meters, options.slot_quarters)
    boundaries = district.boundaries
    with outcome.timings.of("checks"):
        for number, period in enumerate(outcome.periods):
            first, last = boundaries[number], boundaries[number + 1]
            name = f"period {number + 1}"
            outcome.checks += [
                check_consumption(truth, period.lines, first, last, f"{name}: registers"),
                check_losses(truth, outcome.losses[number], first, last, f"{name}: losses"),
            ]
        outcome.checks += [
            check_telescoping(truth, [period.lines for period in outcome.periods], boundaries),
            check_ranking(outcome.losses[-1], next(iter(district.thefts))),
        ]
    lost = [
        truth.line_loss_permille(one.station, truth.slot(first), truth.slot(last))
        for first, last in itertools.pairwise(boundaries)
        for one in district.stations
    ]
    outcome.line_loss_permille = min(lost), max(lost)


def _day(options: DistrictOptions, day: date) -> int:
    return (day - options.first_day).days
