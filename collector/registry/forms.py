"""The forms of the registry's files: which columns each has, and what a row of them means.

One description serves reading and writing. It must not know whole files, nor what is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from functools import partial
from typing import Any

from collector.registry import cells
from collector.registry.contract_values import (
    Allocation,
    Book,
    Contract,
    ContractTerms,
    Customer,
    Inspection,
    Membership,
    ReadingDays,
    SupplyApplication,
)
from collector.registry.values import (
    Area,
    AreaKind,
    HeadSide,
    IndexSide,
    Installation,
    Meter,
    Multiplier,
    Point,
    Role,
    Station,
    StationKind,
    Transfer,
    Transformers,
)
from contract.limits import ENERGY_MAX
from contract.registers import BILLING, BY_OBIS, IMPORT_ACTIVE, Kind

# Registers of energy that prices are allocated to: the total, or the three rates.
TOTAL = IMPORT_ACTIVE
RATES = ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")

# Registers whose index is written down when a meter goes in or comes out (biên bản treo tháo).
INDEXED = tuple(row.obis for row in BILLING if row.kind is Kind.CUMULATIVE)

INSTALL = "install"
REMOVAL = "removal"

VOLT_MAX = 1_000_000
COUNT_MAX = 1_000_000
# As in a losses file; a station has one transformer, or a few.
KVA_MAX = 100_000
LOSS_MAX = 1_000_000
COUNT_OF_STATION_MAX = 20
WATT_MAX = 10**12
# As in a bill: more than the country uses in a year.
KWH_MAX = 10**12
POSITION_MAX = 50
# A display has 5 to 8 digits.
DIGITS_MAX = 12


@dataclass(frozen=True, slots=True)
class Column:
    """How a cell is read and written. One that is `added` is written only where a row has it."""

    parse: Callable[[str], Any]
    optional: bool = False
    added: bool = False
    show: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class Form:
    """A file's columns, the value that a row of them makes, and the row that a value makes.

    An empty cell is None in a row.
    """

    columns: Mapping[str, Column]
    build: Callable[[dict[str, Any]], Any]
    take: Callable[[Any], dict[str, Any]]


def _plain(kind: type, columns: Mapping[str, Column], **empty: object) -> Form:
    """The form of a value whose fields are the columns; `empty` is what empty cells mean."""

    def build(row: dict[str, Any]) -> object:
        return kind(**{key: empty.get(key) if cell is None else cell for key, cell in row.items()})

    def take(value: object) -> dict[str, Any]:
        row = {column: getattr(value, column) for column in columns}
        return {
            key: None if key in empty and cell == empty[key] else cell for key, cell in row.items()
        }

    return Form(columns, build, take)


def forms(zone: str) -> dict[str, Form]:
    """The forms by file name, in the order in which files depend on each other.

    Dates without a time mean the first instant of that day in `zone`.
    """
    return _of_meters(zone) | _of_contracts(zone)


def _of_meters(zone: str) -> dict[str, Form]:
    show_instant = partial(_show_instant, zone=zone)
    instant = Column(partial(cells.instant, zone=zone), show=show_instant)
    day_start = Column(partial(cells.midnight, zone=zone), show=show_instant)
    name = Column(cells.name)
    text = Column(cells.free_text)
    int32 = partial(cells.integer, low=1, high=cells.INT32_MAX)
    return {
        "areas.csv": _plain(
            Area,
            {"kind": Column(partial(cells.choice, AreaKind)), "code": name, "name": text},
        ),
        "stations.csv": _plain(
            Station,
            {
                "station": name,
                "name": text,
                "commune": Column(cells.free_text, optional=True),
                "capacity_kva": Column(int32, optional=True),
                "kind": Column(partial(cells.choice, StationKind), optional=True, added=True),
                "unit": Column(cells.name, optional=True, added=True),
                "feeder": Column(cells.name, optional=True, added=True),
            },
        ),
        "transformers.csv": _transformers(day_start),
        "points.csv": _plain(
            Point,
            {
                "point": name,
                "station": name,
                "role": Column(partial(cells.choice, Role)),
                "name": text,
                "parent": Column(cells.name, optional=True, added=True),
            },
        ),
        "transfers.csv": _plain(Transfer, {"point": name, "from_at": day_start, "station": name}),
        "meters.csv": _plain(
            Meter,
            {
                "meter": name,
                "model": name,
                "resolution_wh": Column(int32),
                "roll_over_wh": Column(
                    partial(cells.integer, low=1, high=ENERGY_MAX), optional=True
                ),
                "digits": Column(
                    partial(cells.integer, low=1, high=DIGITS_MAX), optional=True, added=True
                ),
            },
        ),
        "installations.csv": _installations(instant),
        "multipliers.csv": Form(
            {
                "point": name,
                "from_at": instant,
                "multiplier": Column(cells.ratio),
                "index_side": Column(partial(cells.choice, IndexSide), optional=True, added=True),
            },
            _multiplier,
            _multiplier_row,
        ),
        "inspections.csv": _plain(
            Inspection,
            {
                "meter": name,
                "inspected_at": instant,
                "calibration_due": Column(cells.calendar_day, optional=True, show=date.isoformat),
                "seals": Column(cells.seals, optional=True, show=cells.seals_text),
            },
            seals=(),
        ),
    }


def _installations(instant: Column) -> Form:
    name = Column(cells.name)
    index = Column(partial(cells.integer, low=0, high=ENERGY_MAX), optional=True)
    columns = {
        "point": name,
        "meter": name,
        "installed_at": instant,
        "removed_at": replace(instant, optional=True),
        "install_index_wh": index,
        "removal_index_wh": index,
        **_other_indices(),
        "instead_of": replace(instant, optional=True, added=True),
    }
    return Form(columns, _installation, _installation_row)


def _transformers(day_start: Column) -> Form:
    watts = Column(partial(cells.integer, low=0, high=LOSS_MAX), optional=True)
    columns = {
        "station": Column(cells.name),
        "from_at": day_start,
        "head_side": Column(partial(cells.choice, HeadSide)),
        "rated_kva": Column(partial(cells.integer, low=1, high=KVA_MAX), optional=True),
        "no_load_loss_w": watts,
        "load_loss_w": watts,
        "short_circuit_percent": Column(cells.percent, optional=True, show=cells.percent_text),
        "count": Column(partial(cells.integer, low=1, high=COUNT_OF_STATION_MAX), optional=True),
    }
    plain = {name: name for name in columns} | {"short_circuit_percent": "short_circuit_hundredths"}

    def build(row: dict[str, Any]) -> Transformers:
        row = {**row, "count": row["count"] or 1}
        return Transformers(**{field: row[column] for column, field in plain.items()})

    def take(value: Transformers) -> dict[str, Any]:
        row = {column: getattr(value, field) for column, field in plain.items()}
        return {**row, "count": None if value.rated_kva is None else value.count}

    return Form(columns, build, take)


def _of_contracts(zone: str) -> dict[str, Form]:
    show_instant = partial(_show_instant, zone=zone)
    day_start = Column(partial(cells.midnight, zone=zone), show=show_instant)
    name = Column(cells.name)
    maybe_text = Column(cells.tame_text, optional=True)
    count = Column(partial(cells.integer, low=1, high=COUNT_MAX), optional=True)
    return {
        "customers.csv": _plain(
            Customer,
            {
                "customer": Column(cells.customer_code),
                "name": maybe_text,
                "address": maybe_text,
                "phone": Column(cells.phone, optional=True, added=True),
                "email": Column(cells.email, optional=True, added=True),
            },
        ),
        "contracts.csv": _plain(
            Contract,
            {
                "contract": name,
                "point": name,
                "customer": Column(cells.customer_code),
                "from_at": day_start,
                "to_at": Column(
                    partial(cells.midnight, zone=zone), optional=True, show=show_instant
                ),
            },
        ),
        "terms.csv": _plain(
            ContractTerms,
            {
                "contract": name,
                "from_at": day_start,
                "voltage_v": Column(partial(cells.integer, low=1, high=VOLT_MAX)),
                "households": count,
                "renters": count,
                "renters_undeclared": Column(cells.yes_no, optional=True, show=_show_yes),
                "registered_w": Column(partial(cells.integer, low=0, high=WATT_MAX), optional=True),
            },
            renters_undeclared=False,
        ),
        "allocations.csv": Form(
            {
                "contract": name,
                "from_at": day_start,
                "register": Column(partial(cells.one_of, (TOTAL, *RATES))),
                "position": Column(partial(cells.integer, low=1, high=POSITION_MAX)),
                "percent": Column(cells.percent, optional=True, show=cells.percent_text),
                "kwh": Column(partial(cells.integer, low=0, high=KWH_MAX), optional=True),
                "price_group": name,
            },
            _allocation,
            _allocation_row,
        ),
        "applications.csv": _applications(),
        "books.csv": _plain(Book, {"book": name, "name": Column(cells.tame_text)}),
        "reading_days.csv": _plain(
            ReadingDays,
            {
                "book": name,
                "from_at": day_start,
                "reading_days": Column(cells.reading_days, show=cells.reading_days_text),
            },
        ),
        "memberships.csv": _plain(
            Membership,
            {
                "point": name,
                "from_at": day_start,
                "book": Column(cells.name, optional=True),
                "position": Column(cells.name, optional=True),
            },
        ),
    }


def _applications() -> Form:
    day = Column(cells.calendar_day, show=date.isoformat)
    maybe_day, maybe_name = replace(day, optional=True), Column(cells.name, optional=True)
    return _plain(
        SupplyApplication,
        {
            "application": Column(cells.name),
            "received_on": day,
            "customer": Column(cells.customer_code, optional=True),
            "point": maybe_name,
            "surveyed_on": maybe_day,
            "contract": maybe_name,
            "withdrawn_on": maybe_day,
        },
    )


def _show_instant(at: datetime, zone: str) -> str:
    return cells.instant_text(at, zone)


def _show_yes(value: object) -> str:
    return "yes" if value else "no"


def index_column(moment: str, register: str) -> str:
    """The column of a register's index when a meter went in (`INSTALL`) or came out (`REMOVAL`)."""
    field = "index_wh" if register == IMPORT_ACTIVE else BY_OBIS[register].field
    return f"{moment}_{field}"


