"""A running collector validates the days that are over, by itself, and says so."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.civil import civil_day, day_start
from collector.ledger import Ledger
from tests.intake.kit import until
from tests.intake.test_collector_command import Site
from tests.ledger.building import FILES, import_files
from tests.services import Mosquitto

pytestmark = pytest.mark.timeout(120)

DONE = 'songlo_vee_daily_total{outcome="done"} 1.0'


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> Site:
    made = Site(tmp_path, mosquitto.port)
    made.run("migrate")
    return made


def a_zone_where_it_is_noon() -> str:
    """So that the last day has been over for hours, whenever this is asked."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def test_the_days_before_today_are_validated_once(site: Site, tmp_path: Path) -> None:
    zone = a_zone_where_it_is_noon()
    with site.file.open("a") as file:
        file.write(f"zone: {zone}\nvee: {{daily_after_min: 60, daily_days: 2}}\n")
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    import_files(ledger, tmp_path / "registry", FILES)
    today = day_start(civil_day(datetime.now(UTC), zone), zone)
    with site.running():
        until(site.answers, "the API does not answer", 60)
        until(lambda: DONE in site.get("/metrics"), "nothing was validated", 60)
        assert json.loads(site.get("/health"))["parts"]["validation"]["status"] == "ok"
    with ledger.read() as uow:
        (one,) = uow.validations.touching(today - timedelta(days=9), today)
        (entry,) = uow.audit.of_action("vee.run")
    assert (one.from_at, one.to_at) == (today - timedelta(days=2), today)
    assert (one.station, {seen.meter for seen in one.seen}) == ("T1", {"M0", "M1", "M2"})
    assert entry.actor == "collector:daily"
    ledger.close()


def test_where_it_is_off_nothing_is_validated_and_health_has_no_such_part(site: Site) -> None:
    with site.file.open("a") as file:
        file.write("vee: {daily: false}\n")
    with site.running():
        until(site.answers, "the API does not answer", 60)
        assert "validation" not in json.loads(site.get("/health"))["parts"]
