"""Who approves is another person than anyone who had a hand in it, whichever way the hand took."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.billing_runs import (
    approve_run,
    exclude_point,
    export_run,
)
from collector.operations.findings import enter_index
from collector.operations.registry_changes import By, Purpose, Wanted, change_rows
from collector.operations.registry_import import import_registry
from collector.operations.run_facts import had_a_hand, registry_editors
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import (
    FILES,
    INSTALLATIONS,
    ZONE,
    import_files,
    midnight,
    put,
    write_files,
)
from tests.ledger.test_billing_runs import BY, NOV, NOW, OCT, SEP, made, opened, refused, who


@pytest.fixture
def district(ledger: Ledger, tmp_path: Path) -> Ledger:
    """T1 with a head and two customers, read on 20 September; M1 was not read in October."""
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100})
    put(ledger, OCT, {"M0": 10_400_000, "M2": 5_200_000}, seq=2)
    return ledger


@pytest.mark.parametrize(
    ("actor", "editor", "same"),
    [
        ("an", "command:an", True),
        ("command:an", "an", True),
        ("command:an", "key:an", True),
        ("An", "command:an", True),
        ("bình", "command:an", False),
        ("command", "command:an", False),
    ],
)
def test_a_key_and_an_account_of_one_name_are_one_person(
    actor: str, editor: str, same: bool
) -> None:
    assert had_a_hand(actor, ["x", editor]) is same


def test_nobody_approves_with_a_key_what_the_account_made(district: Ledger) -> None:
    put(district, OCT, {"M1": 1_100_500}, seq=3)
    run = opened(district)
    version = made(district, run, "command:an")
    with refused("own_work"):
        approve_run(district, run, version.sha256, BY, who("an"))
    approve_run(district, run, version.sha256, BY, who("bình"))


def test_who_read_a_display_after_the_billing_instant_had_a_hand_in_it(district: Ledger) -> None:
    # The nearest read of the billing day: half past nine in the morning, and it is billed.
    by_hand = ManualIndex(
        kind=ManualKind.HAND,
        point="T1/a",
        meter="M1",
        register=IMPORT_ACTIVE,
        at=OCT + timedelta(hours=9, minutes=30),
        value=1_900_000,
        author="bình",
        entered_at=NOW,
        reason="read from the display",
    )
    enter_index(district, by_hand, NOW)
    run = opened(district)
    version = made(district, run)
    with refused("own_work"):
        approve_run(district, run, version.sha256, BY, who("bình"))


def test_what_is_left_out_after_the_version_was_made_is_not_billed(district: Ledger) -> None:
    put(district, OCT, {"M1": 1_100_500}, seq=3)
    run = opened(district)
    first = made(district, run)
    exclude_point(district, run, "T1/a", who("cường"), include=False)
    with refused("changed_meanwhile"):
        approve_run(district, run, first.sha256, BY, who("bình"))
    exclude_point(district, run, "T1/a", who("cường"), include=True)
    approve_run(district, run, first.sha256, BY, who("bình"))
    # It is disputed between the approval and the hand-over.
    exclude_point(district, run, "T1/a", who("cường"), include=False)
    with refused("changed_meanwhile"):
        export_run(district, run, BY, who("an"))
    second = made(district, run)
    exclude_point(district, run, "T1/a", who("cường"), include=True)
    with refused("changed_meanwhile"):
        approve_run(district, run, second.sha256, BY, who("bình"))
    exclude_point(district, run, "T1/a", who("cường"), include=False)
    approve_run(district, run, second.sha256, BY, who("bình"))
    assert export_run(district, run, BY, who("an")).version == 2


def test_who_wrote_an_exchange_into_the_registry_had_a_hand_in_it(
    district: Ledger, tmp_path: Path
) -> None:
    exchange = INSTALLATIONS.replace(
        "T1/a,M1,2026-01-01,,,", "T1/a,M1,2026-01-01,2026-10-01,,9990000"
    )
    exchange += "T1/a,M3,2026-10-01,,0,\n"
    folder = write_files(tmp_path / "registry", {**FILES, "installations.csv": exchange})
    import_registry(district, folder, "command:bình", NOW, zone=ZONE)
    put(district, OCT, {"M3": 40_000}, seq=3)
    run = opened(district)
    version = made(district, run)
    with refused("own_work"):
        approve_run(district, run, version.sha256, BY, who("bình"))
    # Who brought in the rest of the registry is nobody's editor for it.
    exclude_point(district, run, "T1/a", who("an"), include=False)
    version = made(district, run)
    approve_run(district, run, version.sha256, BY, who("bình"))


@pytest.mark.parametrize("written", ["2026-09-10", "2026-09-25"])
def test_who_wrote_an_exchange_before_it_was_made_had_a_hand_in_it(
    district: Ledger, tmp_path: Path, written: str
) -> None:
    # Planned for 1 October: before the period began, or within it and before its day.
    exchange = INSTALLATIONS.replace("T1/a,M1,2026-01-01,,,", "T1/a,M1,2026-01-01,2026-10-01,,")
    exchange += "T1/a,M3,2026-10-01,,0,\n"
    folder = write_files(tmp_path / "registry", {**FILES, "installations.csv": exchange})
    import_registry(district, folder, "command:bình", midnight(written), zone=ZONE)
    put(district, midnight("2026-10-01"), {"M1": 1_050_000}, seq=3)
    put(district, OCT, {"M3": 40_000}, seq=4)
    run = opened(district)
    version = made(district, run)
    with refused("own_work"):
        approve_run(district, run, version.sha256, BY, who("bình"))
    assert "command:bình" not in editors(district, {"T1/a"}, OCT, NOV)
    assert "command:bình" not in editors(district, {"T1/b"}, SEP, OCT)


def test_who_wrote_a_multiplier_before_it_was_in_force_had_a_hand_in_it(district: Ledger) -> None:
    put(district, OCT, {"M1": 1_100_500}, seq=3)
    row = {"point": "T1/b", "from_at": "2026-10-01", "multiplier": "40"}
    wanted = Wanted("multipliers", Purpose.CREATE, [row])
    change_rows(district, wanted, By("bình", midnight("2026-09-10"), ZONE))
    put(district, midnight("2026-10-01"), {"M2": 5_100_000}, seq=4)
    run = opened(district)
    version = made(district, run)
    with refused("own_work"):
        approve_run(district, run, version.sha256, BY, who("bình"))


def test_the_index_of_a_removal_is_one_of_the_period_that_ends_with_it(
    district: Ledger, tmp_path: Path
) -> None:
    exchange = INSTALLATIONS.replace(
        "T1/a,M1,2026-01-01,,,", "T1/a,M1,2026-01-01,2026-10-20,,1100500"
    )
    folder = write_files(tmp_path / "registry", {**FILES, "installations.csv": exchange})
    import_registry(district, folder, "bình", NOW, zone=ZONE)
    assert "bình" in editors(district, {"T1/a"}, SEP, OCT)


def test_a_plan_of_many_days_counts_for_all_points_beyond_those_it_names(
    district: Ledger, tmp_path: Path
) -> None:
    first = midnight("2027-01-01")
    days = [(first + number * timedelta(days=1)).date().isoformat() for number in range(1, 121)]
    rows = "".join(f"T1/a,{day},{20 + place % 2}\n" for place, day in enumerate(days))
    files = {**FILES, "multipliers.csv": "point,from_at,multiplier\n" + rows}
    folder = write_files(tmp_path / "registry", files)
    import_registry(district, folder, "bình", midnight("2026-12-01"), zone=ZONE)
    last = midnight(days[-1])
    assert "bình" not in editors(district, {"T1/b"}, first, first + timedelta(days=60))
    assert "bình" in editors(district, {"T1/a"}, first, first + timedelta(days=60))
    assert "bình" in editors(district, {"T1/b"}, last, last + timedelta(days=1))
    with district.read() as uow:
        (entry,) = uow.audit.mentioning(["registry.import"], "ahead")
    assert len(entry.detail["ahead"]) == 101


def editors(ledger: Ledger, points: set[str], since: datetime, until: datetime) -> set[str]:
    with ledger.read() as uow:
        return registry_editors(uow, points, since, until)
