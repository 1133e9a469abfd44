"""Which model is the meter at one address: what it calls itself, what its registers show.

Owns what is asked and what is concluded. It must not know lines, nor how the meter was found.
"""

from contract.registers import Kind
from gateway.lines.asking import Asker
from gateway.meters.attributes import attribute_value
from gateway.meters.checks import Answer, ObjectQuestion, Question, RegistersQuestion
from gateway.meters.decode import BlockDecoder
from gateway.meters.evidence import displayed, evidence
from gateway.meters.plan import plan_registers
from gateway.meters.probe import Match, evaluate, in_order, questions, rank
from gateway.meters.profile import MeterProfile
from gateway.protocols.device_identification import PRODUCT, REVISION, VENDOR
from gateway.search.values import Candidate, Found

NEAR_MISSES_MAX = 2

_NO_MODEL = (
    "no profile fits: read the type plate; docs/adding-a-meter.md shows how to add its model"
)


async def examine(asker: Asker, profiles: tuple[MeterProfile, ...], meter: Found) -> None:
    """Ask one meter what it is, and put that into `meter`.

    Raises ReadFailed (line_down) when the connection is lost; what was learnt until then stays.
    """
    answers: dict[Question, Answer] = {}
    meter.identification = await _identification(asker, answers)
    for question in questions(profiles):
        if answers.get(question) is None and not isinstance(question, ObjectQuestion):
            answers[question] = await asker.ask(question)
    matches = await _ranked(profiles, asker, answers)
    by_name = {profile.name: profile for profile in profiles}
    meter.candidates = [_candidate(by_name[match.profile], match, answers) for match in matches]
    if meter.best is None:
        meter.remarks += [*_near_misses(profiles, answers), _NO_MODEL]
        return
    profile = by_name[matches[0].profile]
    await _look_closer(asker, in_order(profile, matches[0].order), meter)


def is_same_device(one: Found, other: Found) -> bool:
    """Whether what two addresses say can only come from one device: its serial, or its energy."""
    if one.serial or other.serial:
        return one.serial == other.serial
    return one.energy == other.energy and bool(set(one.energy) & set("123456789"))


def _near_misses(profiles: tuple[MeterProfile, ...], answers: dict[Question, Answer]) -> list[str]:
    """Profiles of which most fits, and what does not, in words; at most NEAR_MISSES_MAX."""
    matches = [(profile, evaluate(profile, answers)) for profile in profiles]
    near = [(profile, match) for profile, match in matches if match.fits > len(match.against) > 0]
    near.sort(key=lambda pair: (len(pair[1].against), -pair[1].fits))
    return [
        f"nearest is {profile.name}: {'; '.join(evidence(profile, match.order, answers))}; "
        f"but not: {'; '.join(match.against)}"
        for profile, match in near[:NEAR_MISSES_MAX]
    ]


async def _identification(asker: Asker, answers: dict[Question, Answer]) -> str:
    """Vendor, product and revision as the device says them; empty where it does not."""
    said = []
    for number in (VENDOR, PRODUCT, REVISION):
        question = ObjectQuestion(number)
        answer = answers[question] = await asker.ask(question)
        if not isinstance(answer, bytes):
            break
        said.append(answer.decode("ascii", "replace").strip("\0 "))
    return " ".join(filter(None, said))


async def _ranked(
    profiles: tuple[MeterProfile, ...], asker: Asker, answers: dict[Question, Answer]
) -> list[Match]:
    """The profiles that may fit; what was lost on the way is asked once more for those."""
    matches = rank(profiles, answers)
    possible = {match.profile for match in matches}
    again = [
        question
        for question in questions(profile for profile in profiles if profile.name in possible)
        if answers.get(question) is None and not isinstance(question, ObjectQuestion)
    ]
    for question in again:
        answers[question] = await asker.ask(question)
    return rank(profiles, answers) if again else matches


def _candidate(profile: MeterProfile, match: Match, answers: dict[Question, Answer]) -> Candidate:
    return Candidate(
        profile,
        evidence(profile, match.order, answers),
        tuple(map(int, match.score)),
        None if match.order is profile.order else match.order,
        is_certain=match.identified > 0,
    )


async def _look_closer(asker: Asker, profile: MeterProfile, meter: Found) -> None:
    """The serial and the present energy of a meter whose model is known, for comparison."""
    for attribute in profile.attributes:
        if attribute.name.startswith("serial"):
            function = attribute.function or profile.function
            answer = await asker.ask(
                RegistersQuestion(function, attribute.address, attribute.count)
            )
            if isinstance(answer, bytes):
                value = attribute_value(attribute, answer, profile.order)
                meter.serial = "" if value is None else str(value)
            break
    energies = [m for m in profile.registers if m.register.kind is Kind.CUMULATIVE]
    for block in plan_registers(profile, energies[:1]):
        answer = await asker.ask(RegistersQuestion(block.function, block.address, block.count))
        if isinstance(answer, bytes):
            first = energies[0]
            value = BlockDecoder(profile, block).decode(answer)[first.obis]
            if isinstance(value, int):
                meter.energy = displayed(value, first.register, first.resolution)
