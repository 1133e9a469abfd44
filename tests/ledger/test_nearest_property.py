"""The query for the read that stands for an instant, against a plain model of its rule."""

import itertools
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.registry.values import Installation, Meter, Point, Role, Station
from contract.messages import ScanKind
from contract.quality import Quality
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import EPOCH, GATEWAY, NOW

T = datetime(2026, 10, 19, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOW = timedelta(minutes=120)


class Read(NamedTuple):
    """A read: minutes from T of its slot, minutes of its instant after that, value, clock."""

    slot: int
    offset: int
    value: int
    unsure: bool

    @property
    def at(self) -> int:
        return self.slot + self.offset


reads_around = st.lists(
    st.builds(
        Read,
        slot=st.sampled_from([-120, -60, -30, 0, 0, 0, 30, 60, 120]),
        offset=st.integers(-40, 150),
        value=st.integers(0, 3),
        unsure=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda read: read.at,
)


@pytest.fixture(scope="module")
def shared_ledger() -> Iterator[Ledger]:
    """One ledger for all examples: each has a meter of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{Path(folder) / 'ledger.db'}")
        ledger.migrate()
        with ledger.begin() as uow:
            uow.registry.add_stations([Station("T1", "T1")])
        yield ledger
        ledger.close()


numbers = itertools.count()


def expected(reads: list[Read]) -> tuple[int, int, bool] | None:
    """The rule: for the slot and by a right clock, then for the slot, then the nearest."""
    near = [read for read in reads if abs(read.at) <= WINDOW // MINUTE]
    believed = [
        read
        for read in near
        if read.value > 0 or not any(one.value > 0 and one.at < read.at for one in near)
    ]
    best = None
    for read in believed:
        exact = read.slot == 0
        actual = exact and not read.unsure
        # Of two reads for the slot a value is believed before a zero.
        rank = (not actual, actual and read.value == 0, not exact, abs(read.at), read.at)
        if best is None or rank < best[0]:
            best = (rank, read, actual)
    return None if best is None else (best[1].at, best[1].value, best[2])


@settings(max_examples=150, deadline=None)
@given(reads=reads_around)
def test_the_query_follows_the_rule(shared_ledger: Ledger, reads: list[Read]) -> None:
    name = f"X{next(numbers)}"
    blocks = [
        IndexBlock(
            GATEWAY,
            EPOCH,
            1,
            ScanKind.INDEX,
            T + read.slot * MINUTE,
            [IMPORT_ACTIVE],
            [
                (
                    name,
                    read.offset * 60_000,
                    [read.value],
                    Quality.CLOCK_UNSYNCED.value if read.unsure else 0,
                )
            ],
        )
        for read in reads
    ]
    with shared_ledger.begin() as uow:
        uow.registry.add_points([Point(name, "T1", Role.HOUSEHOLD, name)])
        uow.registry.add_meters([Meter(name, "m", 1)])
        uow.registry.add_installations([Installation(name, name, T - timedelta(days=9))])
        uow.index_reads.insert_many(blocks, NOW)
    with shared_ledger.read() as uow:
        found = [
            ((read.at - T) // MINUTE, read.value, bool(read.actual))
            for read in uow.index_reads.nearest(T, WINDOW, meter=name)
        ]
    wanted = expected(reads)
    assert found == ([] if wanted is None else [wanted])
