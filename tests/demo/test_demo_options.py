"""What a demo can be asked for, and what it answers when it cannot be."""

import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from songlo.demo.options import DemoOptions, OptionsError, period
from songlo.demo.programs import free_port
from songlo.demo.replay import slots_reached

TODAY = date(2026, 11, 24)


def test_the_period_ends_at_today_s_local_midnight_unless_told_otherwise() -> None:
    start_at, end_at = period(None, 31, None, 30, TODAY)
    assert end_at.astimezone(UTC) == datetime(2026, 11, 23, 17, tzinfo=UTC)
    assert end_at - start_at == timedelta(days=31)
    options = DemoOptions(start_at, end_at, 30)
    assert options.slot_count == 31 * 48 + 1
    assert slots_reached(options, start_at) == 1
    assert slots_reached(options, start_at + timedelta(minutes=59)) == 2
    assert slots_reached(options, end_at + timedelta(days=3)) == options.slot_count


def test_hours_replace_days() -> None:
    start_at, end_at = period(date(2026, 1, 15), 31, 1, 30, TODAY)
    assert end_at - start_at == timedelta(hours=1)


@pytest.mark.parametrize(
    ("start", "days", "hours", "interval_min", "word"),
    [
        (None, 0, None, 30, "--days 0"),
        (None, 367, None, 30, "--days 367"),
        (None, 31, None, 0, "--interval 0"),
        (None, 31, None, 7, "--interval 7"),
        (None, 31, None, 2880, "--interval 2880"),
        (None, 31, 25, 30, "--hours 25"),
        (None, 31, 1, 120, "--hours 1"),
        (date(2026, 11, 20), 31, None, 30, "--start 2026-11-20"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    start: date | None, days: int, hours: int | None, interval_min: int, word: str
) -> None:
    with pytest.raises(OptionsError, match=word):
        period(start, days, hours, interval_min, TODAY)


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "songlo", "demo", *options],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_command_says_what_is_wrong_and_what_would_do(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            (["--grid", str(tmp_path / "none.json")], "there is no such file"),
            (["--start", "tomorrow"], "write it as YYYY-MM-DD"),
            (["--keep", str(tmp_path)], "the folder is not empty"),
            (["--port", port], "choose another"),
        ]
        for options, words in cases:
            result = demo(*options)
            assert result.returncode == 2, options
            assert words in " ".join(result.stderr.split()), result.stderr
            assert "Traceback" not in result.stderr


def test_a_grid_that_is_no_grid_is_named(tmp_path: Path) -> None:
    grid = tmp_path / "grid.json"
    grid.write_text('{"grid": "X"}')
    result = demo("--grid", str(grid), "--exit", "--port", str(free_port()), "--days", "1")
    assert result.returncode == 1
    assert "grid.json" in "".join(result.stderr.split())
