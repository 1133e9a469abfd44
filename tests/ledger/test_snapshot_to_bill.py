"""From index reads in a ledger to đồng: what a snapshot froze is what a bill preview rests on."""

from datetime import date
from pathlib import Path

from collector.billing.rating.determinants import BillDeterminants, Terms
from collector.billing.rating.from_snapshot import DayIndex, point_determinants
from collector.billing.rating.preview import BillPreview, preview_hash
from collector.billing.rating.rate import rate_bills
from collector.ledger import Ledger
from collector.operations.snapshots import create_snapshot, snapshot_lines
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, import_files, midnight, put
from tests.unit.collector.rating.making import built_in, shares

EXCHANGE = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/a,M1,2025-01-01,2025-05-15T09:00:00+07:00,,12398200
T1/a,M3,2025-05-15T09:00:00+07:00,,300,
T1/b,M2,2025-01-01,,,
"""
FROM, CHANGE, TO = date(2025, 4, 20), date(2025, 5, 10), date(2025, 5, 20)


def preview(ledger: Ledger, point: str, *indices: DayIndex) -> BillPreview:
    head = create_snapshot(
        ledger,
        station="T1",
        from_at=midnight(str(FROM)),
        to_at=midnight(str(TO)),
        actor="clerk",
        now=NOW,
    )
    determinants = point_determinants(
        point,
        snapshot_lines(ledger, head.id),
        (Terms(from_day=FROM, shares=shares(household=100)),),
        (FROM, TO),
        day_indices=indices,
        roll_overs_wh={"M2": 100_000_000},
    )
    bill = BillDeterminants(
        bill=point, from_day=FROM, to_day=TO, billing_day=20, tax_point=TO, points=(determinants,)
    )
    (found,) = rate_bills([bill], built_in())
    return found


def test_an_exchange_and_a_roll_over_are_billed_and_traced_to_their_reads(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": EXCHANGE})
    put(ledger, midnight(str(FROM)), {"M1": 12_345_600, "M2": 99_850_000})
    put(ledger, midnight(str(TO)), {"M3": 101_900, "M2": 150_000}, seq=2)
    exchanged = preview(ledger, "T1/a")
    assert exchanged.energy_kwh == 154
    reads = exchanged.determinants[0].reads
    assert [(read.meter, read.index_from_wh, read.index_to_wh) for read in reads] == [
        ("M1", 12_345_600, 12_398_200),
        ("M3", 300, 101_900),
    ]
    # The price change inside the period is prorated by days: 300 kWh, as the guide's example.
    rolled = preview(ledger, "T1/b")
    assert (rolled.energy_kwh, rolled.total_vnd) == (300, 774_194)
    assert preview_hash(rolled) == preview_hash(preview(ledger, "T1/b")), "rated again, the same"


def test_the_daily_index_of_a_price_change_cuts_the_bill(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": EXCHANGE})
    put(ledger, midnight(str(FROM)), {"M1": 12_000_000, "M2": 99_850_000})
    put(ledger, midnight(str(TO)), {"M3": 101_900, "M2": 150_000}, seq=2)
    index = DayIndex("M2", IMPORT_ACTIVE, CHANGE, 30_000, midnight(str(CHANGE)))
    cut = preview(ledger, "T1/b", index)
    assert cut.total_vnd == 784_778, "180 kWh before and 120 after, over the roll-over"
