"""Rating: determinants × tariffs = bill previews.

It brings pieces, shares, tiers, reactive charge and tax together; the arithmetic of each is
theirs, and where determinants and tariffs come from must not be known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from collector.billing.rating.cycle import cycle_days
from collector.billing.rating.determinants import (
    REACTIVE_REGISTER,
    BillDeterminants,
    PointDeterminants,
    Terms,
)
from collector.billing.rating.faults import (
    BillsRefused,
    DeterminantsFault,
    NotRatable,
    RatingError,
)
from collector.billing.rating.pieces import (
    Piece,
    PriceSplit,
    Segment,
    cut,
    measured,
    registers_of,
)
from collector.billing.rating.preview import (
    BillPreview,
    Determinant,
    EnergyLine,
    Minus,
    ReactiveLine,
    TariffUsed,
)
from collector.billing.rating.reactive import (
    cos_phi_hundredths,
    is_in_scope,
    k_percent_hundredths,
)
from collector.billing.rating.rounding import rounded
from collector.billing.rating.shares import divide
from collector.billing.rating.tariff import (
    Flat,
    Group,
    Header,
    PriceTable,
    Rate,
    Rates,
    ReactiveRule,
    Tiers,
    VatRate,
)
from collector.billing.rating.tariff_book import TariffBook
from collector.billing.rating.tiers import pour, tier_of, widths_kwh

_RATE_OF = {"1-0:1.8.1": Rate.NORMAL, "1-0:1.8.2": Rate.PEAK, "1-0:1.8.3": Rate.OFF_PEAK}
# 10¹⁵ đồng are more than the country pays for a year's electricity: something was misread.
BILL_VND_MAX = 10**15
_VAT_WHOLE = 100_00  # hundredths of a per cent

Children = Mapping[str, Sequence[tuple[BillDeterminants, PointDeterminants]]]


@dataclass(frozen=True, slots=True)
class RatingOptions:
    """How to rate: cuts at a change of price, and a price table to take instead, if any."""

    split: PriceSplit = PriceSplit.INDEX
    what_if: str | None = None


DEFAULT_OPTIONS = RatingOptions()


def children_of(bills: Iterable[BillDeterminants]) -> Children:
    """Every point's sub-meters, whosever bill they are on.

    A point may be on several bills of different days, as when its customer moves out. Raises
    DeterminantsFault for a parent that is on no bill, for points that are behind themselves, and
    for days of a point that two bills claim.
    """
    bills_of: dict[str, list[BillDeterminants]] = {}
    parents: dict[str, set[str]] = {}
    found: dict[str, list[tuple[BillDeterminants, PointDeterminants]]] = {}
    for bill in bills:
        for point in bill.points:
            for other in bills_of.setdefault(point.point, []):
                if _overlap(bill, other):
                    raise DeterminantsFault(
                        f"point {point.point} is on two bills for the same days: {other.bill} and"
                        f" {bill.bill}",
                        hint="give each bill its own days of the point",
                    )
            bills_of[point.point].append(bill)
            if point.parent is not None:
                parents.setdefault(point.point, set()).add(point.parent)
                found.setdefault(point.parent, []).append((bill, point))
    for parent, behind in found.items():
        if parent not in bills_of:
            raise DeterminantsFault(
                f"{behind[0][1].point} is behind {parent}, which is not among the determinants",
                hint="give the parent's determinants too, or correct `parent`",
            )
    _check_no_circle(parents)
    return found


def _check_no_circle(parents: Mapping[str, set[str]]) -> None:
    for point in parents:
        seen: set[str] = set()
        above = set(parents[point])
        while above:
            if point in above:
                raise DeterminantsFault(
                    f"{point} is behind itself",
                    hint="correct `parent` of one of the points on the way",
                )
            seen |= above
            above = {higher for name in above for higher in parents.get(name, ())} - seen


def _overlap(one: BillDeterminants, other: BillDeterminants) -> bool:
    return one.from_day < other.to_day and other.from_day < one.to_day


def rate_bills(
    bills: Sequence[BillDeterminants], book: TariffBook, options: RatingOptions = DEFAULT_OPTIONS
) -> list[BillPreview]:
    """A preview of each bill, in their order: all of them or none.

    Raises DeterminantsFault where parents and sub-meters do not fit, NotRatable for an unknown
    table to take instead, and BillsRefused with every bill that cannot be rated.
    """
    if options.what_if is not None:
        book.table(options.what_if)  # once, rather than for each bill
    children = children_of(bills)
    previews: list[BillPreview] = []
    refused: list[tuple[str, RatingError]] = []
    for bill in bills:
        try:
            previews.append(rate_bill(bill, children, book, options))
        except RatingError as error:
            refused.append((bill.bill, error))
    if refused:
        raise BillsRefused(refused, len(bills))
    return previews


def rate_bill(
    bill: BillDeterminants,
    children: Children,
    book: TariffBook,
    options: RatingOptions = DEFAULT_OPTIONS,
) -> BillPreview:
    """The preview of one bill, with the sub-meters that `children_of` found.

    Tax is rounded once, on the whole bill. Raises DeterminantsFault and NotRatable.
    """
    work = _Work(bill, book, options, cycle_days(bill.from_day, bill.billing_day))
    for point in bill.points:
        behind = children.get(point.point, ())
        _rate_point(work, point, [child for its, child in behind if _overlap(its, bill)])
    energy_vnd = sum(line.amount_vnd for line in work.lines)
    reactive_vnd = sum(line.amount_vnd for line in work.reactive)
    amount_vnd = energy_vnd + reactive_vnd
    if amount_vnd > BILL_VND_MAX:
        raise DeterminantsFault(
            f"bill {bill.bill} comes to {amount_vnd} đồng, more than {BILL_VND_MAX}",
            hint="look for an index that was misread, or a wrong multiplier",
        )
    vat, rate = book.vat_on(bill.tax_point)
    work.note(vat.header, rate)
    vat_vnd = rounded(amount_vnd * rate.percent_hundredths, _VAT_WHOLE)
    return BillPreview(
        bill=bill.bill,
        from_day=bill.from_day,
        to_day=bill.to_day,
        cycle_days=work.cycle_days,
        tax_point=bill.tax_point,
        what_if=options.what_if,
        determinants=tuple(work.determinants),
        lines=tuple(work.lines),
        reactive=tuple(work.reactive),
        energy_kwh=sum(line.energy_kwh for line in work.lines),
        energy_vnd=energy_vnd,
        reactive_vnd=reactive_vnd,
        amount_vnd=amount_vnd,
        vat_percent_hundredths=rate.percent_hundredths,
        vat_vnd=vat_vnd,
        total_vnd=amount_vnd + vat_vnd,
        tariffs=tuple(work.tariffs.values()),
    )


@dataclass(slots=True)
class _Work:
    """One bill while it is rated."""

    bill: BillDeterminants
    book: TariffBook
    options: RatingOptions
    cycle_days: int
    determinants: list[Determinant] = field(default_factory=list)
    lines: list[EnergyLine] = field(default_factory=list)
    reactive: list[ReactiveLine] = field(default_factory=list)
    tariffs: dict[str, TariffUsed] = field(default_factory=dict)
    ids: dict[tuple[str, str, date], str] = field(default_factory=dict)

    def table(self, day: date) -> PriceTable:
        """The price table for a day: the one asked for, or the one in force."""
        what_if = self.options.what_if
        return self.book.prices_on(day) if what_if is None else self.book.table(what_if)

    def note(self, header: Header, rate: VatRate | None = None) -> None:
        """Remember that a tariff was used."""
        source = header.source if rate is None else rate.source
        if header.id not in self.tariffs:
            self.tariffs[header.id] = TariffUsed(
                id=header.id,
                kind=header.kind,
                name_vi=header.name_vi,
                name_en=header.name_en,
                document=source.document,
                article=source.article,
                certainty=source.certainty,
                in_force=header.in_force,
                sha256=header.sha256,
            )

    def note_hours(self, day: date) -> None:
        """Remember the hours that meters counted rates by; none are needed to price them."""
        for hours in self.book.hours:
            if hours.header.holds_on(day):
                self.note(hours.header)

    def determinant(self, point: str, segment: Segment) -> str:
        """The id under which a segment is told, once."""
        key = (point, segment.register, segment.from_day)
        if (known := self.ids.get(key)) is not None:
            return known
        self.ids[key] = name = f"d{len(self.determinants) + 1}"
        self.determinants.append(
            Determinant(
                id=name,
                point=point,
                register=segment.register,
                from_day=segment.from_day,
                to_day=segment.to_day,
                measured=segment.measured,
                minus=tuple(Minus(point=child, energy=amount) for child, amount in segment.minus),
                energy=segment.energy,
                reads=segment.reads,
            )
        )
        return name


def _rate_point(
    work: _Work, point: PointDeterminants, children: Sequence[PointDeterminants]
) -> None:
    bill = work.bill
    changes: Sequence[date] = ()
    if work.options.what_if is None:
        changes = work.book.price_changes(bill.from_day, bill.to_day)
    pieces = cut(point, children, (bill.from_day, bill.to_day), changes, work.options.split)
    first = len(work.lines)
    for piece in pieces:
        _rate_piece(work, point.point, piece)
    _rate_reactive(work, point, pieces, work.lines[first:])


def _rate_piece(work: _Work, point: str, piece: Piece) -> None:
    table = work.table(piece.from_day)
    work.note(table.header)
    names = tuple(work.determinant(point, segment) for segment, _ in piece.energies)
    ids = dict(zip(registers_of(piece.terms), names, strict=True))
    energies = {segment.register: energy for segment, energy in piece.energies}
    shares = divide(energies, piece.terms.shares, piece.days, work.cycle_days)
    for name, energy in shares:
        group = table.groups.get(name)
        if group is None:
            raise NotRatable(
                f"{point}: price group {name!r} has no prices in {table.header.id}",
                hint=f"there are: {', '.join(table.groups)}",
            )
        priced = _Priced(work, point, piece, table, group)
        match group.price_at(piece.terms.voltage_v):
            case Tiers() as tiers:
                _rate_tiers(priced, tiers, sum(energy.values()), names)
            case Flat(price_vnd=price_vnd):
                priced.add(sum(energy.values()), price_vnd, names)
            case Rates(prices_vnd=prices):
                if piece.terms.rates == "three":
                    work.note_hours(piece.from_day)
                for register, amount in energy.items():
                    rate = _RATE_OF.get(register, Rate.NORMAL)
                    priced.add(amount, prices[rate], (ids[register],), rate=rate)


@dataclass(frozen=True, slots=True)
class _Priced:
    """What all lines of one group in one piece have in common."""

    work: _Work
    point: str
    piece: Piece
    table: PriceTable
    group: Group

    def add(
        self,
        energy: int,
        price_vnd: int,
        determinants: tuple[str, ...],
        *,
        tier: int | None = None,
        band_kwh: int | None = None,
        rate: Rate | None = None,
    ) -> None:
        """One line: kWh × đồng per kWh, both whole, so that nothing is rounded."""
        self.work.lines.append(
            EnergyLine(
                point=self.point,
                group=self.group.group,
                group_vi=self.group.name_vi,
                group_en=self.group.name_en,
                tariff=self.table.header.id,
                from_day=self.piece.from_day,
                to_day=self.piece.to_day,
                tier=tier,
                band_kwh=band_kwh,
                rate=rate,
                energy_kwh=energy,
                price_vnd=price_vnd,
                amount_vnd=energy * price_vnd,
                determinants=determinants,
            )
        )


def _rate_tiers(priced: _Priced, tiers: Tiers, energy: int, names: tuple[str, ...]) -> None:
    """The quota's bands, scaled to the piece's days, and the energy in each.

    Bands without energy have no line, except the first of a bill that used nothing.
    """
    work, piece = priced.work, priced.piece
    terms = piece.terms
    quota = (terms.households or 1, 1)
    if terms.renters is not None or terms.renters_undeclared:
        rule = work.book.quotas_on(piece.from_day)
        work.note(rule.header)
        if terms.renters_undeclared:
            number, tier = tier_of(tiers, rule.undeclared_above_kwh)
            priced.add(energy, tier.price_vnd, names, tier=number)
            return
        assert terms.renters is not None
        quota = (terms.renters, rule.persons_per_quota)
    widths = widths_kwh(tiers, quota, piece.days, work.cycle_days)
    for index, amount in enumerate(pour(energy, widths)):
        if amount or (index == 0 and energy == 0):
            width = widths[index] if index < len(widths) else None
            price = tiers.tiers[index].price_vnd
            priced.add(amount, price, names, tier=index + 1, band_kwh=width)


def _rate_reactive(
    work: _Work,
    point: PointDeterminants,
    pieces: Sequence[Piece],
    lines: Sequence[EnergyLine],
) -> None:
    """The charge over the whole period, on the amounts of the groups and days that pay it.

    cos φ is that of the point's own meter, sub-meters included: theirs is behind it.
    """
    bill = work.bill
    if not any(terms.registered_w or terms.cycle_demands_w for terms in point.terms):
        return
    rule = work.book.reactive_on(bill.from_day)
    paying = [piece for piece in pieces if _pays(rule, piece.terms)]
    if not paying:
        return
    use = point.use(REACTIVE_REGISTER)
    if use is None:
        raise NotRatable(
            f"{point.point} pays for reactive energy and has no {REACTIVE_REGISTER}",
            hint="give the register's parts; a meter of 40 kW or more has one",
        )
    starts = {piece.from_day for piece in paying}
    base_vnd = sum(
        line.amount_vnd for line in lines if line.group in rule.groups and line.from_day in starts
    )
    reactive = measured(point, REACTIVE_REGISTER, bill.from_day, bill.to_day)
    reads = tuple(read for part in use.parts for read in part.reads)
    segment = Segment(REACTIVE_REGISTER, bill.from_day, bill.to_day, reactive, (), reactive, reads)
    segments = {id(found): found for piece in pieces for found, _ in piece.energies}
    active = sum(found.measured for found in segments.values())
    names = dict.fromkeys(work.determinant(point.point, found) for found in segments.values())
    cos_phi = cos_phi_hundredths(active, reactive)
    percent = k_percent_hundredths(rule, cos_phi)
    work.note(rule.header)
    work.reactive.append(
        ReactiveLine(
            point=point.point,
            tariff=rule.header.id,
            active_kwh=active,
            reactive_kvarh=reactive,
            cos_phi_hundredths=cos_phi,
            k_percent_hundredths=percent,
            base_vnd=base_vnd,
            amount_vnd=rounded(base_vnd * percent, _VAT_WHOLE),
            determinants=(*names, work.determinant(point.point, segment)),
        )
    )


def _pays(rule: ReactiveRule, terms: Terms) -> bool:
    return is_in_scope(rule, terms, [share.group for share in terms.shares])
