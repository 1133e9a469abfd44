"""The main job on real input, held against the truth that the simulator keeps to itself."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from songlo.demo.programs import free_port

HEADER = (
    "point,meter,register,index_from_wh,index_to_wh,read_from_at,read_to_at,multiplier,"
    "consumption_wh,quality"
)
BALANCE_HEADER = "station,day,head_wh,customers_wh,loss_wh,loss_percent,complete"
IMPORT_ACTIVE = "1-0:1.8.0"


@dataclass(frozen=True)
class Run:
    """What a demo left behind: its files, and the truth."""

    snapshot: list[dict[str, str]]
    balance: list[dict[str, str]]
    truth: dict[tuple[str, str], list[dict[str, str]]]
    resolution_wh: dict[str, int]

    def true_loss_wh(self) -> float:
        """Energy at the head less the customers', exactly as the power flow has it."""
        energy = {"head": 0, "customers": 0}
        for (point, register), (first, last) in self.truth.items():
            if register == IMPORT_ACTIVE:
                side = "head" if point.endswith("/head") else "customers"
                energy[side] += int(last["true_mwh"]) - int(first["true_mwh"])
        return (energy["head"] - energy["customers"]) / 1000


def rows(path: Path, header: str) -> list[dict[str, str]]:
    text = path.read_text()
    assert text.splitlines()[0] == header
    return list(csv.DictReader(text.splitlines()))


def demo(folder: Path, *options: str) -> Run:
    """Run `songlo demo … --exit` as a user would, and read what it wrote."""
    result = subprocess.run(
        [
            sys.executable, "-m", "songlo", "demo", "--exit", "--output", str(folder / "out"),
            "--keep", str(folder / "kept"), "--port", str(free_port()), *options,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:] + result.stdout[-3000:]
    assert "SHA-256" in result.stdout
    assert "sgl_" in result.stderr, "the demo prints the API key it made"
    truth: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in csv.DictReader((folder / "kept" / "truth.csv").read_text().splitlines()):
        truth.setdefault((row["point"], row["register"]), []).append(row)
    ready = json.loads((folder / "kept" / "simulator.ready").read_text())
    meters = [meter for line in ready["lines"] for meter in line["meters"]]
    return Run(
        snapshot=rows(folder / "out" / "snapshot.csv", HEADER),
        balance=rows(folder / "out" / "balance.csv", BALANCE_HEADER),
        truth=truth,
        resolution_wh={meter["point"]: meter["resolution_wh"] for meter in meters},
    )


def assert_every_register_is_exact(run: Run) -> None:
    """Each line equals the simulated meter's register difference, and none is left out."""
    assert len({row["point"] for row in run.snapshot}) == len(run.resolution_wh) == 100
    assert {(row["point"], row["register"]) for row in run.snapshot} == set(run.truth)
    assert len(run.snapshot) == len(run.truth)
    for row in run.snapshot:
        first, last = run.truth[row["point"], row["register"]]
        assert int(row["index_from_wh"]) == int(first["value"]), row
        assert int(row["index_to_wh"]) == int(last["value"]), row
        assert int(row["consumption_wh"]) == int(last["value"]) - int(first["value"]), row
        assert (row["read_from_at"], row["read_to_at"]) == tuple(
            at["at"].replace(".000Z", "Z") for at in (first, last)
        )
        assert (row["quality"], row["multiplier"], row["meter"]) == ("A", "1", first["meter"])


def loss_wh(run: Run) -> int:
    """The period's loss from the snapshot's lines."""
    return sum(
        int(row["consumption_wh"]) * (1 if row["point"].endswith("/head") else -1)
        for row in run.snapshot
        if row["register"] == IMPORT_ACTIVE
    )


@pytest.mark.timeout(600)
def test_a_month_over_modbus_tcp_is_exact_to_the_last_unit(tmp_path: Path) -> None:
    run = demo(tmp_path, "--start", "2026-01-01", "--days", "31", "--interval", "30")
    assert_every_register_is_exact(run)
    assert abs(loss_wh(run) - run.true_loss_wh()) <= sum(run.resolution_wh.values())
    assert run.true_loss_wh() > 10_000
    assert [row["day"] for row in run.balance] == [f"2026-01-{day:02}" for day in range(1, 32)]
    assert {row["complete"] for row in run.balance} == {"true"}
    assert sum(int(row["loss_wh"]) for row in run.balance) == loss_wh(run)


@pytest.mark.timeout(300)
def test_an_hour_over_paced_serial_lines_is_exact_to_the_wh(tmp_path: Path) -> None:
    run = demo(
        tmp_path,
        "--start", "2026-01-15", "--hours", "1", "--interval", "30",
        "--transport", "rtu", "--lines", "4", "--model", "schneider-iem3155",
    )  # fmt: skip
    assert set(run.resolution_wh.values()) == {1}
    assert_every_register_is_exact(run)
    assert abs(loss_wh(run) - run.true_loss_wh()) <= len(run.resolution_wh)
