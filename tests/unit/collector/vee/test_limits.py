"""The limits file: what lies over what, and that every fault is told with file, line and key."""

from pathlib import Path

import pytest

from collector.operations.vee_files import FILE_BYTES_MAX, load_limits
from collector.vee.limits import LimitsError
from collector.vee.values import Rating


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_sections_lie_over_each_other_key_by_key(tmp_path: Path) -> None:
    book = load_limits(
        write(
            tmp_path,
            """
defaults:
  rules:
    V04: {rise_warn_percent: 40}
    V06: {days_min: 5}
price_groups:
  household:
    rules:
      V06: {days_min: 7}
    estimation: {chain: [E1, E6]}
models:
  sdm120:
    rating: {phases: 1, voltage_v: 230, current_max_a: 45}
    rules:
      V06: {days_min: 9}
""",
        )
    )

    def days(group: str | None, model: str | None) -> tuple[object, object]:
        rules = book.of(group, model).rules
        return getattr(rules["V06"], "days_min"), getattr(rules["V04"], "rise_warn_percent")  # noqa: B009

    assert days(None, None) == (5, 40)
    assert days("household", None) == (7, 40)
    assert days("household", "sdm120") == (9, 40)
    assert days("unheard of", "unheard of") == (5, 40)
    assert book.of(None, "sdm120").rating == Rating(phases=1, voltage_v=230, current_max_a=45)
    assert book.of(None, None).rating is None
    assert book.of("household", "sdm120").estimation.chain == ("E1", "E6")
    assert book.of("household", "sdm120") is book.of("household", "sdm120")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: {}", "1: rules: unknown key"),
        ("defaults:\n  rules:\n    V04:\n      rise: 3", "4: defaults.rules.V04.rise: unknown key"),
        ("defaults:\n  rules:\n    V99: {}", "3: defaults.rules.V99: unknown key"),
        (
            "models:\n  m:\n    rating: {phases: 4, voltage_v: 1, current_max_a: 1}",
            "3: models.m.rating.phases: Expected `int` <= 3",
        ),
        (
            "models:\n  m:\n    rating:\n      phases: 1",
            "3: models.m.rating.voltage_v: this key is missing",
        ),
        (
            "price_groups:\n  g:\n    rules:\n      V01: {severity: grave}",
            "4: price_groups.g.rules.V01.severity: Invalid enum value 'grave'",
        ),
        (
            "price_groups:\n  g:\n    daily_index:\n      windows_min: [60, 60]",
            (
                "4: price_groups.g.daily_index.windows_min: windows must widen: "
                "each larger than the one before it"
            ),
        ),
        (
            "defaults:\n  rules:\n    V02: {tolerance_wh: -1}",
            "3: defaults.rules.V02.tolerance_wh: must not be negative",
        ),
        (
            "defaults:\n  rules:\n    V02: {tolerance_wh: 1.5}",
            "3: defaults.rules.V02.tolerance_wh: Expected `int`, got `float`",
        ),
        (
            "defaults:\n  estimation: {chain: [E1, E1]}",
            "2: defaults.estimation.chain: each method once",
        ),
        ("defaults:\n  registers: [1-0:32.7.0]", "2: defaults.registers: '1-0:32.7.0' is no "),
        ("defaults:\n  registers: []", "2: defaults.registers: name one register at least"),
        ("defaults: [", "1: not YAML"),
        ("", "1: the file is empty"),
    ],
)
def test_faults_are_told_with_file_line_and_key(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LimitsError) as caught:
        load_limits(path)
    assert str(caught.value).startswith(f"{path}:{told}")
    assert caught.value.hint


def test_a_file_that_cannot_be_read_and_one_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(LimitsError, match="cannot be read"):
        load_limits(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(LimitsError, match="cannot be read"):
        load_limits(tmp_path / "binary.yaml")
    with pytest.raises(LimitsError, match="more than"):
        load_limits(write(tmp_path, "#" * (FILE_BYTES_MAX + 1)))
