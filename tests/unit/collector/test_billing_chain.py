"""Periods telescope: estimated, read late, exchanged or corrected, all is billed just once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.billing.chain import (
    Chain,
    Standing,
    Steps,
    chain_of,
    corrections,
    run_lines,
)
from collector.billing.run_values import ExportedLine, LineKind, RunLine
from collector.billing.snapshot import Boundary, stretches
from collector.billing.values import LineQuality
from collector.registry.values import (
    Installation,
    Meter,
    Multiplier,
    Point,
    Registry,
    Role,
    Station,
)
from contract.registers import IMPORT_ACTIVE

START = datetime(2025, 12, 31, 17, tzinfo=UTC)
DAY = timedelta(days=1)
MODULUS = 1_000_000_000
ACTUAL, ESTIMATED = LineQuality.ACTUAL, LineQuality.ESTIMATED


def day(number: int) -> datetime:
    return START + number * DAY


@dataclass
class Place:
    """One point, what stands for its days, and the runs that were exported of it."""

    installations: list[Installation]
    multipliers: list[Multiplier] = field(default_factory=list)
    standing: dict[tuple[str, datetime], Standing] = field(default_factory=dict)
    exported: list[ExportedLine] = field(default_factory=list)
    roll_over: int | None = MODULUS

    def registry(self) -> Registry:
        meters = {row.meter for row in self.installations}
        return Registry(
            stations={"T1": Station("T1", "T1")},
            points={"P": Point("P", "T1", Role.HOUSEHOLD, "P")},
            meters={meter: Meter(meter, "m", 1, self.roll_over) for meter in meters},
            installations=tuple(self.installations),
            multipliers=tuple(self.multipliers),
        )

    def put(self, meter: str, at: datetime, value: int, quality: LineQuality = ACTUAL) -> None:
        self.standing[meter, at] = Standing(value, at, quality)

    def chain(self) -> Chain:
        return chain_of(self.exported)

    def lines(self, from_at: datetime, to_at: datetime) -> list[RunLine]:
        registry, chain = self.registry(), self.chain()
        parts = stretches(registry, chain.starts().get("P", from_at), to_at)
        periods: dict[str, tuple[datetime, datetime]] = {}
        for one in chain.exported:
            if one.line.kind is not LineKind.CORRECTION:
                begin, end = periods.get(one.run, (one.line.from_at, one.line.to_at))
                periods[one.run] = min(begin, one.line.from_at), max(end, one.line.to_at)
        earlier = {run: stretches(registry, *period) for run, period in periods.items()}
        standings: dict[Boundary, Mapping[str, Standing]] = {}
        for row in self.installations:
            for (meter, at), value in self.standing.items():
                if meter == row.meter:
                    standings["P", row.installed_at, at] = {IMPORT_ACTIVE: value}
        found = run_lines(registry, parts, standings, chain)
        return [*found, *corrections(registry, earlier, standings, chain)]

    def export(self, run: str, lines: list[RunLine]) -> None:
        self.exported += [ExportedLine(run, line) for line in lines]

    def billed(self) -> int:
        return sum(one.line.billed or 0 for one in self.exported)


def installed(meter: str, since: int = 0, until: int | None = None, **indices: int) -> Installation:
    return Installation(
        "P",
        meter,
        day(since),
        None if until is None else day(until),
        {IMPORT_ACTIVE: indices["first"]} if "first" in indices else {},
        {IMPORT_ACTIVE: indices["last"]} if "last" in indices else {},
    )


def test_an_exported_estimate_is_where_the_next_period_begins() -> None:
    # Golden case k: 1,000 → estimate 1,250 exported; late true read 1,240; next 1,400.
    place = Place([installed("M")])
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_250_000, ESTIMATED)
    place.export("r1", place.lines(day(0), day(30)))
    place.put("M", day(30), 1_240_000)
    place.put("M", day(60), 1_400_000)
    lines = place.lines(day(30), day(60))
    assert [(line.kind, line.billed) for line in lines] == [(LineKind.CONSUMPTION, 150_000)]
    assert place.billed() == 250_000


def test_an_estimate_above_the_next_index_is_returned() -> None:
    place = Place([installed("M")])
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_250_000, ESTIMATED)
    place.export("r1", place.lines(day(0), day(30)))
    place.put("M", day(60), 1_245_900)
    (line,) = place.lines(day(30), day(60))
    assert (line.kind, line.billed, line.cites) == (LineKind.RETURN, -5_000, "r1")


def test_an_actual_index_above_the_next_one_is_no_return() -> None:
    place = Place([installed("M")], roll_over=None)
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_250_000)
    place.export("r1", place.lines(day(0), day(30)))
    place.put("M", day(60), 1_245_900)
    (line,) = place.lines(day(30), day(60))
    assert (line.kind, line.billed, line.quality) == (LineKind.CONSUMPTION, None, LineQuality.NONE)


def test_a_period_without_an_index_is_billed_by_the_next() -> None:
    place = Place([installed("M")])
    place.put("M", day(0), 1_000_000)
    place.export("r1", place.lines(day(0), day(30)))
    place.put("M", day(30), 1_100_000)  # comes late
    place.put("M", day(60), 1_400_000)
    first = place.lines(day(30), day(60))
    # It was never closed: it goes on from where its first run began.
    assert [(line.from_at, line.billed) for line in first] == [(day(0), 400_000)]
    place = Place([installed("M")])
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_100_000)
    place.export("r1", place.lines(day(0), day(30)))
    place.export("r2", place.lines(day(30), day(60)))
    place.put("M", day(60), 1_200_000)
    place.put("M", day(90), 1_400_000)
    (line,) = place.lines(day(60), day(90))
    assert (line.from_at, line.billed) == (day(30), 300_000)


def test_floors_are_taken_at_the_ends_of_each_meter() -> None:
    # Golden case h: 12,345.6 → 12,398.2 removed, 0.3 → 101.9 on the new meter: 154 kWh.
    place = Place([installed("M", 0, 10, last=12_398_200), installed("N", 10, first=300)])
    place.put("M", day(0), 12_345_600)
    place.put("N", day(30), 101_900)
    place.export("r1", place.lines(day(0), day(30)))
    assert place.billed() == 154_000


def test_a_changed_multiplier_cuts_at_its_index() -> None:
    # Golden case i: 1,200 → 1,260.06, multiplier 20 → 40 at 1,234.56: 1,711.2 kWh.
    place = Place([installed("M")])
    place.multipliers = [
        Multiplier("P", day(0), Fraction(20)),
        Multiplier("P", day(10), Fraction(40)),
    ]
    for at, value in ((0, 1_200_000), (10, 1_234_560), (30, 1_260_060)):
        place.put("M", day(at), value)
    place.export("r1", place.lines(day(0), day(30)))
    assert place.billed() == 1_711_200


def test_a_corrected_multiplier_becomes_a_line_of_the_next_period() -> None:
    place = Place([installed("M")], [Multiplier("P", day(0), Fraction(20))])
    for at, value in ((0, 1_200_000), (30, 1_260_060), (60, 1_270_000)):
        place.put("M", day(at), value)
    place.export("r1", place.lines(day(0), day(30)))
    place.multipliers = [Multiplier("P", day(0), Fraction(40))]
    lines = place.lines(day(30), day(60))
    assert [(line.kind, line.billed, line.cites) for line in lines] == [
        (LineKind.CONSUMPTION, 40 * 9_940, None),
        (LineKind.CORRECTION, 20 * 60_060, "r1"),
    ]
    place.export("r2", lines)
    place.put("M", day(90), 1_280_000)
    assert [line.kind for line in place.lines(day(60), day(90))] == [LineKind.CONSUMPTION]


def test_a_correction_that_was_wrong_is_taken_back() -> None:
    """Today's multiplier is the one that was first billed, and not what was billed in all."""
    place = Place([installed("M")], [Multiplier("P", day(0), Fraction(20))])
    for number in range(4):
        place.put("M", day(30 * number), 1_200_000 + 10_000 * number)
    place.export("r1", place.lines(day(0), day(30)))
    place.multipliers = [Multiplier("P", day(0), Fraction(40))]
    place.export("r2", place.lines(day(30), day(60)))
    assert place.billed() == 2 * 400_000
    place.multipliers = [Multiplier("P", day(0), Fraction(20))]
    third = place.lines(day(60), day(90))
    assert {(line.cites, line.billed) for line in third if line.cites} == {
        ("r1", -200_000),
        ("r2", -200_000),
    }
    place.export("r3", third)
    assert place.billed() == 3 * 200_000


