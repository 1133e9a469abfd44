"""The station file in force: the gateway's own, or one from the collector that stands in its place.

Finds and reads them, for the gateway and for whoever looks at it from beside. It must not change
any, nor know what is done with them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from contract.messages import ConfigStatus
from gateway.config import StationConfig, StationFileError, parse_station, read_station
from gateway.config_store import LOCAL, ConfigStore, Held

FOLDER = "config"  # within the data folder

# The keys of a file that may not even be YAML any more.
_CONFIG = re.compile(r"^config:", re.MULTILINE)
_DATA = re.compile(r"^data:(?P<folder>[^#\n]+)", re.MULTILINE)

log = structlog.get_logger("gateway")


def station_in_force(path: Path) -> tuple[StationConfig, ConfigStatus | None]:
    """The station file that the gateway runs now, for whoever looks at it; changes nothing.

    With it, what is said of those from the collector; None where it takes none. Raises
    StationFileError.
    """
    own = OwnFile.read(path)
    if own.folder is None:
        return own.must(), None
    store = ConfigStore(own.folder)
    try:
        status = store.look()
    except PermissionError:
        # For whoever may not look into the data folder it is the file that everybody may read.
        return own.must(), None
    if store.active is not None:
        try:
            return parsed(store.active, path), status
        except StationFileError as error:
            version = store.active.version
            log.error("a station file cannot be used", version=version, error=str(error))  # noqa: TRY400 no trace
    return own.must(), msgspec.structs.replace(status, version=LOCAL)


@dataclass(frozen=True, slots=True)
class OwnFile:
    """The gateway's own station file; `folder` is where those from the collector are, if any."""

    text: str
    config: StationConfig | None
    problems: tuple[str, ...]
    folder: Path | None

    @classmethod
    def read(cls, path: Path) -> "OwnFile":
        """What is there, usable or not. Raises StationFileError where nothing can be read."""
        text = read_station(path)
        try:
            config = parse_station(text, str(path), folder=path.parent)
        except StationFileError as error:
            return cls(text, None, tuple(error.problems), _folder_of(text, path))
        folder = None if config.remote is None else config.data / FOLDER
        return cls(text, config, (), folder)

    def must(self) -> StationConfig:
        """Its configuration. Raises StationFileError if it cannot be used."""
        if self.config is None:
            raise StationFileError(list(self.problems))
        return self.config


def _folder_of(text: str, path: Path) -> Path | None:
    """Where station files from the collector are, according to a file that has mistakes."""
    if _CONFIG.search(text) is None or (match := _DATA.search(text)) is None:
        return None
    return path.parent / match["folder"].strip().strip("'\"") / FOLDER


def parsed(held: Held, path: Path) -> StationConfig:
    """The configuration in a station file from the collector. Raises StationFileError."""
    where = f"version {held.version}" if held.version else "the last good copy"
    return parse_station(held.text, where, folder=path.parent)
