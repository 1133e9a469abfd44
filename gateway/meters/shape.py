"""What the parts of meter profile files have in common: their base class and their small types.

Owns shapes of values only. It must not know what any part is for.
"""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contract.limits import NAME_CHARS_MAX

ADDRESS_MAX = 0xFFFF
REGS_MAX = 125  # Modbus Application Protocol V1.1b3, 6.3: a read brings at most 125 registers

Address = Annotated[int, msgspec.Meta(ge=0, le=ADDRESS_MAX)]
Function = Literal[3, 4]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=60_000)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]*$", max_length=NAME_CHARS_MAX)]
Positive = Annotated[int, msgspec.Meta(gt=0)]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Immutable, and no unknown keys."""


class Evidence(StrEnum):
    """Where the facts of a meter profile come from, weakest first."""

    MAP = "map"  # a public register map; no meter was read for it
    STANDARD = "standard"  # the standard that the model follows
    CAPTURED = "captured"  # its vectors were read from a real meter
