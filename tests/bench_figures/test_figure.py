"""What the measurements print, and the arithmetic of the limits that are computed."""

import json

import pytest

from bench.__main__ import FIGURES
from bench.figure import Figure, Requirement
from bench.line_scan import PROFILE, wire_s
from bench.workload import GATEWAYS, METERS, blocks, message, messages
from collector.readings.check import separate
from contract.messages import ScanKind
from gateway.profiles import ProfileLibrary


def test_a_figure_is_one_line_of_json() -> None:
    figure = Figure(
        "f", 123_456.7, "reads/s", limit=200_000, limit_what="x", detail={"rounds": [1, 2]}
    )
    line = figure.to_json()
    assert "\n" not in line
    content = json.loads(line)
    assert content["machine"]
    assert (content["value"], content["limit"], content["ratio"]) == (123457, 200000, 0.617)
    assert (content["requirement"], content["met"]) == (None, None)


@pytest.mark.parametrize(
    ("value", "limit", "requirement", "met"),
    [
        (5.0, 10.0, Requirement("ratio", ">=", 0.5), True),
        (4.9, 10.0, Requirement("ratio", ">=", 0.5), False),
        (10.6, 10.0, Requirement("ratio", "<=", 1.05), False),
        (64.0, None, Requirement("value", "<=", 64), True),
        (64.1, None, Requirement("value", "<=", 64), False),
        (5.0, None, Requirement("ratio", ">=", 0.5), False),
    ],
)
def test_requirements(
    value: float, limit: float | None, requirement: Requirement, *, met: bool
) -> None:
    figure = Figure("f", value, "s", limit=limit, requirement=requirement)
    assert figure.met is met
    assert json.loads(figure.to_json())["requirement"] == str(requirement)


def test_every_figure_has_its_module() -> None:
    import importlib

    for name in FIGURES:
        module = importlib.import_module(f"bench.{name}")
        assert f"`{name}`" in (module.__doc__ or "")
        assert callable(module.measure)


def test_what_the_wire_needs() -> None:
    profile = ProfileLibrary().get_modbus(PROFILE)
    # One request of 24 registers: 8 characters there, 5 + 48 back, of 10 bits at 9600 baud; t3.5
    # before the reply and between the meters; 20 ms of turnaround.
    characters_s, silence_s = 61 * 10 / 9600, 3.5 * 10 / 9600
    expected = 32 * (characters_s + silence_s + 0.020) + 31 * silence_s
    assert wire_s(profile, 32) == pytest.approx(expected)


def test_the_workload_can_be_stored_and_repeats_itself() -> None:
    sent = list(messages(2 * GATEWAYS))
    assert sent == list(messages(2 * GATEWAYS))
    assert len({one.topic for one in sent}) == len(sent)
    made = blocks(sent)
    assert {block.kind for block in made[:GATEWAYS]} == {ScanKind.INDEX}
    assert {block.kind for block in made[GATEWAYS:]} == {ScanKind.INTERVAL}
    assert {len(block.reads) for block in made} == {METERS}
    assert separate(made)[1] == []
    assert len(message("g", 1, 0).payload) < 10_000
