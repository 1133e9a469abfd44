"""Each rule: where it fires, where it just does not, and where a fact that it needs is absent."""

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.vee.catalogue import BY_ID, RULES
from collector.vee.reads import Origin, Read
from collector.vee.validate import validate
from collector.vee.values import (
    Conflict,
    Drift,
    Energy,
    Interval,
    LateRead,
    Rating,
    Severity,
    Span,
    Subject,
    Voltage,
)
from contract.registers import IMPORT_ACTIVE
from tests.unit.collector.vee.building import (
    DAY,
    HOUR,
    LIMITS,
    RATES,
    START,
    check,
    day,
    fires,
    index,
    indices,
    reads,
    subject,
)

SINGLE = Rating(phases=1, voltage_v=230, current_max_a=60)


def test_the_rules_are_v01_to_v17_each_once() -> None:
    assert [rule.id for rule in RULES] == [f"V{number:02}" for number in range(1, 18)]


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if rule.id != "V01"])
def test_without_its_facts_a_rule_does_not_apply(rule: str) -> None:
    assert check(rule, subject()) is None


# --- V01 --------------------------------------------------------------------------------------


def test_v01_a_day_without_an_index() -> None:
    (found,) = fires("V01", subject([1, None, 3]))
    assert (found.from_at, found.facts["registers"]) == (day(1), IMPORT_ACTIVE)
    assert fires("V01", subject([1, 2, 3])) == []


def test_v01_names_the_registers_that_are_not_there() -> None:
    both: dict[str, list[int | None]] = {IMPORT_ACTIVE: [1, 2], "1-0:3.8.0": [None, 2]}
    (found,) = fires("V01", subject(both, registers=list(both)))
    assert (found.from_at, found.facts["registers"]) == (day(0), "1-0:3.8.0")
    assert fires("V01", subject(both)) == []


def test_v01_nothing_is_due_where_the_meter_was_not() -> None:
    assert fires("V01", subject([None, 2, None], installed_at=day(1), removed_at=day(2))) == []
    # At its installation it is due.
    (found,) = fires("V01", subject([None, None, 3], installed_at=day(1)))
    assert found.from_at == day(1)
    assert check("V01", subject([None, None], installed_at=day(5))) is None


@pytest.mark.parametrize(("count", "told"), [(46, True), (47, False), (48, False)])
def test_v01_intervals_of_a_day(count: int, told: bool) -> None:
    found = fires("V01", subject([1, 2], interval_counts=[count]))
    assert [one.variant for one in found] == (["intervals"] if told else [])


# --- V02 --------------------------------------------------------------------------------------


def test_v02_two_values_for_one_read() -> None:
    conflict = Conflict(IMPORT_ACTIVE, day(0), 100, 101)
    (found,) = fires("V02", subject(conflicts=[conflict]))
    assert (found.facts["kept_wh"], found.facts["refused_wh"]) == (100, 101)
    assert fires("V02", subject(conflicts=[])) == []
    assert fires("V02", subject(conflicts=[conflict._replace(value_refused=100)])) == []


# --- V03 --------------------------------------------------------------------------------------


def test_v03_a_fall() -> None:
    (found,) = fires("V03", subject(reads={IMPORT_ACTIVE: reads([5000, 4999])}))
    assert (found.facts["index_from_wh"], found.facts["index_to_wh"]) == (5000, 4999)
    assert fires("V03", subject(reads={IMPORT_ACTIVE: reads([5000, 5000])})) == []


def test_v03_a_transient_zero_is_told_once_and_what_follows_is_compared_with_what_was() -> None:
    spoiled = reads([5000, 0, 0, 5100, 5200])
    (found,) = fires("V03", subject(reads={IMPORT_ACTIVE: spoiled}))
    assert (found.from_at, found.to_at, found.facts["index_to_wh"]) == (day(0), day(1), 0)


def test_v03_a_fall_to_above_where_it_once_was_is_one() -> None:
    (found,) = fires("V03", subject(reads={IMPORT_ACTIVE: reads([5000, 6000, 5500, 6100])}))
    assert (found.facts["index_from_wh"], found.facts["index_to_wh"]) == (6000, 5500)


