"""One run of the gateway's parts: which station file it is of, how it is ended, what outlives it.

Values and one event. It must not know the parts, nor how the next run is prepared.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from contract.messages import ConfigStatus
from gateway.config_store import ConfigStore, Trial
from gateway.health_book import Occurrence
from gateway.watchdog import Signs


@dataclass(slots=True)
class Process:
    """What one run of the parts leaves to the next within a process.

    `signs` are what the service manager hears of; for it there is one gateway, however often its
    parts are restarted. `untold` happened and could not be kept yet.
    """

    signs: Signs = field(default_factory=Signs)
    untold: list[Occurrence] = field(default_factory=list)


@dataclass(slots=True)
class Control:
    """Ends a run when `halt` is set; `restart` does so for another run to follow.

    `path` and `local` are the gateway's own station file and its text when the run began. `store`
    is None where the station file in force takes none from the collector. `version` is 0 for the
    gateway's own file. `problems` gives what would keep the file that a restart would take from
    being used.
    """

    path: Path
    local: str
    problems: Callable[[], Awaitable[list[str]]]
    version: int = 0
    store: ConfigStore | None = None
    trial: Trial | None = None
    process: Process = field(default_factory=Process)
    halt: asyncio.Event = field(default_factory=asyncio.Event)

    def restart(self) -> None:
        """End this run, for another to follow."""
        self.halt.set()

    def config_status(self) -> ConfigStatus | None:
        """What the status says of the station file."""
        if self.store is None:
            return None
        # The one in force may have become unusable by an upgrade: what runs is then another.
        return msgspec.structs.replace(self.store.status, version=self.version)
