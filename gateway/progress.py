"""How far a search is, on standard error: a bar on a terminal, else a line now and then.

Shows and decides nothing. It must not know what is searched.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.search.values import Progress, Report

LINES = 10  # of a whole search where nobody watches a bar


@contextmanager
def shown() -> Iterator[Report]:
    """What to call with each step; the bar is gone at the end."""
    if sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _lines()


def duration(seconds: float) -> str:
    """As people say it: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _lines() -> Report:
    told = 0

    def report(progress: Progress) -> None:
        nonlocal told
        tenths = LINES * progress.done // max(1, progress.total)
        if tenths > told:
            told = tenths
            percent = 100 * progress.done // progress.total
            sys.stderr.write(f"{percent} %, {progress.where}: {progress.found} found\n")
            sys.stderr.flush()

    return report


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as RichProgress  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[found]} found"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("opening", total=None, found=0)
        yield lambda step: progress.update(
            task,
            total=step.total,
            completed=step.done,
            description=step.where,
            found=step.found,
        )
