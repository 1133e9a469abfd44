"""`songlo collector …` many times in one process: a line of JSON in, a line of JSON out.

Starting Python for each command would take most of a test's time.
"""

import json
import sys
from pathlib import Path

import structlog
from typer.testing import CliRunner

from collector import cli


def main() -> None:
    journal = Path(sys.argv[1]).open("a")  # noqa: SIM115  for as long as the process lives
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(journal))
    setattr(cli, "configure_logging", lambda: None)  # noqa: B010  it is the command line's own
    for line in sys.stdin:
        done = CliRunner().invoke(cli.app, json.loads(line))
        failure = repr(done.exception) if done.exception else ""
        answer = {"code": done.exit_code, "output": done.output, "failure": failure}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
