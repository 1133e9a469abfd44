"""Figure `scan_vs_single`: how much faster a scan is than one request for each value.

Every value that the map of Eastron's SDM630 documents, 49 of them, from four meters at 9600 baud on
a pseudo-terminal that the simulator paces; read in blocks, and with a profile that allows no block.
The pause that the shipped profile keeps on a change of address is left out of both.
"""

import asyncio
import statistics
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.rtu_station import BAUD, rtu_station, scan_lines
from contract.registers import CATALOGUE, Kind
from gateway.meters.plan import plan
from gateway.meters.profile import MappedRegister, MeterProfile, Requests, Timing
from gateway.meters.wire import WireType
from gateway.ports import Part
from gateway.profiles import ProfileLibrary

PROFILE = "eastron-sdm630"
METERS = 4
# What manuals give as the usual time until a reply begins is 5 to 45 ms.
TURNAROUND_MS = 35
SCANS = 3
FRAMES_CHARACTERS = 13  # request and reply, besides the registers
SILENCES_CHARACTERS = 7  # t3.5 before and after a reply

MOMENTARY = (*range(0x0000, 0x0024, 2), 0x0034, 0x0038, 0x003C, 0x003E, 0x0046)
ENERGIES = (*range(0x0048, 0x0050, 2), 0x0156, 0x0158, *range(0x015A, 0x0182, 2))


def whole_map() -> MeterProfile:
    """The model with all that it has. Codes repeat: the catalogue has no names for some values."""
    shipped = ProfileLibrary().get_modbus(PROFILE)
    momentary = [one.obis for one in CATALOGUE if one.kind is Kind.INSTANTANEOUS]
    energies = [one.obis for one in CATALOGUE if one.kind is Kind.CUMULATIVE]
    registers = tuple(
        MappedRegister(codes[number % len(codes)], address, WireType.F32, resolution=resolution)
        for codes, addresses, resolution in (
            (momentary, MOMENTARY, None),
            (energies, ENERGIES, Decimal(10)),
        )
        for number, address in enumerate(addresses)
    )
    return msgspec.structs.replace(shipped, registers=registers, timing=Timing())


def one_by_one(profile: MeterProfile) -> MeterProfile:
    """The same, but each request brings one value."""
    return msgspec.structs.replace(profile, requests=Requests(max_regs=2))


def wire_s(profile: MeterProfile, turnaround_ms: float) -> float:
    """The least time in which one meter can be read at BAUD, in both parts."""
    return sum(
        (FRAMES_CHARACTERS + SILENCES_CHARACTERS + 2 * block.count) * 10 / BAUD
        + turnaround_ms / 1000
        for part in Part
        for block in plan(profile, part)
    )


def measure() -> Figure:
    """The figure: one divided by the other."""
    with (
        tempfile.TemporaryDirectory(prefix="songlo-bench-") as name,
        rtu_station(
            Path(name), PROFILE, lines=4, meters_per_line=32, turnaround_ms=TURNAROUND_MS
        ) as lines,
    ):
        line = {**lines[0], "meters": lines[0]["meters"][:METERS]}
        blocks_s = run_isolated(_scan_s, line, False)
        single_s = run_isolated(_scan_s, line, True)
    blocks, single = whole_map(), one_by_one(whole_map())
    return Figure(
        "scan_vs_single",
        single_s / blocks_s,
        "times",
        requirement=Requirement("value", ">=", 6),
        detail={
            "scan_s": round(blocks_s, 3),
            "one_by_one_s": round(single_s, 3),
            "values": len(blocks.registers),
            "requests": sum(len(plan(blocks, part)) for part in Part),
            "turnaround_ms": TURNAROUND_MS,
            "by_the_wire": {
                f"{ms} ms": round(wire_s(single, ms) / wire_s(blocks, ms), 2)
                for ms in (5, 20, TURNAROUND_MS, 50)
            },
        },
    )


def _scan_s(line: dict[str, Any], single: bool) -> float:
    profile = one_by_one(whole_map()) if single else whole_map()
    found = asyncio.run(
        scan_lines([line], profile, parts=list(Part), warm_up=1, scans=1 if single else SCANS)
    )
    return statistics.median(found.seconds)
