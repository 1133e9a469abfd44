"""The tariffs together: what holds on a day, and the check that dates leave no hole or overlap.

It must not know files; it is given values and says which applies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import TypeVar

from collector.billing.rating.faults import NotRatable, TariffFault, TariffFaults
from collector.billing.rating.tariff import (
    Header,
    Hours,
    PriceTable,
    QuotaRule,
    ReactiveRule,
    TariffValue,
    Vat,
    VatRate,
)
from collector.billing.rating.tariff_file import join_fault

_Value = TypeVar("_Value", PriceTable, Hours, ReactiveRule, QuotaRule)


@dataclass(frozen=True, slots=True)
class TariffBook:
    """Every tariff known, by id; those in force of a kind follow each other in time."""

    values: Mapping[str, TariffValue]
    prices: Sequence[PriceTable] = ()
    hours: Sequence[Hours] = ()
    reactive: Sequence[ReactiveRule] = ()
    quotas: Sequence[QuotaRule] = ()
    vat: Sequence[Vat] = ()

    @property
    def headers(self) -> tuple[Header, ...]:
        """What every file says of itself, by kind and time; what is not in force comes last."""
        return tuple(sorted((value.header for value in self.values.values()), key=_order))

    def prices_on(self, day: date) -> PriceTable:
        """The table in force on a day. Raises NotRatable if there is none."""
        return _on(day, self.prices, "price table")

    def hours_on(self, day: date) -> Hours:
        """The hours in force on a day. Raises NotRatable if there are none."""
        return _on(day, self.hours, "hours of time of use")

    def reactive_on(self, day: date) -> ReactiveRule:
        """The reactive charge in force on a day. Raises NotRatable if there is none."""
        return _on(day, self.reactive, "rule for reactive energy")

    def quotas_on(self, day: date) -> QuotaRule:
        """The quotas in force on a day. Raises NotRatable if there are none."""
        return _on(day, self.quotas, "rule for quotas")

    def vat_on(self, tax_point: date) -> tuple[Vat, VatRate]:
        """The tax on what falls due on a day, and its file. Raises NotRatable if there is none."""
        for vat in self.vat:
            for rate in vat.rates:
                if rate.valid_from <= tax_point and (
                    rate.valid_to is None or tax_point < rate.valid_to
                ):
                    return vat, rate
        raise NotRatable(
            f"no rate of value-added tax for the tax point {tax_point}",
            hint="add it, with its days and source, to the file of kind vat",
        )

    def table(self, tariff: str) -> PriceTable:
        """A price table by its id, in force or not. Raises NotRatable for an unknown one."""
        found = self.values.get(tariff)
        if isinstance(found, PriceTable):
            return found
        known = [key for key, value in self.values.items() if isinstance(value, PriceTable)]
        there = ", ".join(sorted(known)) or "none"
        raise NotRatable(f"no price table {tariff!r}", hint=f"there are: {there}")

    def price_changes(self, from_day: date, to_day: date) -> tuple[date, ...]:
        """The days within (from_day, to_day) on which another table comes into force."""
        starts = (table.header.valid_from for table in self.prices)
        return tuple(day for day in starts if day is not None and from_day < day < to_day)


def make_book(values: Iterable[TariffValue]) -> TariffBook:
    """The book of these tariffs.

    Raises TariffFaults for ids that occur twice and for days that none or two of a kind claim.
    """
    faults: list[TariffFault] = []
    by_id: dict[str, TariffValue] = {}
    for value in values:
        header = value.header
        if (first := by_id.get(header.id)) is not None:
            reason = f"{header.id} is also in {first.header.where}"
            faults.append(TariffFault(header.where, 1, "id", reason))
        by_id[header.id] = value
    found = list(by_id.values())
    prices = _in_force(found, PriceTable, faults)
    hours = _in_force(found, Hours, faults)
    reactive = _in_force(found, ReactiveRule, faults)
    quotas = _in_force(found, QuotaRule, faults)
    vat = [value for value in found if isinstance(value, Vat)]
    for other in vat[1:]:
        reason = f"all rates of tax are in one file, {vat[0].header.where}"
        faults.append(TariffFault(other.header.where, 1, "kind", reason))
    if faults:
        raise TariffFaults(faults)
    ended: list[TariffValue] = [*prices, *hours, *reactive, *quotas]
    by_id.update((value.header.id, value) for value in ended)
    return TariffBook(by_id, prices, hours, reactive, quotas, vat)


def _order(header: Header) -> tuple[str, date, str]:
    return header.kind, header.valid_from or date.max, header.id


def _in_force(
    values: Iterable[TariffValue], kind: type[_Value], faults: list[TariffFault]
) -> list[_Value]:
    """Those of a kind in their order, each ended by the next one where it has no end itself."""
    found = [value for value in values if isinstance(value, kind) and value.header.in_force]
    found.sort(key=lambda value: _order(value.header))
    for number, (before, after) in enumerate(pairwise(found)):
        starts = after.header.valid_from
        assert starts is not None, "what is in force says since when"
        ended = before.header.valid_to
        if ended is None and before.header.valid_from != starts:
            # A new decision ends the one before without a change of its file.
            ended = starts
            found[number] = replace(before, header=replace(before.header, valid_to=starts))
        if reason := join_fault(ended, starts):
            text = f"{reason} (the one before: {before.header.where})"
            faults.append(TariffFault(after.header.where, 1, "valid", text))
    return found


def _on(day: date, values: Sequence[_Value], what: str) -> _Value:
    for value in values:
        if value.header.holds_on(day):
            return value
    raise NotRatable(
        f"no {what} is in force on {day}",
        hint="add the file of that time to the tariffs, with its source",
    )
