"""One session of IEC 62056-21 (modes A, B and C) as a state machine: bytes in, events out.

Owns the order of messages, checks and repeats. It does no I/O and reads no clock: whoever drives it
sends, sets the rate and measures time as the events and `timeout_s` say.

    events = session.start()
    for each event:      Send: wait for silence, call sending(), write, wait until it is out
    bytes came:          events = session.receive(data)
    none for timeout_s:  events = session.expired()
    until Finished or Failed
"""

from collections.abc import Callable
from enum import Enum, auto

from gateway.protocols.iec_characters import (
    ACK,
    BITS_PER_CHARACTER,
    DAMAGED,
    EOT,
    ETX,
    NAK,
    SOH,
    STX,
    block_check,
    from_wire,
    to_wire,
)
from gateway.protocols.iec_events import (
    DEFAULTS,
    Block,
    Command,
    Event,
    Failed,
    Failure,
    Finished,
    Identified,
    Programming,
    Refused,
    Send,
    SetBaud,
    Settings,
    Task,
    Written,
)
from gateway.protocols.iec_messages import (
    BREAK,
    REACTION_MIN_S,
    CommandType,
    Identification,
    Mode,
    Option,
    baud_to_choose,
    command,
    option_select,
    parse_identification,
    sign_on,
)

REPEATS_MAX = 2  # of one message, by NAK or by sending it again; then the session has failed
IDENTIFICATION_CHARS_MAX = 64  # of one line; the standard allows 23
SKIPPED_CHARS_MAX = 4096  # noise before a message; more is a line that is never silent
BLOCK_CHARS_MAX = 128 * 1024  # a readout is 0.5 to 5 kB, a day of load profile about as much
ANSWER_CHARS_MAX = 2 * 1024 * 1024  # a year of quarter-hours in partial blocks
ANSWER_BLOCKS_MAX = 4096

# Annex B: NUL characters for 2.1 s to 2.3 s, then 1.5 s to 1.7 s of silence.
WAKE_UP_S = 2.2
WAKE_UP_SILENCE_S = 1.6

_LF = 0x0A


class _State(Enum):
    NEW = auto()
    IDENTIFICATION = auto()
    HUNTING = auto()  # for the first character of a message
    MESSAGE = auto()
    CHECK = auto()  # its block check character comes next
    DONE = auto()


