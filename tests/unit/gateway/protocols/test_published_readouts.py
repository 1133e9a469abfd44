"""Readouts of real meters, as their owners published them, against what they mean.

Each goes through a whole session, with the meter's own block check where that was published.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.registers import Unit
from gateway.meters.readout_decode import decode_readout
from gateway.meters.readout_profile import ReadoutProfile
from gateway.profiles import ProfileLibrary
from gateway.protocols.iec62056_21 import Session
from gateway.protocols.iec_characters import Characters, block_check, to_wire
from gateway.protocols.iec_events import Block, Command, Event, Finished, Programming, Readout, Send
from gateway.protocols.iec_messages import CommandType
from gateway.protocols.readout import Code, Quantity, ReadoutText, parse_code, parse_data_sets

FOLDER = Path(__file__).parents[3] / "golden" / "readouts" / "published"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
LIBRARY = ProfileLibrary()
CONTROLS = {"SOH": "\x01", "STX": "\x02", "ETX": "\x03", "ACK": "\x06", "NAK": "\x15"}


def load(name: str) -> tuple[str, dict[str, Any]]:
    return (FOLDER / f"{name}.txt").read_text(), yaml.safe_load(
        (FOLDER / f"{name}.yaml").read_text()
    )


def wire(text: str) -> bytes:
    return to_wire(text.encode("ascii"), Characters.SEVEN_EVEN)


def through_a_session(text: str, about: dict[str, Any]) -> str:
    session = Session(Readout())
    session.start()
    session.sending()
    session.receive(wire(f"/{about['identification']}\r\n"))
    session.sending()
    block = text.replace("\n", "\r\n") + "\x03"
    check = about.get("block_check", block_check(block.encode("ascii")))
    events = session.receive(wire(f"\x02{block}{chr(check)}"))
    (said,) = (event.text for event in events if isinstance(event, Block))
    return said


def code(name: str) -> Code:
    parsed = parse_code(name)
    assert parsed is not None
    return parsed


def quantity(expected: list[Any]) -> Quantity:
    number, unit = expected
    return Quantity(Decimal(number), None if unit is None else Unit(unit))


def test_there_are_at_least_six_meters_and_each_says_where_it_comes_from() -> None:
    abouts = [load(name)[1] for name in NAMES]
    assert len({about["identification"] for about in abouts}) >= 6
    assert all(about["source"].startswith("https://") and about["licence"] for about in abouts)
    assert sum("block_check" in about for about in abouts) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_published_readout_means_what_is_written_beside_it(name: str) -> None:
    text, about = load(name)
    readout = ReadoutText(parse_data_sets(through_a_session(text, about)))
    assert len(readout) == about["data_sets"]
    for wanted, value in about["current"].items():
        data_set = readout.current(code(wanted))
        assert data_set is not None, wanted
        assert data_set.quantity == quantity(value), wanted
    for wanted, periods in about["history"].items():
        found = readout.history(code(wanted))
        assert {key: found[key] for key in periods} == {
            storage: quantity(value) for storage, value in periods.items()
        }
    for wanted, said in about["text"].items():
        assert readout.text(wanted) == said, wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_meter_profile_gives_its_values(name: str) -> None:
    text, about = load(name)
    profile = LIBRARY.get(about["profile"])
    assert isinstance(profile, ReadoutProfile)
    readout = ReadoutText(parse_data_sets(through_a_session(text, about)))
    values = decode_readout(profile.registers, readout).values
    assert {obis: values[obis] for obis in about["values"]} == about["values"]
    assert all(type(values[obis]) is type(value) for obis, value in about["values"].items())


def _plain(text: str) -> str:
    return re.sub("<([A-Z]+)>", lambda match: CONTROLS[match[1]], text)


def _sent(events: list[Event]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, Send)]


def test_a_session_in_programming_mode_with_a_meter_that_refuses_each_command_once() -> None:
    """And whose answers do not name what they answer, as the ISKRA ME162 does."""
    about = yaml.safe_load((FOLDER / "iskra-me162-commands.yaml").read_text())
    commands = tuple(Command(CommandType.READ, f"{name}()") for name in about["values"])
    session = Session(Programming(commands))
    session.start()
    session.sending()
    session.receive(wire(f"/{about['identification']}\r\n"))
    session.sending()
    events: list[Event] = []
    blocks: list[Block] = []
    for message in about["messages"]:
        if "before" in message:
            events = session.receive(wire(_plain(message["before"])))
        assert _sent(events) == [wire(_plain(message["sent"]))]
        session.sending()
        if "answers" in message:
            events = session.receive(wire(_plain(message["answers"])))
            blocks += [event for event in events if isinstance(event, Block)]
    assert isinstance(events[-1], Finished)
    said = {}
    for block in blocks:
        assert block.command is not None
        name = block.command.data.partition("(")[0]
        (data_set,) = parse_data_sets(name + block.text)
        said[name] = data_set.quantity
    assert said == {name: quantity(value) for name, value in about["values"].items()}
