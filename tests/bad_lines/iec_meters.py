"""IEC 62056-21 meters on a virtual wire whose messages suffer everything that lines do to them.

The meters are those of the tests of lines, with their own parity and block check. Values change
with every exchange, so that an old answer is a wrong one.
"""

import random
from collections.abc import Callable
from pathlib import Path

from tests.bad_lines.wire import Wire
from tests.gateway_iec.meter import ETX, STX, Meter, MeterLine, sealed, with_parity

# Of the profile that the tests use: how long the product waits for the first character, and how
# long it leaves the line alone after a session that failed.
REACTION_S_MAX = 1.7
DRAIN_S = 2.0

Chance = random.Random


class VirtualMeterLine(MeterLine):
    """Meters with `fault` in `share` of their messages."""

    def __init__(self, meters: list[Meter], chance: Chance, fault: str, share: float) -> None:
        super().__init__(Path("virtual"), *meters, sign_on_rate=300, echo=fault == "echo")
        self.wire = Wire(self.take)
        self.chance = chance
        self.fault = fault
        self.share = share
        self.unseen = 0  # damaged messages that no check could have told from good ones
        self.damaged = 0

    @property
    def is_open(self) -> bool:
        return True

    @property
    def port_rate(self) -> int:
        return self.wire.baud

    def write(self, data: bytes) -> None:
        self.wire.put(data)

    def _sign_on(self, message: bytes) -> None:
        fault = self._drawn()
        if fault == "wrong unit":
            self.damaged += 1
            right = message[2:].split(b"!")[0].decode()
            other = self.chance.choice([key for key in self.meters if key != right])
            message = f"/?{other}!\r\n".encode()
        super()._sign_on(message)

    def _send(self, message: bytes) -> None:
        self._last = message
        fault = self._drawn()
        self.damaged += fault not in ("perfect", "echo", "wrong unit")
        FAULTS[fault](self, message, with_parity(message))

    def _drawn(self) -> str:
        fault = self.fault if self.chance.random() < self.share else "perfect"
        if fault == "mixed":
            fault = self.chance.choice([name for name in FAULTS if name != "echo"])
        return fault

    def say(self, data: bytes, after_s: float = 0.0) -> None:
        """Bytes as they are, after the meter's reaction time."""
        if data:
            self._later(self.reaction_s + after_s, data)

    def say_damaged(self, message: bytes, data: bytes) -> None:
        """Damaged bytes, and whether they could have been told from a good message is noted."""
        self.unseen += looks_good(data, message)
        self.say(data)


def looks_good(data: bytes, message: bytes) -> bool:
    """Whether `data` has a data block with right parities and block check, and another text."""
    right = message[: message.rfind(ETX) + 2]
    for start, value in enumerate(data):
        if value & 0x7F != STX or value != STX | 0x80:
            continue
        block = bytearray()
        for at, character in enumerate(data[start:], start):
            if character.bit_count() % 2:
                break
            block.append(character & 0x7F)
            if character & 0x7F == ETX and at + 1 < len(data):
                check = data[at + 1]
                if check.bit_count() % 2 == 0:
                    whole = bytes(block) + bytes([check & 0x7F])
                    if whole == sealed(bytes(block)) and whole != right:
                        return True
                break
    return False


Fault = Callable[[VirtualMeterLine, bytes, bytes], None]


def _perfect(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    line.say(data)


def _bytewise(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    at = 0.0
    for value in data:
        line.say(bytes([value]), at)
        at += line.wire.chars_s(1) + line.chance.uniform(0, 0.05)


def _loss(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    """Nothing, or some characters are missing."""
    if line.chance.random() < 0.5:
        return
    kept = bytes(value for value in data if line.chance.random() > 0.03)
    if kept == data:
        line.say(data)
    else:
        line.say_damaged(message, kept)


def _delay(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    line.say(data, line.chance.uniform(0, 1.0))


def _noise(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    line.say_damaged(message, line.chance.choice(NOISES)(data, line.chance))


def _truncated(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    line.say_damaged(message, data[: line.chance.randrange(len(data))])


def _late(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    """After the product has given up, and before it must have left the line alone."""
    latest = REACTION_S_MAX + DRAIN_S - line.reaction_s - 0.1
    line.say(data, line.chance.uniform(REACTION_S_MAX, latest))


def _duplicate(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    line.say(data)
    line.say(data, line.chance.uniform(1e-6, 0.1))


def _one_bit(data: bytes, chance: Chance) -> bytes:
    """One wrong bit in some characters, which parity always sees."""
    damaged = bytearray(data)
    for at in chance.sample(range(len(data)), chance.randint(1, min(4, len(data)))):
        damaged[at] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _one_character(data: bytes, chance: Chance) -> bytes:
    """Another character in one place, which parity or block check sees."""
    at = chance.randrange(len(data))
    return (
        data[:at]
        + bytes([chance.choice([v for v in range(256) if v != data[at]])])
        + data[at + 1 :]
    )


def _scrambled(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(len(data) - at)


def _before(data: bytes, chance: Chance) -> bytes:
    return chance.randbytes(chance.randint(1, 8)) + data


def _after(data: bytes, chance: Chance) -> bytes:
    return data + chance.randbytes(chance.randint(1, 8))


def _inserted(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.randint(1, 3)) + data[at:]


NOISES = (_one_bit, _one_character, _scrambled, _before, _after, _inserted)

FAULTS: dict[str, Fault] = {
    "perfect": _perfect,
    "byte at a time": _bytewise,
    "loss": _loss,
    "delay": _delay,
    "noise": _noise,
    "echo": _perfect,  # of what the product sends: the line gives it back
    "truncated": _truncated,
    "wrong unit": _perfect,  # another meter has answered to the sign-on
    "late reply": _late,
    "duplicate": _duplicate,
}