def test_v03_a_provable_roll_over_is_none() -> None:
    # 99,850 → 120 on five digits of kWh: 270 kWh.
    rolled = subject(
        reads={IMPORT_ACTIVE: reads([99_850_000, 120_000], 30 * DAY)}, roll_over_wh=100_000_000
    )
    assert fires("V03", rolled) == []
    # 9,950 → 120 on six digits is none: the field tools' digits of the last reading mislead.
    fell = subject(
        reads={IMPORT_ACTIVE: reads([9_950_000, 120_000], 30 * DAY)}, roll_over_wh=1_000_000_000
    )
    assert len(fires("V03", fell)) == 1
    # Reactive energy: its modulus is not known.
    reactive = replace(rolled, reads={"1-0:3.8.0": reads([99_850_000, 120_000], 30 * DAY)})
    assert len(fires("V03", reactive)) == 1


# --- V04 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy_wh", "severity"),
    [
        (1_300_000, None),
        (1_300_001, Severity.WARNING),
        (1_500_000, Severity.WARNING),
        (1_500_001, Severity.RECHECK),
        (3_000_000, Severity.RECHECK),
        (3_000_001, Severity.BLOCK),
        (500_000, None),
        (499_999, Severity.WARNING),
    ],
)
def test_v04_against_the_last_period(energy_wh: int, severity: Severity | None) -> None:
    of = subject(energy=Energy(energy_wh, 30), last_period=Energy(1_000_000, 30))
    assert [one.severity for one in fires("V04", of)] == ([] if severity is None else [severity])


def test_v04_days_count_not_periods() -> None:
    # 31 days against 28 with the same consumption a day.
    of = subject(energy=Energy(3_100_000, 31), last_period=Energy(2_800_000, 28))
    assert fires("V04", of) == []


def test_v04_small_changes_are_nothing_whatever_their_share() -> None:
    of = subject(energy=Energy(39_999, 30), last_period=Energy(10_000, 30))
    assert fires("V04", of) == []
    (found,) = fires("V04", replace(of, energy=Energy(40_001, 30)))
    assert (found.severity, found.facts["percent"]) == (Severity.BLOCK, 300)


def test_v04_after_a_period_without_consumption() -> None:
    of = subject(energy=Energy(30_000, 30), last_period=Energy(0, 30))
    assert [one.variant for one in fires("V04", of)] == ["after_zero"]
    assert fires("V04", replace(of, energy=Energy(29_999, 30))) == []
    assert fires("V04", replace(of, energy=Energy(0, 30))) == []


def test_v04_both_references_are_looked_at() -> None:
    of = subject(
        energy=Energy(2_000_000, 30),
        last_period=Energy(2_000_000, 30),
        last_year=Energy(1_000_000, 30),
    )
    assert [one.facts["reference"] for one in fires("V04", of)] == ["last_year"]


def test_v04_short_periods_say_nothing() -> None:
    of = subject(energy=Energy(9, 6), last_period=Energy(9, 30))
    assert check("V04", of) is None
    assert check("V04", subject(energy=Energy(9, 30), last_period=Energy(9, 6))) is None
    assert check("V04", subject(energy=Energy(9, 30))) is None


# --- V05 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rating", "bound_wh"),
    [
        # 230 V × 60 A × 24 h × 1.1.
        (SINGLE, 364_320),
        (Rating(phases=3, voltage_v=230, current_max_a=5), 91_080),
    ],
)
def test_v05_the_bound_to_the_wh(rating: Rating, bound_wh: int) -> None:
    assert fires("V05", subject([0, bound_wh], rating=rating)) == []
    (found,) = fires("V05", subject([0, bound_wh + 1], rating=rating))
    assert found.facts["bound_wh"] == bound_wh
    # A step of the display may be in it.
    assert fires("V05", subject([0, bound_wh + 10], rating=rating, resolution_wh=10)) == []


def test_v05_takes_the_instants_really_read() -> None:
    late = index(1, 400_000)._replace(read_at=day(1) + 3 * HOUR, origin=Origin.NEAREST)
    of = subject([0, None], rating=SINGLE)
    assert fires("V05", replace(of, indices={IMPORT_ACTIVE: [index(0, 0), late]})) == []


def test_v05_leaves_powers_alone() -> None:
    of = subject({"1-0:1.6.0": [0, 10**9]}, rating=SINGLE)
    assert fires("V05", of) == []


# --- V06 --------------------------------------------------------------------------------------


