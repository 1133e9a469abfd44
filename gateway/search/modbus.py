"""The search of a Modbus line: settings by settings, address by address, then model by model.

Owns the order in which things are asked. It must not know who asks and how it is shown.
"""

from dataclasses import dataclass, field

from contract.messages import MissingReason
from contract.registers import Kind
from gateway.lines.asking import Asker
from gateway.lines.endpoints import Endpoint, Framing
from gateway.lines.modbus import DisconnectedError, ModbusConnection
from gateway.meters.attributes import attribute_value
from gateway.meters.checks import Answer, ObjectQuestion, Question, RegistersQuestion
from gateway.meters.decode import BlockDecoder
from gateway.meters.evidence import evidence
from gateway.meters.plan import plan_registers
from gateway.meters.probe import Match, in_order, questions, rank
from gateway.meters.profile import MeterProfile, Timing
from gateway.ports import ReadFailed
from gateway.protocols.device_identification import PRODUCT, REVISION, VENDOR
from gateway.search.presence import Signal, presence_of
from gateway.search.values import Candidate, Found, Presence, Progress, Report, Search

LATE_TIMES = 4  # an address that was heard late is asked again with so many times the patience

# As many addresses in a row that say the same: one device that answers for all of them.
SAME_ANSWERS_MAX = 8

_COLLISION = (
    "only damaged replies: two meters with this address, a second master, or a line without "
    "termination; take one meter off the line and search again"
)
_ONE_FOR_ALL = (
    "it answers to every address, as meters with a network port of their own do; any address "
    "will do"
)
_LATE = "it answers late: give its profile a greater response_timeout_ms"
_NO_MODEL = (
    "no profile fits: read the type plate; docs/adding-a-meter.md shows how to add its model"
)


@dataclass(slots=True)
class _Sweep:
    """One endpoint being searched: who was heard, and who was heard late."""

    found: list[Found] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    last_reply: bytes | None = None
    same_replies: int = 0


async def search_modbus(search: Search, found: list[Found], report: Report) -> None:
    """Search every endpoint; each meter is put into `found` as soon as something is known of it.

    Raises ReadFailed (line_down) when an endpoint cannot be opened or is lost.
    """
    progress = _Counter(search, found, report)
    for endpoint in search.endpoints:
        connection = ModbusConnection(endpoint)
        try:
            await connection.open()
            await _search_endpoint(search, connection, endpoint, found, progress)
        except DisconnectedError as error:
            raise ReadFailed(MissingReason.LINE_DOWN, str(error)) from error
        finally:
            connection.close()


class _Counter:
    """Counts addresses asked, over all endpoints."""

    def __init__(self, search: Search, found: list[Found], report: Report) -> None:
        self._total = len(search.endpoints) * len(search.presence) * len(search.addresses)
        self._done = 0
        self._found = found
        self._report = report

    def step(self, where: str, steps: int = 1) -> None:
        self._done += steps
        self._report(Progress(self._done, self._total, where, len(self._found)))


async def _search_endpoint(
    search: Search,
    connection: ModbusConnection,
    endpoint: Endpoint,
    found: list[Found],
    progress: _Counter,
) -> None:
    answering = {meter.address for meter in found if meter.presence is not Presence.GARBLED}
    sweep = _Sweep()
    for question in search.presence:
        for unit in search.addresses:
            where = f"{endpoint}, address {unit}"
            known = answering | {meter.address for meter in sweep.found}
            if unit in known or sweep.same_replies >= SAME_ANSWERS_MAX:
                progress.step(where)
                continue
            signal = await presence_of(connection, endpoint, unit, question, search.timeout_s)
            _note(sweep, endpoint, unit, signal, found)
            progress.step(where)
    await _ask_the_late(search, connection, endpoint, sweep, found)
    for meter in sweep.found:
        progress.step(f"{endpoint}, model of address {meter.address}", 0)
        await _examine(search, connection, endpoint, meter)


def _note(sweep: _Sweep, endpoint: Endpoint, unit: int, signal: Signal, found: list[Found]) -> None:
    sweep.late |= signal.late_units
    if signal.presence is None:
        return
    if signal.presence is Presence.ANSWERS and endpoint.framing is Framing.TCP:
        is_same = signal.reply == sweep.last_reply
        sweep.same_replies = sweep.same_replies + 1 if is_same else 1
        sweep.last_reply = signal.reply
        if sweep.same_replies >= SAME_ANSWERS_MAX:
            first = sweep.found[0]
            first.remarks.append(_ONE_FOR_ALL)
            for other in sweep.found[1:]:
                found.remove(other)
            del sweep.found[1:]
            return
    meter = Found(endpoint, unit, signal.presence, signal.round_trip_s)
    sweep.found.append(meter)
    found.append(meter)


async def _ask_the_late(
    search: Search,
    connection: ModbusConnection,
    endpoint: Endpoint,
    sweep: _Sweep,
    found: list[Found],
) -> None:
    for unit in sorted(sweep.late - {meter.address for meter in sweep.found}):
        for question in search.presence:
            signal = await presence_of(
                connection, endpoint, unit, question, LATE_TIMES * search.timeout_s
            )
            if signal.presence is Presence.ANSWERS:
                meter = Found(endpoint, unit, Presence.LATE, signal.round_trip_s, remarks=[_LATE])
                sweep.found.append(meter)
                found.append(meter)
                break


async def _examine(
    search: Search, connection: ModbusConnection, endpoint: Endpoint, meter: Found
) -> None:
    """Ask one meter what it is."""
    if meter.presence is Presence.GARBLED:
        meter.remarks.append(_COLLISION)
        return
    times = LATE_TIMES if meter.presence is Presence.LATE else 2
    timing = Timing(response_timeout_ms=round(times * search.timeout_s * 1000))
    assert isinstance(meter.address, int), "Modbus addresses are numbers"
    asker = Asker(connection, endpoint, meter.address, timing, attempts=1)
    answers: dict[Question, Answer] = {}
    meter.identification = await _identification(asker, answers)
    for question in questions(search.profiles):
        if answers.get(question) is None and not isinstance(question, ObjectQuestion):
            answers[question] = await asker.ask(question)
    matches = await _ranked(search.profiles, asker, answers)
    by_name = {profile.name: profile for profile in search.profiles}
    meter.candidates = [_candidate(by_name[match.profile], match, answers) for match in matches]
    if meter.best is None:
        meter.remarks.append(_NO_MODEL)
        return
    profile = by_name[matches[0].profile]
    await _look_closer(asker, in_order(profile, matches[0].order), meter)


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
            value = BlockDecoder(profile, block).decode(answer)[energies[0].obis]
            unit = energies[0].register.unit.value
            meter.energy = "" if value is None else f"{value} {unit}"