def test_a_removal_index_that_was_wrong_is_corrected_once() -> None:
    place = Place([installed("M", 0, 10, last=1_050_000), installed("N", 10, first=0)])
    place.put("M", day(0), 1_000_000)
    for at, value in ((30, 100_000), (60, 200_000), (90, 300_000)):
        place.put("N", day(at), value)
    place.export("r1", place.lines(day(0), day(30)))
    place.installations[0] = installed("M", 0, 10, last=1_060_000)
    second = place.lines(day(30), day(60))
    assert [(line.kind, line.billed) for line in second] == [
        (LineKind.CONSUMPTION, 100_000),
        (LineKind.CORRECTION, 10_000),
    ]
    place.export("r2", second)
    place.export("r3", place.lines(day(60), day(90)))
    assert place.billed() == 60_000 + 300_000


def test_a_removal_index_that_was_not_known_is_billed_when_it_is() -> None:
    place = Place([installed("M", 0, 10), installed("N", 10, first=0)])
    place.put("M", day(0), 1_000_000)
    for at, value in ((30, 100_000), (60, 200_000)):
        place.put("N", day(at), value)
    place.export("r1", place.lines(day(0), day(30)))
    assert place.billed() == 100_000
    place.installations[0] = installed("M", 0, 10, last=1_060_000)
    place.export("r2", place.lines(day(30), day(60)))
    assert place.billed() == 60_000 + 200_000


