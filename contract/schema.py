"""JSON Schemas of the messages, generated from their classes for readers in other languages.

The generated files stand in `contract/schemas/`; a test holds them against this module.
Regenerate with `python -m contract.schema DIRECTORY`.
"""

import sys
from pathlib import Path

import msgspec

from contract.commands import Command, Result
from contract.messages import Ack, Batch, Status
from contract.signed_config import SignedConfig

MESSAGES: dict[str, type[msgspec.Struct]] = {
    "batch": Batch,
    "ack": Ack,
    "status": Status,
    "command": Command,
    "result": Result,
    "config": SignedConfig,
}


def schema_text(name: str) -> str:
    """The JSON Schema (draft 2020-12) of one message, formatted as it is checked in."""
    schema = msgspec.json.schema(MESSAGES[name])
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    for message in MESSAGES:
        Path(sys.argv[1], f"{message}.schema.json").write_text(schema_text(message))
