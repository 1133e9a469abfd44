"""What one measurement says: a value, the limit it is compared with, and what is required of it.

It owns the form of a line of output; it measures nothing.
"""

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound on `of` (the value or its ratio to the limit)."""

    of: Literal["value", "ratio"]
    sense: Literal[">=", "<="]
    bound: float

    def __str__(self) -> str:
        """As it is printed: `ratio >= 0.5`."""
        return f"{self.of} {self.sense} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `limit` is in the unit of `value`; `detail` says how both came to be."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_what: str | None = None
    requirement: Requirement | None = None
    detail: dict[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The value as a share of the limit."""
        return None if self.limit is None else self.value / self.limit

    @property
    def met(self) -> bool | None:
        """Whether the requirement is met; None where there is none."""
        if self.requirement is None:
            return None
        measured = self.value if self.requirement.of == "value" else self.ratio
        if measured is None:
            return False
        bound = self.requirement.bound
        return measured >= bound if self.requirement.sense == ">=" else measured <= bound

    def to_json(self) -> str:
        """The line of output."""
        content = {
            "figure": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "limit": _rounded(self.limit),
            "limit_what": self.limit_what,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "requirement": None if self.requirement is None else str(self.requirement),
            "met": self.met,
            "machine": machine(),
            "detail": self.detail,
        }
        return json.dumps(content, ensure_ascii=False)


def machine() -> str:
    """The machine in a few words: processors, system, Python."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    processors = f"{len(models)} × {models[0]}" if models else platform.machine()
    system = f"{platform.system()} {platform.release()}"
    return f"{processors}, {system}, Python {platform.python_version()}"


def _rounded(value: float | None) -> float | None:
    """Four significant digits, integers where they are large."""
    if value is None:
        return None
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