def test_a_last_removal_index_is_corrected_though_nothing_after_it_was_closed() -> None:
    place = Place([installed("M", 0, 10, last=1_007_000), installed("N", 10, first=0)])
    place.put("M", day(0), 1_000_000)
    place.export("r1", place.lines(day(0), day(30)))
    assert place.billed() == 7_000
    place.installations[0] = installed("M", 0, 10, last=1_001_000)
    place.put("N", day(30), 50_000)
    place.put("N", day(60), 90_000)
    place.export("r2", place.lines(day(30), day(60)))
    assert place.billed() == 1_000 + 90_000


def test_an_exchange_that_was_told_late_is_billed_once_whatever_is_learnt_of_its_month() -> None:
    """The next period began with the new meter's index: the corrected month has to end with it."""
    place = Place([installed("M")])
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_250_000, ESTIMATED)
    place.export("r1", place.lines(day(0), day(30)))
    place.installations = [installed("M", 0, 10, last=1_050_000), installed("N", 10, first=0)]
    place.put("N", day(30), 93_000, ESTIMATED)
    place.put("N", day(60), 200_000)
    second = place.lines(day(30), day(60))
    assert [(line.kind, line.billed) for line in second] == [
        (LineKind.CONSUMPTION, 107_000),
        (LineKind.CORRECTION, 50_000 + 93_000 - 250_000),
    ]
    place.export("r2", second)
    place.put("N", day(30), 100_000)
    place.put("N", day(90), 300_000)
    place.export("r3", place.lines(day(60), day(90)))
    assert place.billed() == 50_000 + 300_000
    # It turns out that there was none: the first meter goes on from what its period ended with.
    place.installations = [installed("M")]
    place.put("M", day(30), 1_240_000)
    place.put("M", day(60), 1_400_000)
    place.put("M", day(90), 1_500_000)
    place.put("M", day(120), 1_600_000)
    place.export("r4", place.lines(day(90), day(120)))
    assert place.billed() == 600_000


def test_an_estimate_beyond_a_removal_that_is_told_later_does_not_stop_the_correction() -> None:
    """250 were estimated; the meter had come out at 240 just after: its next stretch is −10."""
    place = Place([installed("M")])
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_250_000, ESTIMATED)
    place.put("M", day(60), 1_300_000, ESTIMATED)
    place.export("r1", place.lines(day(0), day(30)))
    place.export("r2", place.lines(day(30), day(60)))
    place.installations = [installed("M", 0, 33, last=1_240_000), installed("N", 33, first=0)]
    place.put("N", day(60), 90_000)
    place.put("N", day(90), 190_000)
    third = place.lines(day(60), day(90))
    assert [(line.billed, line.cites) for line in third] == [
        (100_000, None),
        (-10_000 + 90_000 - 50_000, "r2"),
    ]
    place.export("r3", third)
    assert place.billed() == 240_000 + 190_000


def test_an_estimate_below_a_change_of_multiplier_does_not_stop_the_correction() -> None:
    place = Place([installed("M")], [Multiplier("P", day(0), Fraction(40))])
    place.put("M", day(0), 1_000_000)
    place.put("M", day(30), 1_100_000, ESTIMATED)
    place.export("r1", place.lines(day(0), day(30)))
    place.multipliers = [
        Multiplier("P", day(0), Fraction(20)),
        Multiplier("P", day(29), Fraction(40)),
    ]
    place.put("M", day(29), 1_103_000)
    place.put("M", day(60), 1_200_000)
    place.export("r2", place.lines(day(30), day(60)))
    assert place.billed() == 20 * 103_000 + 40 * 97_000


def test_a_roll_over_is_counted_in_the_period_that_it_was_in() -> None:
    place = Place([installed("M")], roll_over=100_000_000)
    for at, value in ((0, 99_850_000), (30, 120_000), (60, 300_000)):
        place.put("M", day(at), value)
    place.export("r1", place.lines(day(0), day(30)))
    place.export("r2", place.lines(day(30), day(60)))
    assert place.billed() == 450_000


