"""Whether a signed configuration that came may take the place of the station file in force.

Pure but for the files that a station file names. It must not know how one is put in force.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contract.messages import ConfigStatus, MessageError
from contract.signed_config import SignedConfig, decode_config
from gateway.config import StationConfig, StationFileError, parse_station

PROBLEMS_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Good:
    """It may be put in force, if its ports can be opened."""

    signed: SignedConfig
    config: StationConfig


@dataclass(frozen=True, slots=True)
class Bad:
    """It may not; `code` is short and stable."""

    version: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Old:
    """It is what is in force, or what was taken back: there is nothing to do or to say."""


@dataclass(frozen=True, slots=True)
class Station:
    """What a configuration is judged against: the one in force, and where it lies."""

    config: StationConfig
    folder: Path
    status: ConfigStatus
    is_signed: Callable[[SignedConfig], bool]


def judge(payload: bytes, station: Station) -> Good | Bad | Old:
    """What to do with the payload of a `config` message. What is cheap is looked at first."""
    if not payload:
        return Old()  # the retained message was deleted
    try:
        signed = decode_config(payload)
    except MessageError as error:
        return Bad(0, "malformed", str(error))
    found = _unfit(signed, station)
    return _checked(signed, station) if found is None else found


def _unfit(signed: SignedConfig, station: Station) -> Bad | Old | None:
    """What is wrong with an envelope; None if what is in it is to be looked at."""
    version, status = signed.version, station.status
    if signed.gateway != station.config.gateway:
        return Bad(version, "other_gateway", f"it is for gateway {signed.gateway}")
    if version == status.version or (version == status.highest and _was_refused(status, version)):
        return Old()
    if version <= status.highest:
        text = f"version {status.highest} was accepted before; the next must be higher"
        return Bad(version, "older_version", text)
    if not station.is_signed(signed):
        return Bad(version, "bad_signature", "it is not signed with the key of this gateway")
    return None


def _checked(signed: SignedConfig, station: Station) -> Good | Bad:
    """The station file in an envelope, checked as the gateway's own is at its start."""
    where = f"version {signed.version}"
    try:
        config = parse_station(signed.station_file, where, folder=station.folder)
    except StationFileError as error:
        text = "\n".join(error.problems[:PROBLEMS_SHOWN_MAX])
        return Bad(signed.version, "invalid", text)
    problem = _kept_problem(station.config, config)
    return Good(signed, config) if problem is None else Bad(signed.version, "invalid", problem)


def _was_refused(status: ConfigStatus, version: int) -> bool:
    return status.refused is not None and status.refused.version == version


def _kept_problem(present: StationConfig, coming: StationConfig) -> str | None:
    """What a station file must leave as it is: whatever it changed could not be put right again."""
    if coming.gateway != present.gateway:
        return f"gateway: must stay {present.gateway}, the name on its certificate"
    if coming.data != present.data:
        return f"data: must stay {present.data}, where undelivered batches wait"
    if coming.replay != present.replay:
        return "clock.replay: can only be changed on the gateway"
    if coming.remote is None:
        return "config: must stay, or no further configuration could be sent"
    return None
