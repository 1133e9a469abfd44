"""House rules that no linter knows: files stay readable and speak of the product alone."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "contract",
    "gateway",
    "collector",
    "fleet",
    "simulator",
    "songlo",
    "dashboards",
    "bench",
)
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80

# Money and energy are integers: these rooms may not even spell the type.
FLOAT_FREE = ("collector/billing", "collector/balance", "collector/registry")


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in names if (ROOT / name).is_file()]


MODULES = sorted(
    path
    for path in tracked()
    if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_documented_and_of_a_readable_size(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with what it owns and what it must not know"
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"
    for number, line in enumerate(text.splitlines(), 1):
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", line), f"line {number}: file an issue"


@pytest.mark.parametrize("folder", FLOAT_FREE)
def test_no_float_on_a_path_to_a_bill(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Name) and node.id == "float"), where
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), where
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), where


def test_no_paths_of_one_machine_are_tracked() -> None:
    bad = re.compile(rb"(^|[^\w.-])/(home|root|Users|work)/\w")
    for path in tracked():
        if path.suffix in {".npz", ".png", ".woff2"} or "static" in path.parts:
            continue
        if path != Path(__file__):
            assert bad.findall(path.read_bytes()) == [], path.relative_to(ROOT)


def test_every_meter_profile_has_its_vectors() -> None:
    folder = ROOT / "firmware_config" / "meters"
    profiles = [p for p in folder.glob("*.yaml") if not p.name.endswith(".vectors.yaml")]
    assert len(profiles) >= 3
    for profile in profiles:
        assert profile.with_suffix(".vectors.yaml").exists(), profile.name
