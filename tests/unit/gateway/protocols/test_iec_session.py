"""A session of IEC 62056-21 as a state machine: order, checks, repeats, and any garbage at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.iec62056_21 import (
    ANSWER_BLOCKS_MAX,
    BLOCK_CHARS_MAX,
    SKIPPED_CHARS_MAX,
    Session,
)
from gateway.protocols.iec_characters import Characters, block_check, from_wire, to_wire
from gateway.protocols.iec_events import (
    Block,
    Command,
    Event,
    Failed,
    Failure,
    Finished,
    Identified,
    Programming,
    Readout,
    Refused,
    Send,
    SetBaud,
    Settings,
    Task,
)
from gateway.protocols.iec_messages import BREAK, CommandType, Identification

SOH, STX, ETX, EOT, ACK, NAK = b"\x01", b"\x02", b"\x03", b"\x04", b"\x06", b"\x15"
IDENT = b"/LGZ5\\2ZMD120APt.T21\r\n"
LINES = b"0.0.0(52011111)\r\n1.8.0(0012345.67*kWh)\r\n!\r\n"
READ_ENERGY = Command(CommandType.READ, "1.8.0()")
READ_EXPORT = Command(CommandType.READ, "2.8.0()")
READ_BLOCKS = Command(CommandType.READ_PROFILE_BLOCKS, "P.01(;)")
EIGHT = Settings(characters=Characters.EIGHT_NONE)


def checked(text: bytes) -> bytes:
    """A message from its first control character on, with its block check at the end."""
    return text + bytes([block_check(text[1:])])


def block(text: bytes, end: bytes = ETX) -> bytes:
    return checked(STX + text + end)


PROMPT = checked(SOH + b"P0" + STX + b"(00000000)" + ETX)


class Dialogue:
    """A session and what it said, its sends decoded; fed as a meter would."""

    def __init__(
        self, task: Task | None = None, address: str = "", settings: Settings = EIGHT
    ) -> None:
        self.settings = settings
        self.session = Session(task or Readout(), address, settings)
        self.events: list[Event] = []
        self.take(self.session.start())

    def take(self, events: list[Event]) -> None:
        self.events += events
        if any(isinstance(event, Send) for event in events):
            self.session.sending()

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self.take(self.session.receive(to_wire(message, self.settings.characters)))

    def wait(self) -> None:
        self.take(self.session.expired())

    @property
    def sent(self) -> list[bytes]:
        return [from_wire(event.data, self.settings.characters) for event in self.sends]

    @property
    def sends(self) -> list[Send]:
        return [event for event in self.events if isinstance(event, Send)]

    @property
    def others(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, Send)]

    @property
    def last(self) -> Event:
        return self.events[-1]


def test_mode_c_reads_out_at_the_rate_that_was_offered() -> None:
    dialogue = Dialogue(address="00011111", settings=Settings())
    dialogue.say(IDENT, block(LINES))
    identification = Identification("LGZ", "5", "ZMD120APt.T21", "2")
    assert dialogue.sent == [b"/?00011111!\r\n", ACK + b"050\r\n"]
    assert [(send.baud, send.then_baud, send.after_s) for send in dialogue.sends] == [
        (300, 300, 0.2),
        (300, 9600, 0.2),
    ]
    assert dialogue.others == [Identified(identification), Block(LINES.decode()), Finished()]


def test_what_is_sent_has_even_parity() -> None:
    (send,) = Dialogue(settings=Settings()).sends
    assert all(character.bit_count() % 2 == 0 for character in send.data)
    assert send.data[:3] == bytes([0xAF, 0x3F, 0x21])


@pytest.mark.parametrize(
    ("settings", "choice", "then_baud"),
    [
        (Settings(baud_max=2400), b"030\r\n", 2400),
        (Settings(baud_max=100), b"000\r\n", 300),
        (Settings(changeover=False), b"050\r\n", 300),
        (Settings(baud=9600), b"050\r\n", 9600),
    ],
)
def test_the_line_bounds_the_rate(settings: Settings, choice: bytes, then_baud: int) -> None:
    dialogue = Dialogue(settings=settings)
    dialogue.say(IDENT)
    assert dialogue.sent[-1] == ACK + choice
    assert dialogue.sends[-1].then_baud == then_baud


def test_mode_a_has_data_at_once_and_mode_b_at_another_rate() -> None:
    dialogue = Dialogue()
    dialogue.say(b"/ABC@METER\r\n", block(LINES))
    assert len(dialogue.sent) == 1
    assert dialogue.others[-2:] == [Block(LINES.decode()), Finished()]
    dialogue = Dialogue()
    dialogue.say(b"/ABCDMETER\r\n")
    assert dialogue.last == SetBaud(4800)
    dialogue.say(block(LINES))
    assert len(dialogue.sent) == 1
    assert dialogue.others[-2:] == [Block(LINES.decode()), Finished()]


def test_a_fast_meter_is_answered_after_twenty_milliseconds() -> None:
    dialogue = Dialogue()
    dialogue.say(b"/LGz5X\r\n")
    assert dialogue.sends[-1].after_s == 0.02


def test_a_sleeping_meter_is_woken() -> None:
    first, second = Dialogue(settings=Settings(wake_up=True)).sends
    assert (first.data, second.after_s) == (bytes(66), 1.6)


def test_a_wrong_block_check_is_asked_for_again_twice_and_no_more() -> None:
    dialogue = Dialogue()
    dialogue.say(IDENT, block(LINES)[:-1] + b"\x00", block(LINES))
    assert dialogue.sent[2:] == [NAK]
    assert dialogue.others[1:] == [Block(LINES.decode()), Finished()]
    dialogue = Dialogue()
    dialogue.say(IDENT, *[block(LINES)[:-1] + b"\x00"] * 3)
    assert dialogue.sent[2:] == [NAK, NAK]
    assert isinstance(dialogue.last, Failed)
    assert dialogue.last.failure is Failure.GARBLED


@pytest.mark.parametrize("position", range(len(block(LINES))))
def test_one_wrong_bit_anywhere_is_seen_and_the_repetition_taken(position: int) -> None:
    dialogue = Dialogue(settings=Settings())
    dialogue.say(IDENT)
    whole = to_wire(block(LINES), Characters.SEVEN_EVEN)
    for bit in range(8):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        one = Dialogue(settings=Settings())
        one.say(IDENT)
        one.take(one.session.receive(bytes(damaged)))
        if one.sent[-1] != NAK:
            one.wait()
        assert one.sent[-1] == NAK
        one.say(block(LINES))
        assert one.others[-2:] == [Block(LINES.decode()), Finished()]


def test_two_errors_that_the_block_check_does_not_see_are_seen_by_parity() -> None:
    whole = to_wire(block(LINES), Characters.SEVEN_EVEN)
    zeros = [index for index, value in enumerate(whole) if value == ord("0")]
    damaged = bytearray(whole)
    for position in zeros[:2]:
        damaged[position] ^= 1
    dialogue = Dialogue(settings=Settings())
    dialogue.say(IDENT)
    dialogue.take(dialogue.session.receive(bytes(damaged)))
    assert dialogue.sent[-1] == NAK
    dialogue.say(block(LINES))
    assert dialogue.others[-2:] == [Block(LINES.decode()), Finished()]


def test_a_block_that_stops_in_the_middle_is_asked_for_again() -> None:
    dialogue = Dialogue()
    dialogue.say(IDENT, block(LINES)[:9])
    assert dialogue.session.timeout_s == 1.5
    dialogue.wait()
    assert dialogue.sent[-1] == NAK
    dialogue.say(block(LINES))
    assert dialogue.last == Finished()


def test_silence_ends_the_session() -> None:
    dialogue = Dialogue()
    dialogue.wait()
    assert dialogue.last == Failed(Failure.SILENT, "no identification")
    dialogue = Dialogue()
    dialogue.say(b"\xff\xff")
    dialogue.wait()
    assert isinstance(dialogue.last, Failed)
    assert dialogue.last.failure is Failure.GARBLED
    dialogue = Dialogue()
    dialogue.say(IDENT)
    dialogue.wait()
    assert dialogue.last == Failed(Failure.SILENT, "no data after the identification")


def test_noise_before_messages_is_passed_over_but_not_for_ever() -> None:
    dialogue = Dialogue()
    dialogue.say(b"\xff\x00junk/LG" + IDENT, b"\x00\xfe" + block(LINES))
    assert dialogue.last == Finished()
    dialogue = Dialogue()
    dialogue.say(IDENT, b"x" * (SKIPPED_CHARS_MAX + 1))
    assert dialogue.last == Failed(Failure.GARBLED, "the line is never silent")


def test_a_block_without_end_is_cut() -> None:
    dialogue = Dialogue()
    dialogue.say(IDENT, STX + b"1" * (BLOCK_CHARS_MAX + 1))
    assert isinstance(dialogue.last, Failed)
    assert dialogue.last.failure is Failure.TOO_LONG


def test_an_echo_of_all_that_is_sent_changes_nothing() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,), password="00000000"))
    replies = [IDENT, PROMPT, ACK, block(b"1.8.0(5*kWh)")]
    for reply in replies:
        dialogue.say(dialogue.sent[-1] + reply)
    assert dialogue.others[1:] == [Block("1.8.0(5*kWh)", READ_ENERGY), Finished()]


def test_single_values_are_read_in_programming_mode() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY, READ_EXPORT), password="12345678"))
    dialogue.say(IDENT)
    assert dialogue.sent[-1] == ACK + b"051\r\n"
    dialogue.say(PROMPT)
    assert dialogue.sent[-1] == checked(SOH + b"P1" + STX + b"(12345678)" + ETX)
    dialogue.say(ACK)
    assert dialogue.sent[-1] == checked(SOH + b"R1" + STX + b"1.8.0()" + ETX)
    dialogue.say(block(b"1-0:1.8.0(1234.56*kWh)"))
    dialogue.say(block(b"(0.00*kWh)"))
    assert dialogue.others[1:] == [
        Block("1-0:1.8.0(1234.56*kWh)", READ_ENERGY),
        Block("(0.00*kWh)", READ_EXPORT),
        Finished(),
    ]
    assert dialogue.sent[-1] == BREAK == b"\x01B0\x03\x71"


def test_without_a_password_commands_follow_the_prompt_and_an_encrypted_one_is_p2() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,)))
    dialogue.say(IDENT, PROMPT)
    assert dialogue.sent[-1].startswith(SOH + b"R1")
    dialogue = Dialogue(Programming((READ_ENERGY,), password="ABCDEF", encrypted=True))
    dialogue.say(IDENT, PROMPT)
    assert dialogue.sent[-1].startswith(SOH + b"P2" + STX + b"(ABCDEF)")


def test_a_wrong_password_ends_the_session_with_a_break() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,), password="0"))
    dialogue.say(IDENT, PROMPT, block(b"(ER01)"))
    assert dialogue.sent[-1] == BREAK
    assert dialogue.last == Failed(Failure.REFUSED, "the password: (ER01)")


def test_a_refused_command_does_not_keep_the_others() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY, READ_EXPORT)))
    dialogue.say(IDENT, PROMPT, block(b"(ER02)"), NAK, NAK, NAK)
    assert [event for event in dialogue.others if isinstance(event, Refused)] == [
        Refused(READ_ENERGY, "(ER02)"),
        Refused(READ_EXPORT, "the meter did not understand (NAK)"),
    ]
    assert dialogue.last == Finished()


def test_the_answer_to_an_earlier_command_is_not_taken_for_this_one() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY, READ_EXPORT)))
    dialogue.say(IDENT, PROMPT, block(b"1.8.0(7*kWh)"), block(b"1.8.0(7*kWh)"))
    assert not isinstance(dialogue.last, Finished)
    dialogue.say(block(b"2.8.0(3*kWh)"))
    assert dialogue.others[2:] == [Block("2.8.0(3*kWh)", READ_EXPORT), Finished()]


def test_an_unanswered_command_is_said_again() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,)))
    dialogue.say(IDENT, PROMPT)
    said = dialogue.sent[-1]
    dialogue.wait()
    dialogue.wait()
    assert dialogue.sent[-2:] == [said, said]
    dialogue.wait()
    assert dialogue.sent[-1] == BREAK
    assert dialogue.last == Failed(Failure.SILENT, "no answer to a command, 3 times")


def test_after_a_silence_an_answer_that_does_not_say_to_what_is_not_taken() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY, READ_EXPORT)))
    dialogue.say(IDENT, PROMPT)
    dialogue.wait()
    dialogue.say(block(b"(7*kWh)"))  # to the first asking or the second: the same
    assert dialogue.session.was_repeated
    dialogue.say(block(b"(7*kWh)"))  # this may be the other one, come late
    assert dialogue.last == Failed(
        Failure.GARBLED, "after a repeat, an answer that does not say to what"
    )


def test_a_prompt_that_comes_twice_is_passed_over() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,)))
    dialogue.say(IDENT, PROMPT, PROMPT, block(b"1.8.0(7*kWh)"))
    assert dialogue.others[1:] == [Block("1.8.0(7*kWh)", READ_ENERGY), Finished()]
    assert not dialogue.session.was_repeated


def test_the_meter_may_end_the_session() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,)))
    dialogue.say(IDENT, PROMPT, BREAK)
    assert dialogue.sent[-1] != BREAK
    assert dialogue.last == Failed(Failure.BROKEN_OFF, "the meter ended the session")


def test_programming_needs_mode_c() -> None:
    dialogue = Dialogue(Programming((READ_ENERGY,)))
    dialogue.say(b"/ABC@METER\r\n")
    assert dialogue.last == Failed(Failure.REFUSED, "mode A has a data readout only")


def test_partial_blocks_are_acknowledged_one_by_one() -> None:
    dialogue = Dialogue(Programming((READ_BLOCKS,)))
    header = b"P.01(0260809000000)(00)(15)(1)(1.5)(kW)\r\n"
    dialogue.say(IDENT, PROMPT, block(header, EOT))
    assert dialogue.sent[-1] == ACK
    dialogue.say(block(b"(0.1)\r\n", EOT)[:-1] + b"\x7f")
    assert dialogue.sent[-1] == NAK
    dialogue.say(block(b"(0.1)\r\n", EOT), block(b"(0.2)\r\n"))
    blocks = [event for event in dialogue.others if isinstance(event, Block)]
    assert [(one.text, one.final) for one in blocks] == [
        (header.decode(), False),
        ("(0.1)\r\n", False),
        ("(0.2)\r\n", True),
    ]
    assert dialogue.last == Finished()


def test_no_block_is_lost_or_doubled_when_an_acknowledgement_may_be() -> None:
    dialogue = Dialogue(Programming((READ_BLOCKS,)))
    dialogue.say(IDENT, PROMPT, block(b"P.01(0)", EOT))
    dialogue.wait()
    assert dialogue.last == Failed(Failure.SILENT, "no further block")
    dialogue = Dialogue(Programming((READ_BLOCKS,)))
    dialogue.say(IDENT, PROMPT, block(b"P.01(0)", EOT), b"\x02junk")
    dialogue.wait()
    dialogue.say(block(b"P.01(0)", EOT))
    assert dialogue.last == Failed(Failure.GARBLED, "a block that came twice")


def test_partial_blocks_without_end_are_cut() -> None:
    dialogue = Dialogue(Programming((READ_BLOCKS,)))
    dialogue.say(IDENT, PROMPT)
    for number in range(ANSWER_BLOCKS_MAX):
        dialogue.say(block(b"P.01(%d)" % number, EOT))
    assert isinstance(dialogue.last, Failed)
    assert dialogue.last.failure is Failure.TOO_LONG


TASKS = st.sampled_from(
    [
        Readout(),
        Programming((READ_ENERGY, READ_EXPORT)),
        Programming((READ_BLOCKS,), password="1"),
    ]
)
MESSAGES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            *(IDENT, b"/ABC@M\r\n", b"/ABCDM\r\n", b"/?!\r\n", PROMPT, BREAK, ACK, NAK, STX, SOH),
            *(block(LINES), block(b"1.8.0(5*kWh)"), block(b"(ER01)"), block(b"P.01(1)", EOT)),
        ]
    ),
)
STEPS = st.lists(st.one_of(st.none(), MESSAGES), max_size=30)


def run(task: Task, characters: Characters, steps: list[bytes | None], cut: int) -> list[Event]:
    """The events of a session fed `steps` in pieces of `cut` bytes; None is a silence."""
    session = Session(task, "1", Settings(characters=characters))
    events = session.start()
    session.sending()
    for step in steps:
        if step is None:
            events += session.expired()
        else:
            data = to_wire(step, characters)
            for start in range(0, len(data), cut):
                events += session.receive(data[start : start + cut])
        session.sending()  # as a driver does between two messages
    return events


@given(TASKS, st.sampled_from(Characters), STEPS, st.integers(1, 7))
def test_any_bytes_in_any_pieces_give_the_same_events(
    task: Task, characters: Characters, steps: list[bytes | None], cut: int
) -> None:
    whole = run(task, characters, steps, 1 << 20)
    assert run(task, characters, steps, 1) == whole
    assert run(task, characters, steps, cut) == whole
    ends = [event for event in whole if isinstance(event, Finished | Failed)]
    assert ends == whole[-1:] if ends else True


@given(st.binary(max_size=300))
def test_raw_garbage_is_never_more_than_a_failure(garbage: bytes) -> None:
    session = Session(Readout())
    session.start()
    session.sending()
    events = session.receive(garbage)
    session.sending()
    events += session.expired()
    assert not any(isinstance(event, Block) for event in events)
