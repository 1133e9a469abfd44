"""What meters have in their registers at an instant, before a model's map encodes it.

Owns the step from the truth to a meter: initial index, resolution, phases. It must not know
addresses or encodings, nor how a meter is reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.truth import Moment

FREQUENCY_HZ = 50.0
PHASES = 3

_Array = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter of the virtual station.

    `column` is its point's place in the truth, `phases` 1 or 3. Its energy registers started at
    `initial_wh` and `initial_varh` and advance in steps of `resolution_wh` (varh likewise).
    """

    serial: str
    line: str
    address: int
    model: str
    point: str
    role: str
    phases: int
    column: int
    initial_wh: int
    initial_varh: int
    resolution_wh: int


class MeterGroup:
    """Meters whose registers are computed together, in their order; one element of each array."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self.meters = tuple(meters)
        self._columns = np.array([meter.column for meter in meters], dtype=np.intp)
        self._phases = np.array([meter.phases for meter in meters], dtype=np.int64)
        self._initial_wh = np.array([meter.initial_wh for meter in meters], dtype=np.int64)
        self._initial_varh = np.array([meter.initial_varh for meter in meters], dtype=np.int64)
        self._steps = np.array([meter.resolution_wh for meter in meters], dtype=np.int64)

    def missing(self, quantity: str) -> npt.NDArray[np.bool_]:
        """Which meters lack `quantity` because they lack its phase (`…_l2_…` needs two)."""
        for phase in range(2, PHASES + 1):
            if f"_l{phase}" in quantity:
                return self._phases < phase
        return np.zeros(len(self.meters), dtype=np.bool_)

    def quantities(self, moment: Moment) -> dict[str, _Array]:
        """Every quantity by name, its unit last; energies are integers, the others floats."""
        shown: dict[str, _Array] = {}
        self._add_energies(shown, moment)
        self._add_momentary(shown, moment)
        return shown

    def _add_energies(self, shown: dict[str, _Array], moment: Moment) -> None:
        columns, none = self._columns, np.zeros(len(self.meters), dtype=np.int64)
        energies = {
            "import{}_wh": (self._initial_wh, moment.import_mwh[columns]),
            "export{}_wh": (none, none),
            "import{}_varh": (self._initial_varh, moment.import_mvarh[columns]),
            "export{}_varh": (none, moment.export_mvarh[columns]),
        }
        for name, (initial, thousandths) in energies.items():
            shown[name.format("")] = self._stepped(initial * 1000 + thousandths)
            of_phase = self._stepped((initial * 1000 + thousandths) // self._phases)
            for phase in range(1, PHASES + 1):
                shown[name.format(f"_l{phase}")] = of_phase
        for suffix in ("wh", "varh", *(f"l{phase}_wh" for phase in range(1, PHASES + 1))):
            shown[f"sum_{suffix}"] = shown[f"import_{suffix}"] + shown[f"export_{suffix}"]

    def _stepped(self, thousandths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return thousandths // (1000 * self._steps) * self._steps

    def _add_momentary(self, shown: dict[str, _Array], moment: Moment) -> None:
        power = moment.power_w[self._columns]
        reactive = moment.reactive_var[self._columns]
        apparent = np.hypot(power, reactive)
        voltage = moment.voltage_v[self._columns].astype(np.float64)
        factor = np.divide(power, apparent, out=np.ones_like(power), where=apparent > 0)
        current = apparent / self._phases / voltage
        shown |= {
            "power_w": power,
            "reactive_var": reactive,
            "apparent_va": apparent,
            "power_factor": factor,
            # Four quadrants in one number: 0 to 1 lagging, 1 to 2 leading (iEM3000 manual).
            "power_factor_quadrant": np.where(reactive < 0, 2 - factor, factor),
            "frequency_hz": np.full_like(power, FREQUENCY_HZ),
            "voltage_average_v": voltage,
            "current_average_a": current,
        }
        for phase in range(1, PHASES + 1):
            shown |= {
                f"voltage_l{phase}_v": voltage,
                f"current_l{phase}_a": current,
                f"power_l{phase}_w": power / self._phases,
                f"reactive_l{phase}_var": reactive / self._phases,
                f"apparent_l{phase}_va": apparent / self._phases,
                f"power_factor_l{phase}": factor,
            }
