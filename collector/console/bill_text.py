"""A bill preview as plain text in the reader's language: lines, sums, and what they rest on.

It knows words and columns; it must not compute anything but the difference of two totals.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal

from collector.billing.rating.preview import (
    Adjustment,
    BillPreview,
    Determinant,
    EnergyLine,
    ReactiveLine,
    preview_hash,
)
from collector.billing.rating.tariff import Certainty, Rate
from collector.console.locale import Speech

_HASH_SHOWN = 16


def _(text: str) -> str:
    """Marks a text for the catalogue; it is translated when it is shown."""
    return text


_RATES = {Rate.NORMAL: _("normal"), Rate.PEAK: _("peak"), Rate.OFF_PEAK: _("off-peak")}

_CERTAINTY = {
    Certainty.SOURCED: _("from the document"),
    Certainty.SECONDARY: _("told by others"),
    Certainty.UNVERIFIED: _("to be verified"),
}


def bill_text(
    preview: BillPreview, speech: Speech, what_if: BillPreview | None = None
) -> Iterator[str]:
    """The lines of text of one preview, and what it would be under another price table."""
    gettext = speech.gettext
    title, tax_point = gettext("Bill preview"), gettext("tax point")
    yield (
        f"{title} {preview.bill}: {_days(preview, speech)},"
        f" {tax_point} {speech.day(preview.tax_point)}"
    )
    rows = [_energy_row(line, speech) for line in preview.lines]
    rows += [_reactive_row(line, speech) for line in preview.reactive]
    heads = (
        gettext("Point"),
        gettext("What for"),
        gettext("Days"),
        gettext("Quantity"),
        gettext("Price"),
        gettext("đồng"),
    )
    yield from _table([heads, *rows])
    tax = gettext("Value-added tax")
    sums = (
        (gettext("Before tax"), preview.amount_vnd),
        (f"{tax} {_hundredths(preview.vat_percent_hundredths, speech)} %", preview.vat_vnd),
        *((_adjusted(one, speech), one.total_vnd) for one in preview.adjustments),
        (gettext("To pay"), preview.total_vnd),
    )
    yield from _table([(name, speech.number(value)) for name, value in sums])
    if what_if is not None:
        change = what_if.total_vnd - preview.total_vnd
        sign = "+" if change > 0 else ""
        other = gettext("What if")
        yield (
            f"  {other} {what_if.what_if}: {speech.number(what_if.total_vnd)}"
            f" ({sign}{speech.number(change)})"
        )
    for one in preview.adjustments:
        run = gettext("billing run")
        yield f"  {_adjusted(one, speech)}: {run} {one.run}"
        for sign, lines in (("−", one.before), ("+", one.after)):
            for line in lines:
                yield f"    {sign} {'  '.join(_energy_row(line, speech))}"
    for determinant in preview.determinants:
        yield from _determinant(determinant, speech)
    for used in preview.tariffs:
        name = used.name_vi if speech.language == "vi" else used.name_en
        sure = gettext(_CERTAINTY[used.certainty])
        yield (
            f"  {used.id}: {name} – {used.document}, {used.article} ({sure});"
            f" SHA-256 {used.sha256[:_HASH_SHOWN]}…"
        )
    label = gettext("Preview, not an invoice")
    yield f"  {label}; SHA-256 {preview_hash(preview)}"


def _adjusted(one: Adjustment, speech: Speech) -> str:
    """Which bill is adjusted by how many kWh."""
    name = speech.gettext("Adjustment of the bill of")
    return f"{name} {_days(one, speech)}, {speech.number(one.energy_kwh)} kWh"


def _days(span: Adjustment | BillPreview | EnergyLine | Determinant, speech: Speech) -> str:
    """First and last day, both included, as people write a period."""
    return f"{speech.day(span.from_day)} – {speech.day(span.to_day - timedelta(days=1))}"


def _hundredths(value: int, speech: Speech) -> str:
    """A number in hundredths, with decimals only where it has some."""
    return speech.number(Decimal(value).scaleb(-2), 2 if value % 100 else 0)


def _determinant(determinant: Determinant, speech: Speech) -> Iterator[str]:
    """What was measured, less which sub-meters, and from which reads."""
    less = "".join(f" − {speech.number(m.energy)} ({m.point})" for m in determinant.minus)
    yield (
        f"  {determinant.id}: {determinant.point} {determinant.register}"
        f" {_days(determinant, speech)}: {speech.number(determinant.measured)}{less}"
    )
    for read in determinant.reads:
        yield (
            f"      {read.meter}: {speech.kwh(read.index_from_wh, 3)} →"
            f" {speech.kwh(read.index_to_wh, 3)} × {read.multiplier} = {speech.number(read.energy)}"
            f" ({speech.instant(read.from_at)} → {speech.instant(read.to_at)}, {read.quality})"
        )


def _energy_row(line: EnergyLine, speech: Speech) -> tuple[str, ...]:
    what = line.group_vi if speech.language == "vi" else line.group_en
    if line.tier is not None:
        tier = speech.gettext("tier")
        what += f", {tier} {line.tier}"
    if line.rate is not None:
        what += f", {speech.gettext(_RATES[line.rate])}"
    quantity = f"{speech.number(line.energy_kwh)} kWh"
    amounts = (speech.number(line.price_vnd), speech.number(line.amount_vnd))
    return (line.point, what, _days(line, speech), quantity, *amounts)


def _reactive_row(line: ReactiveLine, speech: Speech) -> tuple[str, ...]:
    name = speech.gettext("Reactive energy")
    cos_phi = speech.number(Decimal(line.cos_phi_hundredths).scaleb(-2), 2)
    percent = speech.number(Decimal(line.k_percent_hundredths).scaleb(-2), 2)
    quantity = f"{speech.number(line.reactive_kvarh)} kvarh"
    what = f"{name}, cos φ {cos_phi}, {percent} %"
    return (line.point, what, "", quantity, "", speech.number(line.amount_vnd))


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell; the last ones, which are numbers, to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    words = max(1, len(widths) - 3)
    for row in rows:
        cells = [
            cell.ljust(width) if number < words else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()
