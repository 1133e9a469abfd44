"""The registers of all meters, as bytes, at the clock's present instant.

Owns when they are computed: once for all meters of a model at each new instant, and only when one
of them is asked. It must not know about sockets and serial lines.
"""

import struct
from collections.abc import Callable, Sequence

import numpy as np

from simulator.faults import Fault, FaultPlan
from simulator.readings import Meter, MeterGroup
from simulator.registers import MAPS, MODBUS_COUNT_MAX, Field, RegisterMap
from simulator.truth import Truth

# Modbus Application Protocol 1.1b3, section 7.
ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3

_READ = struct.Struct(">BHH")


class _Images:
    """The bytes of one model's regions: for each region one row of bytes per meter."""

    def __init__(self, register_map: RegisterMap, meters: Sequence[Meter], truth: Truth) -> None:
        self.map = register_map
        self._group = MeterGroup(meters)
        self._truth = truth
        self._at_ms = -1
        self._rows: list[bytes] = []
        self._blank = [
            np.full((len(meters), region.count), register_map.gap_word, dtype=">u2")
            for region in register_map.regions
        ]
        self._places = [_place(register_map, field) for field in register_map.fields]

    def rows(self, at_ms: int) -> list[bytes]:
        """One bytes object per region, all meters' rows one after the other."""
        if at_ms != self._at_ms:
            self._rows = self._encode(at_ms)
            self._at_ms = at_ms
        return self._rows

    def _encode(self, at_ms: int) -> list[bytes]:
        quantities = self._group.quantities(self._truth.at_ms(at_ms))
        regions = [blank.copy() for blank in self._blank]
        for field, (region, offset) in zip(self.map.fields, self._places, strict=True):
            encoding = field.encoding
            values = encoding.encode(quantities[field.quantity])
            missing = self._group.missing(field.quantity)
            if missing.any():
                shown = encoding.not_available if self.map.says_not_available else 0
                values[missing] = shown or 0
            words = values.view(">u2").reshape(-1, encoding.words)
            regions[region][:, offset : offset + encoding.words] = words
        return [region.tobytes() for region in regions]


class Device:
    """One meter as Modbus sees it: answers a request's PDU with a reply's PDU."""

    __slots__ = ("_clock_ms", "_defined", "_faults", "_images", "_row", "meter")

    def __init__(
        self,
        meter: Meter,
        images: _Images,
        row: int,
        clock_ms: Callable[[], int],
        defined: frozenset[int] | None,
        faults: FaultPlan | None,
    ) -> None:
        self.meter = meter
        self._images = images
        self._row = row
        self._clock_ms = clock_ms
        self._defined = defined
        self._faults = faults

    def next_fault(self) -> Fault | None:
        """What is to go wrong with the reply that is due now."""
        if self._faults is None:
            return None
        return self._faults.next(self.meter.serial, self._clock_ms())

    def answer(self, request: bytes) -> bytes:
        """The reply to `request` (function code and data), an exception where one is due."""
        if len(request) != _READ.size or request[0] != self._images.map.function:
            known = request[:1] == bytes((self._images.map.function,))
            return _refuse(request[:1], ILLEGAL_VALUE if known else ILLEGAL_FUNCTION)
        function, address, count = _READ.unpack(request)
        if not 1 <= count <= MODBUS_COUNT_MAX:
            return _refuse(request[:1], ILLEGAL_VALUE)
        if count <= self._images.map.count_max and not self._in_a_gap(address, count):
            for number, region in enumerate(self._images.map.regions):
                offset = address - region.first
                if offset >= 0 and offset + count <= region.count:
                    image = self._images.rows(self._clock_ms())[number]
                    start = 2 * (self._row * region.count + offset)
                    return bytes((function, 2 * count)) + image[start : start + 2 * count]
        return _refuse(request[:1], ILLEGAL_ADDRESS)

    def _in_a_gap(self, address: int, count: int) -> bool:
        addresses = range(address, address + count)
        return self._defined is not None and not self._defined.issuperset(addresses)


def make_devices(
    meters: Sequence[Meter],
    truth: Truth,
    *,
    clock_ms: Callable[[], int],
    strict_gaps: bool = False,
    faults: FaultPlan | None = None,
) -> list[Device]:
    """One device per meter, in their order, showing the truth at `clock_ms()`.

    `strict_gaps` makes them refuse a read that touches a register which their map leaves out.
    """
    devices: dict[str, Device] = {}
    for model in {meter.model for meter in meters}:
        register_map = MAPS[model]
        of_model = [meter for meter in meters if meter.model == model]
        images = _Images(register_map, of_model, truth)
        # The first computation is slow (libraries load on it), the first answer should not be.
        images.rows(clock_ms())
        defined = _defined(register_map) if strict_gaps else None
        for row, meter in enumerate(of_model):
            devices[meter.serial] = Device(meter, images, row, clock_ms, defined, faults)
    return [devices[meter.serial] for meter in meters]


def _refuse(function: bytes, code: int) -> bytes:
    return bytes(((function[0] if function else 0) | 0x80, code))


def _place(register_map: RegisterMap, field: Field) -> tuple[int, int]:
    for number, region in enumerate(register_map.regions):
        offset = field.address - region.first
        if offset >= 0 and offset + field.encoding.words <= region.count:
            return number, offset
    raise AssertionError(f"{register_map.model}: {field} is outside its regions")


def _defined(register_map: RegisterMap) -> frozenset[int]:
    return frozenset(
        address
        for field in register_map.fields
        for address in range(field.address, field.address + field.encoding.words)
    )
