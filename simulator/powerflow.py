"""Powers and voltages of a station's network, solved quarter hour by quarter hour.

Owns the model given to power-grid-model (Newton-Raphson, balanced three-phase, loads of constant
power, source 1.0 per unit at 20 kV). It must not know about dates, meters or energy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from power_grid_model import (
    CalculationMethod,
    ComponentType,
    DatasetType,
    LoadGenType,
    PowerGridModel,
    WindingType,
    initialize_array,
)

# The package's own module for errors is public but does not mark its names as exported.
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

from simulator.errors import SimulatorError
from simulator.grid import LOAD_UNITS, Grid, LoadYear, check_profiles

# Large enough that the 20 kV side stays at 1.0 per unit whatever the station takes.
SOURCE_SHORT_CIRCUIT_VA = 1e10

# The high-voltage winding is at clock 5 to the low-voltage one (Dyn5), as in the grid files.
TRANSFORMER_CLOCK = 5

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Flow:
    """What the network does in each of n quarter hours.

    Per load, n × loads: power `load_w`, `load_var` and phase voltage `load_v`. At the low-voltage
    terminals of the transformer, n: `head_w`, `head_var` (taken by the network) and `head_v`.
    """

    load_w: _Floats
    load_var: _Floats
    load_v: _Floats
    head_w: _Floats
    head_var: _Floats
    head_v: _Floats


class Network:
    """A grid ready to be solved for any quarter hours of its load year.

    `load_scale` multiplies every load; `line_scale` multiplies every line's impedance (a rural
    overhead network loses several per cent, the built-in cables a fraction of one).
    Raises SimulatorError for a load whose profile the year does not have.
    """

    def __init__(
        self, grid: Grid, year: LoadYear, *, load_scale: float = 1.0, line_scale: float = 1.0
    ) -> None:
        check_profiles(grid, year)
        self._grid = grid
        self._year = year
        columns = {profile: column for column, profile in enumerate(year.profiles)}
        self._columns = np.array([columns[load.profile] for load in grid.loads], dtype=np.intp)
        self._rated_w = np.array([load.p_kw for load in grid.loads]) * 1000 * load_scale
        self._rated_var = np.array([load.q_kvar for load in grid.loads]) * 1000 * load_scale
        self._load_nodes = np.array([load.node for load in grid.loads], dtype=np.intp)
        self._first_load = 2 + grid.nodes + len(grid.lines)
        self._model = PowerGridModel(_input(grid, line_scale, self._first_load))

    @property
    def grid(self) -> Grid:
        """The grid it was made from."""
        return self._grid

    def solve(self, quarters: npt.NDArray[np.intp]) -> Flow:
        """The flow in each of `quarters` (rows of the load year). Raises SimulatorError where the
        network cannot carry its load."""
        rows = np.asarray(quarters)[:, np.newaxis]
        load_w = self._rated_w * self._year.active[rows, self._columns] / LOAD_UNITS
        load_var = self._rated_var * self._year.reactive[rows, self._columns] / LOAD_UNITS
        return self.flow(load_w, load_var)

    def flow(self, load_w: _Floats, load_var: _Floats) -> Flow:
        """The flow for these powers, n × loads, W and var; a negative one feeds the network.

        Raises SimulatorError as `solve`.
        """
        update = initialize_array(DatasetType.update, ComponentType.sym_load, load_w.shape)
        update["id"] = self._first_load + np.arange(load_w.shape[1])
        update["p_specified"] = load_w
        update["q_specified"] = load_var
        try:
            output = self._model.calculate_power_flow(
                calculation_method=CalculationMethod.newton_raphson,
                update_data={ComponentType.sym_load: update},
                output_component_types={
                    ComponentType.node: ["u"],
                    ComponentType.transformer: ["p_to", "q_to"],
                },
            )
        except PowerGridError as error:
            reason = str(error).splitlines()[0]
            raise SimulatorError(
                f"grid {self._grid.name}: the power flow has no solution: {reason}",
                hint="lower load_scale or line_scale",
            ) from error
        phase_v = output[ComponentType.node]["u"] / np.sqrt(3)
        transformer = output[ComponentType.transformer]
        return Flow(
            load_w=load_w,
            load_var=load_var,
            load_v=phase_v[:, 1 + self._load_nodes],
            head_w=-transformer["p_to"][:, 0],
            head_var=-transformer["q_to"][:, 0],
            head_v=phase_v[:, 1 + self._grid.transformer.lv_node],
        )


def _input(grid: Grid, line_scale: float, first_load: int) -> dict[ComponentType, np.ndarray]:
    """Component ids: node 0 at high voltage, 1 to n at low voltage, then lines, transformer, loads,
    source; ids are unique over all kinds."""
    node = initialize_array(DatasetType.input, ComponentType.node, 1 + grid.nodes)
    node["id"] = np.arange(1 + grid.nodes)
    node["u_rated"] = grid.transformer.v_lv_kv * 1000
    node["u_rated"][0] = grid.transformer.v_hv_kv * 1000
    line = initialize_array(DatasetType.input, ComponentType.line, len(grid.lines))
    line["id"] = 1 + grid.nodes + np.arange(len(grid.lines))
    line["from_node"] = [1 + one.node_from for one in grid.lines]
    line["to_node"] = [1 + one.node_to for one in grid.lines]
    line["from_status"] = line["to_status"] = 1
    line["r1"] = [one.r_ohm * line_scale for one in grid.lines]
    line["x1"] = [one.x_ohm * line_scale for one in grid.lines]
    line["c1"] = 0.0
    line["tan1"] = 0.0
    line["i_n"] = [one.i_max_a for one in grid.lines]
    load = initialize_array(DatasetType.input, ComponentType.sym_load, len(grid.loads))
    load["id"] = first_load + np.arange(len(grid.loads))
    load["node"] = [1 + one.node for one in grid.loads]
    load["status"] = 1
    load["type"] = LoadGenType.const_power
    load["p_specified"] = load["q_specified"] = 0.0
    source = initialize_array(DatasetType.input, ComponentType.source, 1)
    source["id"] = first_load + len(grid.loads)
    source["node"] = 0
    source["status"] = 1
    source["u_ref"] = 1.0
    source["sk"] = SOURCE_SHORT_CIRCUIT_VA
    return {
        ComponentType.node: node,
        ComponentType.line: line,
        ComponentType.transformer: _transformer(grid, first_load - 1),
        ComponentType.sym_load: load,
        ComponentType.source: source,
    }


def _transformer(grid: Grid, component: int) -> np.ndarray:
    data = grid.transformer
    array = initialize_array(DatasetType.input, ComponentType.transformer, 1)
    array["id"] = component
    array["from_node"] = 0
    array["to_node"] = 1 + data.lv_node
    array["from_status"] = array["to_status"] = 1
    array["u1"] = data.v_hv_kv * 1000
    array["u2"] = data.v_lv_kv * 1000
    array["sn"] = data.s_kva * 1000
    array["uk"] = data.uk_percent / 100
    array["pk"] = data.p_cu_kw * 1000
    array["i0"] = data.i0_percent / 100
    array["p0"] = data.p_fe_kw * 1000
    array["winding_from"] = WindingType.delta
    array["winding_to"] = WindingType.wye_n
    array["clock"] = TRANSFORMER_CLOCK
    array["tap_side"] = 0
    array["tap_pos"] = array["tap_min"] = array["tap_max"] = array["tap_nom"] = 0
    array["tap_size"] = 0.0
    return array
