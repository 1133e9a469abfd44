"""What is searched and what was found, as values.

Nothing here does anything; `gateway.search.modbus` and `gateway.search.iec` say what it means.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.lines.endpoints import Endpoint, IecEndpoint
from gateway.lines.modbus import REPLY_CHARS, REQUEST_CHARS
from gateway.meters.checks import RegistersQuestion
from gateway.meters.profile import MeterProfile
from gateway.meters.readout_profile import ReadoutProfile
from gateway.meters.wire import Order

PRESENCE_REGS = 2  # of one request: many meters refuse half of a 32-bit value

# A meter that knows neither function nor address says so, which is presence too; of those that
# stay silent instead, most know one of these two.
INPUT_QUESTION = RegistersQuestion(4, 0, PRESENCE_REGS)
HOLDING_QUESTION = RegistersQuestion(3, 0, PRESENCE_REGS)


class Presence(StrEnum):
    """What came from an address."""

    ANSWERS = "answers"
    LATE = "late"  # it answers, but long after the time that was waited
    GARBLED = "garbled"  # something comes, never a whole frame: two meters at once, or noise


@dataclass(frozen=True, slots=True)
class Search:
    """What to ask on Modbus lines: every `presence` question at each address and endpoint."""

    endpoints: tuple[Endpoint, ...]
    addresses: tuple[int, ...]
    profiles: tuple[MeterProfile, ...]
    timeout_s: float
    presence: tuple[RegistersQuestion, ...] = (INPUT_QUESTION, HOLDING_QUESTION)

    @property
    def estimate_s(self) -> float:
        """How long it takes when nobody answers; each meter that does adds a few seconds."""
        chars = REQUEST_CHARS + REPLY_CHARS + 2 * PRESENCE_REGS
        each_s = sum(
            self.timeout_s + endpoint.wire_s(chars) + endpoint.silence_s
            for endpoint in self.endpoints
        )
        return each_s * len(self.addresses) * len(self.presence)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A profile that may fit, the word order with which it does, and what speaks for it.

    `is_certain` says that something named the model, and not only looked like it.
    """

    profile: MeterProfile | ReadoutProfile
    evidence: tuple[str, ...]
    score: tuple[int, ...]
    order: Order | None = None
    is_certain: bool = False


@dataclass(slots=True)
class Found:
    """One meter: where it answers, what it calls itself, and what it may be, best first.

    `energy` is the present value of its first energy register with the unit, for comparison with
    the display. `remarks` are sentences for whoever stands there.
    """

    endpoint: Endpoint | IecEndpoint
    address: int | str
    presence: Presence
    round_trip_s: float = 0.0
    identification: str = ""
    serial: str = ""
    energy: str = ""
    candidates: list[Candidate] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def best(self) -> Candidate | None:
        """What fits best."""
        return self.candidates[0] if self.candidates else None

    @property
    def rivals(self) -> list[Candidate]:
        """Other profiles that fit just as well."""
        return [other for other in self.candidates[1:] if other.score == self.candidates[0].score]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: addresses asked of all, where it is, how many meters it has found."""

    done: int
    total: int
    where: str
    found: int


Report = Callable[[Progress], None]
"""Called each time that an address has been asked."""
