"""What contracts, books and stations say of points just before a period's end."""

from datetime import date

from collector.billing.exports.cmis.point_papers import point_papers, price_chain
from collector.civil import day_start
from collector.registry.contract_values import (
    Allocation,
    Contract,
    ContractRegistry,
    ContractTerms,
    Customer,
    Membership,
    ReadingDays,
)
from collector.registry.values import Point, Registry, Role, Station, Transfer

ZONE = "Asia/Ho_Chi_Minh"


JAN, MAY, JUNE = (day_start(date(2026, month, 1), ZONE) for month in (1, 5, 6))
REGISTRY = Registry(
    stations={name: Station(name, name, unit=f"PA25{name}") for name in ("T1", "T2")},
    points={name: Point(name, "T1", Role.HOUSEHOLD, f"Điểm {name}") for name in ("P1", "P2", "P3")},
    transfers=(Transfer("P1", MAY, "T2"), Transfer("P2", JUNE, "T2")),
)
CONTRACTS = ContractRegistry(
    customers={"C1": Customer("C1", "Hoa", "Thôn 1"), "C2": Customer("C2", None, None)},
    contracts={
        "H1": Contract("H1", "P1", "C1", JAN, JUNE),
        "H2": Contract("H2", "P1", "C2", JUNE),
        "H3": Contract("H3", "P2", "C2", JAN),
        "H4": Contract("H4", "P3", "C1", JAN, MAY),
    },
    terms=(
        ContractTerms("H1", JAN, 220, households=2),
        ContractTerms("H1", MAY, 220, households=5),
    ),
    memberships=(
        Membership("P1", JAN, "B1", "7"),
        Membership("P2", JAN, "B2", "1"),
        Membership("P3", JAN, "B1", "8"),
        Membership("P3", MAY),
    ),
    reading_days=(ReadingDays("B1", JAN, (1, 11, 21)), ReadingDays("B2", JAN, (20,))),
)


def test_what_held_last_in_the_period_is_what_the_file_says() -> None:
    papers = point_papers(REGISTRY, CONTRACTS, JUNE, ZONE)
    first, second, third = (papers[name] for name in ("P1", "P2", "P3"))
    assert (first.customer, first.name, first.address) == ("C1", "Hoa", "Thôn 1")
    assert (first.station, first.unit, first.households) == ("T2", "PA25T2", 5)
    assert (first.book, first.position) == ("B1", "7")
    # The first of the periods that end in June, as `billing open --book --month 2026-06` has it.
    assert (first.cycle, first.month_of) == (1, date(2026, 6, 1))
    assert (second.customer, second.name, second.station) == ("C2", "Điểm P2", "T1")
    assert (second.cycle, second.month_of) == (None, None), "its book does not read on that day"
    assert (third.customer, third.book, third.households) == (None, None, None)


def test_each_of_three_periods_has_its_number() -> None:
    for day, number in ((1, 1), (11, 2), (21, 3)):
        to_at = day_start(date(2026, 5, day), ZONE)
        assert point_papers(REGISTRY, CONTRACTS, to_at, ZONE)["P1"].cycle == number


def test_a_list_of_prices_is_one_text() -> None:
    rows = [
        Allocation("H", JAN, "1-0:1.8.1", 1, "business", percent_hundredths=66_67),
        Allocation("H", JAN, "1-0:1.8.1", 2, "household", percent_hundredths=33_33),
        Allocation("H", JAN, "1-0:1.8.2", 1, "business", kwh=50),
    ]
    assert price_chain(rows) == "BT: 66.67%*business, 33.33%*household; CD: 50kWh*business"
    assert price_chain([]) is None
