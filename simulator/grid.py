"""Low-voltage networks and their year of load, read from files and checked.

Owns the file formats (`simulator/data/README.md`) and nothing else: it must not know how a power
flow is solved, nor that anything is metered.
"""

import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from simulator.errors import SimulatorError

QUARTERS_PER_LEAP_YEAR = 366 * 96
LOAD_UNITS = 10_000  # profile values are ten-thousandths of a load's rating
LOAD_FILE_DEFAULT = "profiles-2016-15min.npz"

# Far above any station; a file beyond them is not one.
NODES_MAX = 10_000
LOADS_MAX = 10_000


class Transformer(msgspec.Struct, frozen=True):
    """The station's transformer; losses at rated voltage and current, impedances in per cent."""

    s_kva: float
    v_hv_kv: float
    v_lv_kv: float
    uk_percent: float
    p_cu_kw: float
    p_fe_kw: float
    i0_percent: float
    lv_node: int


class GridLine(msgspec.Struct, frozen=True, rename={"node_from": "from", "node_to": "to"}):
    """One line between two low-voltage nodes; resistance and reactance of its whole length."""

    node_from: int
    node_to: int
    r_ohm: float
    x_ohm: float
    i_max_a: float


class Load(msgspec.Struct, frozen=True):
    """One customer: its ratings are multiplied by its profile's value of the quarter hour."""

    id: str
    node: int
    profile: str
    p_kw: float
    q_kvar: float


class Grid(msgspec.Struct, frozen=True, rename={"name": "grid"}):
    """One station's network: nodes 0 to `nodes` - 1 at low voltage, a transformer feeding one."""

    name: str
    transformer: Transformer
    nodes: int
    lines: tuple[GridLine, ...]
    loads: tuple[Load, ...]


@dataclass(frozen=True, slots=True)
class LoadYear:
    """The load of a leap year in quarter hours of civil time, in ten-thousandths of the rating.

    `active` and `reactive` have one row per quarter hour (35,136) and one column per profile.
    """

    profiles: tuple[str, ...]
    active: npt.NDArray[np.int16]
    reactive: npt.NDArray[np.int16]


def load_grid(name: str) -> Grid:
    """The grid in the file `name`, or the built-in one of that name. Raises SimulatorError."""
    path = _find(name, ".json")
    try:
        grid = msgspec.json.decode(path.read_bytes(), type=Grid)
    except OSError as error:
        raise SimulatorError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise SimulatorError(f"{path}: {error}", hint="see simulator/data/README.md") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SimulatorError(f"{path}: is not JSON: {error}") from error
    _check_grid(path, grid)
    return grid


def load_year(name: str = LOAD_FILE_DEFAULT) -> LoadYear:
    """The year of load in the file `name` (built-in by default). Raises SimulatorError."""
    path = _find(name, ".npz")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"profiles", "p", "q"} - set(arrays)
            if missing:
                raise SimulatorError(f"{path}: has no array {min(missing)!r}")
            year = LoadYear(
                tuple(str(profile) for profile in arrays["profiles"]), arrays["p"], arrays["q"]
            )
    except OSError as error:
        raise SimulatorError(f"{path}: cannot be read: {error}") from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise SimulatorError(f"{path}: is no NumPy archive: {error}") from error
    if year.active.size and year.active.min() < 0:
        raise SimulatorError(f"{path}: p: is negative somewhere; a load cannot feed the network")
    shape = (QUARTERS_PER_LEAP_YEAR, len(year.profiles))
    for key, array in (("p", year.active), ("q", year.reactive)):
        if array.shape != shape or array.dtype != np.int16:
            raise SimulatorError(
                f"{path}: {key} is {array.dtype} {array.shape}, expected int16 {shape}"
            )
    return year


def check_profiles(grid: Grid, year: LoadYear) -> None:
    """Raises SimulatorError where a load follows a profile that the year does not have."""
    for index, load in enumerate(grid.loads):
        if load.profile not in year.profiles:
            raise SimulatorError(
                f"grid {grid.name}: loads[{index}].profile: {load.profile!r} is not in the load"
                f" file (it has {', '.join(year.profiles)})"
            )


def _find(name: str, suffix: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    data = Path(str(files("simulator"))) / "data"
    built_in = data / (name if name.endswith(suffix) else name + suffix)
    if path.name == name and built_in.is_file():
        return built_in
    names = ", ".join(sorted(found.name for found in data.glob("*" + suffix)))
    raise SimulatorError(f"{name}: no such file, and none of the built-in ones ({names})")


def _check_grid(path: Path, grid: Grid) -> None:
    if not 1 <= grid.nodes <= NODES_MAX:
        raise _refuse(path, "nodes", f"{grid.nodes} is not between 1 and {NODES_MAX}")
    if not 1 <= len(grid.loads) <= LOADS_MAX:
        raise _refuse(path, "loads", f"there are {len(grid.loads)}, expected 1 to {LOADS_MAX}")
    for key in ("s_kva", "v_hv_kv", "v_lv_kv", "uk_percent"):
        if not getattr(grid.transformer, key) > 0:
            raise _refuse(path, f"transformer.{key}", "must be greater than 0")
    _check_lines(path, grid)
    _check_loads(path, grid)
    unreached = _unreached(grid)
    if unreached:
        raise _refuse(path, "lines", f"node {min(unreached)} is not connected to the transformer")


def _check_lines(path: Path, grid: Grid) -> None:
    _check_node(path, grid, "transformer.lv_node", grid.transformer.lv_node)
    for index, line in enumerate(grid.lines):
        _check_node(path, grid, f"lines[{index}].from", line.node_from)
        _check_node(path, grid, f"lines[{index}].to", line.node_to)
        if line.r_ohm < 0 or line.x_ohm < 0 or line.r_ohm + line.x_ohm == 0:
            text = "r_ohm and x_ohm must not be negative nor both 0"
            raise _refuse(path, f"lines[{index}]", text)


def _check_loads(path: Path, grid: Grid) -> None:
    seen: set[str] = set()
    for index, load in enumerate(grid.loads):
        _check_node(path, grid, f"loads[{index}].node", load.node)
        if not load.id or load.id in seen:
            raise _refuse(path, f"loads[{index}].id", f"{load.id!r} is empty or given twice")
        seen.add(load.id)


def _check_node(path: Path, grid: Grid, key: str, node: int) -> None:
    if not 0 <= node < grid.nodes:
        text = f"{node} is no node (there are {grid.nodes}, numbered from 0)"
        raise _refuse(path, key, text)


def _refuse(path: Path, key: str, text: str) -> SimulatorError:
    return SimulatorError(f"{path}: {key}: {text}", hint="see simulator/data/README.md")


def _unreached(grid: Grid) -> set[int]:
    neighbours: dict[int, list[int]] = {node: [] for node in range(grid.nodes)}
    for line in grid.lines:
        neighbours[line.node_from].append(line.node_to)
        neighbours[line.node_to].append(line.node_from)
    left = set(range(grid.nodes)) - {grid.transformer.lv_node}
    waiting = [grid.transformer.lv_node]
    while waiting:
        for node in neighbours[waiting.pop()]:
            if node in left:
                left.discard(node)
                waiting.append(node)
    return left
