"""The form of tariff files: YAML to values, with every fault's file, line and key.

One file is one decision: `kind` says which form it has. It owns their keys and the checks of one
file by itself; what files say together is the book's (`tariff_book.py`).
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from collector.billing.rating.faults import TariffFault, TariffFaults
from collector.billing.rating.hours_check import hours_parts
from collector.billing.rating.rounding import rounded
from collector.billing.rating.tariff import (
    Certainty,
    Flat,
    Group,
    Header,
    Hours,
    Level,
    Price,
    PriceTable,
    QuotaRule,
    Rate,
    Rates,
    ReactiveRule,
    Source,
    TariffValue,
    Tier,
    Tiers,
    Vat,
    VatRate,
)
from contract.yaml_lines import LineOf, YamlError, explain, load_yaml

# Far above any price that was or will be; a slip of the decimal point is not.
PRICE_VND_MAX = 100_000
# The highest voltage of the national network is 500 kV.
VOLTAGE_V_MAX = 1_000_000
# Bands are of a household's month; no table goes beyond some hundreds of kWh.
BAND_KWH_MAX = 1_000_000
GROUPS_MAX = 200
TIERS_MAX = 50
FILE_CHARS_MAX = 1_000_000

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
GroupId = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Note = Annotated[str, msgspec.Meta(max_length=2_000)]
Kwh = Annotated[int, msgspec.Meta(ge=0, le=BAND_KWH_MAX)]
Volt = Annotated[int, msgspec.Meta(ge=0, le=VOLTAGE_V_MAX)]
Minutes = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    pass


class NameSection(_Section):
    """A name in both languages."""

    vi: Text
    en: Text


class SourceSection(_Section):
    """Document, article, how sure we are and why."""

    document: Text
    article: Text
    certainty: Certainty
    note: Note = ""


class ValidSection(_Section):
    """From a day on, up to the day it no longer holds."""

    from_: date = msgspec.field(name="from")
    to: date | None = None


class _File(_Section, tag_field="kind", kw_only=True):
    id: Id
    name: NameSection
    source: SourceSection
    in_force: bool
    valid: ValidSection | None = None


class TierRow(_Section):
    """A band and its price."""

    above_kwh: Kwh
    price: Decimal
    up_to_kwh: Kwh | None = None


class RatesSection(_Section):
    """The three prices of time of use."""

    normal: Decimal
    peak: Decimal
    off_peak: Decimal


class LevelRow(_Section):
    """A class of voltage: one of tiers, flat and rates."""

    from_v: Volt = 0
    below_v: Volt | None = None
    tiers: Annotated[list[TierRow], msgspec.Meta(min_length=1, max_length=TIERS_MAX)] | None = None
    flat: Decimal | None = None
    rates: RatesSection | None = None


class GroupRow(_Section):
    """A price group."""

    group: GroupId
    name: NameSection
    article: Text
    levels: Annotated[list[LevelRow], msgspec.Meta(min_length=1, max_length=TIERS_MAX)]


class PricesFile(_File, tag="prices", kw_only=True):
    """A table of prices, in đồng per kWh before tax or in per cent of the average price."""

    prices_in: Literal["vnd_per_kwh", "percent_of_average"]
    groups: Annotated[list[GroupRow], msgspec.Meta(min_length=1, max_length=GROUPS_MAX)]
    average_vnd_per_kwh: Decimal | None = None


class HoursRow(_Section):
    """A rate's hours on some days."""

    days: Annotated[
        list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], msgspec.Meta(min_length=1)
    ]
    rate: Rate
    from_: Minutes = msgspec.field(name="from")
    to: Minutes


class HoursFile(_File, tag="hours", kw_only=True):
    """When which rate counts."""

    hours: Annotated[list[HoursRow], msgspec.Meta(min_length=1, max_length=GROUPS_MAX)]


class VatRow(_Section):
    """A rate of tax and the days of the tax point for which it holds."""

    from_: date = msgspec.field(name="from")
    percent: Decimal
    source: SourceSection
    to: date | None = None


class VatFile(_File, tag="vat", kw_only=True):
    """All rates of value-added tax on electricity."""

    rates: Annotated[list[VatRow], msgspec.Meta(min_length=1, max_length=GROUPS_MAX)]


class ReactiveFile(_File, tag="reactive", kw_only=True):
    """The charge for reactive energy."""

    groups: Annotated[list[GroupId], msgspec.Meta(min_length=1)]
    least_kw: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    cycles: Annotated[int, msgspec.Meta(ge=1, le=12)]
    required_cos_phi: Decimal
    floor_cos_phi: Decimal
    below_floor_percent: Decimal


