"""V03 negative consumption: an index below an earlier one, without an exchange or a roll-over.

Oracle Utilities "Negative Consumption Check"; the readings' state "abnormal negative" in the field
tools. A transient zero is one too: what comes after it is compared with what stood before it.
"""

from collections.abc import Iterator, Sequence

from collector.civil import format_instant
from collector.vee.negative_consumption import RollOverProof, Step, step
from collector.vee.reads import Read
from collector.vee.rule import Place, Rule, RuleLimits, Said, finding
from collector.vee.rule import mark as _
from collector.vee.values import Fact, Finding, Severity, Subject
from contract.registers import BY_OBIS, Unit


class Limits(RuleLimits, frozen=True, kw_only=True):
    """When a roll-over that nobody recorded is believed (see `negative_consumption`)."""

    severity: Severity
    roll_over_power_max_w: int
    roll_over_modulus_share: int


def check(subject: Subject, limits: Limits) -> list[Finding] | None:
    """One finding for each time that a register fell below where it had been."""
    if not any(subject.reads.values()):
        return None
    proof = RollOverProof(limits.roll_over_power_max_w, limits.roll_over_modulus_share)
    found = []
    for register, reads in subject.reads.items():
        # The modulus is that of the active energy display; for others none is known.
        active = register in BY_OBIS and BY_OBIS[register].unit is Unit.WH
        modulus = subject.roll_over_wh if active else None
        for before, fallen, lowest in _falls(sorted(reads), modulus, proof):
            facts: dict[str, Fact] = {
                "from_at": format_instant(before.at),
                "at": format_instant(fallen.at),
                "index_from_wh": before.value,
                "index_to_wh": lowest,
                "roll_over_wh": "none" if modulus is None else modulus,
            }
            where = Place(register, format_instant(fallen.at), before.at, fallen.at)
            found.append(finding("V03", limits.severity, subject, where, facts))
    return found


def _falls(
    reads: Sequence[Read], modulus: int | None, proof: RollOverProof
) -> Iterator[tuple[Read, Read, int]]:
    """What stood before each fall, the first read of the fall, and the lowest value in it."""
    if not reads:
        return
    base = reads[0]
    fallen: Read | None = None
    lowest = 0
    for read in reads[1:]:
        if step(base.value, read.value, modulus, read.at - base.at, proof) is not Step.BACKWARD:
            if fallen is not None:
                yield base, fallen, lowest
            base, fallen = read, None
        elif fallen is None:
            fallen, lowest = read, read.value
        else:
            lowest = min(lowest, read.value)
    if fallen is not None:
        yield base, fallen, lowest


RULE = Rule(
    id="V03",
    name="negative_consumption",
    title=_("Negative consumption"),
    needs=_("two reads of a register"),
    source="Oracle Utilities Negative Consumption Check",
    limits=Limits,
    check=check,
    said={
        "": Said(
            _(
                "The index fell from {index_from_wh} ({from_at}) to {index_to_wh} ({at}); "
                "roll-over at: {roll_over_wh}."
            ),
            _(
                "See whether the meter was exchanged without a record or rolled over; read it "
                "on the spot. A zero that recovers is a fault of the line or of the meter."
            ),
        )
    },
)
