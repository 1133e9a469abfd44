"""What every point of the station really takes: exact cumulative energy at any instant.

Owns the energies, as integers of a thousandth of a watt-hour, and the voltages; outside the
metering system, so that tests can compare. It must not know how meters show or round them.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from simulator.errors import SimulatorError
from simulator.powerflow import Network

QUARTER_MS = 15 * 60 * 1000
QUARTERS_PER_BLOCK = 96
BLOCK_MS = QUARTERS_PER_BLOCK * QUARTER_MS

# Quarter hours given to one power flow: a month at once, so that memory stays small for years.
BLOCKS_PER_SOLUTION_MAX = 32

# A truth of ten years holds about half a gigabyte for 100 points.
BLOCKS_MAX = 3660

_YEAR_OF_LOAD = 2016
_Longs = npt.NDArray[np.int64]
_Ints = npt.NDArray[np.int32]
_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moment:
    """All points at one instant: energies since the start, and the powers and voltages then.

    Arrays have one element per point: the loads in the grid's order, then the head.
    `import_mvarh` grows while a point takes reactive power, `export_mvarh` while it gives some.
    """

    at_ms: int
    import_mwh: _Longs
    import_mvarh: _Longs
    export_mvarh: _Longs
    power_w: npt.NDArray[np.float64]
    reactive_var: npt.NDArray[np.float64]
    voltage_v: _Floats


@dataclass(frozen=True, slots=True)
class _Block:
    """24 hours from one quarter hour on: the sums at its start, then each quarter hour's part."""

    import_mwh: _Longs
    import_mvarh: _Longs
    export_mvarh: _Longs
    energy_mwh: _Ints
    reactive_mvarh: _Ints
    voltage_v: _Floats


