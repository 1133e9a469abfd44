"""Setting a meter's clock: on a line with real sessions, and the decisions before it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from contract.commands import ResultCode
from gateway.lines import iec_port
from gateway.meters.meter_clock import ClockOrder
from gateway.meters.readout_profile import ClockCodes, ReadBy, ReadoutProfile
from gateway.ports import ClockLine, Part, Priority, ReadFailed
from gateway.protocols.readout import ReadoutText, parse_data_sets
from tests.gateway_iec.meter import Meter, MeterLine, household
from tests.gateway_iec.test_iec_line import installed, model, running

HANOI = ZoneInfo("Asia/Ho_Chi_Minh")  # the line's clock stands at 07:00:00 there, 9 August 2026
LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def _no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iec_port, "LATENCY_S", 0.05)


def with_clock(time: str, date: str = "260809", *, writable: bool = True) -> Meter:
    meter = household("1")
    meter.values |= {"0.9.1": time, "0.9.2": date}
    meter.writable = frozenset({"0.9.1", "0.9.2"} if writable else ())
    return meter


def profile(**clock: object) -> ReadoutProfile:
    codes = ClockCodes(**{"write": "W5", **clock})  # type: ignore[arg-type]  # given by keyword
    return msgspec.structs.replace(model(ReadBy.COMMANDS), clock=codes)


def written(meter: Meter) -> list[str]:
    return [command for command in meter.commands if command.startswith("W")]


@pytest.mark.asyncio
async def test_a_clock_is_compared_set_and_read_again(tmp_path: Path) -> None:
    meter = with_clock("070031")
    (on_site,) = installed("1", profile=profile())
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            assert isinstance(line, ClockLine)
            setting = await line.set_clock(on_site, LIMIT_S)
            assert (setting.code, setting.drift_s, setting.drift_after_s) == ("done", 31.0, 0.0)
            assert written(meter) == ["W50.9.1(070000)"], "the date was right"
            again = await line.set_clock(on_site, LIMIT_S)
            assert (again.code, again.drift_s) == ("done", 0.0)
            assert len(written(meter)) == 1
            # Reads go on as before.
            assert (await line.read(on_site, Part.ENERGY, Priority.INTERVAL)).values


@pytest.mark.parametrize(
    ("time", "date", "limit_s", "code", "text"),
    [
        ("070101", "260809", 60, "refused", "more than the limit"),
        ("065945", "260809", 60, "refused", "an interval ends"),
        ("070000", "260810", 60, "refused", "more than the limit"),
        ("late", "260809", 60, "failed", "no date and time"),
        ("070031", "", 60, "failed", "no date and time"),
    ],
)
@pytest.mark.asyncio
async def test_what_would_do_harm_is_not_written(
    tmp_path: Path, time: str, date: str, limit_s: float, code: str, text: str
) -> None:
    meter = with_clock(time, date)
    (on_site,) = installed("1", profile=profile())
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            setting = await line.set_clock(on_site, limit_s)
    assert setting.code == code
    assert text in setting.text
    assert written(meter) == []


@pytest.mark.asyncio
async def test_a_meter_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    meter = with_clock("070031", writable=False)
    (on_site,) = installed("1", profile=profile())
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            setting = await line.set_clock(on_site, LIMIT_S)
    assert (setting.code, setting.drift_s, setting.drift_after_s) == ("failed", 31.0, 31.0)


@pytest.mark.asyncio
async def test_a_date_far_away_is_set_too_in_the_makers_form(tmp_path: Path) -> None:
    meter = with_clock("07:00:00", "26-08-08")
    forms = profile(write="W1", time_form="hh:mm:ss", date_form="YY-MM-DD")
    (on_site,) = installed("1", profile=forms)
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            setting = await line.set_clock(on_site, 90_000)
    assert (setting.code, setting.drift_s, setting.drift_after_s) == ("done", -86_400.0, 0.0)
    assert written(meter) == ["W10.9.2(26-08-09)", "W10.9.1(07:00:00)"]


@pytest.mark.parametrize("fault", ["silent", "nak", "wrong_bcc"])
@pytest.mark.asyncio
async def test_a_lost_acknowledgement_is_asked_for_again(tmp_path: Path, fault: str) -> None:
    meter = with_clock("070031")
    (on_site,) = installed("1", profile=profile())
    # Two sessions: sign-on, prompt, identity, date, time; sign-on, prompt, identity; the write.
    meter.faults.extend(["none"] * 8 + [fault])
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            setting = await line.set_clock(on_site, LIMIT_S)
    assert (setting.code, setting.drift_after_s) == ("done", 0.0)


@pytest.mark.asyncio
async def test_another_meter_and_one_that_is_silent_are_not_set(tmp_path: Path) -> None:
    meter = with_clock("070031")
    meter.values["0.0.0"] = "99999999"
    (on_site,) = installed("1", profile=profile())
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            with pytest.raises(ReadFailed, match="99999999"):
                await line.set_clock(on_site, LIMIT_S)
            meter.always = "silent"
            with pytest.raises(ReadFailed, match="timeout"):
                await line.set_clock(on_site, LIMIT_S)
    assert written(meter) == []


@pytest.mark.asyncio
async def test_a_profile_without_a_way_is_said(tmp_path: Path) -> None:
    meter = with_clock("070031")
    (on_site,) = installed("1", profile=profile(write=None))
    with MeterLine(tmp_path / "tty", meter) as wire:
        async with running(wire.device, [on_site], HANOI) as line:
            setting = await line.set_clock(on_site, LIMIT_S)
    assert setting.code == "not_supported"
    assert meter.sessions == 0


# -- decisions alone

PARIS = ZoneInfo("Europe/Paris")


def order(zone: ZoneInfo = HANOI, limit_s: float = 60, **codes: object) -> ClockOrder:
    return ClockOrder(ClockCodes(**{"write": "W5", **codes}), zone, limit_s)  # type: ignore[arg-type]  # given by keyword


def told(text: str) -> ReadoutText:
    return ReadoutText(parse_data_sets(text))


@pytest.mark.parametrize(
    ("local", "drift_s", "allowed"),
    [
        ("10:07:00", 30, True),
        ("10:14:20", 9, True),
        ("10:14:20", 15, False),  # the session may last until the quarter hour
        ("10:14:35", 5, False),
        ("10:15:00", 5, True),
        ("10:15:04", -5, False),
        ("23:59:20", 50, False),
        ("00:00:10", -20, False),
        ("10:14:35", 1000, True),  # so wrong that nothing is spoilt that was not
    ],
)
def test_no_interval_ends_between_the_clocks(local: str, drift_s: float, allowed: bool) -> None:
    now = datetime.fromisoformat(f"2026-08-09T{local}").replace(tzinfo=HANOI).astimezone(UTC)
    found = order(limit_s=2000).judge(drift_s, now)
    assert (found is None) is allowed
    if found is not None:
        assert found.code is ResultCode.REFUSED


def test_the_season_is_read_and_written() -> None:
    summer = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 of the first pass, 02:30 an hour on
    both = order(PARIS, season=True)
    assert both.drift_s(told("0.9.2(1261025)\r\n0.9.1(1023010)\r\n"), summer) == 10
    winter = summer + timedelta(hours=1)
    assert both.drift_s(told("0.9.2(0261025)\r\n0.9.1(0023010)\r\n"), winter) == 10
    for now, text in ((summer, "0.9.1(1023000)"), (winter, "0.9.1(0023000)")):
        (command,) = both.writing(10, lambda now=now: now)  # type: ignore[misc]  # bound now
        assert command.late is not None
        assert command.late() == text


def test_the_time_is_that_of_the_sending() -> None:
    at = datetime(2026, 8, 9, 3, tzinfo=UTC)
    (command,) = order().writing(10, lambda: at)
    at += timedelta(seconds=7)
    assert command.late is not None
    assert command.late() == "0.9.1(100007)"
