"""One meter's energy divided among its price groups, as the contract shares it out.

It knows shares and integers; it must not know prices.
"""

from collections.abc import Mapping, Sequence

from collector.billing.rating.determinants import Share
from collector.billing.rating.faults import NotRatable
from collector.billing.rating.rounding import rounded

_WHOLE = 100_00  # hundredths of a per cent


def divide(
    energies: Mapping[str, int], shares: Sequence[Share], days: int, cycle_days: int
) -> list[tuple[str, dict[str, int]]]:
    """Per share its group and its energy by register; the sums are the energies given.

    A share in kWh is meant for a whole cycle: a piece of `days` has kwh × days ÷ cycle_days of it,
    rounded, and no more than there is. Per cents divide what remains: the bounds between them are
    rounded, not the shares, so that nothing is lost and nothing is there twice.

    Raises NotRatable for a share in kWh of a meter that is billed by rates: which rate it should
    be taken from is not laid down.
    """
    left = dict(energies)
    divided: list[tuple[str, dict[str, int]]] = []
    for share in shares:
        if share.kwh is None:
            continue
        if len(left) > 1:
            raise NotRatable(
                f"a share of {share.kwh} kWh for {share.group} cannot be taken from a meter that"
                " is billed by rates",
                hint="share it out in per cent",
            )
        ((register, energy),) = left.items()
        taken = min(energy, rounded(share.kwh * days, cycle_days))
        left[register] = energy - taken
        divided.append((share.group, {register: taken}))
    reached = 0
    for share in shares:
        if share.kwh is not None:
            continue
        before, reached = reached, reached + share.percent_hundredths
        part = {
            register: rounded(energy * reached, _WHOLE) - rounded(energy * before, _WHOLE)
            for register, energy in left.items()
        }
        divided.append((share.group, part))
    return divided
