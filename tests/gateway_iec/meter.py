"""A meter of IEC 62056-21 on a pseudo-terminal, written apart from the product.

It follows the standard with its own parity, block check and time, minds the rate to which the line
is set, and can misbehave. Several share one line and tell themselves apart by device address.
"""

import asyncio
import os
import pty
import termios
import tty
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SOH, STX, ETX, EOT, ACK, NAK = 0x01, 0x02, 0x03, 0x04, 0x06, 0x15
RATES = {300: "0", 600: "1", 1200: "2", 2400: "3", 4800: "4", 9600: "5", 19200: "6"}
SPEEDS = {getattr(termios, f"B{rate}"): rate for rate in RATES}


def with_parity(text: bytes) -> bytes:
    """Seven bits and an even parity bit in the eighth."""
    return bytes(value | 0x80 if f"{value:b}".count("1") % 2 else value for value in text)


def without_parity(data: bytes) -> bytes:
    """The text; damaged characters make the test fail, for the product must send none."""
    assert all(f"{value:b}".count("1") % 2 == 0 for value in data), data.hex()
    return bytes(value & 0x7F for value in data)


def sealed(text: bytes) -> bytes:
    """A message that begins with SOH or STX, with its block check."""
    check = 0
    for value in text[1:]:
        check ^= value
    return text + bytes([check])


@dataclass
class Meter:
    """One meter: what it calls itself, what it lists, what it does wrong.

    `faults` has one fault for each of the next messages that it would send, of any kind:
    silent, late, wrong_bcc, parity, truncated, garbage, twice, nak, broken, stranger (in a readout:
    it names another meter). `always` for every one.
    """

    address: str
    values: dict[str, str]
    identification: str = "/LGz5\\2ZMD120APt.T21"
    password: str | None = None
    faults: deque[str] = field(default_factory=deque)
    always: str | None = None
    late_s: float = 0.0
    sessions: int = 0
    readouts: int = 0
    commands: list[str] = field(default_factory=list)
    writable: frozenset[str] = frozenset()

    def listing(self) -> bytes:
        lines = [f"{code}({value})" for code, value in self.values.items()]
        return "\r\n".join([*lines, "!", ""]).encode()