class QuotasFile(_File, tag="quotas", kw_only=True):
    """Households' quotas of those who rent."""

    persons_per_quota: Annotated[int, msgspec.Meta(ge=1, le=100)]
    undeclared_above_kwh: Kwh


TariffFile = PricesFile | HoursFile | VatFile | ReactiveFile | QuotasFile


class _Faults:
    """Faults of one file while it is looked through."""

    def __init__(self, where: str, line_of: LineOf) -> None:
        self._where = where
        self._line_of = line_of
        self.found: list[TariffFault] = []

    def add(self, path: str, reason: str) -> None:
        self.found.append(TariffFault(self._where, self._line_of(f"$.{path}"), path, reason))


def parse_tariff(text: str, where: str) -> TariffValue:
    """The value that a file's text says. `where` names the file.

    Raises TariffFaults: at the first fault of form, or with all faults of meaning.
    """
    if len(text) > FILE_CHARS_MAX:
        raise TariffFaults([TariffFault(where, 1, "", f"more than {FILE_CHARS_MAX} characters")])
    try:
        data, line_of = load_yaml(text, where)
        try:
            file = msgspec.convert(data, TariffFile)
        except msgspec.ValidationError as error:
            raise explain(error, where, line_of) from error
    except YamlError as error:
        raise TariffFaults([TariffFault(where, error.line, error.key, error.reason)]) from error
    faults = _Faults(where, line_of)
    header = _header(file, where, hashlib.sha256(text.encode()).hexdigest(), faults.add)
    value: TariffValue
    match file:
        case PricesFile():
            value = _prices(file, header, faults.add)
        case HoursFile():
            rows = [(row.days, row.rate, row.from_, row.to) for row in file.hours]
            value = Hours(header, hours_parts(rows, faults.add))
        case VatFile():
            value = _vat(file, header, faults.add)
        case ReactiveFile():
            value = _reactive(file, header, faults.add)
        case QuotasFile():
            value = QuotaRule(header, file.persons_per_quota, file.undeclared_above_kwh)
    if faults.found:
        raise TariffFaults(faults.found)
    return value


_Add = Callable[[str, str], None]


def _header(file: TariffFile, where: str, sha256: str, add: _Add) -> Header:
    valid = file.valid
    if isinstance(file, VatFile):
        if valid is not None or not file.in_force:
            add("valid", "a file of tax rates is in force, and each rate has its own days")
    elif file.in_force and valid is None:
        add("valid", "what is in force says since when: valid: {from: 2025-05-10}")
    elif not file.in_force and valid is not None:
        add("valid", "what is not in force has no days; set in_force: true when it is")
    if valid is not None and valid.to is not None and valid.to <= valid.from_:
        add("valid.to", f"{valid.to} is not after {valid.from_}")
    return Header(
        id=file.id,
        kind=str(file.__struct_config__.tag),
        name_vi=file.name.vi,
        name_en=file.name.en,
        source=_source(file.source),
        in_force=file.in_force,
        valid_from=None if valid is None else valid.from_,
        valid_to=None if valid is None else valid.to,
        sha256=sha256,
        where=where,
    )


def _source(section: SourceSection) -> Source:
    return Source(section.document, section.article, section.certainty, section.note)


def _prices(file: PricesFile, header: Header, add: _Add) -> PriceTable:
    average = file.average_vnd_per_kwh
    if file.prices_in == "vnd_per_kwh":
        average = None
        if file.average_vnd_per_kwh is not None:
            add("average_vnd_per_kwh", "only prices in per cent of the average have one")
    elif average is None or not average.is_finite() or not 0 < average <= PRICE_VND_MAX:
        add("average_vnd_per_kwh", "prices in per cent need the average price, đồng per kWh")
        average = Decimal(1)
    groups: dict[str, Group] = {}
    for number, row in enumerate(file.groups):
        path = f"groups[{number}]"
        if row.group in groups:
            add(f"{path}.group", f"{row.group} is there twice")
        levels = tuple(
            Level(
                level.from_v, level.below_v, _price(level, f"{path}.levels[{index}]", average, add)
            )
            for index, level in enumerate(row.levels)
        )
        bounds = [(level.from_v, level.below_v) for level in levels]
        _check_bands(bounds, f"{path}.levels", ("from_v", "below_v", "V"), add)
        groups[row.group] = Group(row.group, row.name.vi, row.name.en, row.article, levels)
    return PriceTable(header, groups)


