"""`songlo simulator` as a program of its own: its file, its one line, its end."""

import csv
import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from simulator.config import load_config
from simulator.errors import SimulatorError
from simulator.station import build_station

COMMAND = [sys.executable, "-m", "songlo", "simulator"]
BASE = {"start": "2026-01-05", "end": "2026-01-06", "grid": "LV1.101"}
READY_S = 30.0


def write(directory: Path, **fields: object) -> Path:
    path = directory / "simulator.yaml"
    path.write_text(json.dumps(BASE | {"directory": str(directory / "out")} | fields))
    return path


@contextmanager
def program(config: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    process = subprocess.Popen(
        [*COMMAND, "run", "--config", str(config)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert isinstance(ready, dict)
        yield process, ready
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class ClockClient:
    def __init__(self, address: object) -> None:
        host, port = str(address).split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=READY_S)
        self._file = self._socket.makefile("rb")

    def ask(self, **request: str) -> dict[str, object]:
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._file.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_it_says_where_everything_is_serves_it_and_ends_when_told(tmp_path: Path) -> None:
    with program(write(tmp_path, lines={"count": 3})) as (process, ready):
        lines = ready["lines"]
        assert isinstance(lines, list)
        assert [line["name"] for line in lines] == ["line-1", "line-2", "line-3"]
        assert [len(line["meters"]) for line in lines] == [5, 5, 4]
        head = lines[0]["meters"][0]
        assert (head["role"], head["point"], head["address"]) == ("head", "LV1.101/head", 1)
        serials = [meter["serial"] for line in lines for meter in line["meters"]]
        assert serials == [f"2026{number:06d}" for number in range(1, 15)]
        for line in lines:
            socket.create_connection((line["host"], line["port"]), timeout=5).close()
        rows = list(csv.DictReader(Path(str(ready["truth"])).read_text().splitlines()))
        assert {row["at"] for row in rows} == {
            "2026-01-04T17:00:00.000Z",
            "2026-01-05T17:00:00.000Z",
        }
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_serial_lines_come_as_links_and_go_with_the_program(tmp_path: Path) -> None:
    with program(write(tmp_path, lines={"count": 2, "kind": "rtu"})) as (process, ready):
        lines = ready["lines"]
        assert isinstance(lines, list)
        links = [Path(line["device"]) for line in lines]
        assert [(link.name, link.is_symlink()) for link in links] == [
            ("line-1.tty", True),
            ("line-2.tty", True),
        ]
        assert all(line["baud"] == 9600 for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not any(link.is_symlink() for link in links)


def test_it_goes_on_in_real_time(tmp_path: Path) -> None:
    with program(write(tmp_path, lines={"kind": "tcp"})) as (_, ready):
        clock = ClockClient(ready["clock"])
        clock.ask(op="wait", until="2026-01-05T17:00:00Z")
        assert clock.ask(op="live")["live"] is True
        before = datetime.now(UTC)
        now = datetime.fromisoformat(str(clock.ask(op="now")["now"]))
        assert before - timedelta(seconds=1) < now < before + timedelta(seconds=5)
        lines = ready["lines"]
        assert isinstance(lines, list)
        with socket.create_connection((lines[0]["host"], lines[0]["port"]), timeout=5) as meter:
            meter.sendall(bytes.fromhex("0001 0000 0006 01 03 5000 0004"))
            reply = meter.recv(100)
        assert reply[:9] == bytes.fromhex("0001 0000 000b 01 03 08")
        config = load_config(tmp_path / "simulator.yaml")
        station = build_station(config)
        head = station.meters[0]
        shown = int.from_bytes(reply[9:], "big") * 10
        true = head.initial_wh + int(station.truth.at(now).import_mwh[head.column]) // 1000
        # A station of 160 kVA takes less than 50 Wh a second.
        assert true - 10 <= shown <= true + 1000
        clock.close()


def test_the_truth_of_a_period_is_printed(tmp_path: Path) -> None:
    command = [*COMMAND, "truth", "--config", str(write(tmp_path))]
    command += ["--at", "2026-01-05T00:00:00+07:00", "--at", "2026-01-05T17:00:00Z"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    head = [row for row in rows if row["point"] == "LV1.101/head"]
    taken = [int(row["value"]) for row in head if row["register"] == "1-0:1.8.0"]
    true = [int(row["true_mwh"]) for row in head if row["register"] == "1-0:1.8.0"]
    assert true[0] == 0
    assert taken[1] - taken[0] == true[1] // 10_000 * 10
    registers = {
        (row["meter"], row["register"]) for row in rows if row["meter"] == "2026000001"
    }  # an ABB B23 shows no reactive energy
    assert registers == {("2026000001", "1-0:1.8.0"), ("2026000001", "1-0:2.8.0")}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grid": "LV9"}, "LV9: no such file"),
        ({"colour": 1}, "simulator.yaml: Object contains unknown field `colour`"),
        ({"lines": {"count": 0}}, r"$.lines.count"),
        ({"lines": {"count": 2, "meters_per_line": 5}}, "14 meters do not fit 2 lines"),
        ({"lines": {"count": 20}}, "14 meters do not fit 20 lines"),
        ({"start": "2026-01-07"}, "end: is before start"),
        ({"start": "2026-01-05T00:00:00"}, "start: needs an offset"),
        ({"start": "soon"}, "simulator.yaml: start:"),
        ({"zone": "Asia/Nowhere"}, "zone: 'Asia/Nowhere'"),
        ({"model": "abb"}, "model: 'abb' is unknown (known: mixed, eastron-sdm120"),
        ({"faults": [{"kind": "rude"}]}, r"$.faults[0].kind"),
        ({"load_scale": 0}, r"$.load_scale"),
    ],
)
def test_a_bad_file_is_refused_with_file_and_key(
    tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    path = write(tmp_path, **fields)
    with pytest.raises(SimulatorError) as caught:
        build_station(load_config(path))
    assert words in str(caught.value)


def test_the_program_says_what_is_wrong_and_fails(tmp_path: Path) -> None:
    command = [*COMMAND, "run", "--config", str(write(tmp_path, lines={"count": 20}))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: lines: 14 meters do not fit")
    assert "hint: change lines.count" in done.stderr


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*COMMAND, "run", "--config", str(write(tmp_path, clock={"port": port}))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(port) in done.stderr


def test_yaml_dates_and_instants_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "simulator.yaml"
    path.write_text(
        "start: 2026-01-05\nend: 2026-01-06T07:30:00+07:00\n"
        "directory: out\ntruth_at: [2026-01-05T03:00:00Z]\n"
    )
    config = load_config(path)
    assert config.instant(config.start) == datetime(2026, 1, 4, 17, tzinfo=UTC)
    assert config.instant(config.end) == datetime(2026, 1, 6, 0, 30, tzinfo=UTC)
    assert config.truth_instants() == (datetime(2026, 1, 5, 3, tzinfo=UTC),)


def test_a_month_is_ready_within_seconds(tmp_path: Path) -> None:
    path = write(tmp_path, grid="LV2.101", start="2026-01-01", end="2026-02-01")
    started = time.monotonic()
    station = build_station(load_config(path))
    assert len(station.meters) == 100
    assert time.monotonic() - started < READY_S
