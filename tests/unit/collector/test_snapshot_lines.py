"""How lines come about: stretches, differences, and that nothing is lost between them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collector.billing.exports.json_export import snapshot_json
from collector.billing.snapshot import (
    Boundary,
    IndexAt,
    canonical_json,
    consumption,
    inner_boundaries,
    make_lines,
    snapshot_hash,
    stretches,
)
from collector.billing.values import LineQuality, SnapshotHead, SnapshotLine
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

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MODULUS = 1_000_000

ratios = st.fractions(min_value=Fraction(1, 50), max_value=4_000, max_denominator=50)


def day(number: int) -> datetime:
    return START + number * DAY


def registry(
    installations: Sequence[Installation], multipliers: Sequence[Multiplier] = ()
) -> Registry:
    return Registry(
        stations={"T1": Station("T1", "T1")},
        points={"P": Point("P", "T1", Role.HOUSEHOLD, "P")},
        meters={row.meter: Meter(row.meter, "m", 1, MODULUS) for row in installations},
        installations=tuple(installations),
        multipliers=tuple(multipliers),
    )


def found(
    installation: Installation, values: dict[datetime, int], *, actual: bool = True
) -> dict[Boundary, dict[str, IndexAt]]:
    return {
        (installation.point, installation.installed_at, at): {
            IMPORT_ACTIVE: IndexAt(value, at, actual)
        }
        for at, value in values.items()
    }


def used(reg: Registry, indices: dict[Boundary, dict[str, IndexAt]], a: int, b: int) -> int:
    lines = make_lines(reg, stretches(reg, day(a), day(b)), indices)
    total = 0
    for line in lines:
        assert line.consumption is not None
        total += line.consumption
    return total


@given(
    start=st.integers(0, MODULUS - 1),
    steps=st.lists(st.integers(0, MODULUS // 10), min_size=1, max_size=12),
    ratio=ratios,
)
def test_adjacent_periods_add_up_to_the_whole(
    start: int, steps: list[int], ratio: Fraction
) -> None:
    """Whatever the multiplier, and with no more roll-overs than can be proved over the whole."""
    installation = Installation("P", "M", day(0))
    values = [start]
    for one in steps:
        values.append(values[-1] + one)
    # No roll-over here: one modulus above everything.
    reg = registry([installation], [Multiplier("P", day(0), ratio)])
    indices = found(installation, {day(n): value for n, value in enumerate(values)})
    parts = [used(reg, indices, n, n + 1) for n in range(len(steps))]
    assert sum(parts) == used(reg, indices, 0, len(steps))
    exact = (values[-1] - values[0]) * ratio
    assert abs(sum(parts) - exact) < 1


@given(start=st.integers(0, MODULUS - 1), steps=st.lists(st.integers(0, 99_999), max_size=20))
def test_nothing_is_lost_where_a_register_rolls_over(start: int, steps: list[int]) -> None:
    installation = Installation("P", "M", day(0))
    totals = [start]
    for one in steps:
        totals.append(totals[-1] + one)
    reg = registry([installation])
    indices = found(installation, {day(n): total % MODULUS for n, total in enumerate(totals)})
    assert sum(used(reg, indices, n, n + 1) for n in range(len(steps))) == sum(steps)


@given(
    segments=st.lists(
        st.tuples(st.integers(0, 500_000), st.integers(0, 50_000)), min_size=1, max_size=6
    ),
    ratio=ratios,
)
def test_segments_over_exchanges_add_up(segments: list[tuple[int, int]], ratio: Fraction) -> None:
    """Each meter starts anywhere; what counts is what each of them counted."""
    count = len(segments)
    installations = [
        Installation(
            "P",
            f"M{n}",
            day(n),
            day(n + 1) if n + 1 < count else None,
            {IMPORT_ACTIVE: start},
            {IMPORT_ACTIVE: start + used_wh} if n + 1 < count else {},
        )
        for n, (start, used_wh) in enumerate(segments)
    ]
    reg = registry(installations, [Multiplier("P", day(0), ratio)])
    last = installations[-1]
    indices = found(last, {day(count): sum(segments[-1])})
    lines = make_lines(reg, stretches(reg, day(0), day(count)), indices)
    assert [line.meter for line in lines] == [row.meter for row in installations]
    assert all(line.quality is LineQuality.ACTUAL for line in lines)
    exact = sum(used_wh for _, used_wh in segments) * ratio
    assert abs(used(reg, indices, 0, count) - exact) < count


def test_an_exchange_of_the_golden_case() -> None:
    # Domain B13 h: 12,345.6→12,398.2 removed, 0.3→101.9 on the new meter.
    old = Installation("P", "M1", day(-30), day(10), {}, {IMPORT_ACTIVE: 12_398_200})
    new = Installation("P", "M2", day(10), None, {IMPORT_ACTIVE: 300}, {})
    reg = registry([old, new])
    indices = found(old, {day(0): 12_345_600}) | found(new, {day(30): 101_900})
    lines = make_lines(reg, stretches(reg, day(0), day(30)), indices)
    assert [line.consumption for line in lines] == [52_600, 101_600]


def test_the_chain_of_the_golden_case_telescopes() -> None:
    # Domain B13 k in its energies: whatever stands for the middle, the sum is the difference.
    installation = Installation("P", "M", day(-1))
    reg = registry([installation])
    estimate = found(installation, {day(0): 1_000, day(30): 1_250, day(60): 1_400})
    assert [used(reg, estimate, 0, 30), used(reg, estimate, 30, 60)] == [250, 150]


def test_a_stretch_is_cut_where_something_changed() -> None:
    old = Installation("P", "M1", day(-30), day(10))
    new = Installation("P", "M2", day(12))
    reg = registry(
        [old, new],
        [
            Multiplier("P", day(20), Fraction(40)),
            Multiplier("P", day(5), Fraction(20)),
            Multiplier("P", day(40), Fraction(60)),
        ],
    )
    parts = stretches(reg, day(0), day(30))
    assert [(part.from_at, part.to_at, part.multiplier) for part in parts] == [
        (day(0), day(5), Fraction(1)),
        (day(5), day(10), Fraction(20)),
        (day(12), day(20), Fraction(20)),
        (day(20), day(30), Fraction(40)),
    ]
    inner = inner_boundaries(parts, day(0), day(30))
    assert [(row.meter, at) for row, at in inner] == [
        ("M1", day(5)),
        ("M1", day(10)),
        ("M2", day(12)),
        ("M2", day(20)),
    ]


def test_what_touches_the_period_only_at_its_ends_is_not_in_it() -> None:
    before = Installation("P", "M1", day(-30), day(0))
    after = Installation("P", "M2", day(30))
    assert stretches(registry([before, after]), day(0), day(30)) == []


def test_one_read_cannot_stand_for_both_ends() -> None:
    read = IndexAt(100, day(1), actual=False)
    assert consumption(read, read, Fraction(1), None) is None
    earlier = IndexAt(50, day(0), actual=False)
    assert consumption(read, earlier, Fraction(1), None) is None


def test_quality_says_what_a_line_rests_on() -> None:
    installation = Installation("P", "M", day(-1))
    reg = registry([installation])
    near = found(installation, {day(30): 7}, actual=False)
    exact = found(installation, {day(0): 5})
    [line] = make_lines(reg, stretches(reg, day(0), day(30)), exact | near)
    assert (line.consumption, line.quality) == (2, LineQuality.SUBSTITUTED)
    [line] = make_lines(reg, stretches(reg, day(0), day(30)), exact)
    assert (line.index_from, line.index_to, line.quality) == (5, None, LineQuality.NONE)
    [line] = make_lines(reg, stretches(reg, day(0), day(30)), {})
    assert (line.register, line.quality) == (IMPORT_ACTIVE, LineQuality.NONE)


def test_a_modulus_in_wh_proves_nothing_of_reactive_energy() -> None:
    installation = Installation("P", "M", day(-1))
    reg = registry([installation])
    indices = {
        ("P", day(-1), at): {"1-0:3.8.0": IndexAt(value, at, actual=True)}
        for at, value in ((day(0), MODULUS - 10), (day(30), 5))
    }
    [line] = make_lines(reg, stretches(reg, day(0), day(30)), indices)
    assert (line.consumption, line.quality) == (None, LineQuality.NONE)


lines_strategy = st.lists(
    st.builds(
        SnapshotLine,
        point=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1),
        meter=st.just('2026"\\000123'),
        register=st.just(IMPORT_ACTIVE),
        index_from=st.none() | st.integers(0, 2**63 - 1),
        index_to=st.none() | st.integers(0, 2**63 - 1),
        read_from_at=st.none() | st.just(START + timedelta(milliseconds=7)),
        read_to_at=st.none() | st.just(START),
        multiplier=ratios,
        consumption=st.none() | st.integers(0, 2**63 - 1),
        quality=st.sampled_from(LineQuality),
    ),
    max_size=5,
)


@given(lines=lines_strategy)
def test_canonical_json_is_what_anyone_would_write(lines: list[SnapshotLine]) -> None:
    text = canonical_json("Trạm", START, day(1), lines)
    again = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert text == again.encode()


@given(lines=lines_strategy)
def test_the_export_in_pieces_is_one_document(lines: list[SnapshotLine]) -> None:
    sha256 = snapshot_hash(None, START, day(1), lines)
    head = SnapshotHead("id", None, START, day(1), START, "clerk", len(lines), sha256)
    document = json.loads(b"".join(snapshot_json(head, lines)))
    canonical = json.loads(canonical_json(None, START, day(1), lines))
    assert document["lines"] == canonical["lines"]
    assert (document["station"], document["sha256"]) == (None, sha256)


def test_many_lines_are_exported_in_several_pieces() -> None:
    line = SnapshotLine(
        "P", "M", IMPORT_ACTIVE, 1, 2, START, day(1), Fraction(3, 2), 1, LineQuality.ACTUAL
    )
    head = SnapshotHead("id", None, START, day(1), START, "clerk", 1_201, "0" * 64)
    pieces = list(snapshot_json(head, [line] * 1_201))
    assert len(pieces) == 5
    assert len(json.loads(b"".join(pieces))["lines"]) == 1_201
    assert all(len(one) < 200_000 for one, _ in pairwise(pieces))
