"""The day plot's arithmetic: what a row holds when reads are whole, missing, late or absurd."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collector.console.dayplot import STEP_DEFAULT, PlotMeter, plot_day, step_of
from collector.readings.port import StoredRead
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=30)
END = START + 4 * STEP


def meter(point: str, serial: str, *, head: bool = False, ratio: int = 1) -> PlotMeter:
    return PlotMeter(point, serial, head, ratio, 1, START - timedelta(days=9), None)


def read(serial: str, row: float, imported: int, exported: int | None = None) -> StoredRead:
    values: dict[str, int | float] = {IMPORT_ACTIVE: imported, "1-0:16.7.0": 100.0 * row}
    if exported is not None:
        values[EXPORT_ACTIVE] = exported
    return StoredRead("S", serial, START + row * STEP, 0, values)


def test_each_row_is_the_difference_of_two_indices() -> None:
    reads = [read("h", row, 1000 + 100 * row) for row in range(5)]
    reads += [read("c", row + 0.01, 40 * row) for row in range(5)]
    plot = plot_day(reads, [meter("H", "h", head=True), meter("C", "c")], START, END, STEP)
    assert plot.received_wh == [100, 100, 100, 100]
    assert plot.sold_wh == [40, 40, 40, 40]
    assert plot.complete == [True] * 4
    assert plot.measured == [True] * 4
    assert plot.power_w == [0.0, 100.0, 200.0, 300.0]
    assert plot.starts_at[1] == START + STEP
    assert plot.step_s == 1800


def test_multipliers_and_export_count() -> None:
    reads = [read("h", row, 10 * row) for row in range(5)]
    reads += [read("c", row, 10 * row, 30 * row) for row in range(5)]
    plot = plot_day(
        reads, [meter("H", "h", head=True, ratio=40), meter("C", "c")], START, END, STEP
    )
    assert plot.received_wh == [400] * 4
    assert plot.sold_wh == [-20] * 4


def test_a_missing_read_is_bridged_and_said() -> None:
    heads = [read("h", row, 100 * row) for row in (0, 1, 3, 4)]
    reads = [*heads, *(read("c", row, 10 * row) for row in range(5))]
    plot = plot_day(reads, [meter("H", "h", head=True), meter("C", "c")], START, END, STEP)
    assert plot.received_wh == [100, 100, 100, 100]
    assert plot.measured == [True, False, False, True]


def test_a_missed_midnight_is_bridged_from_before_and_after() -> None:
    reads = [read("c", row, 10 * row) for row in (-1, 1, 2, 3, 5)]
    plot = plot_day(reads, [meter("C", "c")], START, END, STEP)
    assert plot.sold_wh == [10, 10, 10, 10]
    assert plot.measured == [False, True, True, False]


def test_a_point_without_reads_makes_rows_incomplete() -> None:
    reads = [read("c", row, 10 * row) for row in range(5)]
    plot = plot_day(reads, [meter("C", "c"), meter("D", "d")], START, END, STEP)
    assert plot.sold_wh == [10] * 4
    assert plot.complete == [False] * 4
    assert plot.silent_points == ["D"]
    assert plot.received_wh == [None] * 4


def test_a_register_that_goes_backwards_gives_nothing() -> None:
    reads = [read("c", 0, 500), read("c", 1, 20), read("c", 2, 30)]
    plot = plot_day(reads, [meter("C", "c")], START, END, STEP)
    assert plot.sold_wh == [None, 10, None, None]


def test_an_exchange_cuts_at_its_instant() -> None:
    cut = START + 2 * STEP
    old = PlotMeter("C", "old", False, 1, 1, START - timedelta(days=9), cut)
    new = PlotMeter("C", "new", False, 1, 1, cut, None)
    reads = [read("old", row, 10 * row) for row in range(5)]
    reads += [read("new", row, 1000 + 7 * row) for row in range(5)]
    plot = plot_day(reads, [old, new], START, END, STEP)
    assert plot.sold_wh == [10, None, 7, 7]


def test_nothing_read_is_all_unknown() -> None:
    plot = plot_day([], [meter("H", "h", head=True)], START, END, STEP)
    assert plot.received_wh == plot.sold_wh == plot.power_w == [None] * 4


@given(
    steps=st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
    absent=st.sets(st.integers(1, 3)),
)
def test_totals_do_not_depend_on_what_is_missing_between(
    steps: list[int], absent: set[int]
) -> None:
    index = 0
    reads = []
    for row, step in enumerate(steps):
        if row not in absent:
            reads.append(read("c", row, index))
        index += step
    plot = plot_day(reads, [meter("C", "c")], START, END, STEP)
    assert sum(wh or 0 for wh in plot.sold_wh) == sum(steps[:4])


def test_the_step_is_the_usual_cadence() -> None:
    half_hours = [START + row * STEP + timedelta(seconds=row % 3) for row in range(9)]
    assert step_of(half_hours) == STEP
    minutes = [START + row * timedelta(minutes=1) for row in range(90)]
    assert step_of([*half_hours, END + timedelta(days=1)]) == STEP
    assert step_of(minutes) == timedelta(minutes=1)
    assert step_of([START]) == STEP_DEFAULT
