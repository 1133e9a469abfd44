"""A virtual station: which meter of which model stands at which point of a grid, on which line.

Owns serials, addresses, models and initial indices, all of them following from the grid and a seed.
It must not open a socket or a terminal.
"""

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from simulator.config import MIXED, UNITS_PER_LINE_MAX, SimulatorConfig
from simulator.errors import SimulatorError
from simulator.grid import Grid, load_grid, load_year
from simulator.powerflow import Network
from simulator.readings import Meter, MeterGroup
from simulator.registers import MAPS
from simulator.truth import Moment, Truth, from_ms, to_ms

HEAD = "head"
HOUSEHOLD = "household"
BUSINESS = "business"

# A float32 tells hundredths of a kWh apart below 131,072 kWh; years of growth fit in between.
INITIAL_WH_MAX = 40_000_000
HEAD_INITIAL_WH_MAX = 9_000_000

# From this rating on a household has three phases.
THREE_PHASE_KW = 5.0

_SERIAL_YEAR = 2026
_REGISTERS = {
    "1-0:1.8.0": "import_wh",
    "1-0:2.8.0": "export_wh",
    "1-0:3.8.0": "import_varh",
    "1-0:4.8.0": "export_varh",
}


@dataclass(frozen=True, slots=True)
class Station:
    """Everything simulated of one station: its truth and its meters, by line in order."""

    truth: Truth
    lines: tuple[tuple[str, tuple[Meter, ...]], ...]

    @property
    def meters(self) -> tuple[Meter, ...]:
        """All meters, line after line; the head meter is the first."""
        return tuple(meter for _, meters in self.lines for meter in meters)


def build_station(config: SimulatorConfig) -> Station:
    """The station that `config` describes. Raises SimulatorError."""
    grid = load_grid(config.grid)
    network = Network(
        grid,
        load_year(config.load),
        load_scale=config.load_scale,
        line_scale=config.line_scale,
    )
    start_at = config.instant(config.start)
    truth = Truth(network, zone=config.zone_info, start_at=start_at)
    truth.extend_to(max(config.instant(config.end), start_at))
    return Station(truth, _lines(grid, config))


def write_truth(station: Station, instants: Iterable[datetime], file: TextIO) -> None:
    """A CSV of what every meter's energy registers show at `instants`, as its map can show them.

    `value` is the register in Wh or varh; `true_mwh` the exact energy since the simulation's start,
    in thousandths, without initial index and rounding.
    """
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["meter", "point", "register", "at", "value", "true_mwh"])
    group = MeterGroup(station.meters)
    for at in instants:
        moment = station.truth.at(at)
        text = from_ms(to_ms(at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = group.quantities(moment)
        for row, meter in enumerate(group.meters):
            measured = {field.quantity for field in MAPS[meter.model].fields}
            for register, quantity in _REGISTERS.items():
                if quantity in measured:
                    value = int(shown[quantity][row])
                    true = _true_mwh(moment, quantity, meter.column)
                    out.writerow([meter.serial, meter.point, register, text, value, true])


def role_of(profile: str) -> str:
    """Household or business, by the name of the load profile (H… is a household)."""
    return HOUSEHOLD if profile.startswith("H") else BUSINESS


def _true_mwh(moment: Moment, quantity: str, column: int) -> int:
    energies = {
        "import_wh": moment.import_mwh,
        "import_varh": moment.import_mvarh,
        "export_varh": moment.export_mvarh,
    }
    return int(energies[quantity][column]) if quantity in energies else 0


def _lines(grid: Grid, config: SimulatorConfig) -> tuple[tuple[str, tuple[Meter, ...]], ...]:
    # The head is the last column of the truth but the first meter of the first line.
    columns = [len(grid.loads), *range(len(grid.loads))]
    sizes = _sizes(len(columns), config)
    lines, first = [], 0
    for number, size in enumerate(sizes, start=1):
        name = f"{config.lines.name}-{number}"
        meters = tuple(
            _meter(grid, config, name, first + place, columns[first + place], place + 1)
            for place in range(size)
        )
        lines.append((name, meters))
        first += size
    return tuple(lines)


def _sizes(meters: int, config: SimulatorConfig) -> Sequence[int]:
    count, per_line = config.lines.count, config.lines.meters_per_line
    if per_line is None:
        sizes = [meters // count + (number < meters % count) for number in range(count)]
    else:
        sizes = [min(per_line, max(0, meters - number * per_line)) for number in range(count)]
    if sum(sizes) < meters or max(sizes) > UNITS_PER_LINE_MAX or min(sizes) == 0:
        raise SimulatorError(
            f"lines: {meters} meters do not fit {count} lines of at most"
            f" {per_line or UNITS_PER_LINE_MAX} meters, at least one on each",
            hint="change lines.count or lines.meters_per_line",
        )
    return sizes


def _meter(
    grid: Grid, config: SimulatorConfig, line: str, number: int, column: int, address: int
) -> Meter:
    is_head = column == len(grid.loads)
    serial = f"{_SERIAL_YEAR}{number + 1:06d}"
    if is_head:
        point, role, three_phase = f"{grid.name}/head", HEAD, True
    else:
        load = grid.loads[column]
        point, role = load.id, role_of(load.profile)
        three_phase = role == BUSINESS or load.p_kw >= THREE_PHASE_KW
    model = config.model if config.model != MIXED else _model(is_head, three_phase, number)
    register_map = MAPS[model]
    # Repeatable on purpose; nothing secret depends on it.
    chance = random.Random(f"{config.seed}/{serial}")  # noqa: S311
    most = (HEAD_INITIAL_WH_MAX if is_head else INITIAL_WH_MAX) // register_map.resolution_wh
    steps, steps_reactive = chance.randrange(most), chance.randrange(most // 4)
    phases = 3 if three_phase or config.model != MIXED else 1
    return Meter(
        serial=serial,
        line=line,
        address=address,
        model=model,
        point=point,
        role=role,
        phases=min(phases, register_map.phases),
        column=column,
        initial_wh=steps * register_map.resolution_wh,
        initial_varh=steps_reactive * register_map.resolution_wh,
        resolution_wh=register_map.resolution_wh,
    )


def _model(is_head: bool, three_phase: bool, number: int) -> str:
    """The mixed station: a head that no float32 rounds, every third household an ABB."""
    if is_head:
        return "abb-b23"
    if three_phase:
        return "eastron-sdm630" if number % 2 else "abb-b23"
    return "abb-b23" if number % 3 == 0 else "eastron-sdm120"
