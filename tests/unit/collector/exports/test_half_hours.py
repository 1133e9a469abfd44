"""Half-hours: an energy where both ends were read, none where one lacks; the feed is NAESB's."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from collector.billing.exports.espi import Interval, Quality, Series, half_hour_feed
from collector.billing.exports.half_hours import (
    HALF_HOUR,
    Due,
    ends_of,
    half_hour_intervals,
    half_hours,
)
from collector.billing.exports.intervals import Known
from collector.civil import day_start, zone_info
from collector.registry.values import Multiplier
from tests.unit.collector.exports.test_espi import (
    ATOM,
    ESPI,
    EXPORTED,
    PEAK,
    SERIES,
    TOTAL,
    ZONE,
    feed,
    schema,
)

DAY = date(2026, 5, 31)
STARTS = half_hours(DAY, DAY + timedelta(days=1), ZONE)
SECONDS = timedelta(seconds=3)


def due(number: int, value: int, off: timedelta = SECONDS, **marks: bool) -> Due:
    return Due(STARTS[number] + off, value, STARTS[number], **marks)


def known(*values: tuple[int, int]) -> list[Known]:
    return [Known(STARTS[number], value, Quality.VALID) for number, value in values]


def test_a_day_has_48_half_hours_from_its_midnight_and_more_where_clocks_change() -> None:
    assert len(STARTS) == 2 * 48 + 1
    assert (STARTS[0], STARTS[-1]) == (day_start(DAY, ZONE), day_start(date(2026, 6, 2), ZONE))
    assert {later - one for one, later in pairwise(STARTS)} == {HALF_HOUR}
    for day, count in ((date(2026, 3, 29), 46), (date(2026, 10, 25), 50)):
        assert len(half_hours(day, day, "Europe/Berlin")) == count + 1


def test_an_end_is_what_was_read_for_it() -> None:
    found = ends_of([due(0, 10), due(1, 20, again=True), due(2, 30)], STARTS)
    assert [found[STARTS[number]].value for number in range(3)] == [10, 20, 30]
    assert found[STARTS[1]].quality is Quality.DERIVED
    assert found[STARTS[0]].quality is Quality.VALID


@pytest.mark.parametrize(
    "read",
    [
        due(1, 20, unsure=True),
        due(1, 20, timedelta(minutes=15), again=True),
        due(1, 20, -timedelta(minutes=15)),
        Due(STARTS[1] + SECONDS, 20, STARTS[1] + timedelta(minutes=7)),
        due(1, 0),
    ],
)
def test_what_says_nothing_of_that_instant_is_no_end(read: Due) -> None:
    assert set(ends_of([due(0, 10), read], STARTS)) == {STARTS[0]}


def test_a_zero_counts_where_nothing_was_counted_before() -> None:
    assert set(ends_of([due(0, 0), due(1, 0), due(2, 5)], STARTS)) == set(STARTS[:3])
    other = [due(0, 0), due(0, 7, timedelta(minutes=2), again=True)]
    assert ends_of(other, STARTS)[STARTS[0]].value == 7


def test_a_lacking_end_takes_its_two_half_hours_with_it() -> None:
    found = half_hour_intervals(known((0, 10), (1, 30), (3, 90), (4, 95)), STARTS, [], None)
    assert [(one.from_at, one.to_at, one.energy) for one in found] == [
        (STARTS[0], STARTS[1], 20),
        (STARTS[3], STARTS[4], 5),
    ]


def test_an_exchange_and_a_multiplier_cut_a_half_hour() -> None:
    exchanged = STARTS[1] + timedelta(minutes=10)
    indices = [*known((0, 10), (1, 30)), Known(exchanged, 34, Quality.VALID)]
    found = half_hour_intervals(indices, STARTS, [Multiplier("P", STARTS[1], Fraction(40))], None)
    assert [(one.to_at, one.energy) for one in found] == [(STARTS[1], 20), (exchanged, 160)]
    (rolled,) = half_hour_intervals(known((0, 995), (1, 5)), STARTS, [], 1000)
    assert rolled.energy == 10
    assert half_hour_intervals(known((0, 995), (1, 5)), STARTS, [], None) == []


def intervals(first: int, count: int) -> list[Interval]:
    return [
        Interval(STARTS[number], STARTS[number + 1], 100 + number, Quality.VALID)
        for number in range(first, first + count)
    ]


BLOCKS = (
    Series("PA25SL0000001001", TOTAL, intervals(0, 48)),
    Series("PA25SL0000001001", EXPORTED, intervals(3, 2)),
    Series("PA25SL0000001001", TOTAL, intervals(48, 48)),
    Series("PA25SL0000001001", PEAK, intervals(48, 1)),
    Series("PA25SL0000002<&>", TOTAL, intervals(0, 5)),
)
POINTS = ("PA25SL0000001001", "PA25SL0000002<&>")


def half_hour_bytes() -> bytes:
    period = STARTS[0], STARTS[-1]
    return b"".join(half_hour_feed(iter(BLOCKS), POINTS, period, zone_info(ZONE)))


def test_the_feed_is_valid_by_naesbs_own_schema_and_its_links_lead_somewhere() -> None:
    content = half_hour_bytes()
    schema().validate(content.decode())
    assert not schema().is_valid(content.decode().replace("<uom>72</uom>", "<uom>kWh</uom>"))
    root = ElementTree.fromstring(content)
    entries = root.findall(f"{ATOM}entry")
    kinds = [entry.findall(f"{ATOM}content/*")[0].tag.removeprefix(ESPI) for entry in entries]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"LocalTimeParameters": 1, "ReadingType": 3, "UsagePoint": 2,
                      "MeterReading": 4, "IntervalBlock": 5}  # fmt: skip
    lengths = {one.text for one in root.iter(f"{ESPI}intervalLength")}
    assert lengths == {"1800"}

    def links(rel: str) -> list[str]:
        found = [link for entry in entries for link in entry.findall(f"{ATOM}link")]
        return [link.attrib["href"] for link in found if link.get("rel") == rel]

    selves = links("self")
    assert len(set(selves)) == len(selves)
    assert set(links("related")) <= {*selves, *links("up")}
    assert half_hour_bytes() == content


def test_values_are_the_intervals_and_no_name_is_that_of_a_days_file() -> None:
    root = ElementTree.fromstring(half_hour_bytes())
    read = root.findall(f".//{ESPI}IntervalReading")
    wanted = [one for block in BLOCKS for one in block.intervals]
    assert [int(one.findtext(f"{ESPI}value") or 0) for one in read] == [
        one.energy for one in wanted
    ]
    begins = [int(one.findtext(f"{ESPI}timePeriod/{ESPI}start") or 0) for one in read]
    assert [datetime.fromtimestamp(at, UTC) for at in begins] == [one.from_at for one in wanted]
    assert {one.findtext(f"{ESPI}timePeriod/{ESPI}duration") for one in read} == {"1800"}

    def names(content: bytes, *kinds: str) -> set[str]:
        found = ElementTree.fromstring(content).findall(f"{ATOM}entry")
        return {
            entry.findtext(f"{ATOM}id") or ""
            for entry in found
            if entry.findall(f"{ATOM}content/*")[0].tag.removeprefix(ESPI) in kinds
        }

    kinds = "ReadingType", "MeterReading", "IntervalBlock"
    assert not names(half_hour_bytes(), *kinds) & names(feed(*SERIES), *kinds)
