"""The district's registry as the utility's clerks would hand it over: CSV files to be imported.

Only the format that `docs/registry-files.md` documents; it must not know how it is read.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from simulator.district.meters import IMPORT, RATE_REGISTERS
from simulator.district.plan import (
    QUARTERS_PER_DAY,
    District,
    Place,
    PlannedPoint,
    PlannedStation,
    Stay,
)
from simulator.grid import load_grid
from songlo.demo.clock import instant_text

UNIT = "PA25SL"
RETAIL_VOLTAGE_V = 220
LOW_VOLTAGE_V = 380

_PERCENT = 100

Row = tuple[object, ...]
At = Callable[[int], datetime]


class RegistryFolder:
    """CSV files in a folder; a file is begun with its first row."""

    def __init__(self, folder: Path, at: At) -> None:
        """`at` gives the instant of a quarter hour."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._at = at

    def write_all(self, district: District, billing_day: int) -> None:
        """The registry as it is on the first day."""
        start = self._text(0)
        self._stations(district.stations)
        points = district.points.values()
        self._csv("points", "point,station,role,name,parent", map(_point, points))
        self._meters([stay for stay in district.stays if stay.from_quarter == 0])
        self._csv(
            "multipliers",
            "point,from_at,multiplier,index_side",
            (
                (one.point, start, one.multiplier, "secondary")
                for one in points
                if one.multiplier > 1
            ),
        )
        paying = [one for one in points if one.customer]
        self._contracts([(one, one.customer, 0) for one in paying])
        communes = {one.station: one.commune for one in district.stations}
        books = sorted(set(communes.values()))
        self._csv("books", "book,name", ((f"S-{one}", f"Sổ {one}") for one in books))
        self._csv(
            "reading_days",
            "book,from_at,reading_days",
            ((f"S-{one}", start, billing_day) for one in books),
        )
        self._csv(
            "memberships",
            "point,from_at,book,position",
            (
                (one.point, start, f"S-{communes[one.station]}", one.position)
                for one in points
                if one.customer
            ),
        )

    def write_exchange(self, old: Stay, new: Stay, removal_wh: int) -> None:
        """A meter that went out and the one that came."""
        self._meters([new])
        assert old.to_quarter is not None
        self._csv(
            "installations",
            "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh",
            [
                (old.point, old.serial, self._text(old.from_quarter), self._text(old.to_quarter),
                 old.initial_wh, removal_wh),
            ],
        )  # fmt: skip

    def write_move(self, point: str, quarter: int, station: str) -> None:
        """A point that counts at another station from now on."""
        self._csv("transfers", "point,from_at,station", [(point, self._text(quarter), station)])

    def write_recabling(self, one: PlannedPoint) -> None:
        """A point whose current transformers changed."""
        assert one.recabled_quarter is not None
        row = (one.point, self._text(one.recabled_quarter), one.next_multiplier, "secondary")
        self._csv("multipliers", "point,from_at,multiplier,index_side", [row])

    def write_successor(self, one: PlannedPoint) -> None:
        """A customer who moved out, and the one who moved in on the same day."""
        assert one.moved_in_quarter is not None
        assert one.next_customer is not None
        self._csv(
            "contracts",
            "contract,point,customer,from_at,to_at",
            [(f"HD-{one.customer}", one.point, one.customer, self._text(0),
              self._text(one.moved_in_quarter))],
        )  # fmt: skip
        self._contracts([(one, one.next_customer, one.moved_in_quarter)])

    def _stations(self, stations: Iterable[PlannedStation]) -> None:
        rows = [
            (one.station, f"TBA {one.station}", one.commune,
             round(load_grid(one.grid).transformer.s_kva), "public", UNIT, "E4.3-471")
            for one in stations
        ]  # fmt: skip
        self._csv("stations", "station,name,commune,capacity_kva,kind,unit,feeder", rows)

    def _meters(self, stays: Iterable[Stay]) -> None:
        stays = list(stays)
        self._csv(
            "meters",
            "meter,model,resolution_wh,roll_over_wh,digits",
            (
                (one.serial, one.model, one.resolution_wh, one.roll_over_wh, one.digits)
                for one in stays
            ),
        )
        self._csv(
            "installations",
            "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh",
            (
                (one.point, one.serial, self._text(one.from_quarter), "", one.initial_wh, "")
                for one in stays
            ),
        )

    def _contracts(self, signed: Iterable[tuple[PlannedPoint, str, int]]) -> None:
        signed = list(signed)
        self._csv(
            "customers",
            "customer,name,address",
            (
                (customer, f"Khách hàng {customer}", f"Xã {point.station}")
                for point, customer, _ in signed
            ),
        )
        self._csv(
            "contracts",
            "contract,point,customer,from_at,to_at",
            (
                (f"HD-{who}", point.point, who, self._text(since), "")
                for point, who, since in signed
            ),
        )
        self._csv(
            "terms",
            "contract,from_at,voltage_v,households",
            (
                (f"HD-{who}", self._text(since), _voltage_v(point), point.households or "")
                for point, who, since in signed
            ),
        )
        self._csv(
            "allocations",
            "contract,from_at,register,position,percent,price_group",
            (
                (f"HD-{who}", self._text(since), *row)
                for point, who, since in signed
                for row in _allocations(point)
            ),
        )

    def _csv(self, name: str, header: str, rows: Iterable[Row]) -> None:
        path = self.folder / f"{name}.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(header.split(","))
            writer.writerows(rows)

    def _text(self, quarter: int) -> str:
        return instant_text(self._at(quarter))


def exchanges_on(district: District, day: int) -> Iterator[tuple[Stay, Stay]]:
    """The exchanges of a day: the meter that goes, the one that comes."""
    begin, end = day * QUARTERS_PER_DAY, (day + 1) * QUARTERS_PER_DAY
    coming = {(one.point, one.from_quarter): one for one in district.stays}
    for old in district.stays:
        if old.to_quarter is not None and begin <= old.to_quarter < end:
            yield old, coming[old.point, old.to_quarter]


def _point(one: PlannedPoint) -> Row:
    return one.point, one.station, one.place.value, one.point, one.parent or ""


def _voltage_v(one: PlannedPoint) -> int:
    return RETAIL_VOLTAGE_V if one.place in (Place.HOUSEHOLD, Place.SUB_METER) else LOW_VOLTAGE_V


def _allocations(one: PlannedPoint) -> Iterator[Row]:
    for register in RATE_REGISTERS if one.has_rates else (IMPORT,):
        for position, (group, hundredths) in enumerate(one.price_groups, start=1):
            whole, rest = divmod(hundredths, _PERCENT)
            yield register, position, f"{whole}.{rest:02d}" if rest else whole, group
