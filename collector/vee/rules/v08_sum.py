"""V08 sum: the total register against the rate registers, and intervals against the registers.

Oracle Utilities "Sum Check"; IESO "Meter reading vs load profile". Consumptions are compared, not
levels: registers are truncated each by itself, so that three rates may lag by three steps of the
display. The multiplier is the same on both sides: what is compared is what the registers show.
"""

from dataclasses import replace
from itertools import pairwise

from collector.civil import format_instant
from collector.vee.reads import DailyIndex
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Subject
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

_SUMS = (
    (IMPORT_ACTIVE, ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")),
    (EXPORT_ACTIVE, ("1-0:2.8.1", "1-0:2.8.2", "1-0:2.8.3")),
)


class Limits(RuleLimits, frozen=True, kw_only=True):
    """The tolerance in steps of the display."""

    severity: Severity
    tolerance_steps: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """At most one finding for each direction, over all days, and one for the intervals."""
    if subject.resolution_wh is None:
        return None
    tolerance_wh = limits.tolerance_steps * subject.resolution_wh
    found = []
    applies = False
    for total, rates in _SUMS:
        ends = _common_ends(subject, (total, *rates))
        if ends is None:
            continue
        applies = True
        first, last = ends
        of_total = last[total].value - first[total].value
        of_rates = sum(last[rate].value - first[rate].value for rate in rates)
        if abs(of_total - of_rates) > tolerance_wh:
            one = _apart(subject, limits, (first[total], last[total]), (of_total, of_rates))
            found.append(replace(one, register=total))
    of_intervals = _intervals(subject, limits, tolerance_wh)
    return found + (of_intervals or []) if applies or of_intervals is not None else None


def _apart(
    subject: Subject, limits: Limits, ends: tuple[DailyIndex, DailyIndex], energies: tuple[int, int]
) -> Finding:
    first, last = ends
    assert subject.resolution_wh is not None, "without a resolution nothing was compared"
    facts: dict[str, Fact] = {
        "from_at": format_instant(first.at),
        "to_at": format_instant(last.at),
        "total_wh": energies[0],
        "parts_wh": energies[1],
        "tolerance_wh": limits.tolerance_steps * subject.resolution_wh,
        "multiplier": str(subject.multiplier or 1),
    }
    register = IMPORT_ACTIVE
    key = f"{facts['from_at']} {facts['to_at']}"
    return finding("V08", limits.severity, subject, Place(register, key, first.at, last.at), facts)


def _common_ends(
    subject: Subject, registers: tuple[str, ...]
) -> tuple[dict[str, DailyIndex], dict[str, DailyIndex]] | None:
    """The first and the last day's start at which all of these have an index of one read."""
    if not all(register in subject.indices for register in registers):
        return None
    both: list[dict[str, DailyIndex]] = []
    for place in range(len(subject.starts)):
        of_start = {
            register: one
            for register in registers
            if (one := subject.indices[register][place]) is not None and one.measured
        }
        same_read = len({one.read_at for one in of_start.values()}) == 1
        if len(of_start) == len(registers) and same_read:
            both.append(of_start)
    return (both[0], both[-1]) if len(both) > 1 else None


def _intervals(subject: Subject, limits: Limits, tolerance_wh: int) -> list[Finding] | None:
    """Whether whole days of intervals add up to what the register moved by."""
    if not subject.intervals:
        return None
    found: list[Finding] | None = None
    for start, end in subject.steps(IMPORT_ACTIVE):
        inside = [
            one
            for one in sorted(subject.intervals)
            if start.read_at <= one.from_at and one.to_at <= end.read_at
        ]
        whole = (
            bool(inside)
            and inside[0].from_at == start.read_at
            and inside[-1].to_at == end.read_at
            and all(one.to_at == two.from_at for one, two in pairwise(inside))
        )
        if not whole:
            continue
        found = [] if found is None else found
        parts = sum(one.energy_wh for one in inside)
        if abs(end.value - start.value - parts) > tolerance_wh:
            one = _apart(subject, limits, (start, end), (end.value - start.value, parts))
            found.append(replace(one, variant="intervals", key=f"intervals {one.key}"))
    return found


RULE = Rule(
    id="V08",
    name="sum_check",
    title=_("Parts that do not add up to the total"),
    needs=_("the resolution, and rate registers or intervals beside the total"),
    source="Oracle Utilities Sum Check; IESO",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "From {from_at} to {to_at} the total moved by {total_wh} Wh, the rates by "
                "{parts_wh} Wh together; {tolerance_wh} Wh may lie between them (multiplier "
                "{multiplier})."
            ),
            _(
                "Check the order and the scale of the rate registers in the meter profile, and "
                "that the meter is programmed for three rates. Only this point is held back."
            ),
        ),
        "intervals": Said(
            _(
                "From {from_at} to {to_at} the register moved by {total_wh} Wh, its intervals "
                "add up to {parts_wh} Wh; {tolerance_wh} Wh may lie between them (multiplier "
                "{multiplier})."
            ),
            _("The register is what counts; have the load profile read back."),
        ),
    },
)
