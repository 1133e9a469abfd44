"""A real MQTT broker: Debian's Mosquitto on a free port, without persistence unless asked.

Anonymous clients are allowed unless the extra configuration says otherwise.
"""

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.process import ServerProcess, accepts_connections, find_program, free_port


class Mosquitto:
    """One broker; stop, kill, start and restart keep its port.

    `extra_config` goes to the end of the configuration file. In it `{folder}` stands for the
    broker's own folder, where a test can put files (certificates, ACLs) before `start`.
    """

    host = "127.0.0.1"

    def __init__(self, extra_config: str = "", *, persistence: bool = False) -> None:
        program = find_program("mosquitto", "mosquitto")
        self.folder = Path(tempfile.mkdtemp(prefix="songlo-mosquitto-"))
        self.port = free_port()
        self.config = self.folder / "mosquitto.conf"
        self.configure(extra_config, persistence=persistence)
        self.process = ServerProcess(
            "mosquitto",
            [program, "-c", str(self.config)],
            self.folder / "mosquitto.log",
            lambda: accepts_connections(self.port),
        )

    def configure(self, extra_config: str = "", *, persistence: bool = False) -> None:
        """Write the configuration file; takes effect at the next start."""
        lines = [
            f"listener {self.port} {self.host}",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "max_queued_messages 100000",
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {self.folder}/",
        ]
        if "allow_anonymous" not in extra_config:
            lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            # Otherwise it becomes the user `mosquitto`, who cannot read the test's files.
            lines.append("user root")
        lines.append(extra_config.replace("{folder}", str(self.folder)))
        self.config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        self.process.start()

    def stop(self) -> None:
        """End it in an orderly way."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def restart(self) -> None:
        """Stop and start on the same port; without persistence everything is forgotten."""
        self.process.restart()

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.process.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
