"""Modbus meters on a virtual wire whose replies suffer everything that lines do to replies.

Written apart from the product: framing and check sum are the tests' own. Values change with every
exchange, so that an old reply is a wrong one.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bad_lines.wire import Wire
from tests.gateway_lines.slave import crc

FUNCTION = 3
TURNAROUND_S = 0.005
CHARACTER_S = 10 / 9600
SILENCE_S = 3.5 * CHARACTER_S
REPLY_TIMEOUT_S = 0.08  # of the profile that the tests use
LATE_S_MAX = 0.4  # likewise: how late a reply may come at the very worst

Chance = random.Random


@dataclass
class Heard:
    """What the product asked."""

    frame: bytes
    unit: int
    address: int
    count: int


@dataclass
class Meters:
    """Units that answer on `wire`, each reply with `fault` in `share` of the cases."""

    units: tuple[int, ...]
    chance: Chance
    fault: str = "perfect"
    share: float = 1.0
    generation: int = 0
    unseen: int = 0  # damaged replies that no check could have told from good ones
    replies: int = 0
    damaged: int = 0
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        self.wire = Wire(self._heard)

    def word(self, unit: int, address: int) -> int:
        """What a register holds now."""
        return (unit * 4099 + address * 257 + self.generation * 7919) & 0x7FFF

    def value(self, unit: int, address: int) -> int:
        """The 32-bit number that begins at a register."""
        return self.word(unit, address) << 16 | self.word(unit, address + 1)

    def _heard(self, data: bytes) -> None:
        assert crc(data[:-2]) == data[-2:], f"bad request {data.hex()}"
        unit, function, address, count = struct.unpack(">BBHH", data[:6])
        assert function == FUNCTION
        if unit not in self.units:
            return
        heard = Heard(data, unit, address, count)
        fault = self.fault if self.chance.random() < self.share else "perfect"
        if fault == "mixed":
            fault = self.chance.choice(sorted(FAULTS))
        self.replies += 1
        self.damaged += fault != "perfect"
        FAULTS[fault](self, heard)

    def reply(self, heard: Heard, unit: int | None = None) -> bytes:
        """The whole right frame, or that of another unit."""
        unit = heard.unit if unit is None else unit
        words = [self.word(unit, heard.address + i) for i in range(heard.count)]
        body = struct.pack(f">BBB{len(words)}H", unit, FUNCTION, 2 * len(words), *words)
        return body + crc(body)

    def say(self, data: bytes, after_s: float = 0.0, chunk: int = 16) -> None:
        self.wire.say(data, TURNAROUND_S + after_s, chunk)

    def say_damaged(self, heard: Heard, data: bytes) -> None:
        """Damaged bytes, and whether they could have been told from a good reply is noted."""
        self.unseen += looks_good(data, heard, self.reply(heard))
        self.say(data)


def looks_good(data: bytes, heard: Heard, right: bytes) -> bool:
    """Whether `data` has a frame with a right check sum that answers `heard` otherwise."""
    length = len(right)
    for start in range(len(data)):
        for head, size in ((right[:3], length), (bytes((heard.unit, FUNCTION | 0x80)), 5)):
            frame = data[start : start + size]
            is_answer = frame.startswith(head) and len(frame) == size and frame != right
            if is_answer and crc(frame[:-2]) == frame[-2:]:
                return True
    return False


def _perfect(meters: Meters, heard: Heard) -> None:
    meters.say(meters.reply(heard))


def _bytewise(meters: Meters, heard: Heard) -> None:
    at = 0.0
    for value in meters.reply(heard):
        meters.say(bytes([value]), at)
        at += CHARACTER_S + meters.chance.uniform(0, 0.003)


def _loss(meters: Meters, heard: Heard) -> None:
    """Nothing, or some characters are missing."""
    frame = meters.reply(heard)
    if meters.chance.random() < 0.5:
        return
    kept = bytes(value for value in frame if meters.chance.random() > 0.1)
    if kept != frame:
        meters.say_damaged(heard, kept)
    else:
        meters.say(frame)


def _delay(meters: Meters, heard: Heard) -> None:
    meters.say(meters.reply(heard), meters.chance.uniform(0, REPLY_TIMEOUT_S - 0.01))


def _noise(meters: Meters, heard: Heard) -> None:
    frame = meters.reply(heard)
    damaged = meters.chance.choice(NOISES)(frame, meters.chance)
    meters.say_damaged(heard, damaged)


def _echo(meters: Meters, heard: Heard) -> None:
    meters.wire.put(heard.frame)
    meters.say(meters.reply(heard))


def _truncated(meters: Meters, heard: Heard) -> None:
    frame = meters.reply(heard)
    meters.say_damaged(heard, frame[: meters.chance.randrange(len(frame))])


def _wrong_unit(meters: Meters, heard: Heard) -> None:
    other = meters.chance.choice([unit for unit in range(1, 248) if unit != heard.unit])
    meters.say(meters.reply(heard, other))


def _late(meters: Meters, heard: Heard) -> None:
    """After the product has given up, and before it must have drained."""
    latest = LATE_S_MAX - TURNAROUND_S - CHARACTER_S * 16
    meters.say(meters.reply(heard), meters.chance.uniform(REPLY_TIMEOUT_S, latest))


def _duplicate(meters: Meters, heard: Heard) -> None:
    """The same once more, begun before the silence that parts two frames is over.

    Each character reaches the product when it is there: an adapter that collects them for longer
    than that silence hides where the copy begins.
    """
    frame = meters.reply(heard)
    meters.say(frame)
    pause_s = meters.chance.uniform(0.01, 0.9) * SILENCE_S - CHARACTER_S
    meters.say(frame, CHARACTER_S * len(frame) + max(1e-5, pause_s), chunk=1)


def _bits(frame: bytes, chance: Chance) -> bytes:
    """One to three wrong bits, which CRC-16 always sees in frames of this length."""
    number = int.from_bytes(frame, "big")
    for position in chance.sample(range(8 * len(frame)), chance.randint(1, 3)):
        number ^= 1 << position
    return number.to_bytes(len(frame), "big")


def _burst(frame: bytes, chance: Chance) -> bytes:
    """A burst of up to 16 bits as they follow on the wire, which CRC-16 always sees."""
    width = chance.randint(1, 16)
    pattern = chance.randrange(1 << width) | 1
    number = int.from_bytes(frame, "little")  # the lowest bit of a character goes first
    number ^= pattern << chance.randrange(8 * len(frame) - width + 1)
    return number.to_bytes(len(frame), "little")


def _scrambled(frame: bytes, chance: Chance) -> bytes:
    """Any characters from some place on, of which CRC-16 lets one in 65,536 pass."""
    keep = chance.randrange(3, len(frame))
    return frame[:keep] + chance.randbytes(len(frame) - keep)


def _before(frame: bytes, chance: Chance) -> bytes:
    return chance.randbytes(chance.randint(1, 8)) + frame


def _after(frame: bytes, chance: Chance) -> bytes:
    return frame + chance.randbytes(chance.randint(1, 8))


def _inserted(frame: bytes, chance: Chance) -> bytes:
    at = chance.randrange(1, len(frame))
    return frame[:at] + chance.randbytes(chance.randint(1, 3)) + frame[at:]


NOISES = (_bits, _burst, _scrambled, _before, _after, _inserted)

FAULTS: dict[str, Callable[[Meters, Heard], None]] = {
    "perfect": _perfect,
    "byte at a time": _bytewise,
    "loss": _loss,
    "delay": _delay,
    "noise": _noise,
    "echo": _echo,
    "truncated": _truncated,
    "wrong unit": _wrong_unit,
    "late reply": _late,
    "duplicate": _duplicate,
}
