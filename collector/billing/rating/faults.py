"""What can be wrong with tariffs and determinants, as errors that say where and what to do.

RatingError                (an InvalidRequest)
├── TariffFaults           tariff files that cannot be used: every fault with file, line and key
├── DeterminantsFault      determinants that cannot be read or contradict themselves
├── NotRatable             they are sound, but a price, a rate of tax or an index is lacking
└── BillsRefused           bills of a run that cannot be rated, each with its own of the above

It owns their words' form only; it must not judge anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from collector.errors import InvalidRequest


class RatingError(InvalidRequest):
    """Something that must be put right before a bill can be previewed."""

    code = "rating"


@dataclass(frozen=True, slots=True)
class TariffFault:
    """One fault of a tariff file; reads as `file:line: key: reason`."""

    where: str
    line: int
    key: str
    reason: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.where}:{self.line}: {key}{self.reason}"


class TariffFaults(RatingError):
    """Tariff files that cannot be used: nothing is rated with half a tariff."""

    code = "tariff"

    def __init__(self, faults: Sequence[TariffFault]) -> None:
        super().__init__(
            "\n".join(str(fault) for fault in faults),
            hint="correct these lines; `songlo collector tariffs check` looks again",
        )
        self.faults = tuple(faults)


class DeterminantsFault(RatingError):
    """Determinants that cannot be read, or that contradict themselves."""

    code = "determinants"


class NotRatable(RatingError):
    """Sound determinants for which a price, a rate of tax, a quota or an index is lacking."""

    code = "not_ratable"


class BillsRefused(RatingError):
    """Bills of a run that cannot be rated: `refused` has all of them, the text the first ones."""

    code = "bills_refused"
    TOLD_MAX = 20  # a screen; who needs all of them has the list

    def __init__(self, refused: Sequence[tuple[str, RatingError]], bills: int) -> None:
        told = [f"bill {bill}: {error}" for bill, error in refused[: self.TOLD_MAX]]
        if len(refused) > self.TOLD_MAX:
            told.append(f"… and {len(refused) - self.TOLD_MAX} more")
        if bills > 1:
            told.append(f"{len(refused)} of {bills} bills cannot be rated; no preview was made")
        super().__init__("\n".join(told), hint=refused[0][1].hint)
        self.refused = tuple(refused)
