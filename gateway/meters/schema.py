"""The JSON Schema of meter profile files, generated from their classes for people's editors.

The generated file stands in `firmware_config/meters/`; a test holds it against this module.
Regenerate with `python -m gateway.meters.schema FILE`.
"""

import sys
from pathlib import Path

import msgspec

from gateway.meters.profile import MeterProfile
from gateway.meters.readout_profile import PROTOCOL, ReadoutProfile

SCHEMA_FILE = "profile.schema.json"


def profile_schema_text() -> str:
    """The JSON Schema (draft 2020-12) of a profile file, formatted as it is checked in.

    The key `protocol` decides which class holds, as it does when a file is loaded.
    """
    (modbus, readout), components = msgspec.json.schema_components(
        (MeterProfile, ReadoutProfile), ref_template="#/$defs/{name}"
    )
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "if": {"properties": {"protocol": {"const": PROTOCOL}}, "required": ["protocol"]},
        "then": readout,
        "else": modbus,
        "$defs": _tidied(components),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _tidied(schema: object) -> object:
    """`schema` with decimals also as numbers, as YAML has them, and descriptions on one line."""
    if isinstance(schema, list):
        return [_tidied(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {key: _tidied(value) for key, value in schema.items()}
    if tidied.get("format") == "decimal":
        del tidied["format"]
        tidied["type"] = ["number", "string"]
    if isinstance(text := tidied.get("description"), str):
        tidied["description"] = " ".join(text.split())
    return tidied


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(profile_schema_text())
