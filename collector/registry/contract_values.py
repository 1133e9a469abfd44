"""What a bill needs to know beside meters: customers, contracts, prices, reading books, seals.

They hold facts only, each with its dates; it must not know prices, nor how they are stored. Names
and addresses of persons are in `Customer` and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

ReadingDay = int | Literal["last"]
"""The day of the month on which a book is read: 1 to 28, or the month's last."""


PERSONAL_FACTS = ("name", "address", "phone", "email")
"""The personal data of a customer, in the order of its fields."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays, known by a code; all else is personal data (Law 91/2025/QH15)."""

    customer: str
    name: str | None = None
    address: str | None = None
    phone: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """A customer pays for a point from `from_at` up to, not including, `to_at` (None: still)."""

    contract: str
    point: str
    customer: str
    from_at: datetime
    to_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContractTerms:
    """What a contract says from an instant on, until its next terms. Volts and watts.

    The quota is a number of households, or of persons who rent, or that they are undeclared.
    """

    contract: str
    from_at: datetime
    voltage_v: int
    households: int | None = None
    renters: int | None = None
    renters_undeclared: bool = False
    registered_w: int | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """One price of a contract's list from `from_at` on (chuỗi giá), until the next whole list.

    The energy of `register` belongs to `price_group`: hundredths of a per cent of what remains
    after shares in kWh, or whole kWh a billing cycle. Shares in kWh are taken by `position`.
    """

    contract: str
    from_at: datetime
    register: str
    position: int
    price_group: str
    percent_hundredths: int | None = None
    kwh: int | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """A reading book (sổ ghi chỉ số): points that are read and billed on the same days."""

    book: str
    name: str


@dataclass(frozen=True, slots=True)
class ReadingDays:
    """The days of the month on which a book is read from `from_at` on, ascending, 1 to 3."""

    book: str
    from_at: datetime
    reading_days: tuple[ReadingDay, ...]


@dataclass(frozen=True, slots=True)
class Membership:
    """A point is in a book at a position (MA_GC) from `from_at` on; book None: in none."""

    point: str
    from_at: datetime
    book: str | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A look at a meter (kiểm tra hệ thống đo đếm): until when it is verified, and its seals."""

    meter: str
    inspected_at: datetime
    calibration_due: date | None = None
    seals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SupplyApplication:
    """Somebody asks for supply (hồ sơ cấp điện); what is known later is said later.

    The day on which the contract begins and the first index are the contract's and the first
    installation's own.
    """

    application: str
    received_on: date
    customer: str | None = None
    point: str | None = None
    surveyed_on: date | None = None
    contract: str | None = None
    withdrawn_on: date | None = None


@dataclass(frozen=True, slots=True)
class ContractRegistry:
    """All of it, or what concerns some points."""

    customers: Mapping[str, Customer] = field(default_factory=dict)
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    terms: tuple[ContractTerms, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    books: Mapping[str, Book] = field(default_factory=dict)
    reading_days: tuple[ReadingDays, ...] = ()
    memberships: tuple[Membership, ...] = ()
    inspections: tuple[Inspection, ...] = ()
    applications: Mapping[str, SupplyApplication] = field(default_factory=dict)
