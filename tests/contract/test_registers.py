"""The register catalogue: codes, fields and CMIS codes are unambiguous."""

import re

from contract.registers import (  # fmt: skip
    BILLING,
    BY_FIELD,
    BY_OBIS,
    CATALOGUE,
    EXPORT_ACTIVE,
    IMPORT_ACTIVE,
    Kind,
    Unit,
)


def test_each_name_belongs_to_one_register() -> None:
    assert len(BY_OBIS) == len(BY_FIELD) == len(CATALOGUE)
    cmis = [register.cmis for register in CATALOGUE if register.cmis]
    assert len(set(cmis)) == len(cmis)


def test_fields_end_in_their_unit() -> None:
    for register in CATALOGUE:
        if register.unit is not Unit.ONE:
            assert register.field.endswith("_" + register.unit.value.lower()), register
        assert re.fullmatch(r"[a-z][a-z0-9_]*", register.field)
        assert re.fullmatch(r"\d+-\d+:\d+\.\d+\.\d+", register.obis)


def test_all_that_money_depends_on_is_an_integer() -> None:
    assert BILLING
    assert all(register.is_integer for register in BILLING)
    assert all(register.is_integer == (register.kind is not Kind.INSTANTANEOUS)
               for register in CATALOGUE)  # fmt: skip


def test_the_gcs_codes_stand_beside_their_obis_codes() -> None:
    expected = {"KT": "1-0:1.8.0", "BT": "1-0:1.8.1", "CD": "1-0:1.8.2", "TD": "1-0:1.8.3",
                "SN": "1-0:2.8.0", "BN": "1-0:2.8.1", "CN": "1-0:2.8.2", "TN": "1-0:2.8.3",
                "VC": "1-0:3.8.0", "VN": "1-0:4.8.0"}  # fmt: skip
    assert {r.cmis: r.obis for r in CATALOGUE if r.cmis} == expected
    assert BY_OBIS[IMPORT_ACTIVE].field == "import_wh"
    assert BY_OBIS[EXPORT_ACTIVE].field == "export_wh"
