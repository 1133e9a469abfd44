"""The register maps of the models that the simulator can be, and how each encodes a quantity.

Owns addresses, encodings and limits, written from the makers' public maps; nothing is shared with
the meter profiles that read them. It must not know about lines, frames or clocks.

Addresses are those of the wire (0-based). Public maps: Eastron SDM120 and SDM630 Modbus protocol,
ABB A43/A44/B23/B24, Schneider iEM3000 series (DOCA0005EN).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

READ_HOLDING = 3
READ_INPUT = 4
MODBUS_COUNT_MAX = 125

_Array = npt.NDArray[np.int64] | npt.NDArray[np.float64]


class Encoding(Enum):
    """How a value lies in its registers, big-endian: dtype, words, and what says "not available".

    Integers hold `value * multiply // divide` of a whole quantity, or that rounded of a float.
    """

    F32 = (">f4", 1, 1, None)
    F32_KILO = (">f4", 1, 1000, None)
    I64 = (">i8", 1, 1, -(2**63))
    U64_TENS = (">u8", 1, 10, 2**64 - 1)
    U32_TENTHS = (">u4", 10, 1, 2**32 - 1)
    U32_HUNDREDTHS = (">u4", 100, 1, 2**32 - 1)
    I32_HUNDREDTHS = (">i4", 100, 1, 2**31 - 1)
    U16_HUNDREDTHS = (">u2", 100, 1, 2**16 - 1)
    I16_THOUSANDTHS = (">i2", 1000, 1, 2**15 - 1)

    def __init__(self, dtype: str, multiply: int, divide: int, not_available: int | None) -> None:
        self.dtype = np.dtype(dtype)
        self.multiply = multiply
        self.divide = divide
        self.not_available = not_available

    @property
    def words(self) -> int:
        """Registers that one value takes."""
        return self.dtype.itemsize // 2

    def encode(self, values: _Array) -> npt.NDArray[np.generic]:
        """`values` as an array of `dtype`."""
        if self.dtype.kind == "f":
            return (values / self.divide).astype(self.dtype)
        if values.dtype.kind == "f":
            values = np.rint(values * self.multiply / self.divide)
        else:
            values = values * self.multiply // self.divide
        return values.astype(self.dtype)


@dataclass(frozen=True, slots=True)
class Field:
    """One quantity of `simulator.readings` at an address."""

    address: int
    quantity: str
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Region:
    """Registers `first` to `first + count - 1` that can be read in one request, gaps included."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """How one model is read: function code, regions, registers a request, filling of gaps.

    `says_not_available` is whether it has a pattern for phases that it lacks; others show 0.
    """

    model: str
    function: int
    regions: tuple[Region, ...]
    count_max: int
    gap_word: int
    resolution_wh: int
    phases: int
    fields: tuple[Field, ...]
    says_not_available: bool = False


def _row(encoding: Encoding, first: int, step: int, *quantities: str) -> Iterator[Field]:
    for number, quantity in enumerate(quantities):
        yield Field(first + number * step, quantity, encoding)


def _phases(name: str) -> tuple[str, str, str]:
    return name.format(1), name.format(2), name.format(3)


_SDM120 = (
    *_row(Encoding.F32, 0x0000, 6, "voltage_l1_v", "current_l1_a", "power_w", "apparent_va"),
    *_row(Encoding.F32, 0x0018, 6, "reactive_var", "power_factor"),
    *_row(Encoding.F32, 0x0046, 2, "frequency_hz"),
    *_row(Encoding.F32_KILO, 0x0048, 2, "import_wh", "export_wh", "import_varh", "export_varh"),
    *_row(Encoding.F32_KILO, 0x0156, 2, "sum_wh", "sum_varh"),
)

_SDM630 = (
    *_row(Encoding.F32, 0x0000, 2, *_phases("voltage_l{}_v"), *_phases("current_l{}_a")),
    *_row(Encoding.F32, 0x000C, 2, *_phases("power_l{}_w"), *_phases("apparent_l{}_va")),
    *_row(Encoding.F32, 0x0018, 2, *_phases("reactive_l{}_var"), *_phases("power_factor_l{}")),
    *_row(Encoding.F32, 0x0034, 4, "power_w", "apparent_va", "reactive_var"),
    *_row(Encoding.F32, 0x003E, 2, "power_factor"),
    *_row(Encoding.F32, 0x0046, 2, "frequency_hz"),
    *_row(Encoding.F32_KILO, 0x0048, 2, "import_wh", "export_wh", "import_varh", "export_varh"),
    *_row(Encoding.F32_KILO, 0x0156, 2, "sum_wh", "sum_varh"),
    *_row(Encoding.F32_KILO, 0x015A, 2, *_phases("import_l{}_wh"), *_phases("export_l{}_wh")),
    *_row(Encoding.F32_KILO, 0x0166, 2, *_phases("sum_l{}_wh")),
    *_row(Encoding.F32_KILO, 0x016C, 2, *_phases("import_l{}_varh"), *_phases("export_l{}_varh")),
)

_ABB = (
    *_row(Encoding.U64_TENS, 0x5000, 4, "import_wh", "export_wh"),
    *_row(Encoding.U64_TENS, 0x5460, 4, *_phases("import_l{}_wh"), *_phases("export_l{}_wh")),
    *_row(Encoding.U32_TENTHS, 0x5B00, 2, *_phases("voltage_l{}_v")),
    *_row(Encoding.U32_HUNDREDTHS, 0x5B0C, 2, *_phases("current_l{}_a")),
    *_row(Encoding.I32_HUNDREDTHS, 0x5B14, 2, "power_w", *_phases("power_l{}_w")),
    *_row(Encoding.U16_HUNDREDTHS, 0x5B2C, 1, "frequency_hz"),
    *_row(Encoding.I16_THOUSANDTHS, 0x5B3A, 1, "power_factor", *_phases("power_factor_l{}")),
)

_IEM = (
    *_row(Encoding.F32, 0x0BB7, 2, *_phases("current_l{}_a")),
    *_row(Encoding.F32, 0x0BC1, 2, "current_average_a"),
    *_row(Encoding.F32, 0x0BD3, 2, *_phases("voltage_l{}_v")),
    *_row(Encoding.F32, 0x0BDB, 2, "voltage_average_v"),
    *_row(Encoding.F32_KILO, 0x0BED, 2, *_phases("power_l{}_w"), "power_w"),
    *_row(Encoding.F32_KILO, 0x0BFB, 8, "reactive_var", "apparent_va"),
    *_row(Encoding.F32, 0x0C0B, 2, "power_factor_quadrant"),
    *_row(Encoding.F32, 0x0C25, 2, "frequency_hz"),
    *_row(Encoding.I64, 0x0C83, 4, "import_wh", "export_wh"),
    *_row(Encoding.I64, 0x0C93, 4, "import_varh", "export_varh"),
    *_row(Encoding.I64, 0x0DBD, 4, *_phases("import_l{}_wh")),
)

_MAPS = (
    RegisterMap("eastron-sdm120", READ_INPUT, (Region(0x0000, 0x015A),), 80, 0, 10, 1, _SDM120),
    RegisterMap("eastron-sdm630", READ_INPUT, (Region(0x0000, 0x0182),), 80, 0, 10, 3, _SDM630),
    RegisterMap(
        model="abb-b23",
        function=READ_HOLDING,
        regions=(Region(0x5000, 0x0008), Region(0x5460, 0x0018), Region(0x5B00, 0x003E)),
        count_max=MODBUS_COUNT_MAX,
        gap_word=0xFFFF,
        resolution_wh=10,
        phases=3,
        fields=_ABB,
        says_not_available=True,
    ),
    RegisterMap(
        model="schneider-iem3155",
        function=READ_HOLDING,
        regions=(Region(0x0BB7, 0x0070), Region(0x0C83, 0x0018), Region(0x0DBD, 0x000C)),
        count_max=MODBUS_COUNT_MAX,
        gap_word=0xFFFF,
        resolution_wh=1,
        phases=3,
        fields=_IEM,
    ),
)

MAPS: Mapping[str, RegisterMap] = {one.model: one for one in _MAPS}