def test_v06_three_days_at_one_index() -> None:
    (found,) = fires("V06", subject([5, 7, 7, 7, 7, 9]))
    assert (found.key, found.from_at, found.to_at) == ("7", day(1), day(4))
    assert fires("V06", subject([5, 7, 7, 7, 9])) == []


def test_v06_from_another_period_it_is_the_same_finding() -> None:
    of = subject([7, 7, 7, 7, 7, 7])
    later = replace(of, starts=of.starts[2:], indices={IMPORT_ACTIVE: indices([7] * 4)})
    assert [one.key for one in fires("V06", of)] == [one.key for one in fires("V06", later)]


def test_v06_outages_are_not_counted() -> None:
    standing = subject([7, 7, 7, 7], outages=[Span(day(1), day(1) + 2 * HOUR)])
    assert fires("V06", standing) == []
    assert len(fires("V06", replace(standing, outages=[Span(day(8), None)]))) == 1


def test_v06_an_estimate_does_not_stand_still() -> None:
    estimated = [index(0, 7), *(index(n, 7, Origin.ESTIMATE) for n in (1, 2)), index(3, 7)]
    of = replace(subject([7] * 4), indices={IMPORT_ACTIVE: [*estimated[:1], *estimated[1:3]]})
    assert fires("V06", of) == []


# --- V07 --------------------------------------------------------------------------------------


def test_v07_a_meter_that_was_cut_off_goes_on_counting() -> None:
    of = subject(reads={IMPORT_ACTIVE: reads([5, 6, 6, 7])}, inactive=[Span(day(1), None)])
    (found,) = fires("V07", of)
    assert found.facts["energy_wh"] == 1
    assert fires("V07", replace(of, inactive=[Span(day(1), day(3))])) == []
    assert fires("V07", replace(of, reads={})) == []


# --- V08 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "told"), [(600, False), (630, False), (631, True), (569, True)])
def test_v08_rates_against_the_total(total: int, told: bool) -> None:
    of = subject(
        {
            IMPORT_ACTIVE: [1_000, 1_000 + total],
            RATES[0]: [100, 400],
            RATES[1]: [100, 300],
            RATES[2]: [0, 100],
        },
        resolution_wh=10,
        multiplier=Fraction(40),
    )
    found = fires("V08", of)
    assert len(found) == told
    if told:
        assert found[0].facts["tolerance_wh"] == 30
        assert found[0].severity is Severity.BLOCK


def test_v08_levels_may_differ_by_anything() -> None:
    of = subject({IMPORT_ACTIVE: [10**9, 10**9], **{key: [0, 0] for key in RATES}}, resolution_wh=1)
    assert fires("V08", of) == []


def test_v08_only_indices_of_one_read_are_compared() -> None:
    of = subject({IMPORT_ACTIVE: [0, 9], **{key: [0, 0] for key in RATES}}, resolution_wh=1)
    moved = dict(of.indices)
    moved[RATES[0]] = [index(0, 0), index(1, 0)._replace(read_at=day(1) + HOUR)]
    assert check("V08", replace(of, indices=moved)) is None


def test_v08_intervals_against_the_register() -> None:
    halves = [Interval(day(0) + n * HOUR / 2, day(0) + (n + 1) * HOUR / 2, 100) for n in range(48)]
    of = subject([0, 4_803], resolution_wh=1, intervals=halves)
    assert fires("V08", of) == []
    (found,) = fires("V08", subject([0, 4_804], resolution_wh=1, intervals=halves))
    assert found.variant == "intervals"
    # With one missing nothing can be said.
    assert check("V08", replace(of, intervals=halves[1:])) is None


# --- V09, V10, V11 ----------------------------------------------------------------------------


def test_v09_multiplier() -> None:
    of = subject(multiplier=Fraction(40), multiplier_read=Fraction(200, 5))
    assert fires("V09", of) == []
    (found,) = fires("V09", replace(of, multiplier_read=Fraction(20)))
    assert found.facts == {"registry": "40", "meter": "20"}
    assert check("V09", subject(multiplier=Fraction(40))) is None


def test_v10_unit() -> None:
    assert fires("V10", subject(units={IMPORT_ACTIVE: "Wh"})) == []
    (found,) = fires("V10", subject(units={IMPORT_ACTIVE: "kWh", "9-9:9.9.9": "l"}))
    assert found.facts == {"unit": "kWh", "expected": "Wh"}


