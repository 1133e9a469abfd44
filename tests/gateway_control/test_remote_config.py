"""Station files from the collector: those that work are kept, others leave the last good one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import nacl.signing
import pytest
from typer.testing import CliRunner

from contract.messages import ConfigStatus, decode_batch
from gateway.cli import app
from gateway.config_store import ConfigStore
from tests.gateway_control.desk import signed
from tests.gateway_control.site import NAME, QUICK_S, SLOW_S, Site, site
from tests.gateway_delivery.collecting import until
from tests.services import Mosquitto, free_port

CONFIRM_S = 15.0


def config_of(running: Site) -> ConfigStatus:
    """What the newest status says that the gateway made while it was online."""
    said = [status.config for status in running.collector.statuses if status.config]
    return said[-1] if said else ConfigStatus()


def has_event(running: Site, text: str) -> bool:
    return any(text in event.detail for event in running.events("config"))


def _refusal(running: Site) -> str:
    refused = config_of(running).refused
    return "" if refused is None else refused.code


async def reads(running: Site, command: str, *meters: str) -> str:
    """Read meters on demand; the code of the result."""
    running.desk.send(command, "read", *meters)
    await until(lambda: bool(running.desk.of(command)), f"{command} is answered")
    return running.desk.of(command)[-1].code


async def confirmed(running: Site, version: int) -> None:
    await until(
        lambda: config_of(running) == ConfigStatus(version=version, highest=version),
        f"version {version} is confirmed",
        CONFIRM_S,
    )
    await until(partial(has_event, running, f"version {version} is confirmed"), "the event")


@pytest.mark.asyncio
async def test_a_new_station_file_is_put_in_force_and_confirmed(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        assert config_of(running) == ConfigStatus()
        check = CliRunner().invoke(app, ["check", "--config", str(running.path)])
        assert "station files from the collector are taken; none is in force" in check.output
        running.desk.configure(signed(7, running.text(4), NAME))
        await confirmed(running, 7)
        assert has_event(running, "version 7 is begun, on trial")
        assert await reads(running, "c1", "m4") == "done"
        running.desk.configure(signed(8, running.text(5), NAME))
        await confirmed(running, 8)
        assert await reads(running, "c2", "m5") == "done"
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        await until(lambda: config_of(running).version == 8, "it is still in force")
        running.desk.send("c3", "ping")
        await until(lambda: bool(running.desk.of("c3")), "an answer")
        assert running.desk.of("c3")[0].detail.config_version == 8
        # The retained message came again, and changed nothing.
        assert running.events("config") == []


def corrupt(running: Site) -> bytes:
    return signed(2, running.text(4), NAME)[:-40]


def damaged(running: Site) -> bytes:
    return signed(5, running.text(4), NAME).replace(b"serial: m4", b"serial: m5")


def older(running: Site) -> bytes:
    return signed(1, running.text(4), NAME)


def unsigned(running: Site) -> bytes:
    config = signed(3, running.text(4), NAME)
    return config[: config.index(b'"signature"')] + b'"signature":""}'


def by_another_key(running: Site) -> bytes:
    return signed(4, running.text(4), NAME, nacl.signing.SigningKey(b"x" * 32))


def for_another_gateway(running: Site) -> bytes:
    return signed(3, running.text(4), "PA25SL-T013")


def not_a_station_file(running: Site) -> bytes:
    return signed(3, "station: [", NAME)


def with_an_address_twice(running: Site) -> bytes:
    return signed(3, running.text(4).replace("address: 4", "address: 1"), NAME)


def with_an_unknown_profile(running: Site) -> bytes:
    return signed(3, running.text(4).replace("eastron-sdm120", "eastron-sdm999"), NAME)


def with_another_name(running: Site) -> bytes:
    return signed(3, running.text(4) + "gateway: PA25SL-T013\n", NAME)


def with_another_folder(running: Site) -> bytes:
    return signed(3, running.text(4).replace("data: data", "data: elsewhere"), NAME)


def with_another_clock(running: Site) -> bytes:
    replayed = running.text(4).replace("clock: {", 'clock: {replay: "127.0.0.1:9", ')
    return signed(3, replayed, NAME)


def that_takes_no_more(running: Site) -> bytes:
    text = "".join(line for line in running.text(4).splitlines(True) if "config:" not in line)
    return signed(3, text, NAME)


def with_an_unplugged_port(running: Site) -> bytes:
    text = running.text(4) + (
        "  - name: rs485-1\n    modbus_rtu: {device: /dev/serial/by-path/none}\n"
        "    meters: [{serial: r1, address: 1, profile: eastron-sdm120}]\n"
    )
    return signed(3, text, NAME)


def with_no_port_at_all(running: Site) -> bytes:
    text = running.text(4) + (
        f"  - name: rs485-1\n    modbus_rtu: {{device: {running.path}}}\n"
        "    meters: [{serial: r1, address: 1, profile: eastron-sdm120}]\n"
    )
    return signed(3, text, NAME)


def with_a_bridge_that_is_not_there(running: Site) -> bytes:
    return signed(3, running.text(4).replace(f"port: {running.line}", f"port: {free_port()}"), NAME)


REFUSED: list[tuple[Callable[[Site], bytes], str, str]] = [
    (corrupt, "malformed", ""),
    (damaged, "bad_signature", ""),
    (older, "older_version", ""),
    (unsigned, "bad_signature", ""),
    (by_another_key, "bad_signature", ""),
    (for_another_gateway, "other_gateway", "PA25SL-T013"),
    (not_a_station_file, "invalid", ""),
    (with_an_address_twice, "invalid", "already taken"),
    (with_an_unknown_profile, "invalid", "no meter profile"),
    (with_another_name, "invalid", "certificate"),
    (with_another_folder, "invalid", "undelivered"),
    (with_another_clock, "invalid", "clock.replay"),
    (that_takes_no_more, "invalid", "no further"),
    (with_an_unplugged_port, "port", "plugged in"),
    (with_no_port_at_all, "port", "no serial port"),
    (with_a_bridge_that_is_not_there, "port", "cannot be reached"),
]


@pytest.mark.asyncio
async def test_what_may_not_be_in_force_is_refused_and_said(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """All on one gateway, whose version 2 is in force before and after each."""
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        running.desk.configure(signed(2, running.text(3), NAME))
        await confirmed(running, 2)
        epoch = running.status.epochs[0].epoch
        for make, code, text in REFUSED:
            running.desk.configure(make(running))

            def is_said(code: str = code, text: str = text) -> bool:
                last = running.events("config")[-1].detail
                return f"refused ({code})" in last and text in last

            await until(is_said, make.__name__)
        # The status says the last one, and that nothing else has changed or was restarted.
        refused = REFUSED[-1][1]
        await until(lambda: _refusal(running) == refused, "the status says so")
        assert (config_of(running).version, config_of(running).highest) == (2, 2)
        assert running.status.epochs[0].epoch == epoch
        assert await reads(running, "c1", "m3") == "done"
        assert await reads(running, "c2", "m4") == "unknown_meter"
        running.desk.configure(signed(3, running.text(4), NAME))
        await confirmed(running, 3)
    reported = [event.detail for event in running.events("config")]
    assert sum("refused" in detail for detail in reported) == len(REFUSED)


def whose_broker_is_away(running: Site) -> str:
    return running.text(4).replace(f"port: {running.broker}", f"port: {free_port()}")


def whose_meters_do_not_answer(running: Site) -> str:
    text = running.text(3)
    for number in (1, 2, 3):
        text = text.replace(f"address: {number},", f"address: {number + 100},")
    return text


@pytest.mark.parametrize("make", [whose_broker_is_away, whose_meters_do_not_answer])
@pytest.mark.asyncio
async def test_a_valid_file_that_does_not_work_is_taken_back(
    tmp_path: Path, mosquitto: Mosquitto, make: Callable[[Site], str]
) -> None:
    write = partial(_scan_every_minute_once, folder=tmp_path)
    async with site(tmp_path, mosquitto.port, confirm_s=QUICK_S, write=write) as running:
        await until(lambda: any(line.answered for line in running.status.lines), "a scan")
        running.desk.configure(signed(2, make(running), NAME))
        await until(
            lambda: (
                config_of(running).refused is not None
                and config_of(running).version == 0
                and running.status.online
            ),
            "taken back",
        )
        status = config_of(running)
        assert status.refused is not None
        assert (status.version, status.highest) == (0, 2)
        assert (status.refused.version, status.refused.code) == (2, "not_confirmed")
        await until(partial(has_event, running, "version 2 taken back (not_confirmed)"), "event")
        assert await reads(running, "c1", "m3") == "done"
        # It is spent: the retained message does not bring it back. The next is taken.
        running.desk.configure(signed(3, running.text(4), NAME))
        await until(lambda: config_of(running).highest == 3, "the next", CONFIRM_S)


def _scan_every_minute_once(_: Path, folder: Path) -> None:
    """A scan is due at every minute, so that one is begun at once."""
    path = folder / "station.yaml"
    path.write_text(path.read_text().replace("interval_min: 1440", "interval_min: 1"))


@pytest.mark.asyncio
async def test_what_the_collector_does_not_acknowledge_is_taken_back(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        running.desk.configure(signed(1, running.text(4, confirm_s=QUICK_S), NAME))
        await confirmed(running, 1)
        running.collector.acks = False
        running.desk.configure(signed(2, running.text(5), NAME))
        await until(lambda: config_of(running).trial, "it is tried")
        await until(lambda: config_of(running).refused is not None, "taken back")
        await until(lambda: config_of(running).version == 1, "the one before is in force")
        running.collector.acks = True
        assert await reads(running, "c1", "m4") == "done"
        assert await reads(running, "c2", "m5") == "unknown_meter"


@pytest.mark.asyncio
async def test_the_file_on_the_gateway_goes_first_once_somebody_changed_it(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        running.desk.configure(signed(1, running.text(4), NAME))
        await confirmed(running, 1)
        epoch = running.status.epochs[0].epoch
        running.desk.send("c1", "reload")
        await until(lambda: bool(running.desk.of("c1")), "answered")
        await until(
            lambda: running.status.online and running.status.epochs[0].epoch != epoch,
            "another run of the parts",
        )
        assert config_of(running) == ConfigStatus(version=1, highest=1)
        check = CliRunner().invoke(app, ["check", "--config", str(running.path)])
        assert "but version 1 from the collector is in force" in check.output
        text = running.path.read_text()
        running.path.write_text(text.replace("serial: m2", "serial: n2"))
        check = CliRunner().invoke(app, ["check", "--config", str(running.path)])
        assert "it was changed: at the next start it goes before version 1" in check.output
        running.desk.send("c2", "reload")
        await until(lambda: bool(running.desk.of("c2")), "answered")
        assert running.desk.of("c2")[0].code == "done"
        await until(lambda: config_of(running).version == 0, "the gateway's own")
        refused = config_of(running).refused
        assert refused is not None
        assert (refused.version, refused.code) == (1, "local_file")
        assert await reads(running, "c3", "n2") == "done"
        running.desk.configure(signed(1, running.text(4), NAME))
        assert await reads(running, "c4", "n2") == "done"
        assert config_of(running).version == 0
        running.desk.configure(signed(2, running.text(4), NAME))
        await confirmed(running, 2)
        begun = [event for event in running.events("config") if "1 is begun" in event.detail]
        assert len(begun) == 1


@pytest.mark.parametrize("mistake", ["address: 1", "address: [", "address: \t%"])
@pytest.mark.asyncio
async def test_a_broken_file_on_the_gateway_does_not_stop_the_one_in_force(
    tmp_path: Path, mosquitto: Mosquitto, mistake: str
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        running.desk.configure(signed(1, running.text(4), NAME))
        await confirmed(running, 1)
    running.path.write_text(running.path.read_text().replace("address: 2", mistake))
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        await until(lambda: config_of(running).version == 1, "it is still in force")


@pytest.mark.asyncio
async def test_a_damaged_file_of_the_one_in_force_leaves_the_gateways_own(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        running.desk.configure(signed(1, running.text(4), NAME))
        await confirmed(running, 1)
        running.desk.configure(b"")
    for name in ("active", "last-good"):
        path = tmp_path / "data" / "config" / name
        path.write_bytes(path.read_bytes()[:-5])
    async with site(tmp_path, mosquitto.port, confirm_s=SLOW_S) as running:
        await until(lambda: running.status.config is not None, "it runs")
        assert config_of(running).version == 0
        assert config_of(running).highest == 1


@pytest.mark.asyncio
async def test_batches_of_a_file_on_trial_are_kept_when_it_is_taken_back(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with site(tmp_path, mosquitto.port, confirm_s=QUICK_S) as running:
        running.collector.acks = False
        running.desk.configure(signed(1, running.text(4), NAME))
        await until(lambda: config_of(running).trial, "it is tried")
        running.desk.send("c1", "read", "m4")
        await until(lambda: config_of(running).refused is not None, "taken back")
        running.collector.acks = True

        def has_it() -> bool:
            batches = [decode_batch(payload) for payload in running.collector.payloads.values()]
            return any(
                read[0] == "m4"
                for batch in batches
                if batch.scan
                for table in batch.scan.tables
                for read in table.reads
            )

        await until(has_it, "what was read meanwhile")
    assert ConfigStore(tmp_path / "data" / "config").begin(running.path.read_text()).held is None
