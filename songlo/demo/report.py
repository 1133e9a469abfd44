"""What the demo prints and writes at the end: totals from the API, files for whoever checks them.

Every figure comes from the collector as it stands there; nothing is computed here but what the
table's columns need.
"""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

from rich.table import Table

from songlo.demo.api import ApiError
from songlo.demo.clock import instant_text
from songlo.demo.replay import Progress
from songlo.demo.system import System


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay ended with, as the collector answers it."""

    progress: Progress
    snapshot_id: str
    snapshot_sha256: str
    head_wh: int
    customers_wh: int
    loss_wh: int
    loss_percent: str

    @property
    def exact(self) -> bool:
        """Whether everything that was due was read and stored exactly once."""
        return self.progress.read == self.progress.due and not (
            self.progress.missing or self.progress.in_gaps
        )


def conclude(system: System, progress: Progress) -> Outcome:
    """Take the snapshot of the period and ask for its balance. Raises ApiError."""
    options = system.options
    bounds = {"from_at": instant_text(options.start_at), "to_at": instant_text(options.end_at)}
    snapshot = system.api.post("/v1/snapshots", {"station": system.station.name, **bounds})
    balance = system.api.get(
        f"/v1/stations/{system.station.name}/balance",
        **{"from": bounds["from_at"], "to": bounds["to_at"]},
    )
    return Outcome(
        progress=progress,
        snapshot_id=str(snapshot["id"]),
        snapshot_sha256=str(snapshot["sha256"]),
        head_wh=_integer(balance, "head_wh"),
        customers_wh=_integer(balance, "customers_wh"),
        loss_wh=_integer(balance, "loss_wh"),
        loss_percent=str(balance["loss_percent"]),
    )


def write_files(system: System, outcome: Outcome, folder: Path) -> None:
    """Write `snapshot.csv` and `balance.csv` into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "snapshot.csv").open("wb") as file:
        file.writelines(system.api.stream(f"/v1/snapshots/{outcome.snapshot_id}/lines.csv"))
    options = system.options
    first_day = options.start_at.date()
    last_day = max(first_day, options.end_at.date() - timedelta(days=1))
    path = f"/v1/stations/{system.station.name}/daily-balance.csv"
    with (folder / "balance.csv").open("wb") as file:
        file.writelines(system.api.stream(path, first_day=first_day, last_day=last_day))


def table(system: System, outcome: Outcome, elapsed_s: float) -> Table:
    """The final table for the terminal."""
    options, progress = system.options, outcome.progress
    result = Table(
        title=f"{system.station.name}: {options.start_at:%d/%m/%Y %H:%M} to "
        f"{options.end_at:%d/%m/%Y %H:%M}, {len(system.station.meters)} meters",
        title_justify="left",
        show_header=False,
    )
    result.add_column()
    result.add_column(justify="right")
    rows = (
        ("Energy at the head", _kwh(outcome.head_wh)),
        ("Sold", _kwh(outcome.customers_wh)),
        ("Lost", f"{_kwh(outcome.loss_wh)}  ({outcome.loss_percent} %)"),
        ("Meter reads due", f"{progress.due:,}"),
        ("Read at the station", f"{progress.due - progress.missing - progress.in_gaps:,}"),
        ("Delivered and stored", f"{progress.read:,}"),
        ("Missing, with a reason", f"{progress.missing + progress.in_gaps:,}"),
        ("Duplicate batches, not counted", f"{progress.duplicate_batches:,}"),
        ("Took", f"{elapsed_s:.1f} s"),
    )
    for row in rows:
        result.add_row(*row)
    return result


def _kwh(energy_wh: int) -> str:
    sign = "-" if energy_wh < 0 else ""
    whole, rest = divmod(abs(energy_wh), 1000)
    return f"{sign}{whole:,}.{rest:03} kWh"


def _integer(answer: dict[str, object], name: str) -> int:
    value = answer[name]
    if not isinstance(value, int):
        lacking = answer.get("lacking")
        raise ApiError(HTTPStatus.OK, f"the balance has no {name}: {lacking} were not read in time")
    return value
