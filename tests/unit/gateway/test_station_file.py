# ruff: noqa: E501 the expected texts are whole lines, as people see them
"""The station file: what it becomes, and what is said of each mistake, all of them at once."""

from pathlib import Path

import pytest

import firmware_config
from gateway.config import StationConfig, StationFileError, load_station, parse_station
from gateway.station_file import Iec62056Section

GOOD = """\
station: PA25SL-T012
data: data
broker: {host: 127.0.0.1}
lines:
  - name: rs485-1
    modbus_rtu: {device: /dev/ttyUSB0, baud: 9600}
    meters:
      - {serial: "2026000001", address: 1, profile: eastron-sdm630, head: true}
      - {serial: "2026000002", address: 2, profile: eastron-sdm120}
  - name: bridge-1
    modbus_tcp: {host: 127.0.0.1, port: 5020}
    meters:
      - {serial: "2026000003", address: 1, profile: abb-b23}
"""


def parse(text: str, folder: Path = Path("/etc/songlo")) -> StationConfig:
    return parse_station(text, "station.yaml", folder)


def problems(text: str, folder: Path = Path("/etc/songlo")) -> list[str]:
    with pytest.raises(StationFileError) as caught:
        parse(text, folder)
    return caught.value.problems


def test_a_short_file_gets_its_defaults() -> None:
    config = parse(GOOD)
    assert config.gateway == "PA25SL-T012"
    assert config.data == Path("/etc/songlo/data")
    assert (config.schedule.interval_min, config.schedule.index_minutes) == (30, (0,))
    assert str(config.schedule.zone) == "Asia/Ho_Chi_Minh"
    assert (config.uplink.window, config.uplink.resend_after_s) == (20, 30)
    assert (config.outbox.bytes_max, config.outbox.keep_days) == (1_000_000_000, 35)
    assert config.replay is None
    assert config.heads == {"2026000001"}
    assert [(line.name, [m.serial for m in line.meters]) for line in config.lines] == [
        ("rs485-1", ["2026000001", "2026000002"]),
        ("bridge-1", ["2026000003"]),
    ]
    assert config.lines[0].meters[0].profile.name == "eastron-sdm630"


@pytest.mark.parametrize(
    ("more", "live_age_s"),
    [
        ("schedule: {interval_min: 1}\n", 600),
        ("schedule: {interval_min: 5}\n", 600),
        ("schedule: {interval_min: 15}\n", 1_800),
        ("schedule: {interval_min: 15}\nuplink: {live_age_s: 7200}\n", 7_200),
    ],
)
def test_the_last_two_slots_are_live_however_long_a_slot_is(more: str, live_age_s: float) -> None:
    assert parse(GOOD + more).uplink.live_age_s == live_age_s


def test_the_example_that_comes_along_is_in_order() -> None:
    example = Path(firmware_config.__file__).parent / "stations" / "example.yaml"
    assert load_station(example).station == "PA25SL-T012"


