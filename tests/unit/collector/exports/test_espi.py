"""Green Button: the feed against NAESB's own schema, its links, its intervals."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import xmlschema

from collector.billing.exports.espi import Interval, Quality, Series, green_button
from collector.billing.exports.intervals import Known, intervals_of, joined
from collector.civil import day_start, zone_info
from collector.registry.values import Multiplier

ZONE = "Asia/Ho_Chi_Minh"
SCHEMA = Path(__file__).parents[3] / "golden" / "espi" / "espi.xsd"
ATOM, ESPI = "{http://www.w3.org/2005/Atom}", "{http://naesb.org/espi}"
TOTAL, EXPORTED, REACTIVE, PEAK = "1-0:1.8.0", "1-0:2.8.0", "1-0:3.8.0", "1-0:1.8.2"
FIRST = date(2026, 5, 30)


@cache
def schema() -> xmlschema.XMLSchema:
    """NAESB's schema and the Green Button Alliance's of Atom, from disk alone."""
    return xmlschema.XMLSchema(str(SCHEMA), allow="local")


def start(number: int) -> datetime:
    return day_start(FIRST + timedelta(days=number), ZONE)


def days(count: int, energy: int, quality: Quality = Quality.VALID) -> list[Interval]:
    return [
        Interval(start(number), start(number + 1), energy + number, quality)
        for number in range(count)
    ]


def feed(*series: Series) -> bytes:
    return b"".join(green_button(series, (start(0), start(4)), zone_info(ZONE)))


SERIES = (
    Series("PA25SL0000001001", TOTAL, days(4, 5_000)),
    Series("PA25SL0000001001", PEAK, days(2, 700, Quality.EDITED)),
    Series("PA25SL0000001001", EXPORTED, days(1, 0, Quality.ESTIMATED_LINEAR)),
    Series("PA25SL0000002<&>", TOTAL, days(3, 9_000)),
    Series("PA25SL0000002<&>", REACTIVE, days(3, 100, Quality.DERIVED)),
)


def test_the_feed_is_valid_by_naesbs_own_schema() -> None:
    content = feed(*SERIES).decode()
    schema().validate(content)
    for wrong in (
        content.replace("<quality>7</quality>", "<quality>A</quality>"),
        content.replace("<uom>72</uom>", "<uom>kWh</uom>"),
        content.replace("<value>5000</value>", "<value>5000.5</value>"),
        content.replace("<duration>86400</duration>", "", 1),
        content.replace("  <updated>", "  <changed>").replace("</updated>", "</changed>"),
    ):
        assert wrong != content
        assert not schema().is_valid(wrong)


def test_every_link_leads_to_a_resource_of_the_feed() -> None:
    root = ElementTree.fromstring(feed(*SERIES))
    entries = root.findall(f"{ATOM}entry")
    of_kind: dict[str, list[ElementTree.Element]] = {}
    for entry in entries:
        of_kind.setdefault(_resource(entry).tag.removeprefix(ESPI), []).append(entry)
    assert {kind: len(found) for kind, found in of_kind.items()} == {
        "LocalTimeParameters": 1,
        "ReadingType": 4,
        "UsagePoint": 2,
        "MeterReading": 5,
        "IntervalBlock": 5 + 3,  # three series go over the end of May
    }
    selves = [_links(entry, "self")[0] for entry in entries]
    ups = {_links(entry, "up")[0] for entry in entries}
    assert len(set(selves)) == len(selves)
    for entry in entries:
        assert all(link in ups or link in selves for link in _links(entry, "related"))
    ids = [found.text for found in root.iter(f"{ATOM}id")]
    assert len(set(ids)) == len(ids)


def test_types_say_register_direction_unit_and_rate() -> None:
    root = ElementTree.fromstring(feed(*SERIES))
    found = {
        entry.findtext(f"{ATOM}title"): [
            _resource(entry).findtext(ESPI + name) for name in ("flowDirection", "uom", "tou")
        ]
        for entry in root.findall(f"{ATOM}entry")
        if _resource(entry).tag == f"{ESPI}ReadingType"
    }
    assert found == {
        TOTAL: ["1", "72", None],
        PEAK: ["1", "72", "2"],
        EXPORTED: ["19", "72", None],
        REACTIVE: ["1", "73", None],
    }
    assert root.findtext(f".//{ESPI}tzOffset") == "25200"


def test_values_and_blocks_are_the_intervals() -> None:
    root = ElementTree.fromstring(feed(SERIES[0]))
    readings = root.findall(f".//{ESPI}IntervalReading")
    assert [one.findtext(f"{ESPI}value") for one in readings] == ["5000", "5001", "5002", "5003"]
    begins = [int(one.findtext(f"{ESPI}timePeriod/{ESPI}start") or 0) for one in readings]
    assert datetime.fromtimestamp(begins[0], UTC) == start(0)
    blocks = root.findall(f".//{ESPI}IntervalBlock/{ESPI}interval")
    assert [one.findtext(f"{ESPI}duration") for one in blocks] == ["172800", "172800"]
    assert feed(*SERIES) == feed(*SERIES)


def test_a_lacking_day_lengthens_its_interval_and_nothing_is_made_up() -> None:
    known = [Known(start(day), value, Quality.VALID) for day, value in ((0, 0), (1, 10), (3, 30))]
    found = intervals_of(known, [], None)
    assert [(one.from_at, one.to_at, one.energy) for one in found] == [
        (start(0), start(1), 10),
        (start(1), start(3), 20),
    ]
    known.append(Known(start(4), 25, Quality.VALID))
    assert intervals_of(known, [], None) == found, "an index that went backwards says nothing"
    rolled = [Known(start(0), 990, Quality.VALID), Known(start(1), 10, Quality.EDITED)]
    (one,) = intervals_of(rolled, [], 1000)
    assert (one.energy, one.quality) == (20, Quality.EDITED)


def test_a_multiplier_counts_from_where_it_began() -> None:
    ratios = [Multiplier("P", start(1), Fraction(40)), Multiplier("P", start(2), Fraction(20))]
    known = [Known(start(day), 100 * day, Quality.VALID) for day in range(4)]
    assert [one.energy for one in intervals_of(known, ratios, None)] == [100, 4_000, 2_000]
    apart = [known[0], known[2], known[3]]
    found = intervals_of(apart, ratios, None)
    assert [one.energy for one in found] == [2_000], "it changed, and no index says at what"


def test_two_meters_of_one_day_are_one_interval() -> None:
    noon = start(1) + timedelta(hours=12)
    parts = [
        Interval(start(0), start(1), 5, Quality.VALID),
        Interval(start(1), noon, 7, Quality.VALID),
        Interval(noon, start(2), 9, Quality.ESTIMATED_LINEAR),
    ]
    whole = joined(reversed(parts), [start(number) for number in range(3)])
    assert whole == [parts[0], Interval(start(1), start(2), 16, Quality.ESTIMATED_LINEAR)]


def _resource(entry: ElementTree.Element) -> ElementTree.Element:
    (found,) = entry.findall(f"{ATOM}content/*")
    return found


def _links(entry: ElementTree.Element, rel: str) -> list[str]:
    return [one.attrib["href"] for one in entry.findall(f"{ATOM}link") if one.get("rel") == rel]