class Truth:
    """The station's energies from `start_at` on, computed as far as asked and kept.

    A civil quarter hour in `zone` takes the load of the same day and month of the load year, whose
    29 February other years skip. Within a quarter hour power is constant and energy linear.
    Raises SimulatorError if `start_at` is not on a quarter hour.
    """

    def __init__(self, network: Network, *, zone: ZoneInfo, start_at: datetime) -> None:
        self._network = network
        self._zone = zone
        self._start_ms = to_ms(start_at)
        if self._start_ms % QUARTER_MS:
            raise SimulatorError(f"start: {start_at.isoformat()} is not on a quarter hour")
        self._blocks: list[_Block] = []
        self._extending = threading.Lock()

    @property
    def network(self) -> Network:
        """The network whose truth this is."""
        return self._network

    @property
    def points(self) -> int:
        """How many points there are: the loads and the head, which is the last."""
        return len(self._network.grid.loads) + 1

    def extend_to(self, at: datetime) -> None:
        """Compute everything up to and including `at`; may be called from any thread.

        Raises SimulatorError for an instant before the start or more than ten years after it.
        """
        self._extend_to_ms(to_ms(at))

    def at(self, at: datetime) -> Moment:
        """The points at `at`, computed if need be. Raises SimulatorError as `extend_to`."""
        return self.at_ms(to_ms(at))

    def at_ms(self, at_ms: int) -> Moment:
        """As `at`, for milliseconds since 1970."""
        index, since_ms = divmod(at_ms - self._start_ms, BLOCK_MS)
        if not 0 <= index < len(self._blocks):
            self._extend_to_ms(at_ms)
        block = self._blocks[index]
        quarter, within_ms = divmod(since_ms, QUARTER_MS)
        reactive = block.reactive_mvarh[: quarter + 1].astype(np.int64)
        reactive[-1] = reactive[-1] * within_ms // QUARTER_MS
        energy = block.energy_mwh[quarter].astype(np.int64)
        return Moment(
            at_ms=at_ms,
            import_mwh=block.import_mwh
            + block.energy_mwh[:quarter].sum(axis=0, dtype=np.int64)
            + energy * within_ms // QUARTER_MS,
            import_mvarh=block.import_mvarh + np.maximum(reactive, 0).sum(axis=0),
            export_mvarh=block.export_mvarh - np.minimum(reactive, 0).sum(axis=0),
            power_w=energy * 4 / 1000,
            reactive_var=block.reactive_mvarh[quarter] * 4 / 1000,
            voltage_v=block.voltage_v[quarter],
        )

    def _extend_to_ms(self, at_ms: int) -> None:
        if at_ms < self._start_ms:
            raise SimulatorError(f"{_text(at_ms)} is before the start, {_text(self._start_ms)}")
        wanted = (at_ms - self._start_ms) // BLOCK_MS + 1
        if wanted > BLOCKS_MAX:
            raise SimulatorError(
                f"{_text(at_ms)} is more than {BLOCKS_MAX} days after the start",
                hint="choose a later start",
            )
        with self._extending:
            while (missing := wanted - len(self._blocks)) > 0:
                self._blocks += self._solve(min(missing, BLOCKS_PER_SOLUTION_MAX))

    def _solve(self, blocks: int) -> list[_Block]:
        first = len(self._blocks) * QUARTERS_PER_BLOCK
        rows = self._rows(first, blocks * QUARTERS_PER_BLOCK)
        flow = self._network.solve(rows)
        # A quarter hour at one watt is 250 thousandths of a watt-hour.
        energy = _whole(np.column_stack([flow.load_w, flow.head_w]) * 250)
        reactive = _whole(np.column_stack([flow.load_var, flow.head_var]) * 250)
        voltage = np.column_stack([flow.load_v, flow.head_v]).astype(np.float32)
        sums = self._sums()
        solved = []
        for number in range(blocks):
            part = slice(number * QUARTERS_PER_BLOCK, (number + 1) * QUARTERS_PER_BLOCK)
            block = _Block(*sums, energy[part], reactive[part], voltage[part])
            sums = _sums_after(block)
            solved.append(block)
        return solved

    def _sums(self) -> tuple[_Longs, _Longs, _Longs]:
        if self._blocks:
            return _sums_after(self._blocks[-1])
        zero = np.zeros(self.points, dtype=np.int64)
        return zero, zero, zero

    def _rows(self, first: int, count: int) -> npt.NDArray[np.intp]:
        """Rows of the load year for `count` quarter hours from number `first` on."""
        return load_rows(from_ms(self._start_ms + first * QUARTER_MS), count, self._zone)


def load_rows(start_at: datetime, count: int, zone: ZoneInfo) -> npt.NDArray[np.intp]:
    """Rows of the load year for `count` quarter hours from `start_at` on, by civil time."""
    rows = np.empty(count, dtype=np.intp)
    year_start = date(_YEAR_OF_LOAD, 1, 1)
    for number in range(count):
        local = (start_at + timedelta(minutes=15 * number)).astimezone(zone)
        day = (date(_YEAR_OF_LOAD, local.month, local.day) - year_start).days
        rows[number] = day * 96 + local.hour * 4 + local.minute // 15
    return rows


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970 of an aware instant, exactly; less than a millisecond is dropped."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def from_ms(at_ms: int) -> datetime:
    """The instant, in UTC, that `to_ms` would give `at_ms` for."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)


def _text(at_ms: int) -> str:
    return from_ms(at_ms).isoformat().replace("+00:00", "Z")


def _whole(energies: npt.NDArray[np.float64]) -> _Ints:
    if energies.size and np.abs(energies).max() >= 2**31:
        raise SimulatorError("a point takes more than 8 MW", hint="lower load_scale")
    return np.rint(energies).astype(np.int32)


def _sums_after(block: _Block) -> tuple[_Longs, _Longs, _Longs]:
    reactive = block.reactive_mvarh.astype(np.int64)
    return (
        block.import_mwh + block.energy_mwh.sum(axis=0, dtype=np.int64),
        block.import_mvarh + np.maximum(reactive, 0).sum(axis=0),
        block.export_mvarh - np.minimum(reactive, 0).sum(axis=0),
    )