def test_everything_can_be_said() -> None:
    config = parse(
        GOOD
        + "gateway: gw-7\nzone: UTC\nclock: {replay: 127.0.0.1:9000}\n"
        + 'schedule: {interval_min: 15, index_at: ["00:00", "12:30"], index_retry_s: 30}\n'
        + "uplink: {window: 5}\noutbox: {bytes_max: 5000000, keep_days: 1}\n"
    )
    assert (config.gateway, config.replay) == ("gw-7", ("127.0.0.1", 9000))
    assert config.clock.before_sync == "hold"
    assert config.schedule.index_minutes == (0, 750)
    assert config.schedule.index_retry_s == 30


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "baud: 9600",
            "buad: 9600",
            "station.yaml:6: lines[0].modbus_rtu.buad: unknown key; did you mean 'baud'?",
        ),
        (
            "station: PA25SL-T012",
            "stattion: x",
            "station.yaml:1: the key 'station' is missing; add it",
        ),
        (
            "address: 2",
            "address: 1",
            "station.yaml:9: lines[0].meters[1].address: address 1 is already taken on this line; each meter needs its own (line 8)",
        ),
        (
            "2026000003",
            "2026000001",
            "station.yaml:13: lines[1].meters[0].serial: meter '2026000001' is already listed; a serial stands for one meter (line 8)",
        ),
        (
            "abb-b23",
            "abb-b32",
            "station.yaml:13: lines[1].meters[0].profile: no meter profile 'abb-b32'; did you mean 'abb-b23'? known: abb-b23",
        ),
        (
            "address: 2",
            "address: 300",
            "station.yaml:9: lines[0].meters[1].address: 300 is no Modbus address; use 1 to 247",
        ),
        (
            "address: 2",
            "address: two",
            "station.yaml:9: lines[0].meters[1].address: Modbus addresses are numbers, 'two' is text",
        ),
        (
            "station: PA25SL-T012",
            "station: trạm 12",
            "station.yaml:1: station: 'trạm 12' cannot be part of a topic",
        ),
        (
            "    modbus_tcp: {host: 127.0.0.1, port: 5020}\n",
            "",
            (
                "station.yaml:10: lines[1]: give exactly one of 'modbus_rtu', 'modbus_tcp', "
                "'modbus_rtu_over_tcp' and 'iec62056_21'"
            ),
        ),
        (
            "name: bridge-1",
            "name: bridge-1\n    modbus_rtu: {device: x}",
            "station.yaml:10: lines[1]: give exactly one of",
        ),
        (
            "name: bridge-1",
            "name: rs485-1",
            "station.yaml:10: lines[1].name: another line has this name (line 5)",
        ),
        (
            "baud: 9600",
            "baud: 300",
            "lines[0].meters[0].profile: eastron-sdm630 cannot run at 300 baud; it can at",
        ),
        (
            "address: 2, ",
            "",
            "station.yaml:9: lines[0].meters[1].address: a Modbus meter needs an address; add it",
        ),
        (
            "profile: abb-b23",
            "profile: landis-gyr-zmd",
            "station.yaml:13: lines[1].meters[0].profile: landis-gyr-zmd is of a meter that speaks IEC 62056-21; this line speaks Modbus",
        ),
        (
            "modbus_tcp: {host: 127.0.0.1, port: 5020}",
            "iec62056_21: {device: /dev/ttyUSB1}",
            "station.yaml:13: lines[1].meters[0].profile: abb-b23 is of a Modbus meter; this line speaks IEC 62056-21",
        ),
        (
            "modbus_tcp: {host: 127.0.0.1, port: 5020}",
            "iec62056_21: {device: /dev/ttyUSB1, baud: 500}",
            "station.yaml:11: lines[1].iec62056_21.baud: Invalid enum value 500",
        ),
        (
            "modbus_tcp: {host: 127.0.0.1, port: 5020}",
            "iec62056_21: {device: /dev/ttyUSB1, password_file: nope}",
            "station.yaml:11: lines[1].iec62056_21.password_file: /etc/songlo/nope cannot be read: No such file",
        ),
        (
            "data: data",
            "data: data\nzone: Asia/Hanoi",
            "station.yaml:3: zone: 'Asia/Hanoi' is no time zone; use a name such as Asia/Ho_Chi_Minh",
        ),
        (
            "data: data",
            "data: data\nschedule: {interval_min: 7}",
            "station.yaml:3: schedule.interval_min: 7 does not divide a day",
        ),
        (
            "data: data",
            "data: data\nschedule: {interval_min: 0}",
            "station.yaml:3: schedule.interval_min: Expected `int` >= 1",
        ),
        (
            "data: data",
            'data: data\nschedule: {index_at: ["24:00"]}',
            "station.yaml:3: schedule.index_at[0]: '24:00' is no local time",
        ),
        (
            "data: data",
            "data: data\nclock: {replay: nowhere}",
            "station.yaml:3: clock.replay: 'nowhere' is not HOST:PORT",
        ),
        (
            "{host: 127.0.0.1}",
            "{host: h, password_file: nope}",
            "station.yaml:3: broker.password_file: /etc/songlo/nope cannot be read: No such file",
        ),
        (
            "{host: 127.0.0.1}",
            "{host: h, tls: {ca_file: nope}}",
            "station.yaml:3: broker.tls.ca_file: /etc/songlo/nope does not exist",
        ),
        (
            "{host: 127.0.0.1}",
            "localhost",
            "station.yaml:3: broker: needs keys of its own, found text",
        ),
        ("data: data", "data: data\ndata: other", "station.yaml:3: data: already given on line 2"),
        ("data: data", "data: [", "not YAML"),
        (
            "data: data",
            "data: data\nuplink: {resend_after_s: 60, resend_after_max_s: 30}",
            "station.yaml:3: uplink.resend_after_max_s: is less than resend_after_s",
        ),
        (
            "data: data",
            "data: data\noutbox: {bytes_max: 1000}",
            "station.yaml:3: outbox.bytes_max: Expected `int` >= 4194304",
        ),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_to_do(
    old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new))
    assert any(expected in problem for problem in found), found