def _other_indices() -> dict[str, Column]:
    """Columns of the registers beside the total import: folders without them come back so."""
    index = Column(partial(cells.integer, low=0, high=ENERGY_MAX), optional=True, added=True)
    return {
        index_column(moment, register): index
        for register in INDEXED
        if register != IMPORT_ACTIVE
        for moment in (INSTALL, REMOVAL)
    }


def _installation(row: dict[str, Any]) -> Installation:
    def indices(moment: str) -> dict[str, int]:
        found = {register: row.get(index_column(moment, register)) for register in INDEXED}
        return {register: value for register, value in found.items() if value is not None}

    return Installation(
        row["point"],
        row["meter"],
        row["installed_at"],
        row["removed_at"],
        indices(INSTALL),
        indices(REMOVAL),
        row.get("instead_of"),
    )


def _installation_row(value: Installation) -> dict[str, Any]:
    indices = ((INSTALL, value.install_indices), (REMOVAL, value.removal_indices))
    return {
        "point": value.point,
        "meter": value.meter,
        "installed_at": value.installed_at,
        "removed_at": value.removed_at,
        **{
            index_column(moment, register): of_moment.get(register)
            for register in INDEXED
            for moment, of_moment in indices
        },
        "instead_of": None,
    }


def _multiplier(row: dict[str, Any]) -> Multiplier:
    side = row["index_side"] or IndexSide.SECONDARY
    return Multiplier(row["point"], row["from_at"], Fraction(row["multiplier"]), side)


def _multiplier_row(value: Multiplier) -> dict[str, Any]:
    primary = value.index_side is IndexSide.PRIMARY
    return {
        "point": value.point,
        "from_at": value.from_at,
        "multiplier": value.ratio,
        "index_side": value.index_side if primary else None,
    }


def _allocation(row: dict[str, Any]) -> Allocation:
    return Allocation(
        row["contract"],
        row["from_at"],
        row["register"],
        row["position"],
        row["price_group"],
        row["percent"],
        row["kwh"],
    )


def _allocation_row(value: Allocation) -> dict[str, Any]:
    return {
        "contract": value.contract,
        "from_at": value.from_at,
        "register": value.register,
        "position": value.position,
        "percent": value.percent_hundredths,
        "kwh": value.kwh,
        "price_group": value.price_group,
    }
