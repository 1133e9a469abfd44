"""Which model is it: the probes of meter profiles, evaluated over a meter's answers.

Says what to ask and what the answers mean. It must not know how they are had, nor which lines and
addresses there are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from gateway.meters.checks import Answer, Outcome, Question
from gateway.meters.profile import MeterProfile
from gateway.meters.wire import Order


@dataclass(frozen=True, slots=True)
class Match:
    """How well a profile fits what a meter answered.

    `order` is the word order with which it fits: where it is not the profile's own, the meter is
    set to another one, and `in_order` gives the profile with which to read it. `identified` counts
    the checks that name the model, `fits` all that fit, `undecided` those that told nothing;
    `against` has what the contradicted checks would have shown.
    """

    profile: str
    order: Order
    identified: int
    fits: int
    undecided: int
    against: tuple[str, ...]

    @property
    def is_possible(self) -> bool:
        """Whether something speaks for the profile and nothing against it."""
        return not self.against and self.fits > 0

    @property
    def score(self) -> tuple[bool, int, int]:
        """Greater fits better; equal ones cannot be told apart by their probes."""
        return not self.against, self.identified, self.fits


def questions(profiles: Iterable[MeterProfile]) -> tuple[Question, ...]:
    """Everything that the probes of `profiles` ask, each once, in the order of the profiles."""
    return tuple(
        dict.fromkeys(
            check.question(profile.function) for profile in profiles for check in profile.probe
        )
    )


def evaluate(profile: MeterProfile, answers: Mapping[Question, Answer]) -> Match:
    """How well `profile` fits; with the word order of it and of `other_orders` that fits best.

    A question without an answer in `answers` tells nothing.
    """
    return max(
        (_with_order(profile, order, answers) for order in (profile.order, *profile.other_orders)),
        key=lambda match: match.score,
    )


def rank(profiles: Iterable[MeterProfile], answers: Mapping[Question, Answer]) -> list[Match]:
    """The profiles that may fit the meter, best first; those of equal score in their own order."""
    matches = (evaluate(profile, answers) for profile in profiles)
    possible = [match for match in matches if match.is_possible]
    return sorted(possible, key=lambda match: match.score, reverse=True)


def in_order(profile: MeterProfile, order: Order) -> MeterProfile:
    """`profile` for a meter that is set to send its words in `order`.

    Registers and checks that have an order of their own keep it.
    """
    return profile if order is profile.order else msgspec.structs.replace(profile, order=order)


def _with_order(profile: MeterProfile, order: Order, answers: Mapping[Question, Answer]) -> Match:
    outcomes = [
        (check, check.outcome(answers.get(check.question(profile.function)), order))
        for check in profile.probe
    ]
    fitting = [check for check, outcome in outcomes if outcome is Outcome.FITS]
    return Match(
        profile=profile.name,
        order=order,
        identified=sum(check.identifies for check in fitting),
        fits=len(fitting),
        undecided=sum(outcome is Outcome.UNDECIDED for _, outcome in outcomes),
        against=tuple(check.says for check, outcome in outcomes if outcome is Outcome.CONTRADICTS),
    )