@pytest.mark.parametrize(
    ("length", "told"), [(1800, False), (3600, False), (1805, False), (1806, True), (1795, False)]
)
def test_v10_interval(length: int, told: bool) -> None:
    of = subject(interval_expected_s=1800, interval_lengths_s=[1800, length])
    assert len(fires("V10", of)) == told
    assert check("V10", subject(interval_expected_s=1800)) is None


def test_v11_a_rate_without_the_others() -> None:
    values: dict[str, list[int | None]] = {RATES[0]: [1, 2], RATES[1]: [1, None], RATES[2]: [1, 2]}
    (found,) = fires("V11", subject(values, registers=RATES))
    assert (found.from_at, found.facts["lacking"]) == (day(1), RATES[1])
    values[RATES[1]] = [1, 2]
    assert fires("V11", subject(values, registers=RATES)) == []
    # All are missing: that is V01's.
    gone: dict[str, list[int | None]] = {register: [1, None] for register in RATES}
    assert fires("V11", subject(gone, registers=RATES)) == []
    assert check("V11", subject([1, 2])) is None


# --- V12 to V17 -------------------------------------------------------------------------------


def intervals(*energies: int) -> list[Interval]:
    return [Interval(START + n * HOUR, START + (n + 1) * HOUR, e) for n, e in enumerate(energies)]


@pytest.mark.parametrize(
    ("energies", "told"),
    [
        ((100, 100, 100), 1),
        ((100, 100, 101, 100), 0),
        ((0, 0, 0), 0),
        ((99, 99, 99), 0),  # nine steps of the display: it could not have shown the change
    ],
)
def test_v12_the_same_interval_again_and_again(energies: tuple[int, ...], told: int) -> None:
    assert len(fires("V12", subject(intervals=intervals(*energies), resolution_wh=10))) == told
    assert check("V12", subject(intervals=intervals(*energies))) is None


@pytest.mark.parametrize(
    ("drift_s", "severity"),
    [
        (60, None),
        (61, Severity.WARNING),
        (-61, Severity.WARNING),
        (300, Severity.WARNING),
        (301, Severity.BLOCK),
        (-301, Severity.BLOCK),
    ],
)
def test_v13_drift(drift_s: int, severity: Severity | None) -> None:
    found = fires("V13", subject(drifts=[Drift(day(0), 1), Drift(day(1), drift_s)]))
    assert [one.severity for one in found] == ([] if severity is None else [severity])


@pytest.mark.parametrize(("serial", "told"), [("M", 0), (" 00m ", 0), ("N", 1), ("", 1)])
def test_v14_identity(serial: str, told: int) -> None:
    assert len(fires("V14", subject(serial_read=serial))) == told


@pytest.mark.parametrize(("cycles", "told"), [(0, 0), (1, 0), (2, 1), (5, 1)])
def test_v15_prolonged_estimation(cycles: int, told: int) -> None:
    assert len(fires("V15", subject(cycles_estimated=cycles))) == told


def test_v16_a_lost_phase() -> None:
    three = Rating(phases=3, voltage_v=230, current_max_a=5)
    kept = [Voltage(day(0), 1, 115_000), Voltage(day(0), 2, 230_000)]
    assert fires("V16", subject(voltages=kept, rating=three)) == []
    (found,) = fires("V16", subject(voltages=[*kept, Voltage(day(0), 3, 114_999)], rating=three))
    assert (found.facts["phase"], found.facts["lowest_mv"]) == (3, 114_999)
    assert check("V16", subject(voltages=kept)) is None
    assert check("V16", subject(rating=three)) is None


@pytest.mark.parametrize(
    ("late", "told"),
    [
        (("E", 10_000, "A", 11_000, 500_000), 1),  # 1 kWh
        (("E", 10_000, "A", 10_999, 99_901), 0),  # less than either bound
        (("E", 10_000, "A", 10_999, 99_900), 1),  # 1 % of the consumption
        (("S", 10_000, "E", 99_000, 1_000), 0),  # a worse quality
        (("A", 10_000, "A", 99_000, 1_000), 0),
        (("E", 10_000, "A", 10_000, 0), 0),  # the same
        (("?", 10_000, "N", 12_000, 1_000), 1),  # what is not ranked is the worst
    ],
)
def test_v17_replacement(late: tuple[str, int, str, int, int], told: int) -> None:
    quality, final, quality_late, value, consumption = late
    row = LateRead(IMPORT_ACTIVE, day(1), final, quality, value, quality_late, consumption)
    assert len(fires("V17", subject(late=[row]))) == told


