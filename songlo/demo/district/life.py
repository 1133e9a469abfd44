"""The district lives day by day: registry, meters, gateways, intake.

It owns the order of a day; it must not know bills, nor what is shown of it.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from collector.ledger import Ledger
from collector.operations.registry_import import import_registry
from collector.readings.port import ReadingStore
from simulator.district.meters import IMPORT, StationMeters, district_meters
from simulator.district.plan import QUARTERS_PER_DAY, District
from simulator.district.store import load_energy
from songlo.demo.district.files import RegistryFolder, exchanges_on
from songlo.demo.district.gateways import Counts, Gateway, delivered_on
from songlo.demo.district.intake import DirectIntake, SimulatedClock
from songlo.demo.district.options import BILLING_DAY, DistrictOptions
from songlo.demo.options import ZONE

CLERK = "clerk"

ERRORS_TOLD = 5

# When a day's reads are in: soon after its last slot.
AFTER_A_DAY = timedelta(minutes=10)


class DistrictFailed(RuntimeError):
    """The collector refused what the district's people handed over; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where everything is kept."""

    ledger: Ledger
    readings: ReadingStore
    folder: Path


class Life:
    """The district and its collector. `meters` are the truth of what displays show."""

    def __init__(self, district: District, options: DistrictOptions, stores: Stores) -> None:
        """The energies are in `stores.folder / "energy"`, as `solve_district` put them there."""
        self.district = district
        self.options = options
        self.ledger = stores.ledger
        self.clock = SimulatedClock(options.instant(0))
        self.folder = stores.folder
        energies = {
            one.station: load_energy(stores.folder / "energy", one.station)
            for one in district.stations
        }
        self.meters: dict[str, StationMeters] = district_meters(
            district, energies, slot_quarters=options.slot_quarters
        )
        self.gateways = [
            Gateway(district, station, meters, options) for station, meters in self.meters.items()
        ]
        self.intake = DirectIntake(stores.ledger, stores.readings, self.clock)

    @property
    def counts(self) -> Counts:
        """What all gateways have sent so far."""
        total = Counts()
        for gateway in self.gateways:
            total.add(gateway.counts)
        return total

    def begin(self) -> None:
        """Import the registry as it is on the first day."""
        folder = RegistryFolder(self.folder / "registry", self.options.instant)
        folder.write_all(self.district, BILLING_DAY)
        self._import(folder)

    def live(self, day: int) -> None:
        """A day: what happened in the field is written down, then its reads come in."""
        self.clock.at = self.options.instant((day + 1) * QUARTERS_PER_DAY) + AFTER_A_DAY
        self._write_events(day)
        self.intake.take(delivered_on(self.gateways, day))
        self.intake.take_statuses(
            gateway.status(self.clock.at) for gateway in self.gateways if not gateway.waits
        )
        # The truth is mapped anew, so that its pages do not count as the collector's memory.
        for station, meters in self.meters.items():
            meters.energy = load_energy(self.folder / "energy", station)

    def close(self) -> None:
        """Let the intake end; the stores are their owner's to close."""
        self.intake.close()

    def _write_events(self, day: int) -> None:
        begin = day * QUARTERS_PER_DAY
        exchanges = list(exchanges_on(self.district, day))
        moves = [one for one in self.district.moves if one.from_quarter == begin]
        successions = [
            one for one in self.district.points.values() if one.moved_in_quarter == begin
        ]
        recabled = [one for one in self.district.points.values() if one.recabled_quarter == begin]
        if not (exchanges or moves or successions or recabled):
            return
        folder = RegistryFolder(self.folder / f"events-{day:03d}", self.options.instant)
        for old, new in exchanges:
            folder.write_exchange(old, new, self._removal_wh(old.serial))
        for move in moves:
            folder.write_move(move.point, move.from_quarter, move.station)
        for one in recabled:
            folder.write_recabling(one)
        for one in successions:
            folder.write_successor(one)
        self._import(folder)

    def _removal_wh(self, serial: str) -> int:
        for meters in self.meters.values():
            for one in meters.seen:
                if one.serial == serial and one.to_slot < len(meters.energy.import_mwh):
                    return int(meters.shown(one, one.to_slot)[IMPORT])
        raise DistrictFailed(f"meter {serial} is exchanged after the last day")

    def _import(self, folder: RegistryFolder) -> None:
        report = import_registry(self.ledger, folder.folder, CLERK, self.clock.at, zone=ZONE)
        if not report.written:
            rows = "; ".join(str(error) for error in report.errors[:ERRORS_TOLD])
            raise DistrictFailed(f"{folder.folder} was not imported: {rows}")
