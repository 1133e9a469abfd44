"""Whole readouts in the forms of several makers, against what they mean, through a real session."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.registers import Unit
from gateway.protocols.iec62056_21 import Session
from gateway.protocols.iec_characters import Characters, block_check, to_wire
from gateway.protocols.iec_events import Block, Readout
from gateway.protocols.meter_time import parse_stamp
from gateway.protocols.readout import Code, Quantity, ReadoutText, parse_code, parse_data_sets

FOLDER = Path(__file__).parents[3] / "golden" / "readouts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))


def through_a_session(text: str) -> str:
    """The text of the data block as a session hands it over."""
    session = Session(Readout())
    session.start()
    session.sending()
    session.receive(to_wire(b"/LGZ5METER\r\n", Characters.SEVEN_EVEN))
    session.sending()
    block = text.replace("\n", "\r\n").encode("ascii") + b"\x03"
    message = b"\x02" + block + bytes([block_check(block)])
    events = session.receive(to_wire(message, Characters.SEVEN_EVEN))
    (said,) = (event.text for event in events if isinstance(event, Block))
    return said


def quantity(expected: list[Any] | None) -> Quantity | None:
    if expected is None:
        return None
    number, unit = expected
    return Quantity(Decimal(number), None if unit is None else Unit(unit))


def code(name: str) -> Code:
    parsed = parse_code(name)
    assert parsed is not None
    return parsed


def load(name: str) -> tuple[str, dict[str, Any]]:
    return (FOLDER / f"{name}.txt").read_text(), yaml.safe_load(
        (FOLDER / f"{name}.yaml").read_text()
    )


def test_there_are_readouts_of_several_makers() -> None:
    assert len(NAMES) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_a_readout_means_what_is_written_beside_it(name: str) -> None:
    text, expected = load(name)
    readout = ReadoutText(parse_data_sets(through_a_session(text)))
    assert len(readout) == expected["data_sets"]
    for wanted, value in expected["current"].items():
        data_set = readout.current(code(wanted))
        assert data_set is not None, wanted
        assert data_set.quantity == quantity(value), wanted
    for wanted, periods in expected["history"].items():
        assert readout.history(code(wanted)) == {
            storage: quantity(value) for storage, value in periods.items()
        }
    for wanted, said in expected["text"].items():
        assert readout.text(wanted) == said
    for wanted, said in expected.get("stamp", {}).items():
        data_set = readout.current(code(wanted))
        assert data_set is not None
        assert parse_stamp(data_set.brackets[1]) == parse_stamp(said)
        assert parse_stamp(said) is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_push_telegram_without_stx_or_bcc_means_the_same(name: str) -> None:
    text, expected = load(name)
    readout = ReadoutText(parse_data_sets(f"/ABC5METER\r\n\r\n{text}\x03"))
    assert len(readout) == expected["data_sets"]
