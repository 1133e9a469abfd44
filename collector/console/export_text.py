"""What became of a hand-over, as plain text in the reader's language.

It knows words; it must not decide anything.
"""

from collections.abc import Iterator

from collector.billing.exports.cmis.fill import Tally
from collector.billing.exports.cmis.values import Disagreement, Reason
from collector.console.locale import Speech


def _(text: str) -> str:
    """Marks a text for the catalogue; it is translated when it is shown."""
    return text


REASONS = {
    Reason.UNKNOWN_POINT: _("the point is not in the snapshot"),
    Reason.REGISTER_DIFFERS: _("the register is none of the point's"),
    Reason.NOT_IN_FILE: _("in the snapshot and not in the file"),
    Reason.DUPLICATE: _("the file has this register twice"),
    Reason.UNREADABLE: _("a number or date of the file is none"),
    Reason.SERIAL_DIFFERS: _("another meter serial"),
    Reason.MULTIPLIER_DIFFERS: _("another multiplier"),
    Reason.OLD_INDEX_DIFFERS: _("another old index"),
    Reason.PERIOD_DIFFERS: _("another first day"),
    Reason.ALREADY_READ: _("the file has another new index already"),
    Reason.REMOVED_DIFFERS: _("another energy of the removed meter"),
    Reason.MARK_REFUSED: _("the status mark contradicts the meter"),
    Reason.MARK_UNKNOWN: _("unknown status mark"),
    Reason.NO_CONSUMPTION: _("no consumption can be told"),
    Reason.REGISTERS_CHANGED: _("meters before and after the exchange count other registers"),
    Reason.SIBLING_MISSING: _("one of BT, CD, TD is missing"),
    Reason.ROLL_OVER_UNKNOWN: _("rolled over, and the registry does not say where"),
    Reason.HELD: _("left out of the billing run"),
    Reason.CREDIT: _("less than nothing is billed: adjust it by hand"),
    Reason.CORRECTED: _("SL_THAO includes a correction of earlier periods"),
    Reason.NOT_DECIMAL: _("no decimal of the file's column says it exactly"),
}


def tally_text(tally: Tally, speech: Speech) -> Iterator[str]:
    """A line of sums, then one line for each reason."""
    gettext = speech.gettext
    sums = (
        (gettext("Rows"), tally.rows),
        (gettext("filled"), tally.filled),
        (gettext("not actual"), tally.not_actual),
        (gettext("to look at"), len(tally.disagreements)),
    )
    yield "; ".join(f"{name}: {speech.number(value)}" for name, value in sums)
    for reason, count in tally.by_reason().items():
        yield f"  {speech.number(count)} × {gettext(REASONS[Reason(reason)])} ({reason})"


def disagreement_text(one: Disagreement, speech: Speech) -> str:
    """One row to look at: where it is, why, and what both sides say."""
    gettext = speech.gettext
    row = gettext("row")
    where = "–" if one.row is None else f"{row} {one.row}"
    sides = f": {one.theirs or '–'} ≠ {one.ours or '–'}" if one.theirs or one.ours else ""
    return f"{where}  {one.point or '–'}  {one.code or '–'}  {gettext(REASONS[one.reason])}{sides}"