def test_all_mistakes_are_told_at_once_in_the_order_of_lines() -> None:
    found = problems(
        GOOD.replace("baud:", "buad:")
        .replace("host: 127.0.0.1}", "hots: x}")
        .replace("head:", "haed:")
    )
    assert [problem.split(":")[1] for problem in found] == ["3", "3", "6", "8"]
    found = problems(
        GOOD.replace("address: 2", "address: 1").replace("abb-b23", "nothing-known")
        + "zone: Nowhere/At_All\n"
    )
    assert [problem.split(":")[1] for problem in found] == ["9", "13", "14"]


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\n")
    text = GOOD.replace("{host: 127.0.0.1}", "{host: h, username: u, password_file: password}")
    assert "is empty; put what belongs into it" in problems(text, tmp_path)[0]
    (tmp_path / "password").write_text("secret\n")
    assert parse(text, tmp_path).password == "secret"


def test_a_broken_profile_of_the_station_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "abb-b23.yaml").write_text("profile: abb-b23\n")
    (problem,) = problems(GOOD + "profiles: [mine]\n", tmp_path)
    assert problem.startswith(
        "station.yaml:13: lines[1].meters[0].profile: the profile has a mistake"
    )
    assert "abb-b23.yaml" in problem


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(StationFileError, match="cannot be read: No such file"):
        load_station(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StationFileError, match="cannot be read"):
        load_station(tmp_path / "bytes.yaml")


IEC = """\
station: PA25SL-T012
data: data
broker: {host: 127.0.0.1}
lines:
  - name: rs485-2
    iec62056_21: {device: /dev/ttyUSB1, baud: 300, baud_max: 4800}
    meters:
      - {serial: "52011111", address: "00011111", profile: landis-gyr-zmd, head: true}
      - {serial: "52022222", address: "00022222", profile: landis-gyr-zmd}
"""


def test_a_line_of_readout_meters_is_read() -> None:
    (line,) = parse(IEC).lines
    assert line.endpoint == Iec62056Section(device="/dev/ttyUSB1", baud=300, baud_max=4800)
    assert [(meter.address, meter.profile.name) for meter in line.meters] == [
        ("00011111", "landis-gyr-zmd"),
        ("00022222", "landis-gyr-zmd"),
    ]


def test_an_order_is_for_modbus_meters() -> None:
    text = IEC.replace("profile: landis-gyr-zmd}", "profile: landis-gyr-zmd, order: CDAB}", 1)
    (problem,) = problems(text)
    assert problem.endswith("order: only registers of Modbus meters have an order")


def test_a_meter_that_is_alone_needs_no_device_address(tmp_path: Path) -> None:
    text = IEC.replace('address: "00011111", ', "")
    (problem,) = problems(text)
    assert problem.startswith("station.yaml:8: lines[0].meters[0].address: without an address")
    (tmp_path / "password").write_text("00000000\n")
    text = text.replace("baud: 300", "password_file: password").rpartition("      -")[0]
    (line,) = parse(text, tmp_path).lines
    assert (line.meters[0].address, line.password) == ("", "00000000")
    assert "00000000" not in repr(line)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"00022222"', "00022222", "meters[1].address: write a device address in quotes"),
        ('"00022222"', '"11111"', "meters[1].address: address 11111 is already taken on this line"),
        ('"00022222"', '"1!"', "meters[1].address: '1!' is no device address; use at most 32"),
        ("baud: 300", "baud: 2400", "profile: landis-gyr-zmd does not begin at 2400 baud; it does"),
    ],
)
def test_a_mistake_on_a_readout_line_is_told(old: str, new: str, expected: str) -> None:
    found = problems(IEC.replace(old, new))
    assert any(expected in problem for problem in found), found
