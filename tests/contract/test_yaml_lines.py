"""YAML with line marks: places are found again, and hostile or broken text is refused."""

import msgspec
import pytest

from contract.yaml_lines import YamlError, explain, load_yaml

TEXT = """\
# a comment
lines:
  - name: one
    meters:
      - {serial: "1", address: 1}
      - serial: "2"
        address:
          2
flag: yes
"""


def test_values_are_plain_and_paths_lead_to_lines() -> None:
    data, line_of = load_yaml(TEXT, "s.yaml")
    assert data == {
        "lines": [
            {
                "name": "one",
                "meters": [{"serial": "1", "address": 1}, {"serial": "2", "address": 2}],
            }
        ],
        "flag": True,
    }
    assert line_of("$.lines[0].meters[0].address") == 5
    assert line_of("$.lines[0].meters[1].address") == 7, "the key's line, not the value's"
    assert line_of("$.lines[0].meters[1].colour") == 6, "the nearest above"
    assert line_of("$.nothing[3].here") == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1: the file is empty"),
        ("a: [1,\nb: 2", "f:2: not YAML"),
        ("a: 1\nb: 2\na: 3", "f:3: a: already given on line 1"),
        ("? [1]\n: 2", "f:1: a key must be plain text"),
        ("a: !!python/object:os.system x", "f:1: a: 'x' is no value of its kind"),
        ("a: 2026-99-99", "f:1: a: '2026-99-99' is no value of its kind"),
        ("a: &x [*x]", "f:1: "),
        ("a: " + "[" * 100 + "]" * 100, "f:1: a[0][0]"),
        ("a: \x00", "f:1: not YAML"),
        ('a: "\\ud800"', "f:1: a: '\\ud800' holds half a character"),
        ('a: 1\n"\\udfff": 2', "f:2: '\\udfff' holds half a character"),
        ("a: 1\n---\nb: 2", "f:2: not YAML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_yaml(text, "f")
    assert str(caught.value).startswith(expected)


def test_aliases_that_multiply_do_not_exhaust_memory() -> None:
    text = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 20)
    )
    with pytest.raises(YamlError, match="more than"):
        load_yaml(text, "f")


class _Meter(msgspec.Struct, forbid_unknown_fields=True):
    serial: str
    address: int


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    meters: list[_Meter]


class _Station(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[_Line]
    flag: bool


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("address: 1", "address: x", "s:5: lines[0].meters[0].address: Expected `int`, got `str`"),
        ("address: 1", "adress: 1", "s:5: lines[0].meters[0].adress: unknown key"),
        ('- serial: "2"\n        ', "- ", "s:6: lines[0].meters[1].serial: this key is missing"),
        ("flag: yes", "flag: yes\nflags: 1", "s:10: flags: unknown key"),
    ],
)
def test_validation_errors_are_told_with_file_line_and_key(
    old: str, new: str, expected: str
) -> None:
    assert old in TEXT
    data, line_of = load_yaml(TEXT.replace(old, new), "s")
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(data, _Station)
    error = explain(caught.value, "s", line_of)
    assert str(error) == expected
    assert error.path == f"$.{error.key}"