def _price(row: LevelRow, path: str, average: Decimal | None, add: _Add) -> Price:
    given = [name for name in ("tiers", "flat", "rates") if getattr(row, name) is not None]
    if len(given) != 1:
        add(path, f"one of tiers, flat and rates; given: {given or 'none'}")
        return Flat(1)
    if row.tiers is not None:
        tiers = tuple(
            Tier(
                tier.above_kwh,
                tier.up_to_kwh,
                _vnd(tier.price, f"{path}.tiers[{number}].price", average, add),
            )
            for number, tier in enumerate(row.tiers)
        )
        bounds = [(tier.above_kwh, tier.up_to_kwh) for tier in tiers]
        _check_bands(bounds, f"{path}.tiers", ("above_kwh", "up_to_kwh", "kWh"), add)
        return Tiers(tiers)
    if row.flat is not None:
        return Flat(_vnd(row.flat, f"{path}.flat", average, add))
    assert row.rates is not None
    return Rates(
        {
            rate: _vnd(getattr(row.rates, rate.value), f"{path}.rates.{rate.value}", average, add)
            for rate in Rate
        }
    )


def _vnd(price: Decimal, path: str, average: Decimal | None, add: _Add) -> int:
    """A price as whole đồng per kWh; per cents of the average are rounded as decrees publish."""
    if not price.is_finite() or price <= 0:
        add(path, "a price is more than zero")
        return 1
    if average is not None:
        exact = price * average
        numerator, denominator = exact.as_integer_ratio()
        vnd = rounded(numerator, 100 * denominator)
    elif price != (vnd := int(price)):
        add(path, f"{price} is no whole number of đồng")
    if vnd > PRICE_VND_MAX:
        add(path, f"{vnd} đồng per kWh is more than {PRICE_VND_MAX}")
    return vnd


def _check_bands(
    bounds: Sequence[tuple[int, int | None]], path: str, words: tuple[str, str, str], add: _Add
) -> None:
    """Bands begin at zero, follow each other without hole or overlap, and the last has no end."""
    lower, upper, unit = words
    reached: int | None = 0
    for number, (start, end) in enumerate(bounds):
        where = f"{path}[{number}]"
        if reached is None:
            add(f"{where}.{lower}", f"the one before has no {upper}: nothing can follow it")
        elif start > reached:
            add(f"{where}.{lower}", f"a hole from {reached} to {start} {unit}")
        elif start < reached:
            add(f"{where}.{lower}", f"an overlap from {start} to {reached} {unit}")
        if end is not None and end <= start:
            add(f"{where}.{upper}", f"{end} is not more than {lower} {start}")
        reached = end
    if reached is not None:
        add(f"{path}[{len(bounds) - 1}].{upper}", f"a hole above {reached} {unit}: leave it out")


def _vat(file: VatFile, header: Header, add: _Add) -> Vat:
    rates: list[VatRate] = []
    for number, row in enumerate(file.rates):
        path = f"rates[{number}]"
        hundredths = _hundredths(row.percent, f"{path}.percent", 100, add)
        if row.to is not None and row.to <= row.from_:
            add(f"{path}.to", f"{row.to} is not after {row.from_}")
        if rates and (reason := join_fault(rates[-1].valid_to, row.from_)):
            add(f"{path}.from", reason)
        rates.append(VatRate(row.from_, row.to, hundredths, _source(row.source)))
    return Vat(header, tuple(rates))


def join_fault(ended: date | None, starts: date) -> str:
    """What is wrong where one validity ends and the next starts; empty if nothing is."""
    if ended is None:
        return f"an overlap from {starts} on: the one before has no end"
    if starts > ended:
        return f"a hole from {ended} to {starts}"
    if starts < ended:
        return f"an overlap from {starts} to {ended}"
    return ""


def _reactive(file: ReactiveFile, header: Header, add: _Add) -> ReactiveRule:
    required = _hundredths(file.required_cos_phi, "required_cos_phi", 1, add)
    floor = _hundredths(file.floor_cos_phi, "floor_cos_phi", 1, add)
    if not 0 < floor < required:
        add("floor_cos_phi", f"{file.floor_cos_phi} is not between 0 and required_cos_phi")
    return ReactiveRule(
        header,
        frozenset(file.groups),
        file.least_kw * 1000,
        file.cycles,
        required,
        floor,
        _hundredths(file.below_floor_percent, "below_floor_percent", 1000, add),
    )


def _hundredths(value: Decimal, path: str, most: int, add: _Add) -> int:
    if not value.is_finite() or not 0 <= value <= most:
        add(path, f"between 0 and {most}")
        return 1
    if (scaled := value * 100) != int(scaled):
        add(path, f"{value} has more than two decimals")
    return int(scaled)
