"""The files of station files: whatever cuts a change off, a whole one is in force."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from contract.messages import ConfigRefusal, ConfigStatus
from gateway.config_store import (
    ACTIVE,
    CANDIDATE,
    LAST_GOOD,
    STATE,
    TRIAL_STARTS_MAX,
    Choice,
    ConfigStore,
    Held,
    Trial,
)
from tests.gateway_control import crashing
from tests.gateway_control.crashing import CHANGED, LOCAL, SCENARIOS, accept, one_good, text

# The highest version that was accepted before the scenario: it never goes below.
HIGHEST = {
    "accept the first": 0,
    "accept a second": 1,
    "go back to the local file": 1,
    "refuse": 1,
}
ACCEPTED = {"accept the first": 1, "accept a second": 2, "accept over one on trial": 3}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_killed_before_any_effect_and_again_in_the_recovery(name: str) -> None:
    # A kill leaves what was written, on whatever file system; in memory thousands of syncs are
    # quick.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        done = subprocess.run(
            [sys.executable, crashing.__file__, folder, name],
            capture_output=True, text=True, check=True, timeout=55,
        )  # fmt: skip
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({case["effect"] for case in cases}) >= 4
    for case in cases:
        assert case["allowed"], case
        assert case["whole"], case
        assert case["highest"] >= case["version"], case
        if name in ACCEPTED:
            # In force, or not spent: then the retained message brings it again.
            newest = ACCEPTED[name]
            assert case["version"] == newest or case["highest"] < newest, case
        assert case["highest"] >= HIGHEST.get(name, 2), case


def test_every_file_is_synced_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(file: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        trace.append("sync folder" if path.is_dir() else f"sync {path.name}")
        sync(file)

    def replaced(source: Path, target: Path) -> None:
        trace.append(f"replace {source.name} {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replaced)
    store = ConfigStore(tmp_path)
    one_good(store)
    accept(store, 2)
    store.begin(LOCAL)
    assert store.roll_back(2, "x", "y")
    renames = [index for index, step in enumerate(trace) if step.startswith("replace")]
    assert len(renames) >= 8
    for index in renames:
        _, source, target = trace[index].split()
        if source != CANDIDATE:
            assert source == f"{target}.new"
            assert trace[index - 1] == f"sync {source}"
        assert trace[index + 1] == "sync folder"


def test_a_file_on_trial_is_begun_only_so_often(tmp_path: Path) -> None:
    one_good(ConfigStore(tmp_path))
    accept(begun_store(tmp_path), 2)
    for start in range(1, TRIAL_STARTS_MAX + 1):
        choice = ConfigStore(tmp_path).begin(LOCAL)
        assert choice.held == Held(2, text(2))
        assert choice.trial == Trial(2, 900.0, ("l1",), start)
    store = ConfigStore(tmp_path)
    assert store.begin(LOCAL).held == Held(1, text(1))
    refused = store.status.refused
    assert refused is not None
    assert (refused.version, refused.code) == (2, "not_confirmed")
    assert store.status.highest == 2


def begun_store(folder: Path) -> ConfigStore:
    store = ConfigStore(folder)
    store.begin(LOCAL)
    return store


def test_a_forged_refusal_of_what_is_on_trial_takes_nothing_back(tmp_path: Path) -> None:
    """Anybody may send a message that says version 2 and is signed by nobody."""
    one_good(ConfigStore(tmp_path))
    store = begun_store(tmp_path)
    accept(store, 2)
    assert store.refuse(2, "bad_signature", "forged")
    assert ConfigStore(tmp_path).begin(LOCAL).held == Held(2, text(2))


def test_the_same_refusal_is_news_once(tmp_path: Path) -> None:
    store = begun_store(tmp_path)
    assert store.refuse(2, "invalid", "a")
    assert not store.refuse(2, "invalid", "a")
    assert not begun_store(tmp_path).refuse(2, "invalid", "a")
    assert store.refuse(2, "invalid", "b")
    assert store.status.refused == ConfigRefusal(2, "invalid", "b")


@pytest.mark.parametrize("name", [ACTIVE, LAST_GOOD, STATE])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "gone"])
def test_one_damaged_file_leaves_a_whole_station_file_in_force(
    tmp_path: Path, name: str, damage: str
) -> None:
    one_good(ConfigStore(tmp_path))
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = {
            "truncated": content[:-3],
            "flipped": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
            "empty": b"",
        }
        path.write_bytes(changed[damage])
    store = ConfigStore(tmp_path)
    choice = store.begin(LOCAL)
    assert choice == Choice(Held(1, text(1))), "confirmed before, and not tried once more"
    assert store.highest == 1, "a version that was accepted never comes again"


def test_a_file_that_somebody_changed_on_the_gateway_goes_first(tmp_path: Path) -> None:
    one_good(ConfigStore(tmp_path))
    assert ConfigStore(tmp_path).begin(None).held == Held(1, text(1)), "an unusable one does not"
    assert ConfigStore(tmp_path).begin(CHANGED).held is None
    assert ConfigStore(tmp_path).begin(CHANGED).held is None
    assert ConfigStore(tmp_path).begin(LOCAL).held is None, "it is not brought back by itself"


def test_the_local_file_is_kept_while_another_is_tried(tmp_path: Path) -> None:
    store = begun_store(tmp_path)
    accept(store, 1)
    begun_store(tmp_path)
    store = begun_store(tmp_path)
    assert store.roll_back(1, "x", "y")
    assert ConfigStore(tmp_path).begin(None).held == Held(0, LOCAL)


def test_one_that_is_damaged_on_trial_is_refused_and_the_last_good_one_runs(
    tmp_path: Path,
) -> None:
    one_good(ConfigStore(tmp_path))
    accept(begun_store(tmp_path), 2)
    (tmp_path / ACTIVE).write_bytes(b"")
    store = ConfigStore(tmp_path)
    assert store.begin(LOCAL) == Choice(Held(1, text(1)))
    assert store.status.refused is not None
    assert (store.status.refused.version, store.status.refused.code) == (2, "damaged")
    assert (store.status.trial, store.status.highest) == (False, 2)
    assert ConfigStore(tmp_path).begin(LOCAL) == Choice(Held(1, text(1)))


def test_a_change_of_the_local_file_that_was_cut_off_is_not_called_damage(tmp_path: Path) -> None:
    one_good(ConfigStore(tmp_path))
    accept(begun_store(tmp_path), 2)
    (tmp_path / ACTIVE).unlink()  # the first thing that is done for the local file
    store = ConfigStore(tmp_path)
    assert store.begin(CHANGED) == Choice(None)
    assert store.status.refused is None
    assert ConfigStore(tmp_path).begin(CHANGED) == Choice(None)


def test_a_trial_that_ends_while_another_is_accepted_says_nothing_of_that(tmp_path: Path) -> None:
    """The thread that accepts is done, and the trial's own has not been ended yet."""
    store = begun_store(tmp_path)
    accept(store, 1)
    accept(store, 2)
    assert not store.confirm(1)
    assert not store.roll_back(1, "x", "y")
    assert store.status == ConfigStatus(version=2, trial=True, highest=2)
    assert ConfigStore(tmp_path).begin(LOCAL).trial is not None
    assert store.roll_back(2, "x", "y")
    assert begun_store(tmp_path).status.version == 0, "none was ever confirmed"
