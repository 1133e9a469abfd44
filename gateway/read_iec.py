"""One IEC 62056-21 meter read once, on a port that is opened for it: its values and its own words.

Knows lines and readout profiles. It must not know of stations, or who asks and how it is shown.
"""

from dataclasses import dataclass, field
from datetime import datetime

from contract.messages import MissingReason
from gateway.lines.endpoints import IecEndpoint
from gateway.lines.iec_port import IecPort, SessionFailed
from gateway.meters.readout_decode import codes_of, decode_readout, stranger
from gateway.meters.readout_profile import ReadBy, ReadoutProfile
from gateway.ports import Clock, ReadFailed
from gateway.protocols.iec62056_21 import Session
from gateway.protocols.iec_events import (
    Block,
    Command,
    Event,
    Failure,
    Identified,
    Programming,
    Readout,
    Settings,
    Task,
)
from gateway.protocols.iec_messages import CommandType
from gateway.protocols.readout import ReadoutText, parse_data_sets

ATTEMPTS = 2  # a readout at 300 baud can take minutes, and somebody waits

_REASONS = {
    Failure.SILENT: MissingReason.TIMEOUT,
    Failure.GARBLED: MissingReason.BAD_REPLY,
    Failure.REFUSED: MissingReason.EXCEPTION,
    Failure.BROKEN_OFF: MissingReason.EXCEPTION,
    Failure.TOO_LONG: MissingReason.BAD_REPLY,
}


@dataclass(slots=True)
class IecReading:
    """What one meter said: values by OBIS code, and the codes for which it had none.

    `identification` is how it introduced itself, `text` what it listed, as it came. `stranger` is
    who it says it is, where that is not the address that was asked.
    """

    profile: ReadoutProfile
    address: str
    at: datetime
    identification: str
    text: str
    values: dict[str, int | float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    stranger: str | None = None


@dataclass(slots=True)
class _Heard:
    identification: str = ""
    texts: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        if isinstance(event, Identified):
            said = event.identification
            self.identification = f"{said.manufacturer}{said.baud_character}{said.product}"
        elif isinstance(event, Block):
            is_bare = event.command is not None and event.text.lstrip().startswith("(")
            code = event.command.data.partition("(")[0] if event.command and is_bare else ""
            self.texts.append(code + event.text + ("\r\n" if event.command else ""))


async def read_iec_once(
    endpoint: IecEndpoint, profile: ReadoutProfile, address: str, clock: Clock
) -> IecReading:
    """Everything that `profile` maps, of the meter at `address` (empty: whoever is alone).

    Raises ReadFailed with the reason.
    """
    port = IecPort(endpoint)
    try:
        await port.open()
        heard = await _converse(port, endpoint, profile, address)
    finally:
        port.close()
    text = "".join(heard.texts)
    readout = ReadoutText(parse_data_sets(text))
    reading = IecReading(profile, address, clock.now(), heard.identification, text)
    for obis, value in decode_readout(profile.registers, readout).values.items():
        if value is None:
            reading.missing.append(obis)
        else:
            reading.values[obis] = value
    if address:
        reading.stranger = stranger(profile, readout, address, address)
    return reading


async def _converse(
    port: IecPort, endpoint: IecEndpoint, profile: ReadoutProfile, address: str
) -> _Heard:
    timing = profile.timing
    settings = Settings(
        characters=endpoint.characters,
        baud=endpoint.baud,
        baud_max=min(endpoint.baud_max, profile.baud_max),
        changeover=endpoint.changeover,
        wake_up=endpoint.wake_up,
        reaction_max_s=timing.reaction_max_ms / 1000,
        character_gap_max_s=timing.character_gap_ms / 1000,
    )
    silence_s = timing.session_pause_ms / 1000
    failure: SessionFailed | None = None
    for _ in range(ATTEMPTS):
        heard = _Heard()
        session = Session(_task(profile, endpoint.password), address, settings)
        try:
            await port.converse(session, silence_s, on_event=heard.take)
        except SessionFailed as error:
            failure = error
            silence_s = timing.after_failure_ms / 1000
        else:
            return heard
    assert failure is not None
    said = f" (it introduced itself as {heard.identification})" if heard.identification else ""
    raise ReadFailed(_REASONS[failure.failure], failure.detail + said) from failure


def _task(profile: ReadoutProfile, password: str | None) -> Task:
    if profile.read_by is ReadBy.READOUT:
        return Readout()
    codes = dict.fromkeys((*profile.identity[:1], *codes_of(profile.registers)))
    commands = tuple(Command(CommandType.READ, f"{code}()") for code in codes)
    return Programming(commands, password or profile.password)
