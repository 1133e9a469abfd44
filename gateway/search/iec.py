"""The search of an IEC 62056-21 line: a sign-on at each rate, and what the meter lists.

Owns what is asked and which profile fits a readout. It must not know who asks and how it is shown.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.lines.endpoints import IecEndpoint
from gateway.lines.iec_port import IecPort, SessionFailed
from gateway.meters.evidence import displayed
from gateway.meters.readout_decode import decode_readout
from gateway.meters.readout_profile import ReadoutProfile
from gateway.protocols.iec62056_21 import Session
from gateway.protocols.iec_events import (
    REACTION_MAX_S,
    Block,
    Event,
    Failure,
    Identified,
    Readout,
    Settings,
)
from gateway.protocols.iec_messages import Identification, Mode
from gateway.protocols.readout import ReadoutText, parse_data_sets
from gateway.search.values import Candidate, Found, Presence, Progress, Report

SIGN_ON_CHARS = 48  # a request and an identification
SILENCE_S = 0.5  # before a sign-on
SILENCE_FAILED_S = 2.0  # … after one that was disturbed: its meter has given up by then
SERIAL_CODES = ("0.0.0", "C.1.0", "0.0.1", "C.1.1", "96.1.0")

_COLLISION = (
    "only damaged characters: several meters answer at once (give --addresses), or the rate or "
    "the characters are others"
)
_NO_READOUT = "it introduces itself, but lists nothing"
_NO_MODEL = "no profile has its registers; docs/adding-a-meter.md shows how to add its model"
_PROTOCOL_E = "it also offers DLMS (mode E), which is not spoken here"


@dataclass(slots=True)
class Heard:
    """What a session said: the introduction and the text of the readout."""

    identification: Identification | None = None
    texts: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Keep what matters of an event."""
        if isinstance(event, Identified):
            self.identification = event.identification
        elif isinstance(event, Block):
            self.texts.append(event.text)

    @property
    def text(self) -> str:
        """The whole readout as the meter sent it."""
        return "".join(self.texts)


@dataclass(frozen=True, slots=True)
class IecSearch:
    """What to ask: a sign-on to every address (empty: whoever is alone) at every endpoint."""

    endpoints: tuple[IecEndpoint, ...]
    addresses: tuple[str, ...]
    profiles: tuple[ReadoutProfile, ...]

    @property
    def estimate_s(self) -> float:
        """How long it takes when nobody answers; a readout of a meter adds 2 s to 60 s."""
        each_s = sum(
            SILENCE_S + REACTION_MAX_S + 10 * SIGN_ON_CHARS / endpoint.baud
            for endpoint in self.endpoints
        )
        return each_s * len(self.addresses)


async def search_iec(search: IecSearch, found: list[Found], report: Report) -> None:
    """Search every endpoint; each meter is put into `found` when it has been heard.

    Raises ReadFailed (line_down) when the port cannot be opened or is lost.
    """
    done, total = 0, len(search.endpoints) * len(search.addresses)
    for endpoint in search.endpoints:
        port = IecPort(endpoint)
        silence_s = SILENCE_S
        try:
            await port.open()
            for address in search.addresses:
                meter = await _search_address(search, port, endpoint, address, silence_s)
                silence_s = SILENCE_S if meter is None or meter.candidates else SILENCE_FAILED_S
                if meter is not None:
                    found.append(meter)
                done += 1
                where = f"{endpoint}, address {address or 'any'}"
                report(Progress(done, total, where, len(found)))
        finally:
            port.close()


async def _search_address(
    search: IecSearch, port: IecPort, endpoint: IecEndpoint, address: str, silence_s: float
) -> Found | None:
    settings = Settings(
        characters=endpoint.characters,
        baud=endpoint.baud,
        baud_max=endpoint.baud_max,
        changeover=endpoint.changeover,
        wake_up=endpoint.wake_up,
    )
    heard = Heard()
    failure: SessionFailed | None = None
    begun_at = asyncio.get_running_loop().time()
    try:
        await port.converse(Session(Readout(), address, settings), silence_s, on_event=heard.take)
    except SessionFailed as error:
        failure = error
    took_s = port.last_byte_at - begun_at
    if heard.identification is None:
        if failure is None or failure.failure is Failure.SILENT:
            return None
        return Found(endpoint, address, Presence.GARBLED, remarks=[_COLLISION])
    meter = Found(endpoint, address, Presence.ANSWERS, took_s, _said(heard.identification))
    if "2" in heard.identification.escapes:
        meter.remarks.append(_PROTOCOL_E)
    if failure is not None:
        meter.remarks.append(f"{_NO_READOUT} ({failure.detail})")
        return meter
    _conclude(meter, ReadoutText(parse_data_sets(heard.text)), search.profiles, heard)
    return meter


def _said(identification: Identification) -> str:
    baud = "" if identification.mode is Mode.A else f", offers {identification.baud} baud"
    text = f"{identification.manufacturer} {identification.product.strip()}".strip()
    return f"{text} (mode {identification.mode.value}{baud})"


def _conclude(
    meter: Found, readout: ReadoutText, profiles: Sequence[ReadoutProfile], heard: Heard
) -> None:
    meter.serial = next(
        (text.strip() for name in SERIAL_CODES if (text := readout.text(name)) and text.strip()), ""
    )
    assert heard.identification is not None
    meter.candidates = rank_readouts(profiles, readout, heard.identification)
    if meter.best is None:
        meter.remarks.append(_NO_MODEL)
        return
    profile = meter.best.profile
    assert isinstance(profile, ReadoutProfile)
    first = profile.registers[0]
    value = decode_readout((first,), readout).values[first.obis]
    if isinstance(value, int):
        meter.energy = displayed(value, first.register, first.resolution)


def rank_readouts(
    profiles: Sequence[ReadoutProfile], readout: ReadoutText, identification: Identification
) -> list[Candidate]:
    """The profiles that may fit a readout, best first.

    A profile may fit when every register that is not optional has a value; it fits better when
    the meter's identification begins as it says, and the more registers have a value.
    """
    said = f"{identification.manufacturer}{identification.product}".upper()
    candidates = []
    for profile in profiles:
        values = decode_readout(profile.registers, readout).values
        had = [mapped for mapped in profile.registers if values[mapped.obis] is not None]
        lacking = [m for m in profile.registers if values[m.obis] is None and not m.optional]
        if lacking or not had:
            continue
        names = [name for name in profile.identification if said.startswith(name.upper())]
        evidence = [f"it introduces itself as {name}" for name in names[:1]]
        evidence.append(f"{len(had)} of {len(profile.registers)} registers have a value")
        score = (int(bool(names)), int(not profile.identification), len(had))
        candidates.append(Candidate(profile, tuple(evidence), score, is_certain=bool(names)))
    return sorted(candidates, key=lambda candidate: candidate.score, reverse=True)
