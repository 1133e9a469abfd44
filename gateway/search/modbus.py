"""The search of a Modbus line: settings by settings, address by address, then model by model.

Owns the order in which addresses are asked. It must not know who asks and how it is shown.
"""

from contract.messages import MissingReason
from gateway.lines.asking import Asker
from gateway.lines.endpoints import Endpoint, TcpEndpoint
from gateway.lines.modbus import DisconnectedError, ModbusConnection
from gateway.meters.checks import RegistersQuestion
from gateway.meters.profile import Timing
from gateway.ports import ReadFailed
from gateway.search.models import examine, is_same_device
from gateway.search.presence import Signal, presence_of
from gateway.search.values import Found, Presence, Progress, Report, Search

LATE_TIMES = 4  # an address that was heard late is asked again with so many times the patience

# When so many addresses of a network endpoint answer and none is silent, it may be one device.
ALL_ANSWER_MIN = 8

_COLLISION = (
    "only damaged replies: two meters with this address, a second master, or a line without "
    "termination; take one meter off the line and search again"
)
_ONE_FOR_ALL = (
    "it answers to every address, as meters with a network port of their own do; any address "
    "will do"
)
_LATE = "it answers late: give its profile a greater response_timeout_ms"
_HANGS_UP = "it closes the connection when it is asked for what it does not have"


async def search_modbus(search: Search, found: list[Found], report: Report) -> None:
    """Search every endpoint; each meter is put into `found` as soon as something is known of it.

    Raises ReadFailed (line_down) when an endpoint cannot be opened, or a serial port is lost.
    """
    counter = _Counter(search, found, report)
    for endpoint in search.endpoints:
        sweep = _Sweep(search, endpoint, found, counter)
        try:
            await sweep.run()
        finally:
            sweep.close()


class _Counter:
    """Counts addresses asked, over all endpoints."""

    def __init__(self, search: Search, found: list[Found], report: Report) -> None:
        self._total = len(search.endpoints) * len(search.presence) * len(search.addresses)
        self._done = 0
        self._found = found
        self._report = report

    def step(self, where: str, steps: int = 1) -> None:
        """So many addresses further."""
        self._done += steps
        self._report(Progress(self._done, self._total, where, len(self._found)))


class _Sweep:
    """One endpoint being searched."""

    def __init__(
        self, search: Search, endpoint: Endpoint, found: list[Found], counter: _Counter
    ) -> None:
        self._search = search
        self._endpoint = endpoint
        self._is_tcp = isinstance(endpoint, TcpEndpoint)
        self._found = found
        self._counter = counter
        self._connection: ModbusConnection | None = None
        # Of other settings of the same port: a meter answers at one of them only.
        self._known = {meter.address for meter in found if meter.presence is not Presence.GARBLED}
        self._mine: list[Found] = []
        self._examined: set[int | str] = set()
        self._late: set[int] = set()
        self._silent = False  # some address was
        self._is_one_device = False

    async def run(self) -> None:
        """Ask every address, then everybody who answers what he is."""
        for question in self._search.presence:
            for unit in self._search.addresses:
                if unit not in self._known and not self._is_one_device:
                    await self._ask(unit, question)
                self._counter.step(f"{self._endpoint}, address {unit}")
        for unit in sorted(self._late - {meter.address for meter in self._mine}):
            await self._ask_patiently(unit)
        for meter in self._mine:
            self._counter.step(f"{self._endpoint}, model of address {meter.address}", 0)
            await self._examine(meter)

    def close(self) -> None:
        """Let go of the line."""
        if self._connection is not None:
            self._connection.close()

    async def _ask(self, unit: int, question: RegistersQuestion) -> None:
        signal = await self._signal(unit, question, self._search.timeout_s)
        self._late |= signal.late_units
        if signal.presence is None:
            self._silent = True
            return
        self._add(Found(self._endpoint, unit, signal.presence, signal.round_trip_s))
        if self._is_tcp and not self._silent and len(self._mine) == ALL_ANSWER_MIN:
            await self._compare(self._mine[0], self._mine[-1])

    async def _ask_patiently(self, unit: int) -> None:
        for question in self._search.presence:
            signal = await self._signal(unit, question, LATE_TIMES * self._search.timeout_s)
            if signal.presence is Presence.ANSWERS:
                meter = Found(self._endpoint, unit, Presence.LATE, signal.round_trip_s)
                meter.remarks.append(_LATE)
                self._add(meter)
                return

    async def _compare(self, first: Found, last: Found) -> None:
        """Whether all who answered are one device, which is then known by its first address."""
        await self._examine(first)
        await self._examine(last)
        if is_same_device(first, last):
            self._is_one_device = True
            first.remarks.append(_ONE_FOR_ALL)
            for other in self._mine[1:]:
                self._found.remove(other)
            del self._mine[1:]

    async def _examine(self, meter: Found) -> None:
        if meter.address in self._examined:
            return
        self._examined.add(meter.address)
        if meter.presence is Presence.GARBLED:
            meter.remarks.append(_COLLISION)
            return
        times = LATE_TIMES if meter.presence is Presence.LATE else 2
        timing = Timing(response_timeout_ms=round(times * self._search.timeout_s * 1000))
        assert isinstance(meter.address, int), "Modbus addresses are numbers"
        connection = await self._open()
        asker = Asker(connection, self._endpoint, meter.address, timing, attempts=1)
        try:
            await examine(asker, self._search.profiles, meter)
        except ReadFailed:
            if not self._is_tcp:
                raise
            meter.remarks.append(_HANGS_UP)

    async def _signal(self, unit: int, question: RegistersQuestion, timeout_s: float) -> Signal:
        connection = await self._open()
        try:
            return await presence_of(connection, self._endpoint, unit, question, timeout_s)
        except ReadFailed:
            if not self._is_tcp:
                raise
            return Signal(None)  # some bridges hang up on who asks for a meter that is not there

    async def _open(self) -> ModbusConnection:
        """The connection, made again where a network endpoint has closed it."""
        if self._connection is None or not self._connection.is_open:
            self._connection = ModbusConnection(self._endpoint)
            try:
                await self._connection.open()
            except DisconnectedError as error:
                raise ReadFailed(MissingReason.LINE_DOWN, str(error)) from error
        return self._connection

    def _add(self, meter: Found) -> None:
        self._known.add(meter.address)
        self._mine.append(meter)
        self._found.append(meter)
