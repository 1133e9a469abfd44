"""What an office does with a fleet that delivers: commands as processes, and a key of the API."""

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.endurance.station import ENERGY
from tests.faults.world import DEADLINE_S, World

COLUMNS = (
    "point, meter, kind, from_at, to_at, index_from, index_to, read_from_at, read_to_at, billed, "
    "quality, cites"
)


@dataclass(frozen=True)
class Line:
    """A line of a version; indices and what is billed in Wh, instants in ms since 1970."""

    point: str
    meter: str
    kind: str
    from_at: int
    to_at: int
    index_from: int | None
    index_to: int | None
    read_from_at: int | None
    read_to_at: int | None
    billed: int | None
    quality: str
    cites: str | None


@dataclass
class Office:
    """Every command is a process of its own, on the ledger that the collector writes to."""

    made: World
    given: int = 0

    @property
    def config(self) -> Path:
        return self.made.ledger.parent / "collector.yaml"

    async def songlo(self, *words: str, code: int = 0) -> str:
        """`songlo collector WORDS` until it ends with `code`; what it printed."""
        self.given += 1
        log = self.made.folder / f"command-{self.given}.log"
        words = ("collector", *words, "--config", str(self.config))
        process = self.made.forks.start(list(words), log)
        ended = await asyncio.to_thread(process.wait, DEADLINE_S)
        said = log.read_text(encoding="utf-8")
        assert ended == code, f"{words} ended with {ended}: {said}"
        return said

    async def billing(self, *words: str, code: int = 0) -> str:
        return await self.songlo("billing", *words, code=code)

    async def bring(self, files: dict[str, str], *more: str) -> str:
        """Import these files of the registry."""
        folder = self.made.folder / f"registry-{self.given}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return await self.songlo("registry", "import", str(folder), *more)

    async def make(self, run: str) -> str:
        """Make a version, which must be a new one; its hash."""
        said = await self.billing("make", run)
        assert " made: " in said, said
        return said.split()[-1]

    async def approve(self, key: str, run: str, sha256: str) -> str:
        """Approve over the API with the key of another person; the run's state then."""
        port = yaml.safe_load(self.config.read_text())["api"]["port"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/billing/runs/{run}/approval",
            data=json.dumps({"sha256": sha256}).encode(),
            headers={"X-Api-Key": key, "Content-Type": "application/json"},
        )

        def asked() -> str:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return str(json.load(answer)["state"])

        return await asyncio.to_thread(asked)

    def lines(self, run: str, version: int) -> list[Line]:
        """The lines of a version that are of the active import, as the ledger has them."""
        query = (
            f"SELECT {COLUMNS} FROM billing_lines WHERE run = '{run}' AND version = {version} "
            f"AND register = '{ENERGY}' ORDER BY ordinal"
        )
        return [Line(*row) for row in self.made.rows(query)]  # type: ignore[arg-type]