class MeterLine:
    """Meters on one pseudo-terminal, reachable at the stable path `device`.

    `reaction_s` is the meters' time to answer, once the last bit of a message has come at the rate
    of the port; `character_s` is what each character of an answer takes (0: at once).
    `echo` gives back what is sent, as two-wire adapters do.
    """

    def __init__(
        self,
        device: Path,
        *meters: Meter,
        reaction_s: float = 0.02,
        character_s: float = 0.0,
        echo: bool = False,
        sign_on_rate: int = 2400,
        minds_rate: bool = True,
    ) -> None:
        self.device = device
        self.meters = {meter.address.lstrip("0"): meter for meter in meters}
        self.meter_list = meters
        self.reaction_s = reaction_s
        self.character_s = character_s
        self.echo = echo
        self.minds_rate = minds_rate
        self.sign_on_rate = self.rate = sign_on_rate
        self._heard_s = 0.0  # what the message took that is being answered
        self.heard: list[bytes] = []
        self.heard_at: list[float] = []  # the event loop's time at which a message had come
        self.rates: list[int] = []
        self._active: Meter | None = None
        self._expecting = ""
        self._last = b""
        self._buffer = b""
        self._timers: list[asyncio.TimerHandle] = []
        self._master = self._terminal = -1

    # -- the line

    def __enter__(self) -> "MeterLine":
        self._master, self._terminal = pty.openpty()
        tty.setraw(self._terminal)
        os.set_blocking(self._master, False)
        self.device.unlink(missing_ok=True)
        self.device.symlink_to(os.ttyname(self._terminal))
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    def __exit__(self, *error: object) -> None:
        if self._master < 0:
            return
        for timer in self._timers:
            timer.cancel()
        asyncio.get_running_loop().remove_reader(self._master)
        self.device.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._terminal)
        self._master = -1

    @property
    def is_open(self) -> bool:
        """Whether there is a port."""
        return self._master >= 0

    @property
    def port_rate(self) -> int:
        """The rate to which the other side has set the port."""
        return SPEEDS[termios.tcgetattr(self._master)[5]]

    def write(self, data: bytes) -> None:
        """Bytes as they are, now."""
        if self._master >= 0:
            os.write(self._master, data)

    def _read(self) -> None:
        self.take(os.read(self._master, 4096))

    def take(self, data: bytes) -> None:
        """Bytes that the other side has sent."""
        if self.echo:
            self.write(data)
        if self.minds_rate and self.port_rate != self.rate:
            # A meter that hears another rate hears nonsense; back to the sign-on rate in time.
            self._reset()
            if self.port_rate != self.rate:
                return
        self._buffer += without_parity(data)
        self._cut()

    def _cut(self) -> None:
        while message := self._next_message():
            self.heard.append(message)
            self.rates.append(self.port_rate)
            self._heard_s = len(message) * 10 / self.port_rate
            self.heard_at.append(asyncio.get_running_loop().time())
            self._answer(message)

    def _next_message(self) -> bytes:
        self._buffer = self._buffer.lstrip(b"\x00")
        if self._buffer[:1] == bytes([SOH]):
            end = self._buffer.find(ETX)
            length = end + 2 if 0 <= end < len(self._buffer) - 1 else 0
        elif self._buffer[:1] == bytes([NAK]) or (
            self._buffer[:1] == bytes([ACK]) and self._expecting == "block"
        ):
            length = 1
        else:
            length = self._buffer.find(b"\r\n") + 2 if b"\r\n" in self._buffer else 0
        message, self._buffer = self._buffer[:length], self._buffer[length:]
        return message

    # -- the meters

    def _reset(self) -> None:
        self._active, self._expecting, self.rate = None, "", self.sign_on_rate
        self._buffer = b""

    def _answer(self, message: bytes) -> None:
        if message.startswith(b"/?"):
            self._reset()
            self._sign_on(message)
        elif self._active is None:
            return
        elif message[0] == NAK:
            self._send(self._last)
        elif message[0] == ACK and len(message) > 1:
            self._choose(message)
        elif message[0] == SOH:
            self._command(message)

    def _sign_on(self, message: bytes) -> None:
        address = message[2:].split(b"!")[0].decode().lstrip("0")
        alone = next(iter(self.meter_list)) if len(self.meter_list) == 1 else None
        meter = self.meters.get(address) if address else alone
        if meter is not None:
            meter.sessions += 1
            self._active = meter
            self._send(f"{meter.identification}\r\n".encode())

    def _choose(self, message: bytes) -> None:
        assert self._active is not None
        rate_character, option = chr(message[2]), chr(message[3])
        self.rate = next(rate for rate, text in RATES.items() if text == rate_character)
        if option == "0":
            self._active.readouts += 1
            self._send(sealed(bytes([STX]) + self._active.listing() + bytes([ETX])))
        else:
            self._expecting = "command" if self._active.password is None else "password"
            self._send(sealed(bytes([SOH]) + b"P0\x02(12345678)" + bytes([ETX])))

    def _command(self, message: bytes) -> None:
        meter = self._active
        assert meter is not None
        assert sealed(message[:-1]) == message, "a wrong block check"
        kind = message[1:3].decode()
        data = message[4:-2].decode() if len(message) > 5 else ""
        meter.commands.append(kind + data)
        if kind == "B0":
            self._reset()
        elif kind == "P1":
            right = data == f"({meter.password})"
            self._expecting = "command"
            self._send(bytes([ACK]) if right else sealed(b"\x02(ER01)\x03"))
        elif kind == "R1":
            code = data.partition("(")[0]
            value = meter.values.get(code)
            text = "(ER02)" if value is None else f"{code}({value})"
            self._send(sealed(bytes([STX]) + text.encode() + bytes([ETX])))

        elif kind in ("W1", "W5"):
            code, _, value = data.removesuffix(")").partition("(")
            if code in meter.writable:
                meter.values[code] = value
                self._send(bytes([ACK]))
            else:
                self._send(sealed(b"\x02(ER03)\x03"))

    def _send(self, message: bytes) -> None:
        meter = self._active
        assert meter is not None
        self._last = message
        fault = meter.faults.popleft() if meter.faults else meter.always
        delay_s = self._heard_s + self.reaction_s
        if fault == "silent":
            return
        if fault == "late":
            delay_s += meter.late_s
        if fault == "stranger" and message[0] == STX:
            own, other = f"({meter.address})".encode(), f"(9{meter.address})".encode()
            message = sealed(message[:-1].replace(own, other))
        self._later(delay_s, _spoilt(message, fault))

    def _later(self, delay_s: float, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        rate = self.rate
        begin = loop.time() + delay_s
        chunk = 1 if self.character_s else len(data)
        for start in range(0, len(data), max(1, chunk)):
            part = data[start : start + chunk]
            when = begin + start * self.character_s + start * 1e-7
            self._timers.append(loop.call_at(when, self._put, part, rate))

    def _put(self, part: bytes, rate: int) -> None:
        """What a port hears that is set to another rate than the meter sends at is nonsense."""
        if self.minds_rate and self.is_open and self.port_rate != rate:
            part = bytes(value ^ 0xD5 for value in part)
        self.write(part)


def _spoilt(message: bytes, fault: str | None) -> bytes:
    """The characters that go over the line instead of those of `message`."""
    data = with_parity(message)
    if fault == "wrong_bcc":
        data = data[:-1] + with_parity(bytes([(message[-1] ^ 1)]))
    elif fault == "parity":
        data = data[:-3] + bytes([data[-3] ^ 0x80]) + data[-2:]
    elif fault == "truncated":
        data = data[: len(data) // 2]
    elif fault == "garbage":
        data = bytes(range(0x80, 0xF0))
    elif fault == "twice":
        data = data + data
    elif fault == "nak":
        data = with_parity(bytes([NAK]))
    elif fault == "broken":
        data = with_parity(sealed(b"\x01B0\x03"))
    return data


def household(address: str, energy_kwh: str = "0012345.67") -> Meter:
    """A meter with what a household's has."""
    return Meter(
        address,
        {
            "F.F": "00000000",
            "0.0.0": address,
            "1.8.0": f"{energy_kwh}*kWh",
            "1.8.0*12": "0000001.00*kWh",
            "2.8.0": "0000000.50*kWh",
            "32.7": "230.4*V",
        },
    )


Waiting = Callable[[], bool]


async def until(is_true: Waiting, within_s: float = 5.0) -> None:
    """Wait for something that happens on another task."""
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 the state belongs to the product
            await asyncio.sleep(0.005)


def counted(meters: list[Meter]) -> dict[str, int]:
    """Sessions by address."""
    sessions: dict[str, int] = defaultdict(int)
    for meter in meters:
        sessions[meter.address] = meter.sessions
    return dict(sessions)