# --- all of them ------------------------------------------------------------------------------

instants = st.integers(-48, 24 * 6).map(lambda hours: START + hours * HOUR)
values = st.integers(0, 10**12)
optional_values = st.lists(st.none() | values, min_size=5, max_size=5)
registers = st.sampled_from([IMPORT_ACTIVE, *RATES, "1-0:3.8.0", "1-0:1.6.0", "9-9:9.9.9"])
spans = st.builds(Span, instants, st.none() | instants)
energies = st.none() | st.builds(Energy, values, st.integers(1, 40))
wild = st.fixed_dictionaries(
    {},
    optional={
        "installed_at": instants,
        "removed_at": st.none() | instants,
        "registers": st.lists(registers, unique=True),
        "indices": st.dictionaries(registers, optional_values.map(indices)),
        "reads": st.dictionaries(
            registers,
            st.lists(
                st.builds(Read, instants, values, instants), unique_by=lambda r: r.at, max_size=9
            ),
        ),
        "resolution_wh": st.none() | st.integers(0, 1000),
        "roll_over_wh": st.none() | st.integers(1, 10**12),
        "multiplier": st.none() | st.fractions(min_value=Fraction(1, 9), max_value=4000),
        "multiplier_read": st.none() | st.fractions(min_value=0, max_value=4000),
        "energy": energies,
        "last_period": energies,
        "last_year": energies,
        "rating": st.none() | st.just(SINGLE),
        "conflicts": st.lists(st.builds(Conflict, registers, instants, values, values)),
        "inactive": st.lists(spans, max_size=3),
        "outages": st.lists(spans, max_size=3),
        "interval_counts": st.lists(st.integers(0, 60), min_size=4, max_size=4),
        "interval_lengths_s": st.lists(st.integers(0, 9000)),
        "interval_expected_s": st.none() | st.sampled_from([900, 1800]),
        "intervals": st.lists(st.builds(Interval, instants, instants, values), max_size=9),
        "units": st.dictionaries(registers, st.sampled_from(["Wh", "kWh"])),
        "drifts": st.lists(st.builds(Drift, instants, st.integers(-900, 900))),
        "serial_read": st.none() | st.text(max_size=5),
        "cycles_estimated": st.none() | st.integers(0, 9),
        "voltages": st.lists(
            st.builds(Voltage, instants, st.integers(1, 3), st.integers(0, 500_000))
        ),
        "late": st.lists(
            st.builds(
                LateRead,
                registers,
                instants,
                values,
                st.sampled_from("ASENX"),
                values,
                st.sampled_from("ASENX"),
                values,
            )
        ),
    },
)


@given(wild)
def test_whatever_is_there_or_absent_no_rule_fails_and_findings_are_plain(
    facts: dict[str, Any],
) -> None:
    of: Subject = subject([None] * 5, **facts)
    verdict = validate(of, LIMITS)
    assert {one.rule for one in verdict.findings} <= verdict.applied
    for one in verdict.findings:
        assert one.variant in BY_ID[one.rule].said
        assert all(type(fact) in {int, str} for fact in one.facts.values()), one
    assert validate(of, LIMITS) == verdict


def test_a_rule_that_is_switched_off_is_not_asked() -> None:
    of = subject([1, None])
    section = msgspec.structs.replace(LIMITS.rules["V01"], enabled=False)
    off = replace(LIMITS, rules={**LIMITS.rules, "V01": section})
    assert validate(of, off).findings == ()
    assert [one.rule for one in validate(of, LIMITS).findings] == ["V01"]
    assert validate(of, LIMITS, only={"V02"}).findings == ()


def test_a_wide_run_of_days_ends_at_one_hour_less() -> None:
    # Three days, the first of 23 hours where clocks are put forward.
    starts = [day(0), day(1) - HOUR, day(2) - HOUR, day(3) - HOUR]
    standing = [index(0, 7)._replace(at=start, read_at=start) for start in starts]
    of = replace(subject([7] * 4), starts=starts, indices={IMPORT_ACTIVE: standing})
    assert len(fires("V06", of)) == 1
    assert timedelta(days=3) - HOUR == starts[-1] - starts[0]