class Session:
    """One session with the meter at `address`, or with the only one on the line if it is empty.

    Garbage of any kind gives `Failed`, never an exception; bytes may come in pieces of any size.
    `was_repeated` says that something was asked for twice because nothing whole came the first
    time, so that an answer may come after the end.
    """

    def __init__(self, task: Task, address: str = "", settings: Settings = DEFAULTS) -> None:
        self._task = task
        self._address = address
        self._settings = settings
        self._state = _State.NEW
        self._baud = settings.baud
        self._reaction_min_s = REACTION_MIN_S
        self._events: list[Event] = []
        self._last_sent = b""
        self._held_back = False  # a Send was given out and has not begun: nothing can answer yet
        self._echo = b""  # what a two-wire adapter may still return of what was sent
        self._echoed = 0
        self._heard = False
        self._skipped = 0
        self._line = bytearray()
        self._message = bytearray()
        self._repeats = 0
        self.was_repeated = False  # after silence: the answer to the first time may still come
        self._was_repeated_before = False  # the present command was sent
        self._waiting = list(task.commands) if isinstance(task, Programming) else []
        self._current: Command | None = None
        self._answer_blocks = self._answer_chars = 0
        self._last_text = ""
        self._on_block: Callable[[int, bytes, int], None] = self._on_readout
        self._on_acknowledged: Callable[[], None] | None = None

    # -- what the driver calls

    @property
    def timeout_s(self) -> float:
        """How long to wait for the next byte, from the last one or the end of what was sent."""
        settings = self._settings
        return settings.character_gap_max_s if self._heard else settings.reaction_max_s

    def start(self) -> list[Event]:
        """Begin, once."""
        assert self._state is _State.NEW, "a session begins once"
        self._state = _State.IDENTIFICATION
        if self._settings.wake_up:
            nuls = bytes(int(WAKE_UP_S * self._baud / BITS_PER_CHARACTER))
            self._events.append(Send(nuls, self._baud, self._reaction_min_s, self._baud))
            self._send(sign_on(self._address), after_s=WAKE_UP_SILENCE_S)
        else:
            self._send(sign_on(self._address))
        return self._take_events()

    def sending(self) -> None:
        """What the last `Send` asked for is being written; what comes from now on may answer it."""
        self._held_back = False

    def receive(self, data: bytes) -> list[Event]:
        """Take in what came from the line; empty when nothing can be made of it yet."""
        for character in from_wire(data, self._settings.characters):
            if self._held_back or self._state in (_State.NEW, _State.DONE):
                break
            self._take_past_echo(character)
        return self._take_events()

    def expired(self) -> list[Event]:
        """Nothing came for `timeout_s`."""
        assert not self._held_back, "time runs after the sending"
        if self._echo and self._echoed:
            self._release_echo()
        if not self._held_back:
            self._expire()
        return self._take_events()

    def _expire(self) -> None:
        if self._state is _State.IDENTIFICATION:
            self._fail_unheard("no identification")
        elif self._state not in (_State.HUNTING, _State.MESSAGE, _State.CHECK):
            return
        elif self._heard:
            self.was_repeated = True
            self._ask_again("a message is not whole")
        elif self._answer_blocks:
            # Whether the acknowledgement or the next block was lost cannot be told.
            self._give_up(Failure.SILENT, "no further block")
        elif self._current is not None or self._on_acknowledged is not None:
            self.was_repeated = True
            self._say_again("no answer to a command")
        else:
            self._fail_unheard("no data after the identification")

    # -- sending

    def _send(
        self, text: bytes, *, after_s: float | None = None, then_baud: int | None = None
    ) -> None:
        baud = self._baud
        self._baud = baud if then_baud is None else then_baud
        data = to_wire(text, self._settings.characters)
        pause_s = self._reaction_min_s if after_s is None else after_s
        self._events.append(Send(data, baud, pause_s, self._baud))
        self._last_sent = text
        self._echo, self._echoed = text, 0
        self._held_back = True
        self._listen_anew()

    def _listen_anew(self) -> None:
        self._heard = False
        self._skipped = 0
        self._line.clear()
        self._message.clear()
        if self._state is not _State.IDENTIFICATION:
            self._state = _State.HUNTING

    def _ask_again(self, detail: str) -> None:
        """NAK, so that the meter repeats its message, or give up."""
        if self._repeats >= REPEATS_MAX:
            self._give_up(Failure.GARBLED, f"{detail}, {REPEATS_MAX + 1} times")
            return
        self._repeats += 1
        last_sent = self._last_sent
        self._send(bytes((NAK,)))
        self._last_sent = last_sent

    def _say_again(self, detail: str) -> None:
        if self._repeats >= REPEATS_MAX:
            self._give_up(Failure.SILENT, f"{detail}, {REPEATS_MAX + 1} times")
            return
        self._repeats += 1
        stale = self._current is not None and self._current.late is not None
        self._send(_message(self._current) if stale and self._current else self._last_sent)

    def _give_up(self, failure: Failure, detail: str) -> None:
        """End with `Failed`; a meter that may be in programming mode is told so."""
        if self._on_block != self._on_readout and failure is not Failure.BROKEN_OFF:
            self._send(BREAK)
        self._state = _State.DONE
        self._events.append(Failed(failure, detail))

    def _fail_unheard(self, detail: str) -> None:
        if self._heard:
            self._give_up(Failure.GARBLED, f"{detail}, only damaged characters")
        else:
            self._give_up(Failure.SILENT, detail)

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # -- receiving characters

    def _take_past_echo(self, character: int) -> None:
        """Drop an exact echo of what was sent; anything else goes on, with what looked like one."""
        if self._echo:
            if character == self._echo[self._echoed]:
                self._echoed += 1
                if self._echoed == len(self._echo):
                    self._echo = b""
                return
            self._release_echo()
        self._take(character)

    def _release_echo(self) -> None:
        held, self._echo = self._echo[: self._echoed], b""
        for character in held:
            self._take(character)

    def _take(self, character: int) -> None:
        if self._held_back:
            return
        self._heard = True
        match self._state:
            case _State.IDENTIFICATION:
                self._take_identification(character)
            case _State.HUNTING:
                self._hunt(character)
            case _State.MESSAGE:
                self._take_message(character)
            case _State.CHECK:
                self._check(character)
            case _:
                pass

    def _take_identification(self, character: int) -> None:
        if character == ord("/"):
            self._line.clear()
        if character == _LF:
            identification = parse_identification(bytes(self._line).removesuffix(b"\r"))
            self._line.clear()
            if identification is not None:
                self._identified(identification)
        elif len(self._line) < IDENTIFICATION_CHARS_MAX:
            self._line.append(character)
        self._count_skipped()

    def _count_skipped(self) -> None:
        self._skipped += 1
        if self._skipped > SKIPPED_CHARS_MAX:
            self._give_up(Failure.GARBLED, "the line is never silent")

    def _hunt(self, character: int) -> None:
        if character in (SOH, STX):
            self._message.clear()
            self._message.append(character)
            self._state = _State.MESSAGE
        elif character == ACK and not self._skipped and self._on_acknowledged is not None:
            self._repeats = 0
            self._on_acknowledged()
        elif character == NAK and not self._skipped and self._on_block != self._on_readout:
            self._refused_by_nak()
        else:
            self._count_skipped()

    def _refused_by_nak(self) -> None:
        if self._repeats < REPEATS_MAX or self._current is None:
            self._say_again("the meter did not understand")
        else:
            self._next_command(Refused(self._current, "the meter did not understand (NAK)"))

    def _take_message(self, character: int) -> None:
        self._message.append(character)
        if character in (ETX, EOT):
            self._state = _State.CHECK
        elif len(self._message) > BLOCK_CHARS_MAX:
            self._give_up(Failure.TOO_LONG, f"a block of more than {BLOCK_CHARS_MAX} characters")

    def _check(self, character: int) -> None:
        message = bytes(self._message)
        self._state = _State.HUNTING
        if DAMAGED in message or character != block_check(message[1:]):
            self._ask_again("the block check is wrong")
        else:
            self._on_block(message[0], message[1:-1], message[-1])

    # -- messages in their order

    def _identified(self, identification: Identification) -> None:
        self._events.append(Identified(identification))
        self._reaction_min_s = identification.reaction_min_s
        self._state = _State.HUNTING
        mode, offered = identification.mode, identification.baud or self._baud
        if mode is Mode.C:
            self._choose(offered)
        elif isinstance(self._task, Programming):
            self._give_up(Failure.REFUSED, f"mode {mode.value} has a data readout only")
        else:
            if mode is Mode.B and self._settings.changeover:
                self._baud = offered
                self._events.append(SetBaud(offered))
            self._listen_anew()

    def _choose(self, offered: int) -> None:
        settings = self._settings
        baud = baud_to_choose(offered, settings.baud_max) if settings.changeover else offered
        option = Option.READOUT
        if isinstance(self._task, Programming):
            option = Option.PROGRAMMING
            self._on_block = self._on_prompt
        then_baud = baud if settings.changeover else self._baud
        self._send(option_select(option, baud), then_baud=then_baud)

    def _on_readout(self, start: int, text: bytes, end: int) -> None:
        if start == SOH:
            self._on_break(text)
        elif end == EOT:
            self._give_up(Failure.GARBLED, "a readout in partial blocks is not in the standard")
        else:
            self._state = _State.DONE
            self._events += [Block(text.decode("ascii")), Finished()]

    def _on_prompt(self, start: int, text: bytes, _end: int) -> None:
        """The meter's first word in programming mode: P0, with something for a password."""
        if start != SOH or not text.startswith(b"P0"):
            self._on_break(text)
            return
        self._repeats = 0
        assert isinstance(self._task, Programming)
        if self._task.password is None:
            self._next_command()
            return
        kind = CommandType.PASSWORD_ENCRYPTED if self._task.encrypted else CommandType.PASSWORD
        self._on_block = self._on_password_refused
        self._on_acknowledged = self._next_command
        self._send(command(kind, f"({self._task.password})"))

    def _on_password_refused(self, _start: int, text: bytes, _end: int) -> None:
        if _is_error(text):
            self._give_up(Failure.REFUSED, f"the password: {_shown(text)}")
        else:
            self._on_break(text)

    def _next_command(self, event: Event | None = None) -> None:
        if event is not None:
            self._events.append(event)
        self._repeats = self._answer_blocks = self._answer_chars = 0
        self._was_repeated_before = self.was_repeated
        self._on_acknowledged = None
        self._on_block = self._on_answer
        if self._waiting:
            self._current = self._waiting.pop(0)
            if self._current.writes:
                self._on_acknowledged = self._written
            self._send(_message(self._current))
        else:
            self._send(BREAK)
            self._state = _State.DONE
            self._events.append(Finished())

    def _written(self) -> None:
        assert self._current is not None
        self._next_command(Written(self._current))

    def _on_answer(self, start: int, text: bytes, end: int) -> None:
        assert self._current is not None
        if start == SOH and text.startswith(b"P0"):
            self._listen_anew()  # the prompt, come twice
        elif start == SOH:
            self._on_break(text)
        elif _is_error(text):
            self._next_command(Refused(self._current, _shown(text)))
        elif not self._answer_blocks and not _is_about(text, self._current.data):
            self._listen_anew()  # the answer to an earlier command, come late or twice
        elif self._was_repeated_before and _is_bare(text):
            self._give_up(Failure.GARBLED, "after a repeat, an answer that does not say to what")
        else:
            self._take_answer(self._current, text.decode("ascii"), is_final=end == ETX)

    def _take_answer(self, answered: Command, text: str, *, is_final: bool) -> None:
        if self._repeats and self._answer_blocks and text == self._last_text:
            # Repeated because the acknowledgement was lost, or a block with the same values?
            self._give_up(Failure.GARBLED, "a block that came twice")
            return
        self._repeats = 0
        self._last_text = text
        self._answer_blocks += 1
        self._answer_chars += len(text)
        block = Block(text, answered, is_final)
        if is_final:
            self._next_command(block)
        elif self._answer_blocks >= ANSWER_BLOCKS_MAX or self._answer_chars > ANSWER_CHARS_MAX:
            self._give_up(Failure.TOO_LONG, f"{answered.data}: no end after {ANSWER_CHARS_MAX}")
        else:
            self._events.append(block)
            self._send(bytes((ACK,)))

    def _on_break(self, text: bytes) -> None:
        if text == b"B0":
            self._give_up(Failure.BROKEN_OFF, "the meter ended the session")
        else:
            self._give_up(Failure.REFUSED, f"an answer out of order: {_shown(text)}")


def _message(current: Command) -> bytes:
    """A command as it is sent now."""
    return command(current.kind, current.data if current.late is None else current.late())


def _is_error(text: bytes) -> bool:
    """Whether a data block is an error message (6.3.7): `(ER…)`, with no code before it."""
    return text.startswith(b"(ER")


def _is_bare(answer: bytes) -> bool:
    """Whether an answer does not have the code that was asked for, as with some meters."""
    return answer.lstrip().startswith(b"(")


def _is_about(answer: bytes, asked: str) -> bool:
    """Whether an answer has the code that was asked for, or none, as some meters do.

    Medium, channel and the storage number 255 may be said on one side only.
    """
    said = _bare_code(answer.decode("ascii"))
    return said in ("", _bare_code(asked))


def _bare_code(text: str) -> str:
    code = text.partition("(")[0].strip()
    return code.rpartition(":")[2].removesuffix("*255")


def _shown(text: bytes) -> str:
    return text[:40].decode("ascii", "replace").strip()
