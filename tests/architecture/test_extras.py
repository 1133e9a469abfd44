"""Each side imports with only its own extra installed: a gateway carries nothing of the collector.

The closure of an extra is computed from the installed distributions' own metadata; a child process
then refuses to import anything that belongs to a distribution outside it.
"""

import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

REFUSING_IMPORTER = """
import importlib.abc, pkgutil, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r} (not in the extra)", name=name)
        return None

REFUSED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Refuse())
for top in sys.argv[2].split(","):
    package = __import__(top)
    for module in pkgutil.walk_packages(package.__path__, top + "."):
        if module.name.split(".")[-1] != "__main__" and ".migrations." not in module.name:
            __import__(module.name)
HEAVY = ("cryptography", "pydantic", "sqlalchemy", "numpy", "duckdb")
print(sorted(name for name in HEAVY if name in sys.modules))
"""


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def closure(extra: str) -> set[str]:
    """Distributions that `pip install songlo[extra]` brings, by normalised name."""
    found: set[str] = set()
    waiting = [("songlo", frozenset({extra}))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        name, extras = item
        found.add(normal(name))
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            environments = [{"extra": e} for e in extras] or [{"extra": ""}]
            if marker is None or any(marker.evaluate(environment) for environment in environments):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found


def outside(extra: str) -> set[str]:
    """Top-level modules that only distributions outside the extra's closure provide."""
    inside = closure(extra)
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if not {normal(name) for name in distributions} & inside
        and module not in {"contract", "gateway", "collector", "fleet", "simulator", "songlo"}
    }


def imports_with_only(extra: str, packages: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", REFUSING_IMPORTER, ",".join(sorted(outside(extra))), packages],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("gateway", "contract,gateway,firmware_config"),
        ("collector", "contract,collector,dashboards"),
        ("fleet", "fleet"),
        ("simulator", "simulator"),
        ("demo", "songlo"),
    ],
)
def test_a_side_imports_with_only_its_own_extra(extra: str, packages: str) -> None:
    imports_with_only(extra, packages)


def test_the_gateway_loads_nothing_heavy() -> None:
    assert imports_with_only("gateway", "contract,gateway") == "[]"


def test_the_closure_can_refuse() -> None:
    assert "sqlalchemy" in outside("gateway")
    assert "pymodbus" in outside("collector")
    assert "cryptography" in outside("gateway") & outside("collector")
    assert "paho" not in outside("gateway") | outside("collector")


def test_the_receiver_is_small() -> None:
    """A second process on a small machine carries only what taking messages needs."""
    heavy = "('duckdb','fastapi','pyarrow','pydantic','sqlalchemy','structlog','urllib3')"
    script = f"import collector.intake.receiver, sys; print(set({heavy}) & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