class Billing(RuleBasedStateMachine):
    """Months of a point: reads come, come late or never; estimates, exchanges, exports.

    The truth is kept apart: a counter that only goes up, and what each meter showed of it.
    """

    @initialize(first=st.integers(0, 50_000_000))
    def begin(self, first: int) -> None:
        """A meter goes in, and its index is read."""
        self.month = 0
        self.runs = 0
        self.shown = first
        self.meter = 0
        self.place = Place([installed("M0")], roll_over=None)
        self.place.put("M0", day(0), first)
        # What was counted up to the last exchange, in whole billed steps, by meters that are out.
        self.counted = 0
        self.first = first
        self.removed: dict[str, int] = {}
        self.true: dict[datetime, tuple[int, int]] = {day(0): (0, first)}

    @rule(
        used=st.integers(0, 3_000_000),
        seen=st.sampled_from(["read", "late", "never", "estimate"]),
        off=st.integers(-400_000, 400_000),
    )
    def a_month(self, used: int, seen: str, off: int) -> None:
        """A month passes; at its end the index is read, or not, or guessed."""
        self.month += 1
        self.shown += used
        at = day(30 * self.month)
        self.true[at] = (self.meter, self.shown)
        meter = f"M{self.meter}"
        if seen == "read":
            self.place.put(meter, at, self.shown)
        elif seen == "estimate":
            self.place.put(meter, at, max(0, self.shown + off), ESTIMATED)

    @rule(
        used=st.integers(0, 1_000_000),
        first=st.integers(0, 5_000_000),
        off=st.sampled_from([None, 0, 0, 7_000]),
    )
    def an_exchange(self, used: int, first: int, off: int | None) -> None:
        """In mid-month the meter is exchanged; its last index is known, wrong by `off`, or not."""
        at = 30 * self.month + 15
        if self.place.installations[-1].installed_at >= day(at):
            return
        self.shown += used
        old = self.place.installations[-1]
        removal = {} if off is None else {IMPORT_ACTIVE: self.shown + off}
        self.place.installations[-1] = Installation(
            "P", old.meter, old.installed_at, day(at), old.install_indices, removal
        )
        self.removed[old.meter] = self.shown
        self.counted += self.shown // 1000 * 1000 - self.first // 1000 * 1000
        self.meter += 1
        self.shown = self.first = first
        self.place.installations.append(installed(f"M{self.meter}", at, first=first))

    @rule()
    def what_was_late_comes(self) -> None:
        """All true indices come in, in the place of estimates, and removals that lacked."""
        for at, (meter, shown) in self.true.items():
            self.place.put(f"M{meter}", at, shown)
        for place, row in enumerate(self.place.installations):
            if row.removed_at is not None:
                self.place.installations[place] = Installation(
                    "P",
                    row.meter,
                    row.installed_at,
                    row.removed_at,
                    row.install_indices,
                    {IMPORT_ACTIVE: self.removed[row.meter]},
                )

    @rule()
    def export(self) -> None:
        """What is not billed yet up to the last month's end is exported, whatever it rests on."""
        end = day(30 * self.month)
        if self.month == 0 or any(one.line.to_at >= end for one in self.place.exported):
            return
        last = max((one.line.to_at for one in self.place.exported), default=day(0))
        self.runs += 1
        self.place.export(f"r{self.runs}", self.place.lines(last, end))

    @rule()
    def settle(self) -> None:
        """Everything is known, and a true month's end is exported: all was billed, exactly once."""
        self.a_month(1_000, "read", 0)
        self.what_was_late_comes()
        self.export()
        billed = self.place.billed()
        truth = self.counted + self.shown // 1000 * 1000 - self.first // 1000 * 1000
        assert billed == truth

    @invariant()
    def nothing_is_billed_twice(self) -> None:
        """Stretches that were billed do not overlap."""
        if not hasattr(self, "place"):
            return
        counted = sorted(
            (one.line.from_at, one.line.to_at)
            for one in self.place.exported
            if one.line.billed is not None and one.line.kind is not LineKind.CORRECTION
        )
        for (_, end), (begin, _) in pairwise(counted):
            assert begin >= end


TestBilling = Billing.TestCase
TestBilling.settings = settings(max_examples=400, stateful_step_count=30, deadline=None)


def test_the_step_is_finer_behind_a_transformer() -> None:
    steps = Steps()
    assert (steps.of(Fraction(1)), steps.of(Fraction(20))) == (1000, 10)
