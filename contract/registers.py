"""The register catalogue: what a value is, by OBIS code, with its unit, store field and CMIS code.

One row per register, the only place where these names meet. It must not know how a meter encodes
a register (that is a meter profile) nor what a register is billed at (that is a tariff).

OBIS codes: IEC 62056-6-1. CMIS codes (LOAI_BCS): the GCS reading file. The order of the rates
(1 = BT normal, 2 = CD peak, 3 = TD off-peak) is the Vietnamese convention and must be confirmed
for each meter model before its rate registers are billed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a register behaves over time."""

    CUMULATIVE = "cumulative"  # an index: only grows, integer
    INSTANTANEOUS = "instantaneous"  # a momentary quantity, float
    DEMAND = "demand"  # the highest average power since the last reset, integer


class Unit(StrEnum):
    """The unit in which a register is carried, stored and shown; never scaled."""

    WH = "Wh"
    VARH = "varh"
    VAH = "VAh"
    V = "V"
    A = "A"
    W = "W"
    VAR = "var"
    VA = "VA"
    HZ = "Hz"
    ONE = "1"  # dimensionless: the power factor


@dataclass(frozen=True, slots=True)
class Register:
    """One row of the catalogue.

    `field` is the column in DuckDB and the field in InfluxDB, named with its unit.
    `cmis` is the LOAI_BCS code of the GCS file, or None where the billing system has none.
    `billing` says that money depends on it: index scans carry it into the ledger.
    """

    obis: str
    field: str
    unit: Unit
    kind: Kind
    cmis: str | None = None
    billing: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether values are integers of `unit` (all that is billed) rather than floats."""
        return self.kind is not Kind.INSTANTANEOUS


def _energy(obis: str, field: str, unit: Unit, cmis: str | None = None) -> Register:
    return Register(obis, field, unit, Kind.CUMULATIVE, cmis, billing=cmis is not None)


def _momentary(obis: str, field: str, unit: Unit) -> Register:
    return Register(obis, field, unit, Kind.INSTANTANEOUS)


CATALOGUE: tuple[Register, ...] = (
    # A one-rate meter's total is KT in the GCS file; beside BT, CD and TD the same register is SG.
    _energy("1-0:1.8.0", "import_wh", Unit.WH, "KT"),
    _energy("1-0:1.8.1", "import_rate1_wh", Unit.WH, "BT"),
    _energy("1-0:1.8.2", "import_rate2_wh", Unit.WH, "CD"),
    _energy("1-0:1.8.3", "import_rate3_wh", Unit.WH, "TD"),
    _energy("1-0:2.8.0", "export_wh", Unit.WH, "SN"),
    _energy("1-0:2.8.1", "export_rate1_wh", Unit.WH, "BN"),
    _energy("1-0:2.8.2", "export_rate2_wh", Unit.WH, "CN"),
    _energy("1-0:2.8.3", "export_rate3_wh", Unit.WH, "TN"),
    _energy("1-0:3.8.0", "import_varh", Unit.VARH, "VC"),
    _energy("1-0:4.8.0", "export_varh", Unit.VARH, "VN"),
    _energy("1-0:9.8.0", "import_vah", Unit.VAH),
    _energy("1-0:21.8.0", "import_l1_wh", Unit.WH),
    _energy("1-0:41.8.0", "import_l2_wh", Unit.WH),
    _energy("1-0:61.8.0", "import_l3_wh", Unit.WH),
    _energy("1-0:22.8.0", "export_l1_wh", Unit.WH),
    _energy("1-0:42.8.0", "export_l2_wh", Unit.WH),
    _energy("1-0:62.8.0", "export_l3_wh", Unit.WH),
    Register("1-0:1.6.0", "import_demand_max_w", Unit.W, Kind.DEMAND, None, billing=True),
    _momentary("1-0:32.7.0", "voltage_l1_v", Unit.V),
    _momentary("1-0:52.7.0", "voltage_l2_v", Unit.V),
    _momentary("1-0:72.7.0", "voltage_l3_v", Unit.V),
    _momentary("1-0:31.7.0", "current_l1_a", Unit.A),
    _momentary("1-0:51.7.0", "current_l2_a", Unit.A),
    _momentary("1-0:71.7.0", "current_l3_a", Unit.A),
    # Signed: positive is taken from the network, negative is fed back into it.
    _momentary("1-0:16.7.0", "power_w", Unit.W),
    _momentary("1-0:36.7.0", "power_l1_w", Unit.W),
    _momentary("1-0:56.7.0", "power_l2_w", Unit.W),
    _momentary("1-0:76.7.0", "power_l3_w", Unit.W),
    _momentary("1-0:3.7.0", "reactive_power_var", Unit.VAR),
    _momentary("1-0:9.7.0", "apparent_power_va", Unit.VA),
    _momentary("1-0:13.7.0", "power_factor", Unit.ONE),
    _momentary("1-0:33.7.0", "power_factor_l1", Unit.ONE),
    _momentary("1-0:53.7.0", "power_factor_l2", Unit.ONE),
    _momentary("1-0:73.7.0", "power_factor_l3", Unit.ONE),
    _momentary("1-0:14.7.0", "frequency_hz", Unit.HZ),
)

BY_OBIS: dict[str, Register] = {register.obis: register for register in CATALOGUE}
BY_FIELD: dict[str, Register] = {register.field: register for register in CATALOGUE}
BILLING: tuple[Register, ...] = tuple(register for register in CATALOGUE if register.billing)

IMPORT_ACTIVE = "1-0:1.8.0"
EXPORT_ACTIVE = "1-0:2.8.0"
DEMAND_MAX = "1-0:1.6.0"
